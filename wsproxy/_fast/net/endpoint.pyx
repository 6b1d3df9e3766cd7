"""
What a connection knows of its socket, and asks the kernel about it.

``stream`` derives from it, and ``poller`` from ``Carrier``, which has what streams ask of a transport of ours beyond what
asyncio's have; ``tls_socket`` says what each of that does, and streams know no more of both. Under the loop's TLS the
descriptor is asked for each time: its transport closes it when it likes.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.net.epoll cimport SHUT_RDWR, c_shutdown
from wsproxy._fast.net.sockets cimport ws_acknowledged, ws_hung_up, ws_is_quiet, ws_unacknowledged


cdef class Carrier:
    """A transport in the worker's own epoll set; a plain one has nothing to say to these."""

    def __cinit__(self):
        self.fd = -1

    cdef int name_of(self, bint of_peer, char* text) noexcept:
        return -1

    cdef Py_ssize_t encrypt(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        raise NotImplementedError

    cdef bint is_settled(self) noexcept:
        return True

    cdef Py_ssize_t count_held(self) noexcept:
        return 0

    cdef int watch_on(self) except -1:
        return 0

    cdef int go_on(self) except -1:
        return 0

    cdef int end_cipher(self) except -1:
        return 0


cdef class Endpoint:
    """One end of a TCP connection."""

    cdef int kernel_fd(self) except -2:
        """
        The descriptor for questions to the kernel, under TLS too; -1: there is none any more.

        A loop's transport closes it a turn before it says so, and in between somebody else may get the number: its socket
        is asked each time. A PlainTransport keeps it until ``connection_lost`` has returned.
        """
        if self.fd < 0 and self.secure:
            return -1 if self.sock is None else <int>self.sock.fileno()
        return self.fd

    cdef bint is_quiet(self) except -1:
        """Whether nothing waits to be read, neither bytes (encrypted ones too, with the loop as well) nor the end."""
        cdef int fd = self.kernel_fd()
        if fd < 0 or not ws_is_quiet(fd):
            return False
        if self.cipher is not None:
            return self.cipher.is_settled()
        return self.records is None or self.records.is_quiet()

    cdef bint has_hung_up(self) except -1:
        """Whether the peer has ended or reset a connection that nobody reads from for now, and nobody has noticed."""
        cdef int fd = self.kernel_fd() if self.reading_paused else -1
        return fd >= 0 and ws_hung_up(fd)

    cdef Py_ssize_t count_unsent(self) except -1:
        """Bytes the peer has still to take before the transport holds nothing; shrinks as long as the peer reads."""
        cdef Py_ssize_t held
        if not self.buffered or self.transport is None:
            return 0
        held = self.transport.get_write_buffer_size()
        # The kernel has something as long as a cipher of the loop's has.
        return held + self.count_unconfirmed() if held or self.records is not None else 0

    cdef Py_ssize_t count_held(self) noexcept:
        """Whatever goes wrong, nothing is: the number is for logs."""
        cdef Py_ssize_t count = 0
        if self.taken is not None:
            return self.count_held_by_cipher()
        if self.cipher is not None:
            return self.cipher.count_held()
        if self.buffered and self.transport is not None:
            try:
                count = self.transport.get_write_buffer_size()
            except Exception:  # a transport under TLS that is gone already
                pass
        return count

    cdef Py_ssize_t count_held_by_cipher(self) noexcept:
        return 0 if self.taken.is_sure(self.fd_if_any()) else self.given - self.count_taken()

    cdef int64_t count_taken(self) noexcept:
        """The same the other way round, under TLS with ``taken``."""
        return self.taken.count_taken(self.fd_if_any())

    cdef int fd_if_any(self) noexcept:
        cdef int fd = -1
        try:
            fd = self.kernel_fd()
        except Exception:  # a socket that is gone already
            pass
        return fd

    cdef Py_ssize_t count_unconfirmed(self) except -1:
        """What only the kernel still has of everything that was sent."""
        cdef int fd = self.kernel_fd()
        return ws_unacknowledged(fd) if fd >= 0 else 0

    cdef bint was_confirmed(self, int64_t* received) except -1:
        """Whether the peer's kernel has confirmed bytes since this was asked last; ``received``: all that came from it."""
        cdef int fd = self.kernel_fd()
        cdef int64_t acknowledged
        received[0] = 0
        if fd < 0:
            return False
        acknowledged = ws_acknowledged(fd, received)
        if acknowledged <= self.acknowledged:
            return False
        self.acknowledged = acknowledged
        return True

    cdef int is_being_read(self) except -1:
        cdef Py_ssize_t unsent = self.count_unsent()
        cdef bint fewer = unsent < self.unsent
        cdef int64_t received
        self.unsent = unsent
        if self.records is not None and self.was_confirmed(&received):
            # The kernel's part stays as it is while the cipher refills it.
            fewer = fewer or unsent > 0
        return fewer

    cdef int shut(self) except -1:
        """
        Tells the peer's kernel of the end now: a transport closes at the end of the turn, or in the next one.

        Behind what our kernel has still to send. Without close_notify, as ``abort``.
        """
        cdef int fd = self.kernel_fd()
        if fd >= 0:
            c_shutdown(fd, SHUT_RDWR)  # where the peer is gone it fails, and nothing is to be done
        return 0
