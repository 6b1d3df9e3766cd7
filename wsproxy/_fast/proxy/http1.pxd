# A client's connection of HTTP/1.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.linger cimport Lingering
from wsproxy._fast.state.client_counts cimport Admission


cdef class Http1(Lingering):
    cdef bint processing            # `process` is on the stack: a finished exchange returns to it
    cdef bint yields                # a request is pending that could be taken up, but others have their turn first
    cdef Py_ssize_t scanned         # of pending: no head ends before
    cdef bint was_used              # at least one request came
    cdef bint is_metered            # it is counted as open
    cdef object introduction        # (peer, own address), each (host, port), where a PROXY header said it; else None
    cdef Admission admission        # whether it is counted among the connections of its client ...
    cdef uint64_t client            # ... who has this number there

    cdef bint let_in(self) except -1
    cdef void uncount(self) noexcept
    cdef int64_t until_piped(self) noexcept
    cdef Py_ssize_t process(self, const char* data, Py_ssize_t length) except -1
    cdef Py_ssize_t begin(self, const char* data, Py_ssize_t length) except -1
    cdef Py_ssize_t begin_encoded(self, const char* data, Py_ssize_t length) except? -1
    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1
    # Takes up what is pending.
    cdef int process_pending(self) except -1
    cdef int keep_pending(self, const char* data, Py_ssize_t length) except -1
    # Stops reading where more is pending than may be, and nothing of it can be taken up now.
    cdef int limit_pending(self) except -1
    cdef int go_on(self) except -1
    cdef bint has_more(self) noexcept


cdef class Http1Clients:
    cdef Engine engine
