# An exchange, whole.

from wsproxy._fast.proxy.intake cimport Intake
from wsproxy._fast.proxy.upstream cimport Upstream


cdef class Downstream(Intake):
    cdef str client_text(self)
    cdef Py_ssize_t count_head(self) noexcept
    cdef Py_ssize_t count_sent(self) noexcept
    cdef int check_taken(self) except -1
    cdef int after_wait(self) except? -1
    # Adds a field line, with its CR LF, to the head in `sent`.
    cdef int add_line(self, const char* line, Py_ssize_t length) except -1
    cdef int send_head(self, Upstream upstream) except -1
    cdef int reread_session(self) except -1
    cdef int follow_session(self) except -1
