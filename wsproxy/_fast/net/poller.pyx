"""
Plain TCP connections of a worker: one epoll set, read and written without the event loop's transports.

Made by ``dataplane.worker``; the event loop watches the epoll set itself, which is readable whenever something in it is.
To a Stream a PlainTransport is what an asyncio transport is, and calls the same methods in the same order: above all
``connection_lost`` never comes while a method of the stream runs. What this buys is in docs/decisions/0003.

A connection costs accept4, no Python object but its stream and transport, and no epoll_ctl where it ends with its first
answer. Listening sockets stand in the set, too (``doors``), and clients under TLS (``tls_socket``).
"""

import asyncio
import logging
import os
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, ECONNABORTED, ECONNRESET, EINTR, errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memmove, strcpy
from wsproxy._fast.base.borrowed cimport ws_hide, ws_show
from wsproxy._fast.base.buffer cimport buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.net.epoll cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, INET6_ADDRSTRLEN,
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, SHUT_WR, c_close, c_shutdown, epoll_create1, epoll_event, epoll_wait,
    ws_epoll_ctl, ws_name, ws_text,
)
from wsproxy._fast.net.pipe cimport SPARE_A_TURN
from wsproxy._fast.net.sockets cimport ws_recv, ws_send
from wsproxy._fast.net.stream cimport MOST_TAKEN, NOT_PUMPED, READ_SIZE, Hub, Stream, Waker, complain, tell_unsaid

log = logging.getLogger("wsproxy.connection")

cdef enum:
    MOST_EVENTS = 256
    # Steps of TLS handshakes in one turn, a millisecond each: a flood of them must not stop everybody else for a quarter of a
    # second. Who has to wait stands in a row of its own: in the set it would be told of in each turn, before who was there
    # already, and before everybody else.
    MOST_HANDSHAKES = 8
    # Reads that throw away what clients send behind their end, in one turn for all of them, and the bytes of each. A client
    # can keep hundreds of such connections full: all of these read in each turn made it 0.6 ms long, these few take 0.25, and
    # who sends so has to wait more often.
    MOST_DISCARDS = 8
    DISCARDED_SIZE = 65536

# Why a connection was dropped, if it was our fault; made beforehand, as an end must need no memory. The error itself has its
# frames, and these the connection: it is not kept until everybody has heard of the end.
OUR_FAULT = OSError(ECONNABORTED, os.strerror(ECONNABORTED))


cdef class Poller(Waker):
    """The epoll set of one worker; ``loop`` calls ``run`` when something in it is ready."""

    def __cinit__(self, Hub hub not None):
        self.epoll_fd = self.newcomer = -1
        self.hub = hub
        self.doors, self.late, self.unmet = [], deque(), deque()
        self.arriving = set()
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll_fd < 0:
            raise OSError(errno, os.strerror(errno))

    def __init__(self, Hub hub not None):
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.epoll_fd, self.run)

    def __dealloc__(self):
        if self.epoll_fd >= 0:
            c_close(self.epoll_fd)

    def close(self) -> None:
        """The loop watches it no more; connections that are still open stay as they are, but for those in their handshake."""
        for transport in list(self.arriving):
            (<PlainTransport>transport).kill(None)
        self.unmet.clear()
        self.bury_all()
        if self.epoll_fd >= 0:
            self.loop.remove_reader(self.epoll_fd)
            c_close(self.epoll_fd)
            self.epoll_fd = -1

    def run(self) -> None:
        """Serves everything that is ready now."""
        cdef epoll_event events[MOST_EVENTS]
        cdef Channel channel
        cdef int i
        cdef int count = epoll_wait(self.epoll_fd, events, MOST_EVENTS, 0)
        self.hub.spare = MOST_TAKEN
        if self.hub.pipe is not None:
            self.hub.pipe.spare = SPARE_A_TURN
        self.discards = MOST_DISCARDS
        self.handshakes = 0 if self.unmet else MOST_HANDSHAKES  # nobody goes before who waits: see `give_turns`
        self.running = True
        try:
            for i in range(count):
                # Nothing that the set knew when it was asked is freed before this batch ends: see ``die``.
                channel = <Channel>events[i].data.ptr
                channel.on_events(events[i].events)
                if self.corked is not None:
                    self.corked.uncork()
        finally:
            self.running = False
            self.newcomer = -1  # also where a door was left by an error: its number will be another's
            self.bury_all()

    cdef int wake(self) except -1:
        """A stream asks for another turn: once this one is over; without memory for the call, at the next sweep."""
        if not self.awaits_turns:
            self.awaits_turns = True
            try:
                self.loop.call_soon(self.give_turns)
            except MemoryError:
                pass
        return 0

    def give_turns(self) -> None:
        """Lets streams go on that stopped for the others' sake; the loop calls it, once a turn."""
        self.awaits_turns = False
        cdef bint is_more = self.hub.take_turns()
        if self.late:
            self.discard_late()
        if self.unmet:
            self.meet_late()
        if is_more or self.late or self.unmet:
            self.wake()

    cdef int discard_late(self) except -1:
        """One read each, in the order in which they came; who has more stands behind everybody else."""
        cdef PlainTransport transport
        cdef Py_ssize_t left = len(self.late)
        self.discards = MOST_DISCARDS
        while self.discards > 0 and left > 0:
            left -= 1
            transport = self.late.popleft()
            transport.is_late = False
            try:
                transport.discard()
                transport.settle()
            except Exception:
                transport.kill(OUR_FAULT)
                complain("internal error with a connection; it is dropped", ())
        return 0

    cdef int meet_late(self) except -1:
        """A step of their handshakes each, in the order in which they came."""
        cdef PlainTransport transport
        self.handshakes = MOST_HANDSHAKES
        while self.handshakes > 0 and self.unmet:
            transport = self.unmet.popleft()
            transport.is_late = False
            try:
                transport.read()
                transport.settle()
            except Exception:
                transport.kill(OUR_FAULT)
                complain("internal error with a connection; it is dropped", ())
        return 0

    def adopt(self, int fd, Stream stream not None) -> None:
        """From now on the connected socket is the stream's; it must not block. Closed where this fails."""
        self.connect(fd, stream)

    cdef PlainTransport make_transport(self, int fd, Stream stream):
        """Of an open socket, which is closed where there is no memory for it."""
        cdef PlainTransport transport
        try:
            transport = PlainTransport.__new__(PlainTransport)
        except BaseException:
            c_close(fd)
            raise
        transport.poller = self
        transport.fd = fd
        transport.stream = stream
        transport.reads = True
        return transport

    cdef int connect(self, int fd, Stream stream) except -1:
        cdef PlainTransport transport = self.make_transport(fd, stream)
        transport.is_new = True
        try:
            stream.connection_made(transport)
            transport.read()  # its first bytes are nearly always here
            transport.is_new = False
            if transport.out.length or not stream.awaits_answer():
                transport.settle()
            else:
                stream.unwatched = True  # who says close is gone with its answer: an epitem that nobody needed costs 1.3 us
        except Exception:
            transport.kill(OUR_FAULT)
            complain("internal error with a new connection; it is dropped", ())
        return 0

    cpdef inherit(self, int fd, Stream stream):
        """The socket of a stream whose TLS has ended in order: this side of it ends as well. Closed where this fails."""
        cdef PlainTransport transport = self.make_transport(fd, stream)
        stream.records.read_later = None
        stream.records = stream.sock = None
        stream.transport = transport
        stream.fd = fd
        stream.secure = stream.buffered = stream.closing = stream.reading_paused = stream.reads_later = False
        transport.write_eof()
        transport.settle()

    cdef int die(self, PlainTransport transport) except -1:
        if self.dead is None:
            self.dead = transport
        else:
            self.last_dead.next_dead = transport
        self.last_dead = transport
        if not self.running and not self.awaits_burial:
            try:
                self.loop.call_soon(self.bury)
                self.awaits_burial = True
            except MemoryError:
                pass  # with the next events, or the next sweep
        return 0

    def bury(self) -> None:
        """Tells the streams of lost connections; the loop calls it, and every sweep, which may come within ``run``."""
        self.awaits_burial = False
        if not self.running:
            self.bury_all()

    def tend(self) -> None:
        """Every sweep: does what the loop was asked to, should its call have been lost for want of memory."""
        cdef Channel door
        tell_unsaid()
        self.bury()
        if self.awaits_turns:
            self.give_turns()
        for door in self.doors:
            door.tend()
        if self.arriving:
            for transport in list(self.arriving):
                (<PlainTransport>transport).check_arrival(ws_now_ms())

    cdef int bury_all(self) except -1:
        cdef PlainTransport transport
        while self.dead is not None:
            transport = self.dead
            self.dead = transport.next_dead
            transport.next_dead = None
            if self.dead is None:
                self.last_dead = None
            transport.bury()
        return 0


cdef class Channel:
    """What lies in the epoll set: a connection or a listening socket."""

    def fileno(self) -> int:
        """The descriptor; -1: closed."""
        return self.fd

    cdef int on_events(self, uint32_t events) except -1:
        return 0

    cdef int tend(self) except -1:
        return 0

    cdef int watch(self, uint32_t events) noexcept:
        """
        Tells the set which events are wanted; none: it is taken out, so that not even an error wakes us.

        0, or the errno with which the kernel refused (above all ENOSPC: max_user_watches).
        """
        cdef int op
        if events == self.interest or self.fd < 0:
            return 0
        op = EPOLL_CTL_DEL if events == 0 else EPOLL_CTL_MOD if self.interest else EPOLL_CTL_ADD
        if ws_epoll_ctl(self.poller.epoll_fd, op, self.fd, events, <void*>self) < 0:
            return errno
        self.interest = events
        return 0


cdef int tell_end(Stream stream, object error) except -1:
    try:
        stream.connection_lost(error)
    except MemoryError:
        if stream.transport is not None:  # there was none for the call itself
            stream.lose(error)
    return 0


cdef class PlainTransport(Channel):
    """A connected socket as a Stream wants its transport; made by ``Poller.adopt``."""

    def __dealloc__(self):
        buffer_clear(&self.out)
        if self.fd >= 0:
            c_close(self.fd)

    cdef int on_events(self, uint32_t events) except -1:
        # An error shows in the call that fails: which of them is made is a matter of what was asked for.
        # Reading comes first, as with asyncio: who closes instead of taking the rest may have said why.
        try:
            if events & EPOLLERR and not self.dead:
                self.stream.write_broken = True  # what is still to be read came before; nothing of ours reaches the peer
            if events & (EPOLLIN | EPOLLERR | EPOLLHUP) and self.interest & EPOLLIN and not self.dead:
                self.read()
            if events & (EPOLLOUT | EPOLLERR | EPOLLHUP) and self.interest & EPOLLOUT and not self.dead:
                self.flush()
        except Exception:
            self.kill(OUR_FAULT)  # not None: that would be an orderly end
            complain("internal error with a connection; it is dropped", ())
        return 0

    cdef int settle(self) except -1:
        """Asks the set for what is wanted now; a connection that it does not take would hang, so it ends."""
        cdef int number
        if self.is_new or self.dead:
            return 0
        number = self.watch(
            (EPOLLIN if self.reads and not self.closing and not self.is_late else 0) | (EPOLLOUT if self.out.length else 0)
        )
        if number:
            # Not raised: whoever pauses or feeds this connection is most often another one.
            self.fail(number)
            log.error("cannot wait for a connection: %s; it is dropped", os.strerror(number))
        return 0

    cdef int watch_on(self) except -1:
        return self.settle()

    cdef int check_arrival(self, int64_t now_ms) except -1:
        return 0

    cdef int uncork(self) except -1:
        return 0

    cdef bint read(self) except -1:
        """One read; whether there was something."""
        cdef Py_ssize_t length
        if not self.reads or self.closing or self.dead:
            return False
        if self.stream.discards:
            return self.discard()
        length = self.stream.pump()
        if length == NOT_PUMPED:
            ws_show(self.poller.hub.read_data, READ_SIZE)
            length = ws_recv(self.fd, self.poller.hub.read_data, self.stream.read_limit(), 0)
            if length > 0:
                self.stream.feed(length)
        if length > 0:
            return True
        self.take_end(length)
        return False

    cdef bint discard(self) except -1:
        """One read of what nobody wants, if there was none too many in this turn; whether there was something."""
        cdef Py_ssize_t length
        if not self.reads or self.closing or self.dead:
            return False
        if self.poller.discards <= 0:
            self.discard_later()
            return False
        self.poller.discards -= 1
        ws_show(self.poller.hub.read_data, DISCARDED_SIZE)
        # TCP copies nothing then; the buffer is for who knows no MSG_TRUNC.
        length = ws_recv(self.fd, self.poller.hub.read_data, DISCARDED_SIZE, MSG_TRUNC)
        ws_hide(self.poller.hub.read_data, DISCARDED_SIZE)
        if length <= 0:
            self.take_end(length)
            return False
        self.stream.thrown_away(length)
        if length == DISCARDED_SIZE:
            self.discard_later()
        return True

    cdef int discard_later(self) except -1:
        """In another turn, behind those who wait already; until then the set does not tell of its bytes."""
        if not self.is_late and not self.dead:
            self.poller.late.append(self)
            self.is_late = True
            self.settle()
            self.poller.wake()
        return 0

    cdef int take_end(self, Py_ssize_t length) except -1:
        """A read brought no bytes: the peer has ended (0), or see errno."""
        if length == 0:
            if self.send_error == ECONNRESET or self.stream.was_reset:
                # The kernel tells of a reset once, and who sent was told: without it this would be an orderly end.
                return self.fail(ECONNRESET)
            self.reads = False
            self.is_over = True
            if self.stream.peer_ended():
                self.settle()
            else:
                self.close()
        elif errno != EAGAIN and errno != EINTR:
            self.fail(errno)
        return 0

    cdef int flush(self) except -1:
        """Sends what waits, as far as the kernel takes it."""
        cdef Py_ssize_t count
        while self.sent < self.out.length:
            count = ws_send(self.fd, self.out.data + self.sent, self.out.length - self.sent, MSG_NOSIGNAL | MSG_DONTWAIT)
            if count < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.send_error = errno
                    self.stream.write_broken = True
                    # What it said before it closed; there is an end to that, nothing more can come.
                    while not self.stream.discards and self.read():
                        pass
                    return self.fail(self.send_error)
                break
            self.sent += count
        if self.sent == self.out.length:
            buffer_clear(&self.out)
            self.sent = 0
            self.settle()
            self.stream.on_flushed()
            if self.closing:
                return self.kill(None)
            if self.ends:
                c_shutdown(self.fd, SHUT_WR)
        elif self.sent > self.out.length // 2:
            memmove(self.out.data, self.out.data + self.sent, self.out.length - self.sent)
            self.out.length -= self.sent
            self.sent = 0
        if self.write_paused and self.out.length - self.sent <= LOW_WATER:
            self.write_paused = False
            self.stream.resume_writing()
        return 0

    cdef int fail(self, int number) except -1:
        cdef object error
        try:
            error = OSError(number, os.strerror(number))
        except MemoryError:
            error = OUR_FAULT
        return self.kill(error)

    cdef int kill(self, object error) except -1:
        """The end; its stream hears of it when nothing of it is on the stack."""
        if self.dead:
            return 0
        if error is OUR_FAULT and self.stream is not None:
            self.stream.on_cut(True)
        self.dead = True
        self.closing = True
        self.error = error
        return self.poller.die(self)

    cdef int bury(self) except -1:
        cdef Stream stream = self.stream
        self.stream = None
        try:
            if stream is not None:
                tell_end(stream, self.error)
        except Exception:
            complain("internal error at the end of a connection", ())
        finally:
            # Not before: until here the stream asks the kernel about this descriptor, and another could have its number.
            c_close(self.fd)
            self.fd = -1
            self.interest = 0
            self.error = None
        return 0

    # --- what streams call, by the names that asyncio gave them ---------------------------------------------------------

    def write(self, bytes data not None) -> None:
        """Sends it when the kernel takes it; the stream has tried already."""
        if self.closing or self.ends:
            return
        buffer_append(&self.out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        self.settle()
        if not self.write_paused and self.out.length - self.sent > HIGH_WATER:
            self.write_paused = True
            self.stream.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel did not take yet."""
        return self.out.length - self.sent

    def pause_reading(self) -> None:
        """Receives no more for now."""
        self.reads = False
        self.settle()

    def resume_reading(self) -> None:
        """Receives again, unless the peer has ended."""
        self.reads = not self.is_over
        self.settle()

    def can_write_eof(self) -> bool:
        """TCP can be half-closed."""
        return True

    cpdef write_eof(self):
        """Ends this direction after everything that waits."""
        if self.ends or self.closing:
            return
        self.ends = True
        if self.out.length == 0:
            c_shutdown(self.fd, SHUT_WR)

    cpdef close(self):
        """Closes after everything that waits is sent."""
        if self.closing:
            return
        self.closing = True
        if self.out.length == 0:
            self.kill(None)
        else:
            self.settle()

    def abort(self) -> None:
        """Closes now."""
        self.kill(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self.closing

    cdef int name_of(self, bint of_peer, char* text) noexcept:
        cdef Poller poller = self.poller
        if 0 <= self.fd == poller.newcomer and (of_peer or poller.local_port >= 0):
            if of_peer:
                return ws_text(&poller.peer, text)
            strcpy(text, poller.local_host)
            return poller.local_port
        return ws_name(self.fd, of_peer, text)

    cpdef get_extra_info(self, str name, object default=None):
        """``socket``: something with a ``fileno``; ``peername``, ``sockname``: (address, port)."""
        cdef char text[INET6_ADDRSTRLEN]
        cdef int port
        if name == "socket":
            return self
        if name == "peername" or name == "sockname":
            port = self.name_of(name == "peername", text)
            return default if port < 0 else ((<const char*>text).decode("ascii"), port)
        return default
