# The format of the access log, compiled; what the head of a request has for it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.decide.affinity cimport KnownCookie
from wsproxy._fast.http.fields cimport Field, Fields
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
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

cdef enum:
    # What a part takes beside its value and the text before it: a time, a number, a word, an id, quotation marks.
    FIXED = 64

cdef struct Asked:
    # A request whose line is begun.
    RequestHead* head       # NULL: it could not be read; of what came of it (`data`) the first line is logged
    const char* data
    Py_ssize_t length
    Origin* origin
    int port                # that Routes are matched with; only for who `asks_port`
    int64_t number
    KnownCookie* known      # gets the session's cookie that was found: it is looked for again; NULL: by nobody

cdef struct Part

cdef struct Part:
    # 64 bytes, as a cache line has: between two lines of the log the kernel works, and what was near is far again. What a
    # line costs is what it touches, more than what it does.
    const char* before      # what the format has between the item before and this one; PIECE bytes and more can be read
    const char* name        # FIELD and COOKIE; owned by the log, as `before` is
    const char* letters     # FIELD: 0x20 where the name has a letter, else 0
    Part* following         # FIELD: another one whose name has the same length
    const Field* found      # FIELD: of the request whose line is begun; NULL: it has none
    int32_t before_len
    int32_t name_len
    int32_t rest            # bytes that it and all early ones behind it take, but for values of the request
    uint8_t kind            # Item, but TEXT
    uint8_t rule            # FieldRule: how FIELD and COOKIE are masked
    uint8_t careful         # what must not be in its value where that is written as it is: flags of ``scan``
    # The rest is true or not.
    uint8_t is_cut          # the first of those late ones that stand together
    uint8_t has_session     # COOKIE: of an affinity cookie
    uint8_t quoted          # a string of JSON
    uint8_t dash            # BODY_BYTES: 0 is written as -
    uint8_t in_ms           # a time: milliseconds
    uint8_t is_found_again  # FIELD: several of them
    uint8_t is_special      # HOST, and a FIELD that is masked: its value is not told as it stands, or has brackets


# Makes JSON's escapes of what stands behind `begin`.
cdef int to_json(Buffer* out, Py_ssize_t begin) except -1


cdef class AccessParts:
    # What each line needs stands together, as in ``Part``.
    cdef int count
    cdef int late_count
    cdef int field_count
    cdef bint asks_head         # for fields or cookies
    cdef uint64_t lengths       # bits: of names that are asked for, and of Cookie where one is
    cdef bint asks_port
    cdef bint asks_times        # of ended.Spent
    cdef int cookie             # of the request whose line is begun: its first Cookie field; -1: it has none
    cdef Py_ssize_t early_room  # that all early parts take, but for values of the request
    cdef Py_ssize_t late_room   # that all late parts take, and what is behind them
    cdef const char* after      # what stands behind the last part, with the end of the line
    cdef Py_ssize_t after_len
    cdef SessionNames names     # of the last request's configuration
    cdef Telling telling
    cdef bint masks
    cdef bint json
    cdef int64_t second         # what `stamp` is made for
    cdef int stamp_len
    cdef char stamp[64]
    cdef Part parts[104]        # MOST_PARTS
    cdef Part* late[32]         # MOST_LATE: those of `parts` that only the end knows
    cdef Part* of_fields[104]   # MOST_PARTS: those of `parts` that are FIELDs
    cdef Part* of_length[64]    # LENGTHS: the first of those FIELDs whose names have this length, or so many more
    cdef char* kept             # the texts of `parts`, one behind the other
    cdef Py_ssize_t kept_len
    cdef Py_ssize_t kept_room
    cdef list cookies           # the name of each part, None where it is no COOKIE

    cdef const char* keep(self, bytes text) except NULL
    cdef int take_names(self, SessionNames names) except -1
    cdef int note_field(self, Part* part) except -1
    cdef int careful_of(self, Part* part) noexcept
    # `head` NULL: none of them has one.
    cdef void find_fields(self, RequestHead* head) noexcept
    # What the head has, from the begin of `out` on: so many bytes. `cuts` gets where late parts belong, those together once.
    cdef Py_ssize_t put_early(self, Buffer* out, Py_ssize_t* cuts, Asked* asked) except -1
    # Each writes at `at`, where there is room for `rest`, finds more where a value needs it, and returns where the line goes
    # on, with room for the rest of what follows.
    cdef char* put_fixed(self, char* at, Part* part, Asked* asked) noexcept
    cdef char* put_slowly(
        self, Buffer* out, char* at, Part* part, RequestHead* head, const char* value, Py_ssize_t size
    ) except NULL
    cdef char* end_value(self, Buffer* out, Part* part, Py_ssize_t before) except NULL
    cdef int put_field(self, Buffer* out, Part* part, Fields* fields) except -1
    cdef char* put_cookie(self, Buffer* out, char* at, Part* part, Asked* asked) except NULL
    cdef char* put_session(self, Buffer* out, char* at, Part* part, const char* value, Py_ssize_t size) except NULL
