# Where a chunked body ends, chunk by chunk (RFC 9112 7.1).

from libc.stdint cimport uint64_t

cdef enum ChunkPhase:
    CHUNK_SIZE = 0
    CHUNK_EXTENSION
    CHUNK_SIZE_LF
    CHUNK_DATA
    CHUNK_DATA_CR
    CHUNK_DATA_LF
    CHUNK_TRAILER           # at the start of a trailer line
    CHUNK_TRAILER_NAME
    CHUNK_TRAILER_LINE
    CHUNK_TRAILER_LF
    CHUNK_END_LF
    CHUNK_DONE

cdef struct ChunkState:
    int phase
    uint64_t left           # bytes of the current chunk still to come; while reading its size: the size so far
    uint64_t payload        # bytes of all chunks so far
    int digits              # of the size so far
    int line_bytes          # of the size line so far, extensions with it
    int trailer_bytes
    bint last               # the size was 0
    bint is_fine            # what was looked at last was mostly borders: reading it costs more than passing it on

cdef struct ChunkSpan:
    const char* data        # payload found by this step, NULL none
    Py_ssize_t data_len
    bint in_trailers        # the bytes consumed belong to trailers and are not forwarded

cdef enum:
    # One read of fine chunks: with a byte in each some 2,700, in 30 us.
    FINE_READ = 16384

cdef void begin_chunks(ChunkState* state) noexcept nogil
# Consumes up to one span of payload; bytes consumed, or -HeadError. state.phase == CHUNK_DONE: the body is over.
cdef Py_ssize_t next_span(ChunkState* state, const char* data, Py_ssize_t length, ChunkSpan* span) noexcept nogil
# So many bytes had `count` borders of chunks in them.
cdef void note_grain(ChunkState* state, Py_ssize_t length, Py_ssize_t count) noexcept nogil
# Consumes as much as is there. `forward`: how many of the leading bytes may go on as they are (trailers are not).
cdef Py_ssize_t scan_chunks(ChunkState* state, const char* data, Py_ssize_t length, Py_ssize_t* forward) noexcept nogil
