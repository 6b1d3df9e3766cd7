"""
Where the bytes of Python's objects are: of an mmap or a bytearray in place, of ``bytes`` in a copy of exactly their size.

Copies are for tests, explain and replay, which hand Python's bytes to the parsers.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef class ExactCopy:
    """Bytes as a parser meets them on the wire: nothing stands behind the last one."""

    def __cinit__(self, bytes data not None):
        self.length = len(data)
        self.at = <char*>malloc(self.length)
        if self.at == NULL and self.length:
            raise MemoryError
        memcpy(self.at, <const char*>data, self.length)

    def __dealloc__(self):
        free(self.at)
