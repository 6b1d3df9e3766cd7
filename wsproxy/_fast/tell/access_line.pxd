# The access log of one worker: a line a request.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.fields cimport Field, Fields
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.tell.ended cimport Spent
from wsproxy._fast.tell.mask cimport FieldRule, SessionNames, Telling

cpdef enum:
    MOST_ITEMS = 96         # of a format: a line of JSON has 30 fields, each with its name before it
    MOST_PARTS = 104        # with a header of syslog before them
    MOST_LATE = 32          # of these: what only the end of a request knows

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

cdef struct Part

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
    Py_ssize_t room         # that it takes with the text before it, but for a value of the request
    int careful             # what must not be in its value where that is written as it is: flags of ``scan``
    Part* following         # FIELD: another one whose name has the same length
    const Field* found      # FIELD: of the request whose line is begun; NULL: it has none
    bint is_found_again     # ... several of them

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
    const char* server          # host:port, lent by the service's pool; NULL: none
    Py_ssize_t server_len
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
    cdef Part* of_length[64]    # LENGTHS: the first of those FIELDs whose names have this length
    cdef int of_fields[104]     # MOST_PARTS: those of `parts` that are FIELDs
    cdef int field_count
    cdef bint asks_head         # for fields or cookies
    cdef int cookie             # of the request whose line is begun: its first Cookie field; -1: it has none
    cdef Py_ssize_t late_room   # that all late parts take, and what is behind them
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
    cdef int note_field(self, Part* part) except -1
    cdef int careful_of(self, Part* part) noexcept
    cdef void find_fields(self, Fields* fields) noexcept
    # Each writes at `at`, where it has found room for what it writes at most, and returns where the line goes on.
    cdef char* put_early(
        self, Entry* entry, char* at, RequestHead* head, const char* data, Py_ssize_t length, Origin* origin, int port,
        int64_t number,
    ) except NULL
    cdef char* put_fixed(self, Buffer* out, char* at, Part* part, RequestHead* head, int port, int64_t number) except NULL
    cdef char* put_time(self, char* at, bint quoted) noexcept
    cdef char* put_slowly(
        self, Buffer* out, char* at, Part* part, RequestHead* head, const char* value, Py_ssize_t size
    ) except NULL
    cdef char* end_value(self, Buffer* out, Part* part, Py_ssize_t before) except NULL
    cdef int put_field(self, Buffer* out, Part* part, Fields* fields) except -1
    cdef char* put_cookie(self, Buffer* out, char* at, Part* part, Fields* fields) except NULL
    cdef char* put_session(self, Buffer* out, char* at, Part* part, const char* value, Py_ssize_t size) except NULL
    # The line is whole, with what `ending` has; the entry is not the caller's any more.
    cdef int end(self, Entry* entry) except -1
    cdef bint is_wanted(self, Entry* entry) noexcept
    cdef char* put_late(self, Buffer* out, Entry* entry) except NULL
    cdef char* put_name(self, Buffer* out, char* at, const char* name, Py_ssize_t size, Py_ssize_t needed) except NULL
    cdef char* put_word(self, char* at, int kind, Ending* ending) noexcept
    cdef Entry* take(self) except NULL
    cdef void forget(self, Entry* entry) noexcept
