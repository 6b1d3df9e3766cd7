# Where the bytes of a Python object begin. Cython's own way, a typed memoryview, brings 15,000 lines of C into each module.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef inline char* address_of(object memory) except NULL:
    """Borrowed from an mmap or a bytearray: good as long as the caller keeps it, and neither closes nor resizes it."""
    cdef Py_buffer view
    PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
    cdef char* at = <char*>view.buf
    PyBuffer_Release(&view)
    return at


# A copy of some bytes in memory of exactly their size. The Python functions of the parsers read from one: bytes objects
# have a NUL behind them, which would hide a read past the end from AddressSanitizer.
cdef class ExactCopy:
    cdef char* at
    cdef Py_ssize_t length


cdef extern from *:
    """
    #include <sys/mman.h>
    static inline void *ws_map_shared(int fd, long long offset, size_t size) {
        void *at = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, (off_t)offset);
        return at == MAP_FAILED ? 0 : at;
    }
    static inline void ws_unmap(void *at, size_t size) {
        if (at) munmap(at, size);
    }
    """
    # Memory that processes share, zeroed where nobody wrote; NULL: there is none. `fd` below 0: with forked ones only.
    void* ws_map_shared(int fd, long long offset, size_t size) noexcept nogil
    void ws_unmap(void* at, size_t size) noexcept nogil
