# A copy of some bytes in memory of exactly their size. The Python functions of the parsers read from one: bytes objects
# have a NUL behind them, which would hide a read past the end from AddressSanitizer.
cdef class ExactCopy:
    cdef char* at
    cdef Py_ssize_t length
