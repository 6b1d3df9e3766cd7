"""
Paths that a server may read otherwise than they are matched: what a decoder or a cleaner of segments changes (PEERS.md D 5).

Driven by ``head`` where ``routing.ambiguous_paths`` refuses them. Must not decode or change a path that goes on: what is
not refused is matched and forwarded as it came. One exception, and only where ``http.non_ascii`` says so: ``intake`` has
bytes beyond ASCII, which no target may have, percent-encoded. ``decide.edge`` compares a tidied copy.
"""

from libc.string cimport memchr, memcpy, memset
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.memory cimport ExactCopy

cdef const char* CAPITAL_HEX = "0123456789ABCDEF"


cdef inline int hex_value(unsigned char c) noexcept nogil:
    if c"0" <= c <= c"9":
        return c - c"0"
    c |= 0x20
    return c - c"a" + 10 if c"a" <= c <= c"f" else -1


cdef bint is_bad_escape(const char* p, Py_ssize_t length) noexcept nogil:
    """
    Whether a `%` stands for what ends or means something in a path, for a control character, or for nothing.

    `%25` is not among them: whoever decodes twice is broken, and a percent sign may stand in a name.
    """
    cdef int value
    if length < 3 or hex_value(p[1]) < 0 or hex_value(p[2]) < 0:
        return True
    value = hex_value(p[1]) * 16 + hex_value(p[2])
    return value < 0x20 or value == 0x7F or value in (c"/", c"\\", c".", c";")


cdef bint is_bad_segment(const char* p, Py_ssize_t length, bint is_last) noexcept nogil:
    """Whether a segment is empty (but at the end), `.` or `..`, with parameters or without."""
    cdef const char* semicolon = <const char*>memchr(p, c";", length)
    if semicolon != NULL:
        length = semicolon - p
    if length == 0:
        return not is_last
    return p[0] == c"." and (length == 1 or (length == 2 and p[1] == c"."))


cdef bint is_ambiguous(const char* p, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t start = 1
    cdef Py_ssize_t i
    for i in range(1, length):
        if p[i] == c"/":
            if is_bad_segment(p + start, i - start, False):
                return True
            start = i + 1
        elif p[i] == c"\\" or (p[i] == c"%" and is_bad_escape(p + i, length - i)):
            return True
    return length > start and is_bad_segment(p + start, length - start, True)


cdef Py_ssize_t encode_target(Buffer* out, const char* data, Py_ssize_t length) except -1:
    cdef const char* end = <const char*>memchr(data, c"\n", length)
    cdef const char* p = <const char*>memchr(data, c" ", length)
    cdef const char* begin = data
    cdef char encoded[3]
    cdef Py_ssize_t added = 0
    if end == NULL or p == NULL:
        return 0
    p += 1
    while p < end and p[0] != c" ":
        if <unsigned char>p[0] >= 0x80:
            encoded[0] = c"%"
            encoded[1] = CAPITAL_HEX[<unsigned char>p[0] >> 4]
            encoded[2] = CAPITAL_HEX[p[0] & 15]
            buffer_append(out, begin, p - begin)
            buffer_append(out, encoded, 3)
            begin = p + 1
            added += 2
        p += 1
    if added:
        buffer_append(out, begin, data + length - begin)
    return added


cdef inline Py_ssize_t end_segment(char* out, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Where the next segment begins, after this one ended; without a slash behind it."""
    if end - start == 1 and out[start] == c".":
        return start
    if end - start == 2 and out[start] == c"." and out[start + 1] == c".":
        if start > 1:
            start -= 1
            while out[start - 1] != c"/":
                start -= 1
        return start
    return end


cdef Py_ssize_t read_path(const char* p, Py_ssize_t length, int reading, char* out) noexcept nogil:
    cdef const char* end = p + length
    cdef Py_ssize_t start = 1
    cdef Py_ssize_t written = 1
    cdef Py_ssize_t kept
    cdef bint in_params = False
    cdef bint is_escape
    cdef char c
    if length == 0 or p[0] != c"/":
        memcpy(out, p, length)
        return length
    out[0] = c"/"
    p += 1
    while p < end:
        c = p[0]
        p += 1
        is_escape = c == c"%" and end - p >= 2 and hex_value(p[0]) >= 0 and hex_value(p[1]) >= 0
        if is_escape:
            c = <char>(hex_value(p[0]) * 16 + hex_value(p[1]))
            p += 2
        if reading & READS_ODDLY:
            if c == c"\\":
                c = c"/"
                is_escape = False
            elif c == 0:
                break
        if c == c"/" and is_escape and not reading & SLASH_IS_DECODED:
            if not in_params:  # a character of a name
                memcpy(out + written, "%2f", 3)
                written += 3
        elif c == c"/":
            kept = end_segment(out, start, written) if reading & DOTS_ARE_RESOLVED else written
            if kept == written and (kept > start or not reading & SLASHES_ARE_ONE):
                out[kept] = c"/"
                kept += 1
            start = written = kept
            in_params = False
        elif c == c";" and (not is_escape or reading & READS_ODDLY):
            in_params = True
        elif not in_params:
            out[written] = c
            written += 1
    return end_segment(out, start, written) if reading & DOTS_ARE_RESOLVED else written


cdef Py_ssize_t tidy_path(const char* p, Py_ssize_t length, char* out) noexcept nogil:
    return read_path(p, length, TIDIED, out)


def tidied_path(bytes path not None) -> bytes:
    """The path as ``[[edge]]`` compares it."""
    cdef ExactCopy copy = ExactCopy(path)
    cdef ExactCopy out = ExactCopy(bytes(len(path)))
    return out.at[:tidy_path(copy.at, copy.length, out.at)]


def read_path_as(bytes path not None, int reading) -> bytes:
    """For tests: the path in one of the ``READINGS``."""
    cdef ExactCopy copy = ExactCopy(path)
    cdef ExactCopy out = ExactCopy(bytes(len(path)))
    return out.at[:read_path(copy.at, copy.length, reading, out.at)]


def encode_head(bytes head not None) -> bytes:
    """The head with the bytes beyond ASCII in its target percent-encoded."""
    cdef Buffer out
    memset(&out, 0, sizeof(Buffer))
    try:
        if encode_target(&out, <const char*>head, len(head)):
            return out.data[:out.length]
        return head
    finally:
        buffer_clear(&out)


def is_ambiguous_path(bytes path not None) -> bool:
    """For tests: whether the path would be refused."""
    cdef ExactCopy copy = ExactCopy(path)
    if not path.startswith(b"/"):
        raise ValueError(f"found {path!r}; allowed is a path from its slash on")
    return is_ambiguous(copy.at, copy.length)
