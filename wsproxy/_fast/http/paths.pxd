# Paths that a server may read otherwise than they are matched.

from wsproxy._fast.base.buffer cimport Buffer

# `p` begins with `/` and ends before the query.
cdef bint is_ambiguous(const char* p, Py_ssize_t length) noexcept nogil
# Appends these bytes, which begin with a request line, with those of its target that are beyond ASCII as %XX. How many bytes
# that added; 0: none, and nothing was appended.
cdef Py_ssize_t encode_target(Buffer* out, const char* data, Py_ssize_t length) except -1
# The path as a servlet container or httpd's Location reads it, into `out`, which has room for `length` bytes: %XX decoded
# once, parameters of segments gone, `//`, `/./`, `/../` resolved. How long that is. What does not begin with `/` stays.
cdef Py_ssize_t tidy_path(const char* p, Py_ssize_t length, char* out) noexcept nogil
