# What a message of http_plugin.log tells, and the fields of its usual wording.

from libc.stdint cimport int64_t

cpdef enum Code:
    # 0 is every other message. The words of each: logs.messages.
    LOADED = 1
    WEB_SERVER = 2
    RELOADED = 3
    BEGIN = 4
    REQUEST_IS = 5
    VHOST_MATCH = 6
    URI_MATCH = 7
    NO_ROUTE = 8
    GROUP = 9
    PARSING = 10
    CLONE = 11
    CHECKING = 12
    IS_DOWN = 13
    MAX_CONNECTIONS = 14
    MOVED = 15
    PICKED = 16
    TRANSPORT = 17
    REUSED = 18
    NEW_STREAM = 19
    REQUEST_LINE = 20
    HOST = 21
    COOKIE = 22
    IS_SECURE = 23
    SCHEME = 24
    STATUS_LINE = 25
    SET_COOKIE = 26
    CONTENT = 27
    CONNECT_FAILED = 28
    CONNECT_TIMEOUT = 29
    NO_STREAM = 30
    IO_TIMEOUT = 31
    BAD_RESPONSE = 32
    FAILED_TRY = 33
    MARKING = 34
    NO_SERVER = 35
    FAILED = 36
    COUNTERS = 37
    END = 38
    CLONE_MATCH = 39
    CONTENT_LENGTH = 40
    CLOSED = 41
    PROBE_FAILED = 42
    PROBE_BACK = 43
    PROBE_AWAITED = 44

cdef enum:
    # The longest message has seven.
    MOST_FIELDS = 8

cdef enum FieldKind:
    NUMBER              # `{name:d}`: up to 12 digits, with a minus or without
    QUOTED              # up to the quote or semicolon that follows
    WORD                # up to the next blank; what stands before that of the following words is not its own
    TAIL                # all the rest

cdef struct Piece:
    # A field and the words that follow it.
    int kind
    const char* words       # points into `keep`
    Py_ssize_t length
    Py_ssize_t before_blank  # of a WORD: bytes of `words` before their first blank

cdef struct Span:
    const char* start       # of the field in the message
    Py_ssize_t length
    int64_t number          # of a NUMBER


cdef class FieldReader:
    cdef Piece pieces[MOST_FIELDS]
    cdef readonly int count         # of fields
    cdef const char* begin          # words before the first field; points into `keep`
    cdef Py_ssize_t begin_len
    cdef object keep

    # Whether the message is exactly of this wording; then `out` has its fields, which point into it. No allocation.
    cdef bint find(self, const char* p, const char* end, Span* out) noexcept nogil
    # The fields, None: another wording.
    cdef tuple read_text(self, bytes text, Py_ssize_t at)
