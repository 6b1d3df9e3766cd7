# Bytes that grow at their end; and how large the memory is that heads are written to.

from libc.string cimport memcpy, memmove
from wsproxy._fast.base.borrowed cimport WSPROXY_CHECKED, ws_free, ws_move

cdef enum:
    # A rewritten head: the received one (1 MiB at most, see limits.head_bytes), its host up to three times more, and what
    # is added. Pages that no head touches cost nothing.
    OUT_SIZE = 4 * 1048576 + 4096

cdef struct Buffer:
    char* data
    Py_ssize_t length
    Py_ssize_t capacity


cdef inline int buffer_append(Buffer* buffer, const char* data, Py_ssize_t length) except -1:
    """Copies to the end; the memory belongs to the buffer until ``buffer_clear``."""
    cdef Py_ssize_t needed = buffer.length + length
    cdef char* grown
    if length <= 0:
        return 0  # memcpy from NULL is undefined even for no bytes
    if needed > buffer.capacity:
        if buffer.capacity:
            needed = max(needed, 2 * buffer.capacity)
        grown = <char*>ws_move(buffer.data, buffer.capacity, needed)
        if grown == NULL:
            raise MemoryError
        buffer.data = grown
        buffer.capacity = needed
    memcpy(buffer.data + buffer.length, data, length)
    buffer.length += length
    return 0


cdef inline void buffer_drop(Buffer* buffer, Py_ssize_t length) noexcept:
    """Removes bytes from the front; an empty buffer keeps no memory."""
    cdef char* moved
    if length >= buffer.length:
        buffer_clear(buffer)
    elif length > 0:
        memmove(buffer.data, buffer.data + length, buffer.length - length)
        buffer.length -= length
        if WSPROXY_CHECKED:
            moved = <char*>ws_move(buffer.data, buffer.capacity, buffer.capacity)
            if moved != NULL:
                buffer.data = moved


cdef inline void buffer_clear(Buffer* buffer) noexcept:
    ws_free(buffer.data, buffer.capacity)
    buffer.data = NULL
    buffer.length = 0
    buffer.capacity = 0
