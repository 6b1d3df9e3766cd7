# One TCP connection on an asyncio or uvloop transport, and the hub that all connections of a worker share.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.net.endpoint cimport Endpoint
from wsproxy._fast.net.pipe cimport Pipe

cdef enum:
    # One read takes at most this much: what uvloop itself uses; a 64 KiB answer comes in one or two reads.
    READ_SIZE = 262144
    # What one client may have kept in memory while it is not its turn, requests that it sent ahead above all: no read takes
    # more, and then its socket is not read. As much as a head may be long, and as a transport holds the other way.
    MOST_KEPT = 65536
    # What `pump` says where bytes must be read.
    NOT_PUMPED = -2
    # Requests taken up in one turn of the loop beyond the first of each connection. One that is answered here takes some
    # 0.1 ms, and nobody else is served meanwhile.
    MOST_TAKEN = 8

cdef class Stream


# Logs the exception that is being handled; never raises: what is to be said for want of memory may find none.
cdef void complain(str message, tuple details) noexcept
cdef void tell_unsaid() noexcept
# The same, and drops the connection.
cdef int drop_faulty(Stream stream, str message) except -1


cdef class Stream


cdef class Waker:
    # Somebody asks for another turn.
    cdef int wake(self) except -1
    # The socket of a stream whose TLS has ended in order: this side of it ends as well. Closed where this fails.
    cpdef inherit(self, int fd, Stream stream)


cdef class Hub:
    cdef object read_view           # memoryview handed to every transport
    cdef object half_view           # of half of it: for TLS, see `Stream.get_buffer`
    cdef object kept_view           # its first MOST_KEPT bytes
    cdef char* read_data
    cdef char* out                  # where heads are rewritten
    cdef readonly Pipe pipe         # for bodies that nobody looks at; None: they are copied
    cdef void* first                # the intrusive list of open streams: each counted as one reference
    cdef void* to_sweep             # where a walk over them goes on; NULL: at the first
    cdef readonly int open_streams
    cdef public Waker poller        # poller.Poller: where plain connections live; None: with the loop's transports
    cdef int spare                  # of MOST_TAKEN, what is left of this turn
    cdef object turns               # deque of Streams that let others go first

    cpdef bint take_turns(self) except -1
    cpdef list streams(self)
    cdef void link(self, Stream stream) noexcept
    cdef void unlink(self, Stream stream) noexcept
    # The stream has more to do with what it has received, but not in this turn of the loop: see `Stream.on_turn`.
    cdef int ask_turn(self, Stream stream) except -1
    # The bytes of this event are gone: what borrows from them is emptied. And the check of that, in checked builds.
    cdef void let_go(self) noexcept
    cdef void check_let_go(self) noexcept


cdef class Stream(Endpoint):
    cdef Hub hub
    cdef bint has_rest              # TLS: the transport is gone; what had come through it is read, see `connection_lost`
    cdef bint closing
    cdef bint discards              # what still comes is thrown away unseen: see `poller.PlainTransport.discard`
    cdef bint write_paused          # more of them than it wants
    cdef bint write_broken
    cdef bint was_reset             # a send was told so, and no read will be
    cdef bint waits_turn            # it stands in Hub.turns
    cdef bint unwatched             # a new connection, which the poller tells nothing of before the next sweep
    cdef bint reads_later           # TLS: nothing is read before that turn
    cdef int64_t deadline_ms        # CLOCK_MONOTONIC; 0: none
    cdef void* next
    cdef void* previous

    cdef int send(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    # `send`, and behind it what is in the hub's pipe.
    cdef int send_piped(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    cdef int push(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len, bint more) except -1
    cdef bint takes_directly(self) except -1
    # Whether bytes of this connection can go into the hub's pipe; the socket that takes what is in it, less than 0: none does
    # now.
    cdef bint fills_pipe(self) noexcept
    cdef int pipe_end(self) except? -1
    cdef int note_broken(self, bint by_reset) except -1
    cdef Py_ssize_t read_on(self, Py_ssize_t at) except -1
    cdef Py_ssize_t fill_pipe(self, int64_t most, int target) except -3
    cdef int send_encrypted(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    cpdef read_later(self)
    cpdef connection_made(self, object transport)
    cdef int ride(self, object transport) except -1
    cpdef connection_lost(self, object error)
    cpdef pause_writing(self)
    cpdef resume_writing(self)
    # What the transport says: so many bytes are in the hub's buffer; the peer sends no more (True: the stream goes on).
    cdef int feed(self, Py_ssize_t length) except -1
    # Asked before a read: what arrived has gone to where it belongs, unseen. As `recv`, or NOT_PUMPED.
    cdef Py_ssize_t pump(self) except -3
    # Bytes for one read.
    cdef Py_ssize_t read_limit(self) noexcept
    cdef bint peer_ended(self) except -1
    # What ``connection_lost`` does; called so, the end of a connection needs no memory, not even for a bound method.
    cdef int lose(self, object error) except -1
    cdef int received(self, const char* data, Py_ssize_t length) except -1
    # So many bytes came and are gone.
    cdef int thrown_away(self, Py_ssize_t length) except -1
    cdef int opened(self) except -1
    cdef int lost(self, object error) except -1
    cdef int ended(self) except -1
    cdef int read_rest(self) except -1
    # Whether what came before the end of a TLS connection matters when that has come.
    cdef bint wants_rest(self) noexcept
    cdef int on_deadline(self, int64_t now_ms) except -1
    # It may go on; whatever has become of it since it asked for that.
    cdef int on_turn(self) except -1
    cdef int on_write_paused(self, bint paused) except -1
    # Whether a connection that was accepted may be served; asked before its TLS handshake, which costs more than the rest.
    cdef bint lets_in(self, int fd) except -1
    # How long that may take; and its end, with or without success: told once, before `connection_made`.
    cdef int64_t handshake_ms(self) except -1
    cpdef handshake_ended(self, bint is_done, bint is_resumed)
    cdef bint serves_client(self) noexcept
    # Whether all that it waits for comes from somewhere else: a client's request is whole, and its answer has not begun.
    cdef bint awaits_answer(self) noexcept
    cdef bint is_idle(self) noexcept
    # Whether a client's exchange runs, or its answer waits in the transport; whether only its end is still under way.
    cdef bint is_served(self) except -1
    cdef bint lingers(self) noexcept
    cdef int hurry(self, int64_t now_ms) except -1
    # The socket has taken all that waited; told by plain transports alone.
    cdef void on_flushed(self) noexcept
    # Lines of a log that wait for the socket are looked at; whether some go on waiting.
    cdef bint look_at_lines(self) except -1
    # It is about to be cut off, by an operator or by an error of ours: whose fault its end is.
    cdef void on_cut(self, bint by_fault) noexcept
    cdef int watch_on(self) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int close(self) except -1
    cdef int abort(self) except -1
    # `shut`, and that.
    cdef int sever(self) except -1
    # Says that nothing more will be sent; False where only closing can say that.
    cdef bint half_close(self) except -1
    cdef int reset(self) except -1
