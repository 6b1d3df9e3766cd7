# Blocks of lines on their way to a file, and the thread that writes them.

from cpython.ref cimport PyObject

cdef extern from "<pthread.h>":
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass

# A block of whole lines that waits for the thread, or is written and has to be let go of.
cdef struct Block:
    Block* next
    PyObject* lines             # owned; counted by who has the interpreter's lock
    const char* data            # of them
    Py_ssize_t length


cdef class Blocks:
    cdef pthread_mutex_t mutex
    cdef pthread_cond_t is_ready
    cdef Block* first               # those that wait
    cdef Block* last
    cdef Block* over                # written
    cdef Py_ssize_t written
    cdef Py_ssize_t unwoken         # bytes since the thread was woken last; only the loop counts here
    cdef bint is_asked
    # What `write` came back with.
    cdef readonly object lines
    cdef readonly Py_ssize_t taken
    cdef readonly int error
    cdef readonly bint is_torn
    cdef bint is_ended
    cdef bint is_held_up            # somebody has the file's lock for longer than a write takes

    cdef Block* take(self) noexcept nogil
    cdef Block* write_those(self, Block* block, int fd, bint* is_torn, Py_ssize_t* done, int* error) noexcept nogil
    cdef Block* finish(self, Block* block, bint goes_on) noexcept nogil
