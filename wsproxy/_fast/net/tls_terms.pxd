# What the TLS connections of one listener begin by.


cdef class Certificates:
    cdef dict by_name               # server name, or `*.` and its parent: ssl.SSLContext
    cdef readonly object first      # for who says another name, or none

    cpdef object find(self, object server_name)


cdef class Terms:
    cdef void* place                # the SSL_CTX of ...
    cdef readonly object context    # ... which lives as long
    cdef public Certificates certificates  # that are shown now; None: what the context has
    cdef readonly object answer_plain  # (is_head) -> bytes: a client spoke plain HTTP
