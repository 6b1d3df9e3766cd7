"""
Strict reading of chunked bodies: finds chunk borders and the end without copying.

Driven by ``trailers`` and ``upstream``, in both directions. Chunks go on as they came (they were checked byte by byte, so
both sides read the same); trailers are checked here, and ``trailers`` decides about them. Must not accept what peers were
attacked with: signs, blanks, ``0x``, bare LF, sizes over 15 digits, endless extensions or trailers (PEERS.md D 3 and 4).
"""

from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport BAD_CHUNK, BAD_TRAILER, is_token_character

cdef enum:
    # Hex digits of a chunk size: 15 digits = 1 EiB, always within 63 bits.
    MAX_DIGITS = 15
    # Size line with extensions. Nobody uses extensions; a long one is only ever an attack on the scanner.
    MAX_LINE = 256
    # All trailer fields together; as much as a small head.
    MAX_TRAILERS = 8192
    # Chunks that are smaller than this on average, with their longest size line too, are fine. Servers write whole buffers.
    FINE_BYTES = 512
    # Digits of a size that is read at once.
    FEW_DIGITS = 8


cdef void begin_chunks(ChunkState* state) noexcept nogil:
    state.phase = CHUNK_SIZE
    state.left = 0
    state.payload = 0
    state.digits = 0
    state.line_bytes = 0
    state.trailer_bytes = 0
    state.last = False
    state.is_fine = False


cdef inline int hex_digit(unsigned char c) noexcept nogil:
    if c"0" <= c <= c"9":
        return c - c"0"
    c |= 0x20
    if c"a" <= c <= c"f":
        return c - c"a" + 10
    return -1


cdef int step_size_line(ChunkState* state, unsigned char c) noexcept nogil:
    """One byte of a chunk's size line; 0 or -BAD_CHUNK."""
    cdef int digit
    state.line_bytes += 1
    if state.line_bytes > MAX_LINE:
        return -<int>BAD_CHUNK
    if state.phase == CHUNK_SIZE_LF:
        if c != c"\n":
            return -<int>BAD_CHUNK
        state.last = state.left == 0
        state.phase = CHUNK_TRAILER if state.last else CHUNK_DATA
        return 0
    if c == c"\r" and state.digits:
        state.phase = CHUNK_SIZE_LF
        return 0
    if state.phase == CHUNK_EXTENSION:
        return -<int>BAD_CHUNK if (c < 0x20 and c != c"\t") or c == 0x7F else 0
    if c == c";" and state.digits:
        state.phase = CHUNK_EXTENSION
        return 0
    digit = hex_digit(c)
    if digit < 0 or state.digits == MAX_DIGITS:
        return -<int>BAD_CHUNK
    state.left = state.left * 16 + digit
    state.digits += 1
    return 0


cdef int step_trailer(ChunkState* state, unsigned char c) noexcept nogil:
    """
    One byte of the trailer section; 0 or -BAD_TRAILER. What passes is a field line as ``fields.parse_field`` has it.

    What has no field name is refused all the same: ``0 CRLF GET /x HTTP/1.1`` is the next request to somebody who
    forgot trailers (gevent CVE-2023-41419), so it must not vanish as one.
    """
    state.trailer_bytes += 1
    if state.trailer_bytes > MAX_TRAILERS:
        return -<int>BAD_TRAILER
    if state.phase == CHUNK_TRAILER:
        if c == c"\r":
            state.phase = CHUNK_END_LF
        elif is_token_character(c):
            state.phase = CHUNK_TRAILER_NAME
        else:
            return -<int>BAD_TRAILER
    elif state.phase == CHUNK_TRAILER_NAME:
        if c == c":":
            state.phase = CHUNK_TRAILER_LINE
        elif not is_token_character(c):
            return -<int>BAD_TRAILER
    elif state.phase == CHUNK_TRAILER_LINE:
        if c == c"\r":
            state.phase = CHUNK_TRAILER_LF
        elif (c < 0x20 and c != c"\t") or c == 0x7F:
            return -<int>BAD_TRAILER
    elif c != c"\n":
        return -<int>BAD_TRAILER
    else:
        state.phase = CHUNK_DONE if state.phase == CHUNK_END_LF else CHUNK_TRAILER
    return 0


cdef inline Py_ssize_t read_plain_size(ChunkState* state, const char* data, Py_ssize_t length) noexcept nogil:
    """A whole size line of nothing but a few digits and CR LF, as nearly all are; bytes used, 0: it goes byte by byte."""
    cdef Py_ssize_t i = 0
    cdef uint64_t size = 0
    cdef int digit
    while i < length and i < FEW_DIGITS:
        digit = hex_digit(<unsigned char>data[i])
        if digit < 0:
            break
        size = size * 16 + digit
        i += 1
    if size == 0 or i + 2 > length or data[i] != c"\r" or data[i + 1] != c"\n":
        return 0
    state.left = size
    state.last = False
    state.phase = CHUNK_DATA
    return i + 2


cdef Py_ssize_t next_span(ChunkState* state, const char* data, Py_ssize_t length, ChunkSpan* span) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t take
    cdef int failed = 0
    if state.phase == CHUNK_SIZE and state.digits == 0:
        i = read_plain_size(state, data, length)
    span.data = NULL
    span.data_len = 0
    span.in_trailers = CHUNK_TRAILER <= state.phase
    while i < length:
        if state.phase == CHUNK_DATA:
            take = length - i
            if <uint64_t>take > state.left:
                take = <Py_ssize_t>state.left
            span.data = data + i
            span.data_len = take
            state.left -= take
            state.payload += take
            if state.left == 0:
                state.phase = CHUNK_DATA_CR
                if i + take + 2 <= length and data[i + take] == c"\r" and data[i + take + 1] == c"\n":
                    begin_size(state)
                    return i + take + 2
            return i + take
        if state.phase <= CHUNK_SIZE_LF:
            failed = step_size_line(state, <unsigned char>data[i])
            if state.phase == CHUNK_TRAILER:
                return i + 1
        elif state.phase == CHUNK_DATA_CR:
            failed = 0 if data[i] == c"\r" else -<int>BAD_CHUNK
            state.phase = CHUNK_DATA_LF
        elif state.phase == CHUNK_DATA_LF:
            failed = 0 if data[i] == c"\n" else -<int>BAD_CHUNK
            begin_size(state)
        elif state.phase == CHUNK_DONE:
            return i
        else:
            failed = step_trailer(state, <unsigned char>data[i])
        if failed:
            return failed
        i += 1
    return i


cdef inline void begin_size(ChunkState* state) noexcept nogil:
    state.phase = CHUNK_SIZE
    state.left = 0
    state.digits = 0
    state.line_bytes = 0


cdef Py_ssize_t scan_chunks(ChunkState* state, const char* data, Py_ssize_t length, Py_ssize_t* forward) noexcept nogil:
    cdef Py_ssize_t consumed = 0
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t step
    cdef ChunkSpan span
    forward[0] = 0
    while consumed < length and state.phase != CHUNK_DONE:
        step = next_span(state, data + consumed, length - consumed, &span)
        if step < 0:
            return step
        consumed += step
        count += 1
        if not span.in_trailers:
            forward[0] = consumed
    note_grain(state, consumed, count)
    return consumed


cdef void note_grain(ChunkState* state, Py_ssize_t length, Py_ssize_t count) noexcept nogil:
    state.is_fine = length < count * FINE_BYTES


def read_chunks(list pieces):
    """
    (payload, bytes consumed, done, bytes that go on as they are) of a chunked body fed in these pieces; for tests.

    Raises ValueError with the HeadError as its argument where the framing is refused.
    """
    cdef ChunkState state
    cdef ChunkState twin
    cdef ChunkSpan span
    cdef Py_ssize_t step, forward, consumed, at
    cdef Py_ssize_t total = 0
    cdef ExactCopy copy
    payload = []
    forwarded = []
    begin_chunks(&state)
    begin_chunks(&twin)
    for piece in pieces:
        copy = ExactCopy(piece)
        consumed = scan_chunks(&twin, copy.at, copy.length, &forward)
        at = 0
        while at < copy.length and state.phase != CHUNK_DONE:
            step = next_span(&state, copy.at + at, copy.length - at, &span)
            if step < 0:
                if consumed != step:
                    raise AssertionError("next_span and scan_chunks differ")
                raise ValueError(-step)
            if span.data != NULL:
                payload.append(span.data[: span.data_len])
            at += step
        if at != consumed or state.phase != twin.phase:
            raise AssertionError("next_span and scan_chunks differ")
        forwarded.append(piece[:forward])
        total += consumed
    return b"".join(payload), total, state.phase == CHUNK_DONE, b"".join(forwarded)
