"""
Where clients come in that speak TLS on sockets of our own.

Driven by ``dataplane.worker``: a ``TlsDoor`` accepts by itself; a connection that a PROXY header came before is handed to
``adopt``. Either is in its handshake then, among ``Poller.arriving``.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.net.epoll cimport c_close
from wsproxy._fast.net.poller cimport Door, Poller
from wsproxy._fast.net.sockets cimport ws_reset_on_close
from wsproxy._fast.net.stream cimport Stream, complain
from wsproxy._fast.net.tls_socket cimport TlsTransport
from wsproxy._fast.net.tls_terms cimport Terms

from wsproxy._fast.net.poller import OUR_FAULT


cdef TlsTransport begin(Poller poller, int fd, Stream stream, Terms terms, int64_t most_ms):
    cdef TlsTransport transport = None
    try:
        transport = TlsTransport.__new__(TlsTransport)
        transport.fd = fd  # closed with it from here on
        transport.poller = poller
        transport.stream = stream
        transport.reads = transport.is_new = True
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


def listen(Poller poller not None, object sock not None, object make not None, Terms terms not None) -> TlsDoor:
    """Accepts on a listening socket, which becomes the door's; ``make()`` is the Stream of a connection."""
    cdef TlsDoor door = TlsDoor(poller, sock, make, terms)
    poller.doors.append(door)  # the set has only its address
    return door


def adopt(Poller poller not None, int fd, Stream stream not None, Terms terms not None, double most_s=0) -> TlsTransport:
    """
    From now on the connected socket is the stream's, which begins once the handshake is over; it must not block.

    Within ``most_s``, or within the stream's own time if that is shorter; 0: within that. Closed where this fails.
    """
    cdef int64_t most_ms = stream.handshake_ms()
    if most_s:
        most_ms = min(most_ms, <int64_t>(most_s * 1000))
    return begin(poller, fd, stream, terms, most_ms)


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
