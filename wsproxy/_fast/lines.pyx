"""
Field lines that go on otherwise than they came: written into a Room, and the head's Fields pointed to them.

Driven by ``session_cookie`` and ``forwarded``, only for heads that need it; ``rewrite`` then writes these lines where the old
ones stood. Must not know what a field means.

Borrowed memory: the new lines live in the caller's Room, until it is opened for the next head.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from wsproxy._fast.fields cimport FIELD_REWRITTEN, Field, Fields


cdef char* reserve(Room* room, Py_ssize_t length) noexcept nogil:
    cdef char* at = room.at + room.used
    if length > room.capacity - room.used:
        return NULL
    room.used += length
    return at


cdef void replace_line(Fields* fields, Field* field, const char* line, Py_ssize_t length) noexcept nogil:
    field.line = line
    field.line_len = <uint32_t>length
    field.kind = FIELD_REWRITTEN
    fields.rewritten += length


cdef int insert_into_line(
    Room* room, Fields* fields, Field* field, const char* where,
    const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len,
) noexcept nogil:
    cdef Py_ssize_t before = where - field.line
    cdef Py_ssize_t length = field.line_len + a_len + b_len
    cdef char* line = reserve(room, length)
    if line == NULL:
        return -1
    memcpy(line, field.line, before)
    memcpy(line + before, a, a_len)
    memcpy(line + before + a_len, b, b_len)
    memcpy(line + before + a_len + b_len, where, field.line_len - before)
    replace_line(fields, field, line, length)
    return 0
