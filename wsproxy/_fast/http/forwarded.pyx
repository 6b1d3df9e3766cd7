"""
X-Forwarded-For, -Proto, -Host and Forwarded (RFC 7239): who the client is, for servers that do not read private headers.

Driven by ``edits`` where ``[forwarded]`` asks for them. Believes what a TrustedProxy says and adds its address; what anyone
else says is dropped: applications take these fields for the truth, as they do private headers (PEERS.md D 8).
"""

from libc.string cimport memchr
from wsproxy._fast.http.fields cimport Field, Fields, looks_like
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.http.scratch cimport Scratch, insert_into_line, put, put_text, reserve

cdef enum ForwardedField:
    NO_FORWARDED = 0
    X_FOR
    X_PROTO
    X_HOST
    FORWARDED

cdef enum:
    FIXED = 256  # names, parameters and punctuation of the four lines


cdef char* put_address(char* out, const char* host, Py_ssize_t length) noexcept nogil:
    """An address with the brackets that an IPv6 one needs."""
    if memchr(host, c":", length) == NULL:
        return put(out, host, length)
    out = put(out, "[", 1)
    out = put(out, host, length)
    return put(out, "]", 1)


cdef char* put_host(char* out, RequestHead* head, Origin* origin) noexcept nogil:
    """Host as the client gave it, with port and brackets; without one where it connected to."""
    if head.authority != NULL:
        return put(out, head.authority, head.authority_len)
    return put_address(out, origin.local_host, origin.local_host_len)


cdef char* put_element(char* out, RequestHead* head, Origin* origin) noexcept nogil:
    """One element of Forwarded. Neither an address nor a Host that ``head`` accepted has a character to escape."""
    cdef bint quoted = memchr(origin.peer, c":", origin.peer_len) != NULL
    out = put_text(out, "for=\"" if quoted else "for=")
    out = put_address(out, origin.peer, origin.peer_len)
    out = put_text(out, "\";host=\"" if quoted else ";host=\"")
    out = put_host(out, head, origin)
    return put_text(out, "\";proto=https" if origin.secure else "\";proto=http")


cdef ForwardedField field_of(Field* field, bint x_forwarded, bint forwarded) noexcept nogil:
    """Which of the fields that we write it is, or looks like to a server that takes `_` for `-`."""
    if x_forwarded:
        if field.name_len == 15 and looks_like(field.line, "x-forwarded-for", 15):
            return X_FOR
        if field.name_len == 17 and looks_like(field.line, "x-forwarded-proto", 17):
            return X_PROTO
        if field.name_len == 16 and looks_like(field.line, "x-forwarded-host", 16):
            return X_HOST
    if forwarded and field.name_len == 9 and looks_like(field.line, "forwarded", 9):
        return FORWARDED
    return NO_FORWARDED


cdef int append_to(Scratch* scratch, Fields* fields, Field* field, const char* text, Py_ssize_t length) noexcept nogil:
    """One more element for the list that the field holds."""
    return insert_into_line(
        scratch, fields, field, field.value + field.value_len, ", ", 2 if field.value_len else 0, text, length
    )


cdef int write_forwarded(
    Scratch* scratch, RequestHead* head, Origin* origin, bint x_forwarded, bint forwarded
) noexcept nogil:
    cdef Fields* fields = &head.fields
    cdef Field* last_for = NULL
    cdef Field* last_forwarded = NULL
    cdef bint has_proto = False
    cdef bint has_host = False
    cdef ForwardedField kind
    cdef int i
    cdef Py_ssize_t host_len = head.authority_len if head.authority != NULL else origin.local_host_len
    cdef char* element
    cdef char* lines
    cdef char* p
    for i in range(fields.count):
        kind = field_of(&fields.at[i], x_forwarded, forwarded)
        if kind == NO_FORWARDED:
            continue
        # Connection cannot take one away: a client names them there, and a trusted proxy that passes its Connection on
        # would lose the address that it wrote itself, and its own be put in its place.
        # One that only looks like it, a trusted proxy has passed on for a client.
        fields.at[i].dropped = (
            not origin.trusted or memchr(fields.at[i].line, c"_", fields.at[i].name_len) != NULL
        )
        if fields.at[i].dropped:
            continue
        if kind == X_FOR:
            last_for = &fields.at[i]
        elif kind == FORWARDED:
            last_forwarded = &fields.at[i]
        elif kind == X_PROTO:
            has_proto = True
        else:
            has_host = True
    # The element first, then the lines: both with the client's address and Host.
    element = reserve(scratch, 2 * FIXED + 3 * (origin.peer_len + host_len) + fields.more_len)
    if element == NULL:
        return -1
    p = put_element(element, head, origin) if forwarded else element
    if last_forwarded != NULL and append_to(scratch, fields, last_forwarded, element, p - element) < 0:
        return -1
    if last_for != NULL and append_to(scratch, fields, last_for, origin.peer, origin.peer_len) < 0:
        return -1
    lines = p
    if fields.more_len:
        p = put(p, fields.more, fields.more_len)
    if x_forwarded:
        if last_for == NULL:
            p = put_text(p, "X-Forwarded-For: ")
            p = put(p, origin.peer, origin.peer_len)
            p = put(p, "\r\n", 2)
        if not has_proto:
            p = put_text(p, "X-Forwarded-Proto: https\r\n" if origin.secure else "X-Forwarded-Proto: http\r\n")
        if not has_host:
            p = put_text(p, "X-Forwarded-Host: ")
            p = put_host(p, head, origin)
            p = put(p, "\r\n", 2)
    if forwarded and last_forwarded == NULL:
        p = put_text(p, "Forwarded: ")
        p = put_element(p, head, origin)
        p = put(p, "\r\n", 2)
    fields.more = lines
    fields.more_len = p - lines
    return 0
