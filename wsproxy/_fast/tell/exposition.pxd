# Metrics as Prometheus reads them.

from libc.stdint cimport uint64_t
from wsproxy._fast.base.buffer cimport Buffer


cdef class Blocks:
    cdef uint64_t* words            # owned
    cdef readonly Py_ssize_t count

    # Borrowed: lives as long as these.
    cdef const uint64_t* block(self, Py_ssize_t at) except NULL


cdef class Exposition:
    cdef Buffer out

    cdef int check(self, list labels, Blocks blocks, int word) except -1
    cdef int put(self, bytes text) except -1
    cdef int put_name(self, bytes name, bytes ending, bytes labels, bytes more) except -1
    cdef int put_number(self, uint64_t number) except -1
    cdef int put_seconds(self, uint64_t us) except -1
