# A client's connection, whole.

from libc.stdint cimport uint64_t
from wsproxy._fast.client_counts cimport Admission
from wsproxy._fast.intake cimport Intake
from wsproxy._fast.upstream cimport Upstream


cdef class Downstream(Intake):
    cdef object introduction        # (peer, own address), each (host, port), where a PROXY header said it; else None
    cdef Admission admission        # whether it is counted among the connections of its client ...
    cdef uint64_t client            # ... who has this number there
    cdef bint enter(self) except -1
    cdef Py_ssize_t count_sent(self) noexcept
    cdef int check_taken(self) except -1
    cdef int after_wait(self) except? -1
    # Adds a field line, with its CR LF, to the head in `sent`.
    cdef int add_line(self, const char* line, Py_ssize_t length) except -1
    cdef int send_head(self, Upstream upstream) except -1
    cdef int reread_session(self) except -1
    cdef int follow_session(self) except -1
