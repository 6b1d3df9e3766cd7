# What of a chunked body goes on, its trailer fields with it where they may (RFC 9110 6.5).

from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.chunked cimport ChunkState

cdef struct End:
    # What is sent behind the chunks; it lives in the Buffer that was given, until that is cleared.
    const char* data
    Py_ssize_t length           # 0: the body goes on, or its end is among the bytes that go on as they are

# Takes bytes of a body. The result: how many of them belong to it, or -HeadError; `forward`: how many go on as they are.
# `kept` holds trailers that are not whole yet: begin with an empty one, and clear it after the body.
# `passes`: trailer fields go on, but those of the head; else all are dropped.
cdef Py_ssize_t pass_chunks(
    ChunkState* state, Buffer* kept, bint passes, const char* data, Py_ssize_t length, Py_ssize_t* forward, End* end,
) except? -1
