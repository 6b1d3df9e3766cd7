# An exchange, whole.

from wsproxy._fast.proxy.asked cimport Asked
from wsproxy._fast.proxy.upstream cimport Upstream


cdef class Downstream(Asked):
    cdef int check_taken(self) except -1
    cdef int after_wait(self) except? -1
    # Adds a field line, with its CR LF, to the head in `sent`.
    cdef int add_line(self, const char* line, Py_ssize_t length) except -1
    cdef int send_head(self, Upstream upstream) except -1
    cdef int reread_session(self) except -1
    cdef int follow_session(self) except -1
