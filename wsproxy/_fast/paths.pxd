# Paths that a server may read otherwise than they are matched.

# `p` begins with `/` and ends before the query.
cdef bint is_ambiguous(const char* p, Py_ssize_t length) noexcept nogil
