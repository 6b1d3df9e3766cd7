"""
What a Stream asks of a transport of ours beyond what asyncio's have.

``poller`` derives from it, and ``tls_socket`` says what each method does; streams know no more of both. Must not do I/O.
"""


cdef class Carrier:
    """A transport in the worker's own epoll set; a plain one has nothing to say to these."""

    def __cinit__(self):
        self.fd = -1

    cdef int name_of(self, bint of_peer, char* text) noexcept:
        return -1

    cdef Py_ssize_t encrypt(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        raise NotImplementedError

    cdef bint is_settled(self) noexcept:
        return True

    cdef Py_ssize_t count_held(self) noexcept:
        return 0

    cdef int watch_on(self) except -1:
        return 0

    cdef int go_on(self) except -1:
        return 0

    cdef int end_cipher(self) except -1:
        return 0
