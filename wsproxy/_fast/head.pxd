# Request and response heads: found, checked strictly, and noted as pointers into the caller's bytes.

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    # Room for fields; limits.header_fields may only be lower. 300 = the plug-in's HTTPMaxHeaders (PLUGIN 1.2).
    MAX_FIELDS = 300
    # Longest method; the longest registered one has 17 characters.
    MAX_METHOD = 32
    # Options of all Connection fields together; real ones have one or two. Each may cost a pass over all fields, so
    # without a limit one 64 KiB head of one-letter options costs as much time as hundreds of ordinary requests.
    MAX_OPTIONS = 32

cdef enum FieldKind:
    FIELD_OTHER = 0
    FIELD_HOST
    FIELD_CONTENT_LENGTH
    FIELD_TRANSFER_ENCODING
    FIELD_CONNECTION
    FIELD_HOP_BY_HOP            # Keep-Alive, Proxy-Connection, TE, Trailer, Upgrade: never forwarded
    FIELD_EXPECT
    FIELD_COOKIE
    FIELD_PRIVATE               # $WS..., _WS_...: PLUGIN 6.1

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

# A copy of some bytes in memory of exactly their size. The Python functions of the parsers read from one: bytes objects
# have a NUL behind them, which would hide a read past the end from AddressSanitizer.
cdef class ExactCopy:
    cdef char* at
    cdef Py_ssize_t length

cdef struct Limits:
    Py_ssize_t head_bytes
    Py_ssize_t target_bytes
    int header_fields

cdef struct Field:
    const char* line            # where the line begins, which is where the name begins
    const char* value           # without leading and trailing blanks
    uint32_t line_len           # with CR LF
    uint32_t name_len
    uint32_t value_len
    int kind                    # FieldKind
    int private_bit             # FIELD_PRIVATE: 1 << index in PRIVATE_NAMES, 0 another one
    bint dropped                # named in Connection; never Host and framing

cdef struct Fields:
    int count
    bint has_cookie
    int options                 # of all Connection fields
    bint has_nominated          # Connection names other fields
    bint connection_close
    bint connection_keep_alive
    bint connection_upgrade
    int hosts
    int content_lengths
    int transfer_encodings
    int private_seen            # bits of PRIVATE_NAMES
    int64_t content_length      # -1: none
    bint chunked
    bint has_expect
    bint expect_continue
    Field at[300]

cdef struct RequestHead:
    const char* start
    Py_ssize_t size             # bytes of the head with its empty line
    const char* method
    int method_len
    bint is_head
    const char* target          # origin-form or `*`: what is sent upstream
    int target_len
    int path_len                # of target, up to `?`
    bint has_params             # a `;` stands in the path
    const char* host            # without port and brackets; NULL: none (HTTP/1.0)
    int host_len
    const char* authority       # with port and brackets
    int authority_len
    int port                    # -1: none given
    int minor                   # HTTP/1.minor
    bint keep_alive
    Fields fields

cdef struct ResponseHead:
    const char* start
    Py_ssize_t size
    int status
    int minor
    const char* status_text     # "200 OK" up to the line's end
    int status_text_len
    bint keep_alive
    Fields fields

# > 0: size of the head; 0: not whole yet; < 0: -HeadError. Pointers in `out` live as long as `data`.
cdef Py_ssize_t parse_request(const char* data, Py_ssize_t length, Limits* limits, RequestHead* out) noexcept nogil
cdef Py_ssize_t parse_response(const char* data, Py_ssize_t length, Limits* limits, ResponseHead* out) noexcept nogil
# Looks only for the end, from `resume` on: 1 there is one, 0 not yet, -BARE_LF, -BARE_CR. Makes dripped heads cost O(n).
cdef int find_head_end(const char* data, Py_ssize_t length, Py_ssize_t resume) noexcept nogil
cdef bint equals_ignoring_case(const char* data, const char* lower, Py_ssize_t length) noexcept nogil
cdef bint is_token_character(unsigned char c) noexcept nogil
# One field line: > 0 its length with CR LF; 0: the empty line (2 bytes) ends the fields; < 0: -HeadError.
cdef Py_ssize_t parse_field(const char* p, const char* lf, Field* out) noexcept nogil
