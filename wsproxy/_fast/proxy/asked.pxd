# What the slow path may know of an exchange.

from wsproxy._fast.proxy.intake cimport Intake


cdef class Asked(Intake):
    # See `is_waiting`.
    cdef bint waits(self) noexcept
    cdef str client_text(self)
    # Bytes of the head that are kept; bytes of the request that were given to the connection.
    cdef Py_ssize_t count_head(self) noexcept
    cdef Py_ssize_t count_sent(self) noexcept
