# Field lines: checked strictly, and noted as pointers into the caller's bytes.

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    # Room for fields; limits.header_fields may only be lower. 300 = the plug-in's HTTPMaxHeaders (PLUGIN 1.2).
    MAX_FIELDS = 300
    # Options of all Connection fields together; real ones have one or two. Each may cost a pass over all fields, so
    # without a limit one 64 KiB head of one-letter options costs as much time as hundreds of ordinary requests.
    MAX_OPTIONS = 32

# Character classes, bits that all_of takes: tchar (RFC 9110 5.6.2), request target, host, hex digit, IPv6 literal.
cdef enum:
    TCHAR = 1
    TARGET = 2
    HOST = 4
    HEX = 8
    IPV6 = 16

cdef enum FieldKind:
    FIELD_OTHER = 0
    FIELD_HOST
    FIELD_CONTENT_LENGTH
    FIELD_TRANSFER_ENCODING
    FIELD_CONNECTION
    FIELD_HOP_BY_HOP            # Keep-Alive, Proxy-Connection, Upgrade: never forwarded
    FIELD_EXPECT
    FIELD_COOKIE
    FIELD_PRIVATE               # $WS..., _WS_...: PLUGIN 6.1
    FIELD_SET_COOKIE
    FIELD_REWRITTEN             # set by ``scratch``: `line` no longer lies between its neighbours
    FIELD_DATE
    FIELD_TE
    FIELD_TRAILER
    FIELD_OWN                   # X-Wsproxy-...: between a client and wsproxy, forwarded in neither direction
    FIELD_LOOK_ALIKE            # the name of one that is written anew, with `_` for `-` or the reverse: never forwarded

cdef enum:
    PRIVATE_FAILOVER = 256      # Fields.private_seen: $WSFO

# Bits of Fields.private_seen that an answer may have (PLUGIN 3.5). The version's is the one of PRIVATE_NAMES; the table is
# nothing that wsproxy sends, so its bit is far from those.
cdef enum:
    PARTITION_VERSION = 128
    PARTITION_TABLE = 1 << 16

cdef enum HeadError:
    HEAD_OK = 0
    BARE_LF
    BARE_CR
    NUL_OR_CONTROL
    OBS_FOLD
    SPACE_BEFORE_COLON
    BAD_FIELD_NAME
    BAD_REQUEST_LINE
    BAD_METHOD
    BAD_TARGET
    BAD_VERSION
    UNSUPPORTED_VERSION
    NO_HOST
    SEVERAL_HOSTS
    BAD_HOST
    SEVERAL_CONTENT_LENGTHS
    BAD_CONTENT_LENGTH
    LENGTH_AND_ENCODING
    BAD_TRANSFER_ENCODING
    HEAD_TOO_LARGE
    TOO_MANY_FIELDS
    TARGET_TOO_LONG
    BAD_STATUS_LINE
    UNEXPECTED_STATUS
    BAD_CONNECTION
    BAD_CHUNK
    BAD_TRAILER
    BAD_EXPECT
    METHOD_REFUSED
    TRACE_REFUSED
    TRACE_WITH_BODY
    BAD_MAX_FORWARDS
    AMBIGUOUS_PATH
    TLS_HANDSHAKE

cdef struct Limits:
    Py_ssize_t head_bytes
    Py_ssize_t target_bytes
    int header_fields
    bint trace                  # http.trace: TRACE is a method like any other
    bint refuse_ambiguous       # routing.ambiguous_paths

# Of heads that no client sent: those of tests.
cdef inline Limits no_limits() noexcept nogil:
    return Limits(1 << 30, 1 << 30, 300, False, False)

cdef struct Field:
    const char* line            # where the line begins, which is where the name begins
    const char* value           # without leading and trailing blanks
    uint32_t line_len           # with CR LF
    uint32_t name_len
    uint32_t value_len
    int kind                    # FieldKind
    int private_bit             # FIELD_PRIVATE: 1 << index in PRIVATE_NAMES, PARTITION_TABLE, 0 another one
    bint dropped                # named in Connection; never Host and framing

cdef struct Fields:
    int count
    bint has_cookie
    bint has_set_cookie
    bint has_date               # and it goes on
    int options                 # of all Connection fields
    bint has_nominated          # Connection names other fields
    bint nominates_others       # and not only TE
    bint te_trailers            # TE says that trailers are welcome
    bint connection_close
    bint connection_keep_alive
    bint connection_upgrade
    int hosts
    int content_lengths
    int transfer_encodings
    int private_seen            # their bits
    int64_t content_length      # -1: none
    bint chunked
    bint has_expect
    bint expect_continue
    bint asks_why               # X-Wsproxy-Explain: 1
    Py_ssize_t rewritten        # bytes of all lines that were rewritten
    const char* more            # lines that are written after those that came
    Py_ssize_t more_len
    Field at[300]

cdef bint all_of(const char* p, Py_ssize_t length, int character_class) noexcept nogil
cdef HeadError find_control(const char* p, Py_ssize_t length) noexcept nogil
cdef bint equals_ignoring_case(const char* data, const char* lower, Py_ssize_t length) noexcept nogil

# Whether the field has this name, in lower case; Connection does not matter.
cdef inline bint is_named(Field* field, const char* lower, Py_ssize_t length) noexcept nogil:
    return field.name_len == length and equals_ignoring_case(field.line, lower, length)

# As `equals_ignoring_case` for a name in which any `-` may be a `_`: a CGI-like server takes both for one name.
cdef bint looks_like(const char* data, const char* lower, Py_ssize_t length) noexcept nogil
cdef bint is_token_character(unsigned char c) noexcept nogil
# The number; -1 where it is not 1 to 18 digits.
cdef int64_t parse_decimal(const char* p, uint32_t length) noexcept nogil
# One field line: > 0 its length with CR LF; 0: the empty line (2 bytes) ends the fields; < 0: -HeadError.
cdef Py_ssize_t parse_field(const char* p, const char* lf, Field* out) noexcept nogil
# All of them: bytes up to and with the empty line; 0 not whole yet; < 0 -HeadError.
cdef Py_ssize_t parse_fields(const char* p, const char* end, Limits* limits, Fields* fields) noexcept nogil
# Whether a 401 asks for NTLM or Negotiate, which log in a connection.
cdef bint asks_for_bound_login(Fields* fields) noexcept nogil
