# Text for the access log: escaped, and without what opens a session.

from wsproxy._fast.stream cimport Buffer

cdef enum:
    # Of one value, before it is escaped: the default of limits.target_bytes. A head may have 1 MiB, and four times that in
    # each line helps nobody.
    MOST_VALUE = 16384

# All append to the buffer. Bytes that could end a value or a line are escaped as httpd does it.
cdef int put_escaped(Buffer* out, const char* p, Py_ssize_t length) except -1
# A path, or an address: session ids in its path's parameters are masked, clone ids stay.
cdef int put_address(Buffer* out, const char* p, Py_ssize_t length) except -1
# A request line, whose second word is an address.
cdef int put_request_line(Buffer* out, const char* p, Py_ssize_t length) except -1
# The value of an affinity cookie: cache id, ***, clone ids.
cdef int put_session(Buffer* out, const char* p, Py_ssize_t length) except -1
# Cookies of one field, of which those that `names` has keep their clone ids.
cdef int put_cookies(Buffer* out, const char* p, Py_ssize_t length, frozenset names) except -1
