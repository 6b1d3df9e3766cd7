# Paths that a server may read otherwise than they are matched.

from wsproxy._fast.base.buffer cimport Buffer

# `p` begins with `/` and ends before the query.
cdef bint is_ambiguous(const char* p, Py_ssize_t length) noexcept nogil
# Appends these bytes, which begin with a request line, with those of its target that are beyond ASCII as %XX. How many bytes
# that added; 0: none, and nothing was appended.
cdef Py_ssize_t encode_target(Buffer* out, const char* data, Py_ssize_t length) except -1
# How servers read a path, a bit for each habit: `%2F` separates segments (Tomcat and Jetty leave that to a setting), `//` is
# one slash (Tomcat; RFC 3986 has an empty segment there, which `..` takes back), `.` and `..` are resolved, a backslash is a
# slash (Windows), `%3B` begins parameters and NUL ends the path.
cdef enum:
    SLASH_IS_DECODED = 1
    SLASHES_ARE_ONE = 2
    DOTS_ARE_RESOLVED = 4
    READS_ODDLY = 8
    TIDIED = 7
    READINGS = 16
# The path as it is read with these habits, decoded once, without parameters, into `out`, which has room for `length` bytes.
# Where it is not ambiguous, all readings are the same.
cdef Py_ssize_t read_path(const char* p, Py_ssize_t length, int reading, char* out) noexcept nogil
# The path as a servlet container or httpd's Location reads it, into `out`, which has room for `length` bytes: %XX decoded
# once, parameters of segments gone, `//`, `/./`, `/../` resolved. How long that is. What does not begin with `/` stays.
cdef Py_ssize_t tidy_path(const char* p, Py_ssize_t length, char* out) noexcept nogil
