# A client's connection, whole.

from wsproxy._fast.intake cimport Intake


cdef class Downstream(Intake):
    cdef int check_taken(self) except -1
    cdef int after_wait(self) except? -1
    cdef int reread_session(self) except -1
