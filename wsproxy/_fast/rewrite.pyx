"""
Writes request heads for the server and response heads for the client (RFC 9110 7.6, PLUGIN.md 6).

Driven by ``connection`` with heads that ``head`` accepted; fields go on byte for byte, in order and as they were spelled.
Must not forward hop-by-hop fields, fields named in Connection, or private headers of clients that are not trusted: they
are how an application learns who the user is (PEERS.md D 8).
"""

from libc.string cimport memchr
from wsproxy._fast.dates cimport DATE_LINE
from wsproxy._fast.fields cimport (
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_EXPECT,
    FIELD_HOP_BY_HOP,
    FIELD_HOST,
    FIELD_OWN,
    FIELD_PRIVATE,
    FIELD_REWRITTEN,
    FIELD_TE,
    FIELD_TRAILER,
    FIELD_TRANSFER_ENCODING,
    PRIVATE_FAILOVER,
    Field,
    Fields,
    Limits,
)
from wsproxy._fast.forwarded cimport write_forwarded
from wsproxy._fast.head cimport ExactCopy, RequestHead, ResponseHead, parse_request, parse_response
from wsproxy._fast.lines cimport Room, put, put_text
from wsproxy._fast.session_cookie cimport Completion, complete_cookies, strip_clone_ids
from wsproxy._fast.stream cimport OUT_SIZE

cdef enum:
    # What is written besides fields: status or request line, private headers, framing. Their variable parts are counted.
    ADDED = 1024


cdef bytes constant_lines(bytes peer, bint secure=False):
    lines = b"$WSIS: true\r\n$WSSC: https\r\n" if secure else b"$WSIS: false\r\n$WSSC: http\r\n"
    return lines + b"$WSRA: %b\r\n$WSRH: %b\r\n" % (peer, peer)


cdef inline char* put_number(char* out, int number) noexcept nogil:
    cdef char digits[12]
    cdef int at = 12
    while True:
        at -= 1
        digits[at] = <char>(c"0" + number % 10)
        number //= 10
        if number == 0:
            return put(out, &digits[at], 12 - at)


cdef inline Py_ssize_t count_edits(Fields* fields) noexcept nogil:
    """At most so many bytes more than came."""
    return fields.rewritten + fields.more_len


cdef inline char* put_fields(
    char* out, Fields* fields, bint keep_private, bint drop_length, bint drop_expect, bint keep_trailer
) noexcept nogil:
    """Copies runs of neighbouring lines that go on, one memcpy a run; then the lines that were added."""
    cdef const char* run = NULL
    cdef const char* run_end = NULL
    cdef Field* field
    cdef int i
    cdef bint goes_on
    for i in range(fields.count):
        field = &fields.at[i]
        if field.kind == 0:
            goes_on = not field.dropped
        elif field.kind == FIELD_CONTENT_LENGTH:
            goes_on = not drop_length  # even where Connection names it: framing is never lost
        elif field.kind == FIELD_PRIVATE:
            # Connection cannot take one away: a trusted proxy's word would be lost, and ours not be put in its place.
            goes_on = keep_private
        elif field.kind == FIELD_EXPECT:
            goes_on = not drop_expect and not field.dropped
        elif field.kind == FIELD_REWRITTEN:
            if run != NULL:
                out = put(out, run, run_end - run)
                run = NULL
            out = put(out, field.line, field.line_len)
            continue
        elif (
            field.kind == FIELD_HOST
            or field.kind == FIELD_TRANSFER_ENCODING
            or field.kind == FIELD_CONNECTION
            or field.kind == FIELD_HOP_BY_HOP
            or field.kind == FIELD_TE
            or field.kind == FIELD_OWN
        ):
            goes_on = False
        elif field.kind == FIELD_TRAILER:
            goes_on = keep_trailer and not field.dropped
        else:
            goes_on = not field.dropped
        if goes_on:
            if run == NULL:
                run = field.line
            run_end = field.line + field.line_len
        elif run != NULL:
            out = put(out, run, run_end - run)
            run = NULL
    if run != NULL:
        out = put(out, run, run_end - run)
    if fields.more_len:
        out = put(out, fields.more, fields.more_len)
    return out


cdef char* put_private(char* out, RequestHead* head, Origin* origin, const char* host, Py_ssize_t host_len) noexcept nogil:
    """The eight private headers of PLUGIN 6.1; a trusted proxy's own values stand."""
    cdef int seen = head.fields.private_seen if origin.keep_private else 0
    if seen & 0x1B == 0:
        out = put(out, origin.constant, origin.constant_len)
    else:
        out = put_constant_parts(out, origin, seen)
    if not seen & 4:
        out = put_text(out, "$WSPR: HTTP/1.")
        out[0] = <char>(c"0" + head.minor)
        out = put(out + 1, "\r\n", 2)
    if not seen & 32:
        out = put(out, "$WSSN: ", 7)
        out = put(out, host, host_len)
        out = put(out, "\r\n", 2)
    if not seen & 64:
        out = put(out, "$WSSP: ", 7)
        out = put_number(out, origin.port)
        out = put(out, "\r\n", 2)
    if not seen & 128:
        out = put(out, "_WS_HAPRT_WLMVERSION: -1\r\n", 26)
    if origin.failover and not seen & PRIVATE_FAILOVER:
        out = put(out, "$WSFO: true\r\n", 13)
    return out


cdef char* put_constant_parts(char* out, Origin* origin, int seen) noexcept nogil:
    """The lines of ``origin.constant`` ($WSIS, $WSSC, $WSRA, $WSRH) that the client did not bring."""
    cdef const char* p = origin.constant
    cdef const char* end = origin.constant + origin.constant_len
    cdef const char* line
    cdef int bits[4]
    cdef int index = 0
    bits[0] = 1
    bits[1] = 2
    bits[2] = 8
    bits[3] = 16
    while p < end and index < 4:
        line = p
        while (p)[0] != c"\n":
            p += 1
        p += 1
        if not seen & bits[index]:
            out = put(out, line, p - line)
        index += 1
    return out


cdef Py_ssize_t write_request(char* out, Py_ssize_t capacity, RequestHead* head, Origin* origin) noexcept nogil:
    cdef char* p = out
    cdef const char* host = head.host if head.host != NULL else origin.local_host
    cdef Py_ssize_t host_len = head.host_len if head.host != NULL else origin.local_host_len
    cdef Py_ssize_t needed = head.size + count_edits(&head.fields) + head.authority_len + 2 * host_len
    if needed + origin.constant_len + origin.via_len + ADDED > capacity:
        return -1
    p = put(p, head.method, head.method_len)
    p[0] = c" "
    p = put(p + 1, head.target, head.target_len)
    p = put(p, " HTTP/1.1\r\nHost: ", 17)
    if head.authority != NULL:
        p = put(p, head.authority, head.authority_len)
    elif memchr(host, c":", host_len) != NULL:
        p[0] = c"["  # our own IPv6 address
        p = put(p + 1, host, host_len)
        p[0] = c"]"
        p += 1
    else:
        p = put(p, host, host_len)
    p = put(p, "\r\n", 2)
    p = put_fields(
        p, &head.fields, origin.keep_private, False, head.minor == 0,
        origin.trailers and head.fields.chunked and not head.fields.nominates_others,
    )
    if origin.trailers and head.fields.te_trailers:
        p = put_text(p, "TE: trailers\r\nConnection: TE\r\n")  # the one needs the other (RFC 9110 10.1.4)
    if head.fields.chunked:
        p = put(p, "Transfer-Encoding: chunked\r\n", 28)
    if origin.via_len:
        # Behind those that came: the last one in the list is whoever was last (RFC 9110 7.6.3).
        p = put_text(p, "Via: 1.")
        p[0] = <char>(c"0" + head.minor)
        p[1] = c" "
        p = put(p + 2, origin.via, origin.via_len)
        p = put(p, "\r\n", 2)
    p = put_private(p, head, origin, host, host_len)
    p = put(p, "\r\n", 2)
    return p - out


cdef Py_ssize_t write_response(
    char* out, Py_ssize_t capacity, ResponseHead* head,
    bint close, bint say_keep_alive, bint drop_length, bint drop_chunked, bint keep_trailer, const char* date,
) noexcept nogil:
    cdef char* p = out
    if head.size + count_edits(&head.fields) + ADDED > capacity:
        return -1
    p = put(p, "HTTP/1.1 ", 9)
    p = put(p, head.status_text, head.status_text_len)
    if head.status_text_len == 3:
        p = put(p, " ", 1)  # the blank before an empty reason is not optional (RFC 9112 4)
    p = put(p, "\r\n", 2)
    p = put_fields(p, &head.fields, False, drop_length, False, keep_trailer)
    if date != NULL:
        p = put(p, date, DATE_LINE)
    if head.fields.chunked and not drop_chunked:
        p = put(p, "Transfer-Encoding: chunked\r\n", 28)
    if close:
        p = put(p, "Connection: close\r\n", 19)
    elif say_keep_alive:
        p = put(p, "Connection: keep-alive\r\n", 24)
    p = put(p, "\r\n", 2)
    return p - out


# --- for tests: the same writers as Python functions -------------------------------------------------------------

cdef Limits no_limits():
    cdef Limits limits
    limits.head_bytes = 1 << 30
    limits.target_bytes = 1 << 30
    limits.header_fields = 300
    limits.trace = False
    limits.refuse_ambiguous = False
    return limits


def rewrite_request(
    bytes data not None,
    *,
    bytes peer not None=b"192.0.2.1",
    bytes local_host not None=b"proxy",
    int port=80,
    bint keep_private=False,
    bint failover=False,
    bytes via not None=b"",
    bint trailers=False,
    tuple strip=None,
    bint trusted=False,
    bint x_forwarded=False,
    bint forwarded=False,
    bint secure=False,
    Py_ssize_t room_size=OUT_SIZE,
    Py_ssize_t capacity=OUT_SIZE,
):
    """
    The request head as a server gets it; an int <= 0 as ``read_request`` gives it, 1 where ``capacity`` is short.

    ``strip``: name of the cookie and of the path parameter, and the separator, of clone lists that are taken away.
    """
    cdef RequestHead head
    cdef Origin origin
    cdef Room room
    cdef ExactCopy edits
    cdef Limits limits = no_limits()
    cdef ExactCopy copy = ExactCopy(data)
    cdef ExactCopy out = ExactCopy(bytes(capacity))
    cdef bytes constant = constant_lines(peer)
    cdef Py_ssize_t size = parse_request(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    if strip is not None or x_forwarded or forwarded:
        edits = ExactCopy(bytes(room_size))
        room.at, room.used, room.capacity = edits.at, 0, room_size
    if strip is not None:
        name, url_id, separator = strip
        if strip_clone_ids(
            &room, &head, <const char*><bytes>name, len(name), <const char*><bytes>url_id, len(url_id), ord(separator),
        ) < 0:
            return 1
    origin.constant = <const char*>constant
    origin.constant_len = len(constant)
    origin.local_host = <const char*>local_host
    origin.local_host_len = len(local_host)
    origin.port = port
    origin.peer = <const char*>peer
    origin.peer_len = len(peer)
    origin.trusted = trusted
    origin.secure = secure
    origin.keep_private = keep_private
    origin.failover = failover
    origin.via = <const char*>via
    origin.via_len = len(via)
    origin.trailers = trailers
    if (x_forwarded or forwarded) and write_forwarded(&room, &head, &origin, x_forwarded, forwarded) < 0:
        return 1
    size = write_request(out.at, out.length, &head, &origin)
    return 1 if size < 0 else out.at[:size]


def rewrite_response(
    bytes data not None,
    *,
    bint close=False,
    bint say_keep_alive=False,
    bint drop_length=False,
    bint drop_chunked=False,
    bint keep_trailer=False,
    bytes date not None=b"",
    tuple complete=None,
    bytes session not None=b"",
    bint secure=False,
    Py_ssize_t room_size=OUT_SIZE,
    Py_ssize_t capacity=OUT_SIZE,
):
    """
    The response head as a client gets it; an int as for ``rewrite_request``.

    ``complete``: the cookie's name, the server's clone id and the separator; ``session``: the value that a request came with
    which was failed over.
    """
    cdef ResponseHead head
    cdef Completion completion
    cdef const char* line = <const char*>date if date else NULL
    cdef Room room
    cdef ExactCopy edits
    cdef Limits limits = no_limits()
    cdef ExactCopy copy = ExactCopy(data)
    cdef ExactCopy out = ExactCopy(bytes(capacity))
    cdef Py_ssize_t size = parse_response(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    if date and len(date) != DATE_LINE:
        raise ValueError(f"found {date!r}; allowed is a line of {DATE_LINE} bytes")
    if complete is not None:
        edits = ExactCopy(bytes(room_size))
        room.at, room.used, room.capacity = edits.at, 0, room_size
        name, clone_id, separator = complete
        completion.name, completion.name_len = <const char*><bytes>name, len(name)
        completion.clone_id, completion.clone_id_len = <const char*><bytes>clone_id, len(clone_id)
        completion.separator = ord(separator)
        completion.session, completion.session_len = <const char*>session, len(session)
        completion.secure = secure
        if complete_cookies(&room, &head, &completion) < 0:
            return 1
    size = write_response(out.at, out.length, &head, close, say_keep_alive, drop_length, drop_chunked, keep_trailer, line)
    return 1 if size < 0 else out.at[:size]
