"""
Where clients come in: listening sockets of a worker, in its epoll set.

Driven by ``dataplane.worker``: a Door accepts by itself, and a ``TlsDoor``; a connection that a PROXY header came before its
handshake is handed to ``adopt``. Under TLS either is in its handshake then, among ``Poller.arriving``.
"""

import logging
import os

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPROTO, errno
from libc.stdint cimport int64_t, uint32_t
from wsproxy._fast.net.epoll cimport EPOLLIN, c_close, ws_accept, ws_is_bound_to_one, ws_name
from wsproxy._fast.net.poller cimport Channel, Poller
from wsproxy._fast.net.sockets cimport ws_reset_on_close
from wsproxy._fast.net.stream cimport Stream, complain
from wsproxy._fast.net.tls_socket cimport TlsTransport
from wsproxy._fast.net.tls_terms cimport Terms

from wsproxy._fast.net.poller import OUR_FAULT

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # New connections in a row, before those that are there get their turn. Each has its first request taken up at once.
    MOST_ACCEPTED = 8
    # After so many rows that were full the next ones are longer. An accept that finds nobody costs the kernel a socket and a
    # file: where one comes at a time, one is asked for.
    FULL_ROWS = 4

# Descriptors ran out: accept would fail again at once, for as long as clients wait.
PAUSE_S = 0.1
# How often a listening socket says so: a lack may last for hours.
COMPLAINT_S = 10.0


def listen(Poller poller not None, object sock not None, object make not None, Terms terms=None) -> Door:
    """Accepts on a listening socket, the door's from now on; ``make()`` is a connection's Stream, under TLS by ``terms``."""
    return Door(poller, sock, make, None) if terms is None else TlsDoor(poller, sock, make, terms)


def accept(Poller poller not None, object sock not None, object take not None) -> Door:
    """The same for who does not adopt at once: ``take(fd)`` owns the connected socket, which does not block."""
    return Door(poller, sock, None, take)


def adopt(Poller poller not None, int fd, Stream stream not None, Terms terms not None, double most_s=0) -> TlsTransport:
    """
    From now on the connected socket is the stream's, which begins once the handshake is over; it must not block.

    Within ``most_s``, or within the stream's own time if that is shorter; 0: within that. Closed where this fails.
    """
    cdef int64_t most_ms = stream.handshake_ms()
    if most_s:
        most_ms = min(most_ms, <int64_t>(most_s * 1000))
    return begin(poller, fd, stream, terms, most_ms)


cdef TlsTransport begin(Poller poller, int fd, Stream stream, Terms terms, int64_t most_ms):
    cdef TlsTransport transport = None
    try:
        transport = TlsTransport.__new__(TlsTransport)
        transport.fd = fd  # closed with it from here on
        transport.poller = poller
        transport.stream = stream
        transport.reads = transport.is_new = transport.is_cipher = True
        transport.begin(terms, most_ms)
    except BaseException:
        if transport is None:
            c_close(fd)
        stream.handshake_ended(False, False)
        raise
    try:
        transport.read()  # its first bytes may be here
        transport.is_new = False
        transport.settle()
    except Exception:
        transport.kill(OUR_FAULT)
        complain("internal error with a new connection; it is dropped", ())
    return transport


cdef class Door(Channel):
    """A listening socket; made by ``listen`` and ``accept``."""

    def __init__(self, Poller poller not None, object sock not None, object make, object give):
        self.poller = poller
        self.sock = sock
        self.make = make
        self.give = give
        self.fd = sock.fileno()
        self.silent_until = self.paused_until = 0
        self.most = 1
        self.local_port = ws_name(self.fd, False, self.local_host) if ws_is_bound_to_one(self.fd) else -1
        cdef int number = self.watch(EPOLLIN)
        if number:
            raise OSError(number, os.strerror(number))
        poller.doors.append(self)  # the set has only its address

    cdef int on_events(self, uint32_t events) except -1:
        cdef int taken, fd, number
        for taken in range(self.most):
            if self.fd < 0:
                return 0
            fd = ws_accept(self.fd, &self.poller.peer)
            if fd >= 0:
                self.poller.newcomer = fd
                self.poller.local_host = self.local_host
                self.poller.local_port = self.local_port
                self.take(fd)
                self.poller.newcomer = -1
                continue
            number = errno
            if number == EAGAIN:
                self.most = max(taken, 1)
                return 0
            if number != EINTR and number != ECONNABORTED and number != EPROTO:
                return self.pause(number)
        self.full_rows += 1
        if self.full_rows % FULL_ROWS == 0:
            self.most = min(2 * self.most, <int>MOST_ACCEPTED)
        return 0

    cdef int take(self, int fd) except -1:
        cdef Stream stream = None
        if self.give is not None:
            try:
                self.give(fd)
            except Exception:
                complain("internal error with a new connection; it is dropped", ())
            return 0
        try:
            stream = self.make()
        except Exception:
            complain("internal error with a new connection; it is dropped", ())
        if stream is None:
            c_close(fd)
            return 0
        try:
            self.poller.connect(fd, stream)
        except MemoryError:
            complain("internal error with a new connection; it is dropped", ())
        return 0

    cdef int pause(self, int number) except -1:
        cdef double now_s = self.poller.loop.time()
        if now_s >= self.silent_until:
            self.silent_until = now_s + COMPLAINT_S
            log.error("cannot accept connections: %s", os.strerror(number))
        self.watch(0)
        self.paused_until = now_s + PAUSE_S
        try:
            self.poller.loop.call_later(PAUSE_S, self.again)
        except MemoryError:
            pass  # `tend` looks, too
        return 0

    cdef int tend(self) except -1:
        if 0 < self.paused_until <= self.poller.loop.time():
            self.again()
        return 0

    def again(self) -> None:
        """Accepts again, after descriptors had run out."""
        cdef int number
        self.paused_until = 0
        if self.fd < 0 or self.poller.epoll_fd < 0:
            return
        number = self.watch(EPOLLIN)
        if number:
            self.pause(number)

    def close(self) -> None:
        """Accepts no more and closes the socket."""
        if self.fd >= 0:
            self.watch(0)
            self.fd = -1
            self.sock.close()


cdef class TlsDoor(Door):
    """A listening socket whose clients speak TLS."""

    def __init__(self, Poller poller not None, object sock not None, object make not None, Terms terms not None):
        self.terms = terms
        Door.__init__(self, poller, sock, make, None)

    cdef int take(self, int fd) except -1:
        cdef Stream stream = None
        cdef bint is_let_in = False
        try:
            stream = self.make()
            is_let_in = stream.lets_in(fd)
        except Exception:
            complain("internal error with a new connection; it is dropped", ())
        if not is_let_in:
            ws_reset_on_close(fd)
            c_close(fd)
            return 0
        try:
            begin(self.poller, fd, stream, self.terms, stream.handshake_ms())
        except MemoryError:
            complain("internal error with a new connection; it is dropped", ())
        return 0
