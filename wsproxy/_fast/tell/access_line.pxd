# The access log of one worker: a line a request.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.fields cimport Fields
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.tell.ended cimport Spent
from wsproxy._fast.tell.mask cimport FieldRule, SessionNames, Telling

cpdef enum:
    MOST_ITEMS = 96         # of a format: a line of JSON has 30 fields, each with its name before it
    MOST_PARTS = 104        # with a header of syslog before them
    MOST_LATE = 32          # of these: what only the end of a request knows
    MOST_SERVER = 272       # host:port; DNS allows 253 characters

cpdef enum Item:
    # What a format has, in its order; from STATUS on it is known only when the answer is over.
    TEXT = 0                # as it is
    ADDRESS                 # of the client
    LOCAL_ADDRESS           # where it came in
    TIME                    # when its head was there, as [10/Oct/2000:13:55:36 -0700]
    REQUEST_LINE
    METHOD
    PATH
    QUERY                   # with its question mark
    PROTOCOL
    HOST
    PORT
    FIELD                   # of the request, by name
    COOKIE                  # the same
    REQUEST_ID
    PID
    STAMP                   # the same time as RFC 5424 wants it, in UTC
    STATUS
    BODY_BYTES
    ALL_BYTES
    MICROSECONDS
    MILLISECONDS
    SECONDS
    SERVER                  # host:port of the server that answered
    CONNECTION              # X: ended before the answer did; + kept alive; - closed
    SERVER_NAME
    CLUSTER
    RULE                    # that chose the server
    ROUTE                   # its place in the file, from 1
    TRIES                   # at servers
    CAUSE                   # ended.Cause: two letters
    # In the order of ended.Spent.
    RECEIVE_TIME
    QUEUE_TIME
    CONNECT_TIME
    SEND_TIME
    FIRST_BYTE_TIME
    ANSWER_TIME

cpdef enum Only:
    # Flags: which lines are written; 0: all.
    ONLY_FAILED = 1         # status 500 or more, an answer that is not whole, or a Cause that says that something went wrong
    ONLY_SLOW = 2
    ONLY_RETRIED = 4        # more than one try

cdef struct Part:
    int kind                # Item, but TEXT
    const char* before      # what the format has between the item before and this one; PIECE bytes and more can be read
    Py_ssize_t before_len
    const char* name        # FIELD and COOKIE; owned by the log, as `before` is
    Py_ssize_t name_len
    const char* letters     # FIELD: 0x20 where the name has a letter, else 0
    bint has_session        # COOKIE: of an affinity cookie
    FieldRule rule          # how FIELD and COOKIE are masked
    bint quoted             # a string of JSON
    bint dash               # BODY_BYTES: 0 is written as -
    bint in_ms              # a time: milliseconds

cdef struct Ending:
    # What only the end of a request knows.
    int64_t given           # what the connection was given until then, and took
    int64_t over_us         # when it was over, CLOCK_MONOTONIC
    int status
    char connection         # see CONNECTION
    int cause               # ended.Cause
    int tried               # servers, one as often as it was
    int route               # from 1; 0: none
    int by                  # decide.ChosenBy
    bint unmet              # see decide.Choice
    Spent spent

# A request whose line is begun. It belongs to whoever began it, until it is ended or forgotten.
cdef struct Entry:
    Entry* next
    int64_t began_us        # CLOCK_MONOTONIC
    int64_t given           # what its connection had been given before
    int64_t body_from       # ... and when the answer's body begins
    int status              # of the answer; 0: none has begun
    Py_ssize_t server_len
    char server[272]
    const char* server_name     # lent by the cluster; NULL: none
    const char* cluster_name
    Ending ending
    Py_ssize_t ends[32]     # where in `text` each late item belongs
    Buffer text             # the line without its late items


cdef class AccessLog:
    cdef Part parts[104]        # MOST_PARTS
    cdef int count
    cdef int late[32]           # MOST_LATE: those of `parts` that only the end knows
    cdef int late_count
    cdef const char* after      # what stands behind the last part, with the end of the line
    cdef Py_ssize_t after_len
    cdef list kept              # owns the texts of `parts`
    cdef list cookies           # the name of each part, None where it is no COOKIE
    cdef SessionNames names     # of the last request's configuration
    cdef Telling telling
    cdef bint masks
    cdef bint json
    cdef object on_block
    cdef Entry* spare           # entries for reuse
    cdef int spares
    cdef Buffer block           # whole lines
    cdef int lines
    cdef int only               # Only
    cdef int64_t slow_us
    cdef int64_t second         # what `stamp` is made for
    cdef char stamp[64]
    cdef int stamp_len

    # `head` NULL: the request could not be read; of what came of it (`data`) the first line is logged. `names`: what sessions
    # are called in the configuration that the request goes by.
    cdef Entry* begin(
        self, RequestHead* head, const char* data, Py_ssize_t length, Origin* origin, int port, int64_t number,
        SessionNames names,
    ) except NULL
    cdef const char* keep(self, bytes text) except NULL
    cdef int take_names(self, SessionNames names) except -1
    cdef int put_early(self, Buffer* out, Part* part, RequestHead* head, Origin* origin) except -1
    cdef int put_field(self, Buffer* out, Part* part, Fields* fields) except -1
    cdef int put_cookie(self, Buffer* out, Part* part, Fields* fields) except -1
    cdef int put_time(self, Buffer* out) except -1
    # The line is whole, with what `ending` has; the entry is not the caller's any more.
    cdef int end(self, Entry* entry) except -1
    cdef bint is_wanted(self, Entry* entry) noexcept
    cdef int put_late(self, Buffer* out, Part* part, Entry* entry) except -1
    cdef int put_word(self, Buffer* out, Part* part, Entry* entry) except -1
    cdef Entry* take(self) except NULL
    cdef void forget(self, Entry* entry) noexcept
