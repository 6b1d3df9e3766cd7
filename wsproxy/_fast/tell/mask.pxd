# What of a request or an answer a log may tell: escaped, and without what opens a session or is a password.

from libc.stdint cimport uint32_t
from wsproxy._fast.base.buffer cimport Buffer

cdef enum:
    # Of one value, before it is escaped: the default of limits.target_bytes. A head may have 1 MiB, and four times that in
    # each line helps nobody.
    MOST_VALUE = 16384

# Appends a text, with the escapes of a log or as it is.
ctypedef int (*Put)(Buffer*, const char*, Py_ssize_t) except -1

# How a log is written.
cdef struct Telling:
    Put put
    char separator          # before clone ids; 0: it is not known which
    bint shows_sessions     # passwords are masked even then
    bint cuts_queries       # of addresses

# What a value is by its field's name.
cdef enum FieldRule:
    AS_TEXT = 0
    IS_ADDRESS
    IS_COOKIES
    IS_SET_COOKIE
    IS_SECRET               # at no time
    IS_SESSION              # a value of an affinity cookie
    IS_HIDDEN               # unless sessions are shown

cdef struct SessionName:
    const char* text        # lower case
    Py_ssize_t length


cdef class SessionNames:
    cdef readonly frozenset cookies     # of affinity; of the others no clone ids are told
    cdef char separator                 # before clone ids; 0: not the same everywhere
    cdef list kept                      # owns the texts of `at`
    cdef SessionName* at
    cdef int count
    cdef uint32_t lasts                 # by their last five bits, the last letters of all, as bits


cdef enum:
    CACHE_ID_LEN = 4        # a number that is counted up for each session, before its id (PLUGIN 3.1)

# All append to the buffer. Bytes that could end a value or a line are escaped as httpd does it.
cdef int put_escaped(Buffer* out, const char* p, Py_ssize_t length) except -1
# The same text.
cdef int put_plain(Buffer* out, const char* p, Py_ssize_t length) except -1
# A path, or an address.
cdef int put_address(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1
# Any text: session ids behind a name that is known, passwords in addresses.
cdef int put_text(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1
# A query, from its question mark on.
cdef int put_query(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1
# A request line, whose second word is an address.
cdef int put_request_line(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1
# The value of an affinity cookie: cache id, ***, clone ids.
cdef int put_session(Buffer* out, const char* p, Py_ssize_t length, const Telling* telling) except -1
# The value of a field of this rule.
cdef int put_value(
    Buffer* out, const char* p, Py_ssize_t length, FieldRule rule, SessionNames names, const Telling* telling
) except -1
cdef FieldRule rule_of(const char* name, Py_ssize_t length) noexcept nogil
# No "=" in it stands behind the name of a session or of a secret; where nothing else takes a closer look, nothing is masked.
cdef bint names_nothing(const char* p, Py_ssize_t length, SessionNames names) noexcept nogil
# Of a session's value: where its clone ids begin, the length where it has none; whether it begins with a cache id.
cdef Py_ssize_t find_clones(const char* p, Py_ssize_t length, char separator) noexcept nogil
cdef bint has_cache_id(const char* p, Py_ssize_t length) noexcept nogil
# The text of the buffer, which is empty then.
cdef bytes taken(Buffer* out)
