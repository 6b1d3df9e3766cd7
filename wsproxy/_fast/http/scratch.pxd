# Field lines that go on otherwise than they came.

from libc.string cimport memcpy, strlen
from wsproxy._fast.http.fields cimport Field, Fields


cdef inline char* put(char* out, const char* data, Py_ssize_t length) noexcept nogil:
    memcpy(out, data, length)
    return out + length


cdef inline char* put_text(char* out, const char* text) noexcept nogil:
    return put(out, text, strlen(text))


cdef struct Scratch:
    # Where such lines are written. They live until the scratch is opened for the next head.
    char* at
    Py_ssize_t used
    Py_ssize_t capacity

# Memory for so many bytes; NULL where there is no more memory.
cdef char* reserve(Scratch* scratch, Py_ssize_t length) noexcept nogil
# From now on the field's line is this one.
cdef void replace_line(Fields* fields, Field* field, const char* line, Py_ssize_t length) noexcept nogil
# The field's line with `a` and `b` put in before `where`, a place in it; 0, or -1 where there is no more memory.
cdef int insert_into_line(
    Scratch* scratch, Fields* fields, Field* field, const char* where,
    const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len,
) noexcept nogil
