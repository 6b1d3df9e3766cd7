"""
What http_plugin.log is told of a request or an answer, in the bytes that came: heads, targets, sessions, masked by ``mask``.

Driven by ``witness`` and ``trace``. Pure. Nothing is escaped: who writes the log does that.
"""

from libc.string cimport memchr, memset
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.tell.mask cimport (
    FieldRule, SessionNames, Telling, put_address, put_plain, put_request_line, put_session, put_text, put_value, rule_of,
    taken,
)


cdef int put_field_line(Buffer* out, const char* p, const char* end, SessionNames names, const Telling* telling) except -1:
    cdef const char* colon = <const char*>memchr(p, c":", end - p) if p < end else NULL
    cdef FieldRule rule
    if colon == NULL:
        return put_text(out, p, end - p, names, telling)
    rule = rule_of(p, colon - p)
    buffer_append(out, p, colon + 1 - p)
    p = colon + 1
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    buffer_append(out, colon + 1, p - colon - 1)
    return put_value(out, p, end - p, rule, names, telling)


cdef bytes told_head(const char* p, Py_ssize_t length, SessionNames names, char separator, bint shows_sessions):
    cdef Telling telling = Telling(put_plain, separator or names.separator, shows_sessions, not shows_sessions)
    cdef const char* end = p + length
    cdef const char* stop
    cdef const char* line_end
    cdef bint is_first = True
    cdef Buffer out
    memset(&out, 0, sizeof(Buffer))
    try:
        while p < end:
            stop = <const char*>memchr(p, c"\n", end - p)
            stop = end if stop == NULL else stop + 1
            line_end = stop
            while line_end > p and ((line_end - 1)[0] == c"\n" or (line_end - 1)[0] == c"\r"):
                line_end -= 1
            if not is_first:
                put_field_line(&out, p, line_end, names, &telling)
            elif line_end - p >= 5 and p[:5] == b"HTTP/":
                put_text(&out, p, line_end - p, names, &telling)
            else:
                put_request_line(&out, p, line_end - p, names, &telling)
            is_first = False
            buffer_append(&out, line_end, stop - line_end)
            p = stop
        return taken(&out)
    finally:
        buffer_clear(&out)


cdef bytes told_target(const char* p, Py_ssize_t length, SessionNames names, char separator, bint shows_sessions):
    cdef Telling telling = Telling(put_plain, separator or names.separator, shows_sessions, not shows_sessions)
    cdef Buffer out
    memset(&out, 0, sizeof(Buffer))
    try:
        put_address(&out, p, length, names, &telling)
        return taken(&out)
    finally:
        buffer_clear(&out)


cdef bytes told_session(bytes value, char separator, bint shows_sessions):
    cdef Telling telling = Telling(put_plain, separator, shows_sessions, False)
    cdef Buffer out
    memset(&out, 0, sizeof(Buffer))
    try:
        put_session(&out, <const char*>value, len(value), &telling)
        return taken(&out)
    finally:
        buffer_clear(&out)


# --- for tests --------------------------------------------------------------------------------------------------------

def mask_head(
    bytes head not None, SessionNames names not None=SessionNames(), bytes separator not None=b":", *,
    bint shows_sessions=False,
) -> bytes:
    """A head as http_plugin.log is told it."""
    cdef ExactCopy copy = ExactCopy(head)
    return told_head(copy.at, copy.length, names, separator[0], shows_sessions)


def mask_target(
    bytes target not None, SessionNames names not None=SessionNames(), bytes separator not None=b":", *,
    bint shows_sessions=False,
) -> bytes:
    """A request target as http_plugin.log is told it."""
    cdef ExactCopy copy = ExactCopy(target)
    return told_target(copy.at, copy.length, names, separator[0], shows_sessions)
