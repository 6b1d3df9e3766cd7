"""
Chunked bodies on their way: chunks go on as they came, trailer fields only where both sides want them (RFC 9110 6.5).

Driven by ``intake`` for requests and by ``upstream`` for answers. A trailer comes when everything was decided by the head, so
it must never say what a head says: framing, where to, who asks, what may be stored (6.5.1). Servers and frameworks merge
trailers into the header fields; those names end here.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memmove, memset, strlen
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.chunked cimport CHUNK_DONE, CHUNK_TRAILER, ChunkState, begin_chunks, scan_chunks
from wsproxy._fast.http.fields cimport FIELD_OTHER, Field, looks_like, parse_field

cdef extern from *:
    """
    /* Names that only a head may have, beside those with a FieldKind, and what looks like them; a "-" at the end: whatever
       begins so. */
    static const char *const ws_head_names[] = {
        "access-control-", "age", "alt-svc", "authentication-info", "authorization", "cache-control", "cookie2",
        "expires", "forwarded", "http2-settings", "if-", "location", "max-forwards", "origin", "pragma", "proxy-",
        "range", "retry-after", "sec-", "set-cookie2", "strict-transport-security", "true-client-ip", "vary", "via",
        "warning", "www-authenticate", "x-client-ip", "x-forwarded-", "x-real-ip", 0
    };
    """
    const char* const* ws_head_names


cdef bint is_named(Field* field, const char* name) noexcept nogil:
    cdef uint32_t length = <uint32_t>strlen(name)
    if name[length - 1] == c"-":
        return field.name_len > length and looks_like(field.line, name, length)
    return field.name_len == length and looks_like(field.line, name, length)


cdef bint belongs_into_head(Field* field) noexcept nogil:
    cdef int i = 0
    if field.kind != FIELD_OTHER:
        return True
    if is_named(field, "content-"):
        # RFC 9530 made the one for trailers, and the other is what it replaced.
        return not (is_named(field, "content-digest") or is_named(field, "content-md5"))
    while ws_head_names[i] != NULL:
        if is_named(field, ws_head_names[i]):
            return True
        i += 1
    return False


cdef Py_ssize_t drop_head_fields(char* data, Py_ssize_t length) noexcept nogil:
    """A trailer section that ``scan_chunks`` found sound, without the fields that belong into the head; its length."""
    cdef const char* end = data + length
    cdef const char* p = data
    cdef const char* lf
    cdef char* out = data
    cdef Py_ssize_t size
    cdef Field field
    while p < end:
        lf = <const char*>memchr(p, c"\n", end - p)
        if lf == NULL:
            break
        size = parse_field(p, lf, &field)
        if size == 0 or (size > 0 and not belongs_into_head(&field)):
            memmove(out, p, lf + 1 - p)
            out += lf + 1 - p
        p = lf + 1
    return out - data


cdef Py_ssize_t pass_chunks(
    ChunkState* state, Buffer* kept, bint passes, const char* data, Py_ssize_t length, Py_ssize_t* forward, End* end,
) except? -1:
    cdef Py_ssize_t used
    end.length = 0
    forward[0] = 0
    if state.phase == CHUNK_DONE:
        return 0  # its end was sent
    used = scan_chunks(state, data, length, forward)
    if used < 0 or state.phase < CHUNK_TRAILER:
        return used
    if state.phase == CHUNK_DONE and used - forward[0] == 2 and state.trailer_bytes == 2:
        forward[0] = used  # no trailers: the end goes on as it came
        return used
    if passes:
        buffer_append(kept, data + forward[0], used - forward[0])
    if state.phase == CHUNK_DONE:
        end.data = "\r\n"
        end.length = 2
        if kept.length:
            end.length = drop_head_fields(kept.data, kept.length)
            end.data = kept.data
    return used


def relay_chunks(list pieces, bint passes=True):
    """
    (what goes on, bytes consumed, done) of a chunked body that comes in these pieces; for tests.

    Raises ValueError with the HeadError as its argument where the framing is refused.
    """
    cdef ChunkState state
    cdef Buffer kept
    cdef End end
    cdef Py_ssize_t used, forward
    cdef Py_ssize_t total = 0
    cdef ExactCopy copy
    sent = []
    begin_chunks(&state)
    memset(&kept, 0, sizeof(Buffer))
    try:
        for piece in pieces:
            copy = ExactCopy(piece)
            used = pass_chunks(&state, &kept, passes, copy.at, copy.length, &forward, &end)
            if used < 0:
                raise ValueError(-used)
            sent.append(copy.at[:forward])
            if end.length:
                sent.append(end.data[:end.length])
            total += used
        return b"".join(sent), total, state.phase == CHUNK_DONE
    finally:
        buffer_clear(&kept)
