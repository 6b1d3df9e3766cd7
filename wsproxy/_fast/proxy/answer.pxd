# Answers as a client of HTTP/1 gets them.

from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.linger cimport Lingering
from wsproxy._fast.proxy.sink cimport Sink


cdef class Http1Answer(Sink):
    cdef Lingering client
    cdef Downstream exchange        # of the client
    cdef Py_ssize_t head_len        # of the head in `engine.out` that waits for the first bytes of its body


cdef Http1Answer http1_answer(Lingering client)
