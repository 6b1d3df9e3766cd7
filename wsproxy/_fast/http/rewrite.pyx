"""
Writes request heads for the server and response heads for the client (RFC 9110 7.6, PLUGIN.md 6).

Driven by ``connection`` with heads that ``head`` accepted; fields go on byte for byte, in order and as they were spelled.
Must not forward hop-by-hop fields, fields named in Connection, or private headers of clients that are not trusted: they
are how an application learns who the user is (PEERS.md D 8).
"""

from libc.string cimport memchr
from wsproxy._fast.http.dates cimport DATE_LINE
from wsproxy._fast.http.fields cimport (
    FIELD_CONNECTION, FIELD_CONTENT_LENGTH, FIELD_EXPECT, FIELD_HOP_BY_HOP, FIELD_HOST, FIELD_LOOK_ALIKE, FIELD_OWN,
    FIELD_PRIVATE, FIELD_REWRITTEN, FIELD_TE, FIELD_TRAILER, FIELD_TRANSFER_ENCODING, PRIVATE_FAILOVER, Field, Fields,
)
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.origin cimport Origin, client_is_secure, client_of
from wsproxy._fast.http.scratch cimport put, put_text

cdef enum:
    # What is written besides fields: status or request line, private headers, framing. Their variable parts are counted.
    ADDED = 1024


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
            or field.kind == FIELD_LOOK_ALIKE
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
    if seen & 0x1B == 0 and not origin.is_told:
        out = put(out, origin.constant, origin.constant_len)
    else:
        out = put_client(out, origin, seen)
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


cdef char* put_client(char* out, Origin* origin, int seen) noexcept nogil:
    """$WSIS, $WSSC, $WSRA and $WSRH that the client did not bring; nothing of our own TLS, which is not the client's."""
    cdef Py_ssize_t length
    cdef const char* client = client_of(origin, &length)
    if not seen & 1:
        out = put_text(out, "$WSIS: true\r\n" if client_is_secure(origin) else "$WSIS: false\r\n")
    if not seen & 2:
        out = put_text(out, "$WSSC: https\r\n" if client_is_secure(origin) else "$WSSC: http\r\n")
    if not seen & 8:
        out = put_text(out, "$WSRA: ")
        out = put(out, client, length)
        out = put(out, "\r\n", 2)
    if not seen & 16:
        out = put_text(out, "$WSRH: ")
        out = put(out, client, length)
        out = put(out, "\r\n", 2)
    return out


cdef Py_ssize_t write_request(char* out, Py_ssize_t capacity, RequestHead* head, Origin* origin) noexcept nogil:
    cdef char* p = out
    cdef const char* host = head.host if head.host != NULL else origin.local_host
    cdef Py_ssize_t host_len = head.host_len if head.host != NULL else origin.local_host_len
    cdef Py_ssize_t needed = head.size + count_edits(&head.fields) + head.authority_len + 2 * host_len
    if needed + max(origin.constant_len, 2 * origin.peer_len) + origin.via_len + ADDED > capacity:
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
