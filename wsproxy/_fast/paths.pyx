"""
Paths that a server may read otherwise than they are matched: what a decoder or a cleaner of segments changes (PEERS.md D 5).

Driven by ``head`` where ``routing.ambiguous_paths`` refuses them. Must not decode or change a path: what is not refused is
matched and forwarded as it came.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy


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


def is_ambiguous_path(bytes path not None) -> bool:
    """For tests: whether the path would be refused."""
    cdef char* copy  # of exactly its size; ``head.ExactCopy`` would be a circle
    if not path.startswith(b"/"):
        raise ValueError(f"found {path!r}; allowed is a path from its slash on")
    copy = <char*>malloc(len(path))
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, <const char*>path, len(path))
        return is_ambiguous(copy, len(path))
    finally:
        free(copy)
