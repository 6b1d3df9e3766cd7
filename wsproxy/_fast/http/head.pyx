"""
Strict scanning of HTTP/1.1 request and response heads (RFC 9112 sections 2 to 6).

Driven by ``intake`` and ``upstream`` with the bytes of one read. Notes offsets, copies nothing, decodes nothing.
Must not be lenient: whatever two parsers could read differently is refused (PEERS.md D), with a reason that names it.

Borrowed memory: every pointer in ``RequestHead`` and ``ResponseHead`` points into the caller's bytes and dies with them.
"""

from libc.string cimport memchr, memcmp
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport (
    AMBIGUOUS_PATH, BAD_CHUNK, BAD_CONNECTION, BAD_CONTENT_LENGTH, BAD_EXPECT, BAD_FIELD_NAME, BAD_HOST, BAD_MAX_FORWARDS,
    BAD_METHOD, BAD_REQUEST_LINE, BAD_STATUS_LINE, BAD_TARGET, BAD_TRAILER, BAD_TRANSFER_ENCODING, BAD_VERSION, BARE_CR,
    BARE_LF, FIELD_HOST, HEAD_OK, HEAD_TOO_LARGE, HOST, IPV6, LENGTH_AND_ENCODING, METHOD_REFUSED, NO_HOST, NUL_OR_CONTROL,
    OBS_FOLD, SEVERAL_CONTENT_LENGTHS, SEVERAL_HOSTS, SPACE_BEFORE_COLON, TARGET, TARGET_TOO_LONG, TCHAR, TLS_HANDSHAKE,
    TOO_MANY_FIELDS, TRACE_REFUSED, TRACE_WITH_BODY, UNEXPECTED_STATUS, UNSUPPORTED_VERSION, Fields, HeadError, Limits,
    all_of, equals_ignoring_case, find_control, parse_decimal, parse_fields,
)
from wsproxy._fast.http.paths cimport is_ambiguous

# The private fields that wsproxy sets, in the order of Fields.private_seen's bits (PLUGIN.md 6.1).
PRIVATE_NAMES = (
    b"$wsis", b"$wssc", b"$wspr", b"$wsra", b"$wsrh", b"$wssn", b"$wssp", b"_ws_haprt_wlmversion", b"$wsfo",
)

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
    TRACE_REFUSED: (405, "TRACE is not served without http.trace"),
    TRACE_WITH_BODY: (400, "TRACE with a body"),
    BAD_MAX_FORWARDS: (400, "Max-Forwards is not one decimal number of at most 18 digits"),
    AMBIGUOUS_PATH: (400, "path with //, a dot segment, a backslash or an encoded one of . / \\ ; (routing.ambiguous_paths)"),
    TLS_HANDSHAKE: (400, "a TLS handshake on a port without certificates (docs/tls.md)"),
}


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
    authority[0] = NULL
    if p[0] != c"/":
        if length == 1 and p[0] == c"*" and out.is_options:
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
            out.target = "*" if out.is_options else "/"  # OPTIONS of the server as a whole (RFC 9112 3.2.4)
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
    out.is_options = out.method_len == 7 and memcmp(out.method, b"OPTIONS", 7) == 0
    out.is_trace = out.method_len == 5 and memcmp(out.method, b"TRACE", 5) == 0
    if out.is_trace and not limits.trace:
        return TRACE_REFUSED  # it shows scripts what they may not read: cookies, and what was added on the way
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


cdef HeadError note_hops(RequestHead* out) noexcept nogil:
    """How often OPTIONS and TRACE may still go on (RFC 9110 7.6.2), and that TRACE has no body (9.3.8)."""
    cdef int i
    if out.is_trace and (out.fields.chunked or out.fields.content_length > 0):
        return TRACE_WITH_BODY  # whoever does not expect one reads it as the next request
    for i in range(out.fields.count):
        if out.fields.at[i].name_len == 12 and equals_ignoring_case(out.fields.at[i].line, "max-forwards", 12):
            if out.hops >= 0:
                return BAD_MAX_FORWARDS
            out.hops_at = i
            out.hops = parse_decimal(out.fields.at[i].value, out.fields.at[i].value_len)
            if out.hops < 0:
                return BAD_MAX_FORWARDS
    return HEAD_OK


cdef Py_ssize_t parse_request(const char* data, Py_ssize_t length, Limits* limits, RequestHead* out) noexcept nogil:
    cdef const char* lf
    cdef const char* query
    cdef const char* authority = NULL
    cdef int authority_len = 0
    cdef Py_ssize_t size
    cdef HeadError error
    if length > 1 and data[0] == 0x16 and data[1] == 3:
        return -<int>TLS_HANDSHAKE  # a record of that kind; a line feed may be long in coming
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
    out.hops = -1
    if out.is_options or out.is_trace:
        error = note_hops(out)
        if error != HEAD_OK:
            return -<int>error
    query = <const char*>memchr(out.target, c"?", out.target_len)
    out.path_len = out.target_len if query == NULL else <int>(query - out.target)
    if limits.refuse_ambiguous and out.target[0] == c"/" and is_ambiguous(out.target, out.path_len):
        return -<int>AMBIGUOUS_PATH
    out.has_params = memchr(out.target, c";", out.path_len) != NULL
    if out.minor == 1:
        out.keep_alive = not out.fields.connection_close
    else:
        out.keep_alive = out.fields.connection_keep_alive and not out.fields.connection_close
        # HTTP/1.0 clients understand neither 100 nor 101: what they say about them is not heard (RFC 9110 7.8, 10.1.1).
        out.fields.expect_continue = False
        out.fields.connection_upgrade = False
        out.fields.te_trailers = False
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


cdef Limits limits_of(head_bytes, target_bytes, header_fields, trace=False, refuse_ambiguous=False):
    cdef Limits limits
    limits.head_bytes = head_bytes
    limits.target_bytes = target_bytes
    limits.header_fields = header_fields
    limits.trace = trace
    limits.refuse_ambiguous = refuse_ambiguous
    return limits


def read_request(
    bytes data, *, head_bytes=65536, target_bytes=16384, header_fields=300, trace=False, refuse_ambiguous=False
):
    """A dict of what ``parse_request`` found; an int where it found none: 0 not whole yet, below 0 a HeadError."""
    cdef RequestHead head
    cdef Limits limits = limits_of(head_bytes, target_bytes, header_fields, trace, refuse_ambiguous)
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
        "hops": head.hops,
        "te_trailers": bool(head.fields.te_trailers),
        "asks_why": bool(head.fields.asks_why),
        "nominates_others": bool(head.fields.nominates_others),
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
