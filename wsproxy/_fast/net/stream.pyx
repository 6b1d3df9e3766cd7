"""
One TCP connection: receives into the worker's one read buffer, sends straight from pointers, keeps a coarse deadline.

``Downstream`` and ``Upstream`` build on it; its transport is a ``poller.PlainTransport``, under TLS a
``tls_socket.TlsTransport`` of a client, or the event loop's.
Must not know HTTP.

Copies bytes only when the kernel did not take them: a send goes to the socket directly (as long as the transport holds
nothing back), and only the rest is handed to the transport, which then does the waiting and the flow control.
Borrowed memory: what ``received`` is given lies in the hub's buffer and is overwritten by the next read of any stream.

One turn of the loop is everybody's: a stream that could go on for long with what it has received stops and asks the hub for
another turn (``ask_turn``), which comes without new bytes.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from wsproxy._fast.base.borrowed cimport WSPROXY_CHECKED, ws_hide, ws_show
from wsproxy._fast.base.buffer cimport OUT_SIZE
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.base.memory cimport address_of
from wsproxy._fast.net.endpoint cimport BROKEN, Carrier, Endpoint
from wsproxy._fast.net.epoll cimport MSG_DONTWAIT
from wsproxy._fast.net.records cimport RECORDS_A_TURN
from wsproxy._fast.net.sockets cimport ws_recv, ws_reset_on_close, ws_send2

import logging
import os
from collections import deque

log = logging.getLogger("wsproxy.connection")

# Made beforehand, as an end must need no memory.
RESET = ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))

cdef enum:
    # Up to here copying a body behind its head is cheaper than sendmsg with two parts.
    FEW_BYTES = 4096
    # A TLS transport holds this much to be sent before it pauses: as much as a plain one. Its own limit is eight times that,
    # for each slow client.
    TLS_HELD_BYTES = 65536
    # What follows a deadline, an answer at most, takes as long as looking at so many connections: 5,000 dripping heads that
    # began together end together.
    DEADLINE_LOOKS = 256
    HANDSHAKE_MS = 30000  # of who says nothing else; nginx has a minute
    EVERY = 0x7FFFFFFF


cdef long unsaid = 0  # by `complain`


cdef void complain(str message, tuple details) noexcept:
    """A line of the log, with the error; where there is no memory for it, it is counted."""
    global unsaid
    try:
        log.exception(message, *details)
    except BaseException:
        unsaid += 1


cdef void tell_unsaid() noexcept:
    """Every sweep: how many complaints are missing; without memory to say it the next one does, and this one goes on."""
    global unsaid
    cdef long count = unsaid
    if count:
        try:
            log.error("no memory for messages: %d internal errors are not told, each ended one connection or one step", count)
            unsaid -= count
        except BaseException:
            pass


cdef int drop_faulty(Stream stream, str message) except -1:
    stream.was_reset = True  # by us; it must not pass for an orderly end
    stream.on_cut(True)
    stream.abort()
    complain(message, ())
    return 0


cdef class Waker:
    """Where turns are asked for."""

    cdef int wake(self) except -1:
        return 0

    cpdef inherit(self, int fd, Stream stream):
        raise NotImplementedError


cdef class Hub:
    """What the connections of one worker share: one read buffer, one buffer for heads, the list for deadlines."""

    def __cinit__(self):
        self.read_view = memoryview(bytearray(READ_SIZE))
        self.half_view = self.read_view[:READ_SIZE // 2]
        self.kept_view = self.read_view[:MOST_KEPT]
        self.read_data = address_of(self.read_view)
        self.first = NULL
        self.spare = MOST_TAKEN
        self.turns = deque()
        self.out = <char*>PyMem_Malloc(OUT_SIZE)
        if self.out == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.out)

    cdef void let_go(self) noexcept:
        return

    cdef void check_let_go(self) noexcept:
        return

    cdef void link(self, Stream stream) noexcept:
        Py_INCREF(stream)  # the list is C pointers: nothing in it may die, whatever becomes of its transport
        stream.previous = NULL
        stream.next = self.first
        if self.first != NULL:
            (<Stream>self.first).previous = <void*>stream
        self.first = <void*>stream
        self.open_streams += 1

    cdef void unlink(self, Stream stream) noexcept:
        if self.to_sweep == <void*>stream:
            self.to_sweep = stream.next
        if stream.previous != NULL:
            (<Stream>stream.previous).next = stream.next
        elif self.first == <void*>stream:
            self.first = stream.next
        else:
            return
        if stream.next != NULL:
            (<Stream>stream.next).previous = stream.previous
        stream.next = NULL
        stream.previous = NULL
        self.open_streams -= 1
        Py_DECREF(stream)

    def sweep(self, Py_ssize_t most=EVERY) -> bool:
        """
        Calls every stream whose deadline has passed; the worker does that a few times a second.

        Ends after about ``most`` streams: True where others are left, for the next call.
        """
        cdef int64_t now_ms = ws_now_ms()
        cdef void* at = self.to_sweep
        cdef Stream stream
        if at == NULL:
            at = self.first
        while at != NULL and most > 0:
            most -= 1
            stream = <Stream>at
            # on_deadline never unlinks synchronously: transports report connection_lost from the loop, later.
            at = stream.next
            try:
                if stream.unwatched:
                    stream.watch_on()
                if 0 < stream.deadline_ms <= now_ms:
                    stream.deadline_ms = 0
                    most -= DEADLINE_LOOKS
                    stream.on_deadline(now_ms)
            except Exception:  # one stream must not cost the others their deadlines
                drop_faulty(stream, "internal error at a deadline; the connection is dropped")
        self.to_sweep = at
        return at != NULL

    cdef int ask_turn(self, Stream stream) except -1:
        if not stream.waits_turn:
            stream.waits_turn = True
            self.turns.append(stream)
            if self.poller is not None:
                self.poller.wake()
        return 0

    cpdef bint take_turns(self) except -1:
        """
        Lets those go on who asked for another turn, in their order, each by one request; True where somebody still waits.

        Called once in a turn of the loop, by ``poller``: who has asked again stands behind everybody else.
        """
        cdef int left = MOST_TAKEN
        cdef Stream stream
        self.spare = 0  # one request each
        while left > 0 and self.turns:
            left -= 1
            stream = self.turns.popleft()
            stream.waits_turn = False
            try:
                stream.on_turn()
            except Exception:  # one stream must not cost the others their turns
                drop_faulty(stream, "internal error when a connection went on; it is dropped")
        self.spare = MOST_TAKEN
        return len(self.turns) > 0

    cpdef list streams(self):
        """All open connections; for draining and tests."""
        cdef void* at = self.first
        cdef list found = []
        while at != NULL:
            found.append(<Stream>at)
            at = (<Stream>at).next
        return found


cdef class Stream(Endpoint):
    """A connection; asyncio sees a BufferedProtocol (see the classes at the end of ``connection``)."""

    # --- what the transport calls -----------------------------------------------------------------------------------

    cpdef connection_made(self, object transport):
        """Takes the transport; plain TCP is written to directly from now on."""
        self.transport = transport
        if isinstance(transport, Carrier):
            self.fd = (<Carrier>transport).fd
            self.secure = (<Carrier>transport).is_cipher
            self.cipher = transport if self.secure else None
        else:
            self.ride(transport)
        self.hub.link(self)
        self.opened()

    cdef int ride(self, object transport) except -1:
        """On a transport of the loop's."""
        sock = transport.get_extra_info("socket")
        self.secure = transport.get_extra_info("sslcontext") is not None
        self.fd = -1 if sock is None or self.secure else sock.fileno()
        if self.secure:
            self.sock = sock
            self.records = transport.get_extra_info("ssl_object")
            self.records.read_later = self.read_later
            transport.set_write_buffer_limits(TLS_HELD_BYTES)
            transport.set_read_buffer_limits(1)  # what is left over from a read, a quarter MiB at most, has to go first
        return 0

    def get_buffer(self, sizehint):
        """
        The hub's buffer: valid for one read, processed at once in ``buffer_updated``.

        uvloop reads from a TLS socket up to 32 times in a row, 256 KiB each, as long as all of that finds its place. Half a
        buffer leaves so much over that it stops and goes on in the loop's next turn.
        """
        cdef Py_ssize_t limit = self.read_limit()
        ws_show(self.hub.read_data, READ_SIZE)
        if self.records is not None:
            self.records.left = RECORDS_A_TURN
            limit = min(limit, <Py_ssize_t>READ_SIZE // 2)
        if limit >= READ_SIZE:
            return self.hub.read_view
        if limit == READ_SIZE // 2:
            return self.hub.half_view
        return self.hub.kept_view if limit == MOST_KEPT else self.hub.read_view[:limit]

    def buffer_updated(self, Py_ssize_t length) -> None:
        """Bytes arrived in the hub's buffer."""
        self.feed(length)

    cdef int feed(self, Py_ssize_t length) except -1:
        if WSPROXY_CHECKED:
            self.hub.check_let_go()
        try:
            self.received(self.hub.read_data, length)
        except Exception:
            drop_faulty(self, "internal error while handling received bytes; the connection is dropped")
        self.hub.let_go()
        ws_hide(self.hub.read_data, READ_SIZE)
        return 0

    cpdef read_later(self):
        """What is here of a TLS connection is read in another turn of the loop; no new bytes are needed for that."""
        if self.reads_later or self.closing or self.has_rest:
            return
        self.reads_later = True
        if not self.reading_paused:
            self.transport.pause_reading()
        self.hub.ask_turn(self)

    def eof_received(self):
        """The peer sends no more; the transport closes unless ``ended`` says otherwise."""
        return bool(self.peer_ended())

    cdef bint peer_ended(self) except -1:
        if not self.secure:
            return self.ended() != 0
        # asyncio says so of a FIN as well, which anybody on the way can send: `connection_lost` follows.
        if not self.closing and (self.records.is_ended if self.cipher is None else self.cipher.is_ended):
            self.ended()
            if not self.closing:
                self.close()  # TLS connections are never half open: the transport closes whatever is said here
        return False

    cpdef connection_lost(self, object error):
        """
        The end; called exactly once.

        A loop's transport reads ahead under TLS, and reports the end although not all of that was taken from it: an answer
        may be whole in there. Then the end comes later, behind it.
        """
        if error is None and not self.closing and self.wants_rest() and self.records is not None and self.records.has_rest():
            self.has_rest = True
            self.sock = None
            self.write_broken = True
            self.hub.ask_turn(self)
        else:
            self.lose(error)

    cdef int lose(self, object error) except -1:
        self.has_rest = False
        self.hub.unlink(self)
        self.closing = True
        self.fd = -1
        self.sock = None
        self.deadline_ms = 0
        if error is None and self.was_reset:
            error = RESET
        try:
            self.lost(error)
        finally:
            self.transport = None
            if self.records is not None:
                self.records.read_later = None
                self.records = None
            self.cipher = None
        return 0

    cdef int read_rest(self) except -1:
        """One turn of that; goes on by itself, until the peer of this one reads no more."""
        cdef Py_ssize_t count = 0
        cdef object failed = None
        if self.reading_paused and not self.closing:
            return 0
        if self.closing:
            return self.lose(None)
        ws_show(self.hub.read_data, READ_SIZE)
        try:
            count = self.records.read_rest(self.hub.read_view)
        except OSError as error:  # ssl.SSLError
            failed = error
        if failed is not None:
            return self.lose(failed)
        if count:
            self.feed(count)
        if not self.closing and self.records.has_rest():
            return self.hub.ask_turn(self)
        if self.records.is_ended and not self.closing:
            self.ended()
        return self.lose(None)

    cpdef pause_writing(self):
        """The transport holds enough: whoever feeds this stream must stop reading."""
        self.write_paused = True
        self.on_write_paused(True)

    cpdef resume_writing(self):
        """The transport has room again."""
        self.write_paused = False
        self.on_write_paused(False)

    # --- what subclasses define -------------------------------------------------------------------------------------

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        return 0

    cdef int thrown_away(self, Py_ssize_t length) except -1:
        return 0

    cdef int opened(self) except -1:
        return 0

    cdef int lost(self, object error) except -1:
        return 0

    cdef int ended(self) except -1:
        return 0

    cdef Py_ssize_t pump(self) except -3:
        return NOT_PUMPED

    cdef Py_ssize_t read_limit(self) noexcept:
        return READ_SIZE

    cdef int on_deadline(self, int64_t now_ms) except -1:
        return 0

    cdef bint wants_rest(self) noexcept:
        return False

    cdef int on_turn(self) except -1:
        if self.has_rest:
            return self.read_rest()
        if self.reads_later:
            self.reads_later = False
            if not self.reading_paused and not self.closing:
                if self.cipher is not None:
                    self.cipher.go_on()
                else:
                    self.transport.resume_reading()
        return 0

    cdef int on_write_paused(self, bint paused) except -1:
        return 0

    cdef void on_flushed(self) noexcept:
        return

    cdef bint look_at_lines(self) except -1:
        return False

    cdef void on_cut(self, bint by_fault) noexcept:
        return

    cdef bint lets_in(self, int fd) except -1:
        return True

    cdef int64_t handshake_ms(self) except -1:
        return HANDSHAKE_MS

    cpdef handshake_ended(self, bint is_done, bint is_resumed):
        return None

    cdef bint serves_client(self) noexcept:
        return False

    cdef bint awaits_answer(self) noexcept:
        return False

    cdef bint is_idle(self) noexcept:
        return False

    cdef bint is_served(self) except -1:
        return False

    cdef bint lingers(self) noexcept:
        return False

    cdef int hurry(self, int64_t now_ms) except -1:
        """The worker stops: whoever only might still send something gets less time."""
        return 0

    # --- what subclasses use ----------------------------------------------------------------------------------------

    cdef int send(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        """Sends ``a`` then ``b``; what the kernel does not take now is copied to the transport."""
        return self.push(a, a_len, b, b_len, False)

    cdef int push(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len, bint more) except -1:
        """``more``: the rest follows at once, so that the kernel may wait for it with a packet that is not full."""
        cdef Py_ssize_t sent = 0
        if self.closing or self.write_broken or a_len + b_len == 0:
            return 0
        self.given += a_len + b_len
        if self.secure:
            return self.send_encrypted(a, a_len, b, b_len)
        if self.takes_directly():
            if a == self.hub.out and 0 < b_len <= FEW_BYTES and a_len + b_len <= OUT_SIZE:
                memcpy(self.hub.out + a_len, b, b_len)  # a plain send costs the kernel less than two parts do
                a_len += b_len
                b_len = 0
            sent = ws_send2(self.fd, a, a_len, b, b_len, more)  # I/O
            if sent == a_len + b_len:
                return 0
            if sent < -1:
                self.given -= a_len + b_len
                return self.note_broken(sent == -3)
            if sent < 0:
                sent = 0
        self.buffered = True
        if sent < a_len:
            self.transport.write(PyBytes_FromStringAndSize(a + sent, a_len - sent))
            sent = a_len
        if b_len:
            self.transport.write(PyBytes_FromStringAndSize(b + (sent - a_len), b_len - (sent - a_len)))
        self.unsent = self.count_unsent()
        return 0

    cdef bint takes_directly(self) except -1:
        """Whether bytes can go to the socket: it is plain, and nothing waits before them."""
        if self.buffered and self.transport.get_write_buffer_size() == 0:
            self.buffered = False
        return self.fd >= 0 and not self.secure and not self.buffered

    cdef int note_broken(self, bint by_reset) except -1:
        # Not aborted here: the peer may have answered before it closed. Reading tells.
        self.write_broken = True
        self.was_reset = self.was_reset or by_reset  # a read may have been told
        return 0

    cdef bint fills_pipe(self) noexcept:
        return self.fd >= 0 and not self.secure and self.hub.pipe is not None and not self.hub.pipe.is_refused

    cdef int pipe_end(self) except? -1:
        return self.fd if not self.closing and not self.write_broken and self.takes_directly() else -1

    cdef int send_piped(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        """Sends both parts, and behind them what is in the hub's pipe, which is empty afterwards."""
        cdef Pipe pipe = self.hub.pipe
        cdef Py_ssize_t count
        self.push(a, a_len, b, b_len, True)
        if self.pipe_end() >= 0:
            self.given += pipe.length
            count = pipe.drain(self.fd)  # I/O
            if count < 0:
                self.note_broken(count == -3)
            self.given -= pipe.length  # what is left is given below, unless nobody takes it any more
        while pipe.length:
            ws_show(self.hub.read_data, READ_SIZE)
            count = pipe.take(self.hub.read_data, READ_SIZE)
            if count <= 0:
                raise OSError(errno, "the pipe gave back less than went into it")
            self.send(self.hub.read_data, count, NULL, 0)
        return 0

    cdef Py_ssize_t read_on(self, Py_ssize_t at) except -1:
        """What has arrived by now, behind the first ``at`` bytes in the hub's buffer; its length."""
        cdef Py_ssize_t count = ws_recv(self.fd, self.hub.read_data + at, READ_SIZE - at, MSG_DONTWAIT)
        if count >= 0:
            return count  # 0, the end, is told again
        if errno != EAGAIN and errno != EINTR:
            self.was_reset = True  # an error is told once
        return 0

    cdef Py_ssize_t fill_pipe(self, int64_t most, int target) except -3:
        """The same into the hub's pipe, for this socket; NOT_PUMPED where nothing came, -1: see errno."""
        cdef Py_ssize_t count = self.hub.pipe.fill(self.fd, most, target)
        if count > 0:
            return count
        if count == 0 or errno == EAGAIN:
            return NOT_PUMPED  # not the last word: splice(2) goes no further than to an urgent byte, recv(2) past it
        self.was_reset = True
        return -1

    cdef int send_encrypted(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        """Both parts in one write: the cipher makes as few records of them as it can."""
        cdef bytes data
        cdef char* at
        cdef int64_t made
        cdef Py_ssize_t waiting
        if self.cipher is not None:
            waiting = self.cipher.encrypt(a, a_len, b, b_len)  # I/O
            if waiting == BROKEN:
                self.given -= a_len + b_len
            else:
                self.buffered = waiting > 0
                self.unsent = self.count_unsent()
            return 0
        data = PyBytes_FromStringAndSize(NULL, a_len + b_len)
        at = <char*>data
        if a_len:
            memcpy(at, a, a_len)
        if b_len:
            memcpy(at + a_len, b, b_len)
        # For good: what lies between the cipher and the socket is not told, only the kernel can be asked.
        self.buffered = True
        if self.taken is None or self.records is None:
            self.transport.write(data)
            return 0
        made = self.records.count_made()
        self.transport.write(data)
        return self.taken.note(made, self.records.count_made(), self.given, self.kernel_fd())

    cdef int pause_reading(self) except -1:
        if not self.reading_paused and not self.closing:
            self.reading_paused = True
            if not self.reads_later and not self.has_rest:
                self.transport.pause_reading()
        return 0

    cdef int watch_on(self) except -1:
        self.unwatched = False
        return 0 if self.closing else (<Carrier>self.transport).watch_on()

    cdef int resume_reading(self) except -1:
        if self.unwatched:
            self.watch_on()
        if self.reading_paused and not self.closing:
            self.reading_paused = False
            if self.has_rest:
                return self.hub.ask_turn(self)
            if not self.reads_later:
                self.transport.resume_reading()
        return 0

    cdef int close(self) except -1:
        """Closes after everything that was handed to the transport is sent."""
        if not self.closing:
            self.closing = True
            self.transport.close()
            if self.has_rest:
                self.hub.ask_turn(self)
        return 0

    cdef int abort(self) except -1:
        """Closes now; what the transport still holds is lost."""
        if self.transport is not None:
            self.closing = True
            try:
                self.transport.abort()
                if self.has_rest:
                    self.hub.ask_turn(self)
            except MemoryError:
                self.deadline_ms = 1  # what belongs to the exchange that ends must end as well: again at the next sweep
        return 0

    cdef int sever(self) except -1:
        """``abort``, and the peer is told before this returns."""
        self.shut()
        return self.abort()

    cdef bint half_close(self) except -1:
        if self.closing or not self.transport.can_write_eof():
            return False
        try:
            self.transport.write_eof()
        except OSError:  # asyncio's; the peer was reset while nobody read from it
            self.abort()
        return True

    cdef int reset(self) except -1:
        """Aborts so that the peer sees an error: where the end of the connection is the end of the message."""
        cdef int fd = self.kernel_fd()
        if fd >= 0 and self.transport is not None:
            ws_reset_on_close(fd)
        return self.abort()
