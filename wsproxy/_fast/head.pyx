"""
Strict scanning of HTTP/1.1 request and response heads (RFC 9112 sections 2 to 6).

Driven by ``connection`` with the bytes of one read. Notes offsets, copies nothing, decodes nothing. Must not be lenient:
whatever two parsers could read differently is refused (PEERS.md D), with a reason that names it.

Borrowed memory: every pointer in ``RequestHead`` and ``ResponseHead`` points into the caller's bytes and dies with them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

# error -> (status for the client, reason for the log); the status of a bad response is always 502
HEAD_ERRORS: dict[int, tuple[int, str]] = {
    BARE_LF: (400, "line ends with LF without CR"),
    BARE_CR: (400, "CR without LF in the head"),
    NUL_OR_CONTROL: (400, "NUL or control character in the head"),
    OBS_FOLD: (400, "folded field line"),
    SPACE_BEFORE_COLON: (400, "blank before the colon of a field"),
    BAD_FIELD_NAME: (400, "field name is empty or has a character that is not allowed"),
    BAD_REQUEST_LINE: (400, "request line is not METHOD TARGET VERSION with single spaces"),
    BAD_METHOD: (400, "method is empty, too long or has a character that is not allowed"),
    BAD_TARGET: (400, "request target has a character or form that is not allowed"),
    BAD_VERSION: (400, "version is not HTTP/x.y"),
    UNSUPPORTED_VERSION: (505, "version is neither HTTP/1.0 nor HTTP/1.1"),
    NO_HOST: (400, "no Host field"),
    SEVERAL_HOSTS: (400, "several Host fields"),
    BAD_HOST: (400, "Host is not a host name or address with an optional port"),
    SEVERAL_CONTENT_LENGTHS: (400, "several Content-Length fields"),
    BAD_CONTENT_LENGTH: (400, "Content-Length is not a decimal number of at most 18 digits"),
    LENGTH_AND_ENCODING: (400, "both Content-Length and Transfer-Encoding"),
    BAD_TRANSFER_ENCODING: (400, "Transfer-Encoding is not exactly chunked"),
    HEAD_TOO_LARGE: (431, "head is larger than limits.head_bytes"),
    TOO_MANY_FIELDS: (431, "more fields than limits.header_fields"),
    TARGET_TOO_LONG: (414, "request target is longer than limits.target_bytes"),
    BAD_STATUS_LINE: (502, "status line is not HTTP/1.x NNN reason"),
    UNEXPECTED_STATUS: (502, "status 101 without an upgrade asked for"),
    BAD_CONNECTION: (400, "Connection is not a list of at most 32 tokens"),
    BAD_CHUNK: (400, "chunk size is not hexadecimal, too large or not followed by CR LF"),
    BAD_TRAILER: (400, "trailer fields are malformed or larger than allowed"),
    BAD_EXPECT: (417, "Expect is not 100-continue"),
    METHOD_REFUSED: (405, "CONNECT is not served: this is a reverse proxy"),
}

# The private fields that wsproxy sets, in the order of Fields.private_seen's bits (PLUGIN.md 6.1).
PRIVATE_NAMES = (b"$wsis", b"$wssc", b"$wspr", b"$wsra", b"$wsrh", b"$wssn", b"$wssp", b"_ws_haprt_wlmversion")

# Character classes, one byte a character: bit 0 tchar (RFC 9110 5.6.2), bit 1 target, bit 2 host, bit 3 hex digit,
# bit 4 IPv6 literal.
cdef unsigned char CLASSES[256]

cdef enum:
    TCHAR = 1
    TARGET = 2
    HOST = 4
    HEX = 8
    IPV6 = 16


cdef void fill_classes() noexcept:
    cdef int c
    for c in range(256):
        CLASSES[c] = 0
        if c"0" <= c <= c"9" or c"a" <= c <= c"z" or c"A" <= c <= c"Z":
            CLASSES[c] |= TCHAR | HOST
        # RFC 3986 allows fewer, but applications behind the plug-in live with | { } ^ " in queries; # never may come.
        if 0x21 <= c <= 0x7E and c != c"#":
            CLASSES[c] |= TARGET
        if c"0" <= c <= c"9" or c"a" <= c <= c"f" or c"A" <= c <= c"F":
            CLASSES[c] |= HEX | IPV6
    for c in b"!#$%&'*+-.^_`|~":
        CLASSES[c] |= TCHAR
    for c in b"-._":
        CLASSES[c] |= HOST
    for c in b":.":
        CLASSES[c] |= IPV6


fill_classes()


cdef inline bint all_of(const char* p, Py_ssize_t length, int character_class) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        if not CLASSES[<unsigned char>p[i]] & character_class:
            return False
    return True


cdef bint is_token_character(unsigned char c) noexcept nogil:
    return CLASSES[c] & TCHAR != 0


cdef bint equals_ignoring_case(const char* data, const char* lower, Py_ssize_t length) noexcept nogil:
    """``lower`` is lower case; `_`, `$` and digits compare as they are."""
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(length):
        c = <unsigned char>data[i]
        if c"A" <= c <= c"Z":
            c |= 0x20
        if c != <unsigned char>lower[i]:
            return False
    return True


cdef inline HeadError find_control(const char* p, Py_ssize_t length) noexcept nogil:
    """HEAD_OK where no byte is a control character other than HTAB; eight bytes at a step."""
    cdef uint64_t word, deleted
    cdef uint64_t high = 0x8080808080808080ULL
    cdef unsigned char c
    cdef Py_ssize_t i = 0
    while i + 8 <= length:
        memcpy(&word, p + i, 8)
        deleted = word ^ 0x7F7F7F7F7F7F7F7FULL
        # (x - n) & ~x & 0x80: the byte was below n. May be true too often above a true hit, never too seldom.
        if ((word - 0x2020202020202020ULL) & ~word & high) | ((deleted - 0x0101010101010101ULL) & ~deleted & high):
            break
        i += 8
    while i < length:
        c = <unsigned char>p[i]
        if (c < 0x20 and c != 0x09) or c == 0x7F:
            return BARE_CR if c == 0x0D else NUL_OR_CONTROL
        i += 1
    return HEAD_OK


cdef int find_head_end(const char* data, Py_ssize_t length, Py_ssize_t resume) noexcept nogil:
    cdef const char* end = data + length
    cdef const char* p = data + resume
    while p < end:
        p = <const char*>memchr(p, c"\n", end - p)
        if p == NULL:
            return 0
        if p == data or (p - 1)[0] != c"\r":
            return -<int>BARE_LF
        if p - data >= 2:
            if (p - 2)[0] == c"\n":
                return 1
            if (p - 2)[0] == c"\r":
                return -<int>BARE_CR  # CR CR LF: no end, but to some it is one, and nothing may follow
        p += 1
    return 0


cdef inline int private_bit(const char* name, uint32_t length) noexcept nogil:
    if length == 5:
        if equals_ignoring_case(name + 3, "is", 2):
            return 1
        if equals_ignoring_case(name + 3, "sc", 2):
            return 2
        if equals_ignoring_case(name + 3, "pr", 2):
            return 4
        if equals_ignoring_case(name + 3, "ra", 2):
            return 8
        if equals_ignoring_case(name + 3, "rh", 2):
            return 16
        if equals_ignoring_case(name + 3, "sn", 2):
            return 32
        if equals_ignoring_case(name + 3, "sp", 2):
            return 64
    elif length == 20 and equals_ignoring_case(name, "_ws_haprt_wlmversion", 20):
        return 128
    return 0


cdef inline int field_kind(const char* name, uint32_t length) noexcept nogil:
    """What the fast path must know of a name; told apart by length first."""
    cdef char first = name[0] | 0x20
    if length == 4 and first == c"h" and equals_ignoring_case(name, "host", 4):
        return FIELD_HOST
    if length == 6:
        if first == c"c" and equals_ignoring_case(name, "cookie", 6):
            return FIELD_COOKIE
        if first == c"e" and equals_ignoring_case(name, "expect", 6):
            return FIELD_EXPECT
    elif length == 10:
        if first == c"c" and equals_ignoring_case(name, "connection", 10):
            return FIELD_CONNECTION
        if first == c"k" and equals_ignoring_case(name, "keep-alive", 10):
            return FIELD_HOP_BY_HOP
    elif length == 14 and first == c"c" and equals_ignoring_case(name, "content-length", 14):
        return FIELD_CONTENT_LENGTH
    elif length == 17 and first == c"t" and equals_ignoring_case(name, "transfer-encoding", 17):
        return FIELD_TRANSFER_ENCODING
    elif length == 7:
        if first == c"u" and equals_ignoring_case(name, "upgrade", 7):
            return FIELD_HOP_BY_HOP
        if first == c"t" and equals_ignoring_case(name, "trailer", 7):
            return FIELD_HOP_BY_HOP
    elif length == 2 and first == c"t" and equals_ignoring_case(name, "te", 2):
        return FIELD_HOP_BY_HOP
    elif length == 16 and first == c"p" and equals_ignoring_case(name, "proxy-connection", 16):
        return FIELD_HOP_BY_HOP
    if name[0] == c"$" and length >= 3 and equals_ignoring_case(name, "$ws", 3):
        return FIELD_PRIVATE
    if name[0] == c"_" and length >= 4 and equals_ignoring_case(name, "_ws_", 4):
        return FIELD_PRIVATE
    return FIELD_OTHER


cdef Py_ssize_t parse_field(const char* p, const char* lf, Field* out) noexcept nogil:
    cdef const char* start = p
    cdef const char* end
    cdef HeadError error
    if lf == p or (lf - 1)[0] != c"\r":
        return -<int>BARE_LF
    end = lf - 1
    if end == p:
        return 0
    if p[0] == c" " or p[0] == c"\t":
        return -<int>OBS_FOLD
    while p < end and CLASSES[<unsigned char>p[0]] & TCHAR:
        p += 1
    if p == end or p[0] != c":" or p == start:
        error = find_control(start, end - start)
        if p != start:
            while p < end and (p[0] == c" " or p[0] == c"\t"):
                p += 1
            if p < end and p[0] == c":":
                return -<int>SPACE_BEFORE_COLON
        return -<int>(error if error != HEAD_OK else BAD_FIELD_NAME)
    out.line = start
    out.line_len = <uint32_t>(lf + 1 - start)
    out.name_len = <uint32_t>(p - start)
    p += 1
    error = find_control(p, end - p)
    if error != HEAD_OK:
        return -<int>error
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    while end > p and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
        end -= 1
    out.value = p
    out.value_len = <uint32_t>(end - p)
    out.dropped = False
    out.private_bit = 0
    out.kind = field_kind(start, out.name_len)
    if out.kind == FIELD_PRIVATE:
        out.private_bit = private_bit(start, out.name_len)
    return out.line_len


cdef int64_t parse_decimal(const char* p, uint32_t length) noexcept nogil:
    """The number; -1 where it is not 1 to 18 digits (18 always fit 63 bits)."""
    cdef int64_t number = 0
    cdef uint32_t i
    if length == 0 or length > 18:
        return -1
    for i in range(length):
        if not c"0" <= p[i] <= c"9":
            return -1
        number = number * 10 + (p[i] - c"0")
    return number


cdef const char* next_token(const char* p, const char* end, Py_ssize_t* length) noexcept nogil:
    """The next token of a comma-separated list; NULL at its end; length -1: not a token."""
    cdef const char* start
    while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c","):
        p += 1
    if p == end:
        return NULL
    start = p
    while p < end and CLASSES[<unsigned char>p[0]] & TCHAR:
        p += 1
    length[0] = p - start
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    if length[0] == 0 or (p < end and p[0] != c","):
        length[0] = -1
    return start


cdef inline bint names_field(const char* p, Py_ssize_t length) noexcept nogil:
    """False for the options that mean something themselves."""
    return not (
        length == 5 and equals_ignoring_case(p, "close", 5)
        or length == 10 and equals_ignoring_case(p, "keep-alive", 10)
        or length == 7 and equals_ignoring_case(p, "upgrade", 7)
    )


cdef HeadError note_connection(Fields* fields, Field* field) noexcept nogil:
    """Which options the Connection field names; fields that it nominates are dropped later."""
    cdef const char* end = field.value + field.value_len
    cdef const char* p = field.value
    cdef Py_ssize_t length = 0
    while True:
        p = next_token(p, end, &length)
        if p == NULL:
            return HEAD_OK
        fields.options += 1
        if length < 0 or fields.options > MAX_OPTIONS:
            return BAD_CONNECTION
        if length == 5 and equals_ignoring_case(p, "close", 5):
            fields.connection_close = True
        elif length == 10 and equals_ignoring_case(p, "keep-alive", 10):
            fields.connection_keep_alive = True
        elif length == 7 and equals_ignoring_case(p, "upgrade", 7):
            fields.connection_upgrade = True
        else:
            fields.has_nominated = True
        p += length


cdef bint same_name(const char* a, const char* b, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        # tchars that differ only in bit 5 are letters, or ^ and ~, or ` and @: the last two never both are names here
        if a[i] != b[i] and not ((a[i] ^ b[i]) == 0x20 and c"a" <= (a[i] | 0x20) <= c"z"):
            return False
    return True


cdef void drop_nominated(Fields* fields) noexcept nogil:
    """
    Marks every field that a Connection field names (RFC 9110 7.6.1).

    Host and framing never: a request whose Content-Length is lost on the way is two requests to the server.
    """
    cdef int i, j
    cdef Field* connection
    cdef const char* end
    cdef const char* p
    cdef Py_ssize_t length = 0
    for i in range(fields.count):
        connection = &fields.at[i]
        if connection.kind != FIELD_CONNECTION:
            continue
        end = connection.value + connection.value_len
        p = next_token(connection.value, end, &length)
        while p != NULL:
            for j in range(fields.count if names_field(p, length) else 0):
                if fields.at[j].name_len == length and same_name(fields.at[j].line, p, length):
                    fields.at[j].dropped = (
                        fields.at[j].kind != FIELD_HOST
                        and fields.at[j].kind != FIELD_CONTENT_LENGTH
                        and fields.at[j].kind != FIELD_TRANSFER_ENCODING
                    )
            p = next_token(p + length, end, &length)


cdef HeadError note_field(Fields* fields, Field* field) noexcept nogil:
    """Takes up what framing and routing need of one field."""
    if field.kind == FIELD_COOKIE:
        fields.has_cookie = True
    elif field.kind == FIELD_HOST:
        fields.hosts += 1
    elif field.kind == FIELD_CONTENT_LENGTH:
        fields.content_lengths += 1
        if fields.content_lengths > 1:
            return SEVERAL_CONTENT_LENGTHS
        fields.content_length = parse_decimal(field.value, field.value_len)
        if fields.content_length < 0:
            return BAD_CONTENT_LENGTH
    elif field.kind == FIELD_TRANSFER_ENCODING:
        fields.transfer_encodings += 1
        if (
            fields.transfer_encodings > 1
            or field.value_len != 7
            or not equals_ignoring_case(field.value, "chunked", 7)
        ):
            return BAD_TRANSFER_ENCODING
        fields.chunked = True
    elif field.kind == FIELD_CONNECTION:
        return note_connection(fields, field)
    elif field.kind == FIELD_EXPECT:
        # Of several Expect fields each must be met.
        fields.expect_continue = (
            (fields.expect_continue or not fields.has_expect)
            and field.value_len == 12
            and equals_ignoring_case(field.value, "100-continue", 12)
        )
        fields.has_expect = True
    elif field.kind == FIELD_PRIVATE:
        fields.private_seen |= field.private_bit
    return HEAD_OK


cdef Py_ssize_t parse_fields(const char* p, const char* end, Limits* limits, Fields* fields) noexcept nogil:
    """Bytes up to and with the empty line; 0 not whole yet; < 0 -HeadError."""
    cdef const char* start = p
    cdef const char* lf
    cdef Py_ssize_t length
    cdef HeadError error
    cdef int most = limits.header_fields if limits.header_fields < MAX_FIELDS else MAX_FIELDS
    memset(fields, 0, sizeof(Fields) - sizeof(fields.at))
    fields.content_length = -1
    while True:
        lf = <const char*>memchr(p, c"\n", end - p)
        if lf == NULL:
            return 0
        if lf - p == 1 and p[0] == c"\r":
            p += 2
            break
        if fields.count >= most:
            return -<int>TOO_MANY_FIELDS
        length = parse_field(p, lf, &fields.at[fields.count])
        if length < 0:
            return length
        error = note_field(fields, &fields.at[fields.count])
        if error != HEAD_OK:
            return -<int>error
        fields.count += 1
        p += length
    if fields.content_lengths and fields.transfer_encodings:
        return -<int>LENGTH_AND_ENCODING
    if fields.has_nominated:
        drop_nominated(fields)
    return p - start


cdef int count_colons(const char* p, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    cdef int colons = 0
    for i in range(length):
        colons += p[i] == c":"
    return colons


cdef HeadError parse_authority(const char* p, int length, RequestHead* out) noexcept nogil:
    """Splits ``host[:port]`` or ``[IPv6][:port]`` (RFC 9110 7.2)."""
    cdef const char* end = p + length
    cdef const char* host_end
    cdef int port = 0
    out.authority = p
    out.authority_len = length
    out.port = -1
    if length == 0:
        return BAD_HOST
    if p[0] == c"[":
        host_end = <const char*>memchr(p, c"]", length)
        # Every IPv6 address has two colons: [cafe] and [1.2.3.4] are none.
        if host_end == NULL or not all_of(p + 1, host_end - p - 1, IPV6) or count_colons(p, host_end - p) < 2:
            return BAD_HOST
        out.host = p + 1
        out.host_len = <int>(host_end - p - 1)
        p = host_end + 1
    else:
        host_end = <const char*>memchr(p, c":", length)
        if host_end == NULL:
            host_end = end
        if host_end == p or not all_of(p, host_end - p, HOST):
            return BAD_HOST
        out.host = p
        out.host_len = <int>(host_end - p)
        p = host_end
    if p == end:
        return HEAD_OK
    if p[0] != c":" or end - p > 6:
        return BAD_HOST
    p += 1
    if p == end:
        return HEAD_OK  # "host:" is allowed by RFC 3986 3.2.3 and means the default port
    while p < end:
        if not c"0" <= p[0] <= c"9":
            return BAD_HOST
        port = port * 10 + (p[0] - c"0")
        p += 1
    if port > 65535:
        return BAD_HOST
    out.port = port
    return HEAD_OK


cdef HeadError split_target(
    const char* p, Py_ssize_t length, RequestHead* out, const char** authority, int* authority_len
) noexcept nogil:
    """Origin-form as it is; absolute-form into authority and origin-form; `*` only with OPTIONS (RFC 9112 3.2)."""
    cdef const char* slash
    cdef Py_ssize_t scheme = 0
    cdef bint is_options = out.method_len == 7 and memcmp(out.method, b"OPTIONS", 7) == 0
    authority[0] = NULL
    if p[0] != c"/":
        if length == 1 and p[0] == c"*" and is_options:
            out.target = p
            out.target_len = 1
            return HEAD_OK
        if length > 7 and equals_ignoring_case(p, "http://", 7):
            scheme = 7
        elif length > 8 and equals_ignoring_case(p, "https://", 8):
            scheme = 8
        else:
            return BAD_TARGET
        p += scheme
        length -= scheme
        authority[0] = p
        slash = <const char*>memchr(p, c"/", length)
        if memchr(p, c"?", length if slash == NULL else slash - p) != NULL:
            return BAD_TARGET  # http://host?query has no path of its own to send on
        if slash == NULL:
            authority_len[0] = <int>length
            out.target = "*" if is_options else "/"  # OPTIONS of the server as a whole (RFC 9112 3.2.4)
            out.target_len = 1
            return HEAD_OK
        authority_len[0] = <int>(slash - p)
        length -= slash - p
        p = slash
    out.target = p
    out.target_len = <int>length
    return HEAD_OK


cdef HeadError parse_request_line(
    const char* p, const char* end, Limits* limits, RequestHead* out, const char** authority, int* authority_len
) noexcept nogil:
    cdef const char* space
    cdef const char* target
    cdef Py_ssize_t length
    cdef HeadError error
    space = <const char*>memchr(p, c" ", end - p)
    if space == NULL:
        error = find_control(p, end - p)
        return error if error != HEAD_OK else BAD_REQUEST_LINE
    out.method = p
    if space == p or space - p > MAX_METHOD or not all_of(p, space - p, TCHAR):
        error = find_control(p, space - p)
        return error if error != HEAD_OK else BAD_METHOD
    out.method_len = <int>(space - p)
    out.is_head = out.method_len == 4 and memcmp(p, b"HEAD", 4) == 0
    target = space + 1
    space = <const char*>memchr(target, c" ", end - target)
    if space == NULL or space == target:
        error = find_control(target, end - target)
        return error if error != HEAD_OK else BAD_REQUEST_LINE
    length = space - target
    if length > limits.target_bytes:
        return TARGET_TOO_LONG
    if not all_of(target, length, TARGET):
        error = find_control(target, length)
        return error if error != HEAD_OK else BAD_TARGET
    p = space + 1
    if (
        end - p != 8
        or memcmp(p, b"HTTP/", 5) != 0
        or p[6] != c"."
        or not (c"0" <= p[5] <= c"9" and c"0" <= p[7] <= c"9")
    ):
        error = find_control(p, end - p)
        return error if error != HEAD_OK else (BAD_REQUEST_LINE if memchr(p, c" ", end - p) != NULL else BAD_VERSION)
    if p[5] != c"1" or p[7] > c"1":
        return UNSUPPORTED_VERSION
    out.minor = p[7] - c"0"
    if out.method_len == 7 and memcmp(out.method, b"CONNECT", 7) == 0:
        return METHOD_REFUSED
    return split_target(target, length, out, authority, authority_len)


cdef HeadError note_host(RequestHead* out, const char* authority, int authority_len) noexcept nogil:
    """The authority that counts: the target's where it has one (RFC 9112 3.2.2), else Host."""
    cdef int i
    cdef HeadError error
    out.host = NULL
    out.host_len = 0
    out.authority = NULL
    out.authority_len = 0
    out.port = -1
    if out.fields.hosts > 1:
        return SEVERAL_HOSTS
    if out.fields.hosts == 0 and out.minor == 1:
        return NO_HOST
    if out.fields.hosts == 1:
        for i in range(out.fields.count):
            if out.fields.at[i].kind == FIELD_HOST:
                error = parse_authority(out.fields.at[i].value, <int>out.fields.at[i].value_len, out)
                if error != HEAD_OK:
                    return error
    if authority != NULL:
        return parse_authority(authority, authority_len, out)
    return HEAD_OK


cdef Py_ssize_t parse_request(const char* data, Py_ssize_t length, Limits* limits, RequestHead* out) noexcept nogil:
    cdef const char* lf
    cdef const char* query
    cdef const char* authority = NULL
    cdef int authority_len = 0
    cdef Py_ssize_t size
    cdef HeadError error
    lf = <const char*>memchr(data, c"\n", length)
    if lf == NULL:
        # Without a line yet: a target that is already too long must not be waited for. 11: SP SP HTTP/x.y CR.
        if length > limits.target_bytes + MAX_METHOD + 11:
            return -<int>TARGET_TOO_LONG
        return -<int>HEAD_TOO_LARGE if length > limits.head_bytes else 0
    if lf == data or (lf - 1)[0] != c"\r":
        return -<int>BARE_LF
    error = parse_request_line(data, lf - 1, limits, out, &authority, &authority_len)
    if error != HEAD_OK:
        return -<int>error
    size = parse_fields(lf + 1, data + length, limits, &out.fields)
    if size <= 0:
        if size == 0 and length > limits.head_bytes:
            return -<int>HEAD_TOO_LARGE
        return size
    out.start = data
    out.size = lf + 1 - data + size
    if out.size > limits.head_bytes:
        return -<int>HEAD_TOO_LARGE
    error = note_host(out, authority, authority_len)
    if error != HEAD_OK:
        return -<int>error
    if out.fields.chunked and out.minor == 0:
        return -<int>BAD_TRANSFER_ENCODING  # HTTP/1.0 knows no Transfer-Encoding (RFC 9112 6.1)
    if out.fields.has_expect and not out.fields.expect_continue:
        return -<int>BAD_EXPECT
    query = <const char*>memchr(out.target, c"?", out.target_len)
    out.path_len = out.target_len if query == NULL else <int>(query - out.target)
    out.has_params = memchr(out.target, c";", out.path_len) != NULL
    if out.minor == 1:
        out.keep_alive = not out.fields.connection_close
    else:
        out.keep_alive = out.fields.connection_keep_alive and not out.fields.connection_close
        # HTTP/1.0 clients understand neither 100 nor 101: what they say about them is not heard (RFC 9110 7.8, 10.1.1).
        out.fields.expect_continue = False
        out.fields.connection_upgrade = False
    return out.size


cdef Py_ssize_t parse_response(const char* data, Py_ssize_t length, Limits* limits, ResponseHead* out) noexcept nogil:
    cdef const char* lf = <const char*>memchr(data, c"\n", length)
    cdef const char* end
    cdef Py_ssize_t size
    if lf == NULL:
        return -<int>HEAD_TOO_LARGE if length > limits.head_bytes else 0
    if lf == data or (lf - 1)[0] != c"\r":
        return -<int>BARE_LF
    end = lf - 1
    if (
        end - data < 12
        or memcmp(data, b"HTTP/1.", 7) != 0
        or not c"0" <= data[7] <= c"1"
        or data[8] != c" "
        or not (c"1" <= data[9] <= c"9" and c"0" <= data[10] <= c"9" and c"0" <= data[11] <= c"9")
        or (end - data > 12 and data[12] != c" ")
        or find_control(data, end - data) != HEAD_OK
    ):
        return -<int>BAD_STATUS_LINE
    out.minor = data[7] - c"0"
    out.status = (data[9] - c"0") * 100 + (data[10] - c"0") * 10 + (data[11] - c"0")
    out.status_text = data + 9
    out.status_text_len = <int>(end - data - 9)
    size = parse_fields(lf + 1, data + length, limits, &out.fields)
    if size <= 0:
        if size == 0 and length > limits.head_bytes:
            return -<int>HEAD_TOO_LARGE
        # 1xx carry no body whatever they say: Liberty's 100 has Content-Length: 0 (liberty.md).
        return size
    out.start = data
    out.size = lf + 1 - data + size
    if out.size > limits.head_bytes:
        return -<int>HEAD_TOO_LARGE
    if out.minor == 1:
        out.keep_alive = not out.fields.connection_close
    else:
        out.keep_alive = out.fields.connection_keep_alive and not out.fields.connection_close
        if out.fields.chunked:
            return -<int>BAD_TRANSFER_ENCODING
    return out.size


# --- for tests, explain and replay: the same parsers as Python values --------------------------------------------------

cdef class ExactCopy:
    """Bytes with nothing behind them."""

    def __cinit__(self, bytes data not None):
        self.length = len(data)
        self.at = <char*>malloc(self.length)
        if self.at == NULL and self.length:
            raise MemoryError
        memcpy(self.at, <const char*>data, self.length)

    def __dealloc__(self):
        free(self.at)


cdef bytes slice_of(const char* p, Py_ssize_t length):
    return b"" if p == NULL else p[:length]


cdef list field_rows(Fields* fields):
    cdef int i
    rows = []
    for i in range(fields.count):
        rows.append(
            (
                slice_of(fields.at[i].line, fields.at[i].name_len),
                slice_of(fields.at[i].value, fields.at[i].value_len),
                fields.at[i].kind,
                bool(fields.at[i].dropped),
            )
        )
    return rows


cdef Limits limits_of(head_bytes, target_bytes, header_fields):
    cdef Limits limits
    limits.head_bytes = head_bytes
    limits.target_bytes = target_bytes
    limits.header_fields = header_fields
    return limits


def read_request(bytes data, *, head_bytes=65536, target_bytes=16384, header_fields=300):
    """A dict of what ``parse_request`` found; an int where it found none: 0 not whole yet, below 0 a HeadError."""
    cdef RequestHead head
    cdef Limits limits = limits_of(head_bytes, target_bytes, header_fields)
    cdef ExactCopy copy = ExactCopy(data)
    cdef Py_ssize_t size = parse_request(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    return {
        "size": size,
        "method": slice_of(head.method, head.method_len),
        "target": slice_of(head.target, head.target_len),
        "path_len": head.path_len,
        "host": slice_of(head.host, head.host_len),
        "authority": slice_of(head.authority, head.authority_len),
        "port": head.port,
        "minor": head.minor,
        "keep_alive": bool(head.keep_alive),
        "content_length": head.fields.content_length,
        "chunked": bool(head.fields.chunked),
        "upgrade": bool(head.fields.connection_upgrade),
        "expect_continue": bool(head.fields.expect_continue),
        "fields": field_rows(&head.fields),
    }


def read_response(bytes data, *, head_bytes=65536, header_fields=300):
    """A dict of what ``parse_response`` found; an int as for ``read_request``."""
    cdef ResponseHead head
    cdef Limits limits = limits_of(head_bytes, 0, header_fields)
    cdef ExactCopy copy = ExactCopy(data)
    cdef Py_ssize_t size = parse_response(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    return {
        "size": size,
        "status": head.status,
        "status_text": slice_of(head.status_text, head.status_text_len),
        "minor": head.minor,
        "keep_alive": bool(head.keep_alive),
        "content_length": head.fields.content_length,
        "chunked": bool(head.fields.chunked),
        "fields": field_rows(&head.fields),
    }


def has_head_end(bytes data, Py_ssize_t resume=0) -> int:
    """1 where the head's empty line is there, 0 not yet, below 0 a HeadError."""
    cdef ExactCopy copy = ExactCopy(data)
    if not 0 <= resume <= copy.length:
        raise ValueError(f"found resume {resume}; allowed is 0..{copy.length}")
    return find_head_end(copy.at, copy.length, resume)
