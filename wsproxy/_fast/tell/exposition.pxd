# Metrics as Prometheus reads them.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t


cdef class Blocks:
    cdef uint64_t* words            # owned
    cdef readonly Py_ssize_t count

    # Borrowed: lives as long as these.
    cdef const uint64_t* block(self, Py_ssize_t at) except NULL


cdef class Exposition:
    cdef PyObject* page             # bytes that grow: ours alone until `text` hands them out; NULL: none yet
    cdef Py_ssize_t size            # of these, with what is not written yet
    cdef char* at                   # where the next line begins in them ...
    cdef Py_ssize_t left            # ... and how much room there is behind

    cdef int put_chars(self, const char* data, Py_ssize_t length) except -1
    cdef int grow(self, Py_ssize_t more) except -1
    cdef int check(self, list labels, Blocks blocks, int word) except -1
    cdef int put(self, bytes text) except -1
    cdef int put_name(self, bytes name, bytes ending, bytes labels, bytes more) except -1
    cdef int put_number(self, uint64_t number) except -1
    cdef int put_seconds(self, uint64_t us) except -1
