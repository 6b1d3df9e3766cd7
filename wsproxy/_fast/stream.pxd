# One TCP connection on an asyncio or uvloop transport, and the hub that all connections of a worker share.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove
from wsproxy._fast.pipe cimport Pipe

cdef enum:
    # One read takes at most this much: what uvloop itself uses; a 64 KiB answer comes in one or two reads.
    READ_SIZE = 262144
    # A rewritten head: the received one (1 MiB at most, see limits.head_bytes), its host up to three times more, and what
    # is added. Pages that no head touches cost nothing.
    OUT_SIZE = 4 * 1048576 + 4096
    # What `pump` says where bytes must be read.
    NOT_PUMPED = -2

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
        grown = <char*>realloc(buffer.data, needed)
        if grown == NULL:
            raise MemoryError
        buffer.data = grown
        buffer.capacity = needed
    memcpy(buffer.data + buffer.length, data, length)
    buffer.length += length
    return 0


cdef inline void buffer_drop(Buffer* buffer, Py_ssize_t length) noexcept:
    """Removes bytes from the front; an empty buffer keeps no memory."""
    if length >= buffer.length:
        buffer_clear(buffer)
    elif length > 0:
        memmove(buffer.data, buffer.data + length, buffer.length - length)
        buffer.length -= length


cdef inline void buffer_clear(Buffer* buffer) noexcept:
    free(buffer.data)
    buffer.data = NULL
    buffer.length = 0
    buffer.capacity = 0


cdef class Hub:
    cdef object read_view           # memoryview handed to every transport
    cdef char* read_data
    cdef char* out                  # where heads are rewritten
    cdef readonly Pipe pipe         # for bodies that nobody looks at; None: they are copied
    cdef void* first                # the intrusive list of open streams: each counted as one reference
    cdef void* to_sweep             # where a walk over them goes on; NULL: at the first
    cdef readonly int open_streams
    cdef public object poller       # poller.Poller: where plain connections live; None: with the loop's transports

    cdef void link(self, Stream stream) noexcept
    cdef void unlink(self, Stream stream) noexcept


cdef class Stream:
    cdef Hub hub
    cdef object transport
    cdef int fd                     # -1: TLS or closed: everything goes through the transport
    cdef int socket_fd              # the same, but under TLS too: for questions to the kernel; -1: closed
    cdef bint secure                # TLS
    cdef int64_t acknowledged       # TLS: bytes that the peer had confirmed when last looked
    cdef bint closing
    cdef bint buffered              # the transport was given bytes; it may have sent them since
    cdef Py_ssize_t unsent          # what it held when last looked at: less now means that the peer reads
    cdef int64_t given              # bytes that were to be sent, since the connection began
    cdef bint write_paused          # more of them than it wants
    cdef bint write_broken
    cdef bint was_reset             # a send was told so, and no read will be
    cdef bint reading_paused
    cdef int64_t deadline_ms        # CLOCK_MONOTONIC; 0: none
    cdef void* next
    cdef void* previous

    cdef int send(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    # `send`, and behind it what is in the hub's pipe.
    cdef int send_piped(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    cdef int push(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len, bint more) except -1
    cdef bint takes_directly(self) except -1
    # Whether bytes of this connection can go into the hub's pipe; whether what is in it can be sent here.
    cdef bint fills_pipe(self) noexcept
    cdef bint takes_pipe(self) except -1
    cdef int note_broken(self, bint by_reset) except -1
    cdef Py_ssize_t read_on(self, Py_ssize_t at) except -1
    cdef Py_ssize_t fill_pipe(self, int64_t most) except -3
    cdef int send_encrypted(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    # What the transport says: so many bytes are in the hub's buffer; the peer sends no more (True: the stream goes on).
    cdef int feed(self, Py_ssize_t length) except -1
    # Asked before a read: what arrived has gone to where it belongs, unseen. As `recv`, or NOT_PUMPED.
    cdef Py_ssize_t pump(self) except -3
    # Bytes for one read.
    cdef Py_ssize_t read_limit(self) noexcept
    cdef bint peer_ended(self) except -1
    cdef int received(self, const char* data, Py_ssize_t length) except -1
    cdef int opened(self) except -1
    cdef int lost(self, object error) except -1
    cdef int ended(self) except -1
    cdef int on_deadline(self, int64_t now_ms) except -1
    cdef int on_write_paused(self, bint paused) except -1
    cdef bint serves_client(self) noexcept
    cdef bint is_idle(self) noexcept
    cdef int hurry(self, int64_t now_ms) except -1
    # Bytes that the transport holds; and whether these became fewer since the last look or send.
    cdef Py_ssize_t count_unsent(self) except -1
    cdef int is_being_read(self) except -1
    cdef bint is_quiet(self) noexcept
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int close(self) except -1
    cdef int abort(self) except -1
    # Says that nothing more will be sent; False where only closing can say that.
    cdef bint half_close(self) except -1
    cdef int reset(self) except -1
