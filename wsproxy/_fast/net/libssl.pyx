"""
The TLS library that Python's ssl module itself has loaded: its functions, and what is inside the module's objects.

Used by ``records``, which does without where anything here is not as expected: then all goes through Python, and a request
takes 1.15 times as many instructions. Contexts, handshakes and errors stay Python's. Must not load a TLS library: a second
one in the process does not know the first one's structures.
"""

import _ssl
import ssl

from cpython.object cimport PyObject

cdef extern from "<dlfcn.h>" nogil:
    enum:
        RTLD_LAZY
        RTLD_NOLOAD
    void* dlopen(const char* name, int flags)
    void* dlsym(void* handle, const char* name)

cdef extern from *:
    """
    /* CPython's objects looked into: PySSLMemoryBIO begins with its BIO, PySSLSocket with Socket, SSL, context. */
    #if PY_VERSION_HEX < 0x030e0000 && !defined(Py_GIL_DISABLED) && !defined(Py_TRACE_REFS) && !defined(PYPY_VERSION)
    #define WS_KNOWN_PYTHON 1
    #else
    #define WS_KNOWN_PYTHON 0
    #endif
    """
    enum:
        WS_KNOWN_PYTHON

cdef Functions libssl
cdef bint found = False
cdef bint used = False


cpdef bint is_used() noexcept:
    """Whether connections from now on do without Python."""
    return used


cpdef bint use(bint wanted) noexcept:
    """Whether connections from now on do without Python: where that is wanted, and possible. For tests."""
    global used
    used = wanted and found
    return used


cdef void** words_of(object inside) noexcept:
    """What lies behind the part that all objects have."""
    return <void**>(<char*><PyObject*>inside + sizeof(PyObject))


cdef void* bio_in(object memory_bio) noexcept:
    """Lives as long as the object; NULL: it cannot be told."""
    return words_of(memory_bio)[0] if used and type(memory_bio) is ssl.MemoryBIO else NULL


cdef void* connection_in(object tls, object context, object source) noexcept:
    """The SSL of an ``_ssl._SSLSocket`` made of this context, which reads from this BIO; NULL: it cannot be told."""
    cdef void** words
    cdef void* bio = bio_in(source)
    if bio == NULL or type(tls) is not _ssl._SSLSocket:
        return NULL
    words = words_of(tls)
    if words[0] != NULL or words[2] != <void*><PyObject*>context or libssl.get_rbio(words[1]) != bio:
        return NULL
    return words[1]


cdef bint find() except -1:
    """Whether all functions are there, in what the ssl module was linked with."""
    cdef void* handle
    cdef str path
    cdef bytes name
    path = ""
    try:
        path = _ssl.__file__
    except AttributeError:
        pass
    if not path:  # it is a part of the program
        return False
    name = path.encode()
    handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD)
    if handle == NULL:
        return False
    (<void**>&libssl.read_ex)[0] = dlsym(handle, "SSL_read_ex")
    (<void**>&libssl.write_ex)[0] = dlsym(handle, "SSL_write_ex")
    (<void**>&libssl.pending)[0] = dlsym(handle, "SSL_pending")
    (<void**>&libssl.get_rbio)[0] = dlsym(handle, "SSL_get_rbio")
    (<void**>&libssl.bio_read)[0] = dlsym(handle, "BIO_read")
    (<void**>&libssl.bio_write)[0] = dlsym(handle, "BIO_write")
    (<void**>&libssl.bio_pending)[0] = dlsym(handle, "BIO_ctrl_pending")
    (<void**>&libssl.get_wbio)[0] = dlsym(handle, "SSL_get_wbio")
    (<void**>&libssl.bio_number_written)[0] = dlsym(handle, "BIO_number_written")
    return (
        libssl.read_ex != NULL and libssl.write_ex != NULL and libssl.pending != NULL and libssl.get_rbio != NULL
        and libssl.bio_read != NULL and libssl.bio_write != NULL and libssl.bio_pending != NULL
    )


cdef bint agrees() except -1:
    """Whether the BIO in an object of Python's gives what Python wrote into it."""
    cdef char[8] data
    cdef void* bio
    arrived = ssl.MemoryBIO()
    arrived.write(b"wsproxy")
    bio = words_of(arrived)[0]
    if libssl.bio_pending(bio) != 7 or libssl.bio_read(bio, data, 8) != 7:
        return False
    return data[:7] == b"wsproxy" and arrived.pending == 0


found = WS_KNOWN_PYTHON and find() and agrees()
used = found
