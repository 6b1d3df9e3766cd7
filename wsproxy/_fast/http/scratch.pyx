"""
Field lines that go on otherwise than they came: written into a Scratch, and the head's Fields pointed to them.

Driven by ``session_cookie`` and ``forwarded``, only for heads that need it; ``rewrite`` then writes these lines where the old
ones stood. Must not know what a field means.

Borrowed memory: the new lines live in the caller's Scratch, until it is opened for the next head.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from wsproxy._fast.http.fields cimport FIELD_REWRITTEN, Field, Fields


cdef char* reserve(Scratch* scratch, Py_ssize_t length) noexcept nogil:
    cdef char* at = scratch.at + scratch.used
    if length > scratch.capacity - scratch.used:
        return NULL
    scratch.used += length
    return at


cdef void replace_line(Fields* fields, Field* field, const char* line, Py_ssize_t length) noexcept nogil:
    field.line = line
    field.line_len = <uint32_t>length
    field.kind = FIELD_REWRITTEN
    fields.rewritten += length


cdef int insert_into_line(
    Scratch* scratch, Fields* fields, Field* field, const char* where,
    const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len,
) noexcept nogil:
    cdef Py_ssize_t before = where - field.line
    cdef Py_ssize_t length = field.line_len + a_len + b_len
    cdef char* line = reserve(scratch, length)
    if line == NULL:
        return -1
    memcpy(line, field.line, before)
    memcpy(line + before, a, a_len)
    memcpy(line + before + a_len, b, b_len)
    memcpy(line + before + a_len + b_len, where, field.line_len - before)
    replace_line(fields, field, line, length)
    return 0
