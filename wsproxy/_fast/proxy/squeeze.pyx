"""
Compresses an answer on its way to the client: a sink before the client's own, for as long as one answer takes.

Driven by ``upstream``, which hands over what is in an answer's body as it comes and says when a piece is over (``flush``):
then the client gets all of it, so that nothing that a page or an event stream says is held back. What is never said to be
whole is never ended: a server that breaks off leaves the client without a last chunk.

zlib's and zstd's own objects do the work: each is asked once or twice for each piece that was read, and compressing that
takes some hundred times as long as asking. They are bounded: a window of 32 KiB and
256 KiB in all (gzip), 128 KiB and 1 MiB (zstd, whose own choice for level 9 is 10 MiB; browsers read windows of up to 8 MiB,
RFC 9659).
"""

import zlib

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.decide.compression cimport GOES_AS_IT_IS, KNOWN_TO_CLIENT, Suits, add_vary, weaken_tag, write_coding
from wsproxy._fast.http.chunked cimport CHUNK_DONE, ChunkState, begin_chunks, scan_chunks
from wsproxy._fast.http.codings cimport GZIP, IDENTITY, ZSTD, Coding
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.http.scratch cimport Scratch
from wsproxy._fast.net.stream cimport complain
from wsproxy._fast.proxy.exchange cimport Exchange
from wsproxy._fast.proxy.sink cimport CHUNKED_BODY, Sink

try:
    from compression.zstd import ZstdCompressor
except ImportError:  # Python below 3.14
    try:
        from backports.zstd import ZstdCompressor
    except ImportError:  # config says so to whoever asks for zstd
        ZstdCompressor = None

cdef enum:
    # zlib: the largest window, and a gzip header instead of zlib's.
    GZIP_WINDOW = 31
    # zstd.h: names of parameters, modes.
    ZSTD_LEVEL = 100
    ZSTD_WINDOW_LOG = 101
    ZSTD_HASH_LOG = 102
    ZSTD_CHAIN_LOG = 103
    FLUSH_BLOCK = 1
    FLUSH_FRAME = 2
    WINDOW_LOG = 17
    TABLE_LOG = 16
    # "XXXXXX" CR LF: leading zeros are part of the grammar (RFC 9112 7.1), and a piece is far below 16 MiB.
    CHUNK_HEAD = 8

cdef const char* LAST_CHUNK = "0\r\n\r\n"

SYNC = zlib.Z_SYNC_FLUSH
WHOLE = zlib.Z_FINISH
CONTINUE = 0


def has_zstd() -> bool:
    """Whether answers can be compressed by zstd here."""
    return ZstdCompressor is not None


cdef int begin_squeezing(
    Exchange exchange, Scratch* scratch, ResponseHead* head, const char* body, Py_ssize_t length
) noexcept:
    cdef Suits suits = exchange.compression.suits(head)
    cdef Coding coding = exchange.coding
    cdef bint is_begun = True
    if suits == GOES_AS_IT_IS or is_short(exchange, head, body, length):
        return 0
    if add_vary(scratch, head) < 0:
        return -1
    if suits == KNOWN_TO_CLIENT:
        return 0 if coding == IDENTITY else weaken_tag(scratch, head)
    if coding == IDENTITY or exchange.engine.squeezed >= MOST_SQUEEZED or not can_squeeze(coding):
        return 0
    if not exchange.head_only:
        try:
            exchange.sink = squeezed(exchange.sink, coding, exchange.compression.level)
        except Exception:
            complain("internal error: an answer goes uncompressed", ())
            is_begun = False  # no jump out of the handler: see test_without_memory
        if not is_begun:
            return 0
        exchange.squeezed = True
        exchange.engine.squeezed += 1
        head.fields.chunked = True
    # A client that asked for the head alone hears what another would hear, but for the framing.
    return write_coding(scratch, head, coding)


cdef bint is_short(Exchange exchange, ResponseHead* head, const char* body, Py_ssize_t length) noexcept:
    """Whether a body in chunks is here whole, and not worth compressing."""
    cdef ChunkState chunks
    cdef Py_ssize_t forward
    if exchange.head_only or not head.fields.chunked or length >= exchange.compression.min_bytes:
        return False
    begin_chunks(&chunks)
    return scan_chunks(&chunks, body, length, &forward) > 0 and chunks.phase == CHUNK_DONE


cdef void end_squeezing(Exchange exchange) noexcept:
    if exchange.squeezed:
        exchange.squeezed = False
        exchange.engine.squeezed -= 1
        exchange.sink = (<Squeezed>exchange.sink).inner


cdef bint can_squeeze(Coding coding) noexcept:
    return coding == GZIP or coding == ZSTD and ZstdCompressor is not None


cdef Squeezed squeezed(Sink inner, Coding coding, int level):
    """The sink for one answer; raises MemoryError."""
    cdef Squeezed made = Squeezed.__new__(Squeezed)
    made.inner = inner
    made.coding = coding
    if coding == GZIP:
        made.gzipper = zlib.compressobj(level, zlib.DEFLATED, GZIP_WINDOW)
    else:
        made.packer = ZstdCompressor(options={
            ZSTD_LEVEL: level, ZSTD_WINDOW_LOG: WINDOW_LOG, ZSTD_HASH_LOG: TABLE_LOG, ZSTD_CHAIN_LOG: TABLE_LOG,
        })
    return made


cdef class Squeezed(Sink):
    """The client's sink, behind a compressor. Who takes chunks gets one for each piece; others get the bytes alone."""

    def __cinit__(self):
        memset(&self.held, 0, sizeof(Buffer))

    def __dealloc__(self):
        buffer_clear(&self.held)

    cdef int keep(self, bytes packed) except -1:
        cdef Py_ssize_t length = len(packed)
        if length and not self.held.length and self.inner.takes_chunks():
            buffer_append(&self.held, "000000\r\n", CHUNK_HEAD)
        buffer_append(&self.held, <const char*>packed, length)
        return 0

    cdef int body(self, const char* data, Py_ssize_t length, bint more) except -1:
        self.more = more
        if length == 0:
            return 0
        self.is_dirty = True
        view = PyMemoryView_FromMemory(<char*>data, length, PyBUF_READ)
        if self.coding == GZIP:
            self.keep(self.gzipper.compress(view))
        else:
            self.keep(self.packer.compress(view, CONTINUE))
        return 0

    cdef int flush(self, bint is_last) except -1:
        cdef char head[16]
        if self.coding == GZIP:
            if is_last or self.is_dirty:
                self.keep(self.gzipper.flush(WHOLE if is_last else SYNC))
        elif is_last or self.is_dirty:
            self.keep(self.packer.flush(FLUSH_FRAME if is_last else FLUSH_BLOCK))
        self.is_dirty = False
        if self.inner.takes_chunks():
            if self.held.length:
                snprintf(head, sizeof(head), "%06x", <unsigned int>(self.held.length - CHUNK_HEAD))
                memcpy(self.held.data, head, 6)
                buffer_append(&self.held, "\r\n", 2)
            if is_last:
                buffer_append(&self.held, LAST_CHUNK, 5)
        try:
            # Also where it is nothing: the head waits for it.
            self.inner.body(self.held.data, self.held.length, self.more and not is_last and not self.held.length)
        finally:
            buffer_clear(&self.held)
        return 0

    # --- the client's own -------------------------------------------------------------------------------------------

    cdef bint is_paused(self) noexcept:
        return self.inner.is_paused()

    cdef bint is_broken(self) noexcept:
        return self.inner.is_broken()

    cdef bint is_closed(self) noexcept:
        return self.inner.is_closed()

    cdef bint has_hung_up(self) except -1:
        return self.inner.has_hung_up()

    cdef int64_t given(self) noexcept:
        return self.inner.given()

    cdef bint takes_chunks(self) noexcept:
        return False  # what is in them is compressed

    cdef Py_ssize_t begin(self, ResponseHead* head, int kind, bint has_trailers) noexcept:
        return self.inner.begin(head, CHUNKED_BODY, False)

    cdef void take_back(self) noexcept:
        self.inner.take_back()

    cdef int interim(self, ResponseHead* head) except? -1:
        return self.inner.interim(head)

    cdef int pipe_end(self) except? -1:
        return -1

    cdef int own(self, const char* data, Py_ssize_t length) except -1:
        return self.inner.own(data, length)

    cdef int end(self) except -1:
        return self.inner.end()

    cdef int pause_request(self) except -1:
        return self.inner.pause_request()

    cdef int resume_request(self) except -1:
        return self.inner.resume_request()

    cdef void wait(self, int64_t until_ms) noexcept:
        self.inner.wait(until_ms)

    cdef int begin_tunnel(self) except -1:
        return self.inner.begin_tunnel()

    cdef bint half_close(self) except -1:
        return self.inner.half_close()

    cdef int close(self) except -1:
        return self.inner.close()

    cdef int abort(self) except -1:
        return self.inner.abort()

    cdef int reset(self) except -1:
        return self.inner.reset()
