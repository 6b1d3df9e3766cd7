"""
One TCP connection: receives into the worker's one read buffer, sends straight from pointers, keeps a coarse deadline.

``Downstream`` and ``Upstream`` build on it; its transport is a ``poller.PlainTransport``, or the event loop's under TLS.
Must not know HTTP.

Copies bytes only when the kernel did not take them: a send goes to the socket directly (as long as the transport holds
nothing back), and only the rest is handed to the transport, which then does the waiting and the flow control.
Borrowed memory: what ``received`` is given lies in the hub's buffer and is overwritten by the next read of any stream.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from wsproxy._fast.state cimport ws_now_ms

import logging
import os

log = logging.getLogger("wsproxy.connection")

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/sockios.h>
    #include <linux/tcp.h>
    #include <netinet/in.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <sys/uio.h>

    /* Bytes sent of both parts; -1 nothing can be sent now; -2 the connection is broken; -3 by what is told once. */
    static inline ssize_t ws_send2(int fd, const char *a, size_t a_len, const char *b, size_t b_len, int more) {
        int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
        ssize_t sent;
        do {
            if (b_len == 0) {
                sent = send(fd, a, a_len, flags);
            } else if (a_len == 0) {
                sent = send(fd, b, b_len, flags);
            } else {
                struct iovec parts[2] = {{(void *)a, a_len}, {(void *)b, b_len}};
                struct msghdr message = {0};
                message.msg_iov = parts;
                message.msg_iovlen = 2;
                sent = sendmsg(fd, &message, flags);
            }
        } while (sent < 0 && errno == EINTR);
        if (sent >= 0) return sent;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return -1;
        return errno == EPIPE ? -2 : -3;
    }

    /* Whether nothing has arrived and the peer has not closed. */
    static inline int ws_is_quiet(int fd) {
        char byte;
        return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    /* Bytes in the kernel that the peer has not confirmed. */
    static inline ssize_t ws_unacknowledged(int fd) {
        int count;
        return ioctl(fd, SIOCOUTQ, &count) == 0 ? count : 0;
    }

    /* Bytes that the peer has confirmed since the connection began; 0 where the kernel does not say. */
    static inline int64_t ws_acknowledged(int fd) {
        struct tcp_info info;
        socklen_t size = sizeof(info);
        size_t needed = offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked);
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < needed) return 0;
        return (int64_t)info.tcpi_bytes_acked;
    }

    /* The next close sends a reset instead of an end. */
    static inline void ws_reset_on_close(int fd) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    """
    enum:
        MSG_DONTWAIT
    Py_ssize_t recv(int fd, void* data, size_t room, int flags)
    Py_ssize_t ws_send2(int fd, const char* a, size_t a_len, const char* b, size_t b_len, bint more) nogil
    bint ws_is_quiet(int fd) noexcept nogil
    Py_ssize_t ws_unacknowledged(int fd) noexcept nogil
    int64_t ws_acknowledged(int fd) noexcept nogil
    void ws_reset_on_close(int fd) noexcept nogil


cdef enum:
    # Up to here copying a body behind its head is cheaper than sendmsg with two parts.
    FEW_BYTES = 4096
    # A TLS transport holds this much, in each direction, before it pauses: as much as a plain one. Its own limits are eight
    # and four times that, for each slow client.
    TLS_HELD_BYTES = 65536
    # What follows a deadline, an answer at most, takes as long as looking at so many connections: 5,000 dripping heads that
    # began together end together.
    DEADLINE_LOOKS = 256
    EVERY = 0x7FFFFFFF


cdef class Hub:
    """What the connections of one worker share: one read buffer, one buffer for heads, the list for deadlines."""

    def __cinit__(self):
        cdef unsigned char[::1] view
        self.read_view = memoryview(bytearray(READ_SIZE))
        view = self.read_view
        self.read_data = <char*>&view[0]
        self.first = NULL
        self.out = <char*>PyMem_Malloc(OUT_SIZE)
        if self.out == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.out)

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
            if 0 < stream.deadline_ms <= now_ms:
                stream.deadline_ms = 0
                most -= DEADLINE_LOOKS
                try:
                    stream.on_deadline(now_ms)
                except Exception:  # one stream must not cost the others their deadlines
                    log.exception("internal error at a deadline; the connection is dropped")
                    stream.was_reset = True
                    stream.abort()
        self.to_sweep = at
        return at != NULL

    def streams(self) -> list[Stream]:
        """All open connections; for draining and tests."""
        cdef void* at = self.first
        found = []
        while at != NULL:
            found.append(<Stream>at)
            at = (<Stream>at).next
        return found


cdef class Stream:
    """A connection; asyncio sees a BufferedProtocol (see the classes at the end of ``connection``)."""

    # --- what the transport calls -----------------------------------------------------------------------------------

    def connection_made(self, transport) -> None:
        """Takes the transport; plain TCP is written to directly from now on."""
        sock = transport.get_extra_info("socket")
        self.transport = transport
        self.secure = transport.get_extra_info("sslcontext") is not None
        self.socket_fd = -1 if sock is None else sock.fileno()
        self.fd = -1 if self.secure else self.socket_fd
        if self.secure:
            transport.set_write_buffer_limits(TLS_HELD_BYTES)
            transport.set_read_buffer_limits(TLS_HELD_BYTES)
        self.hub.link(self)
        self.opened()

    def get_buffer(self, sizehint):
        """The hub's buffer: valid for one read, processed at once in ``buffer_updated``."""
        return self.hub.read_view

    def buffer_updated(self, Py_ssize_t length) -> None:
        """Bytes arrived in the hub's buffer."""
        self.feed(length)

    cdef int feed(self, Py_ssize_t length) except -1:
        try:
            self.received(self.hub.read_data, length)
        except Exception:
            log.exception("internal error while handling received bytes; the connection is dropped")
            self.was_reset = True  # by us; it must not pass for an orderly end
            self.abort()
        return 0

    def eof_received(self):
        """The peer sends no more; the transport closes unless ``ended`` says otherwise."""
        return bool(self.peer_ended())

    cdef bint peer_ended(self) except -1:
        if not self.secure:
            return self.ended() != 0
        if not self.closing:
            self.ended()
            if not self.closing:
                self.close()  # TLS connections are never half open: the transport closes whatever is said here
        return False

    def connection_lost(self, error) -> None:
        """The end; called exactly once."""
        self.hub.unlink(self)
        self.closing = True
        self.fd = -1
        self.socket_fd = -1
        self.deadline_ms = 0
        if error is None and self.was_reset:
            error = ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
        try:
            self.lost(error)
        finally:
            self.transport = None

    def pause_writing(self) -> None:
        """The transport holds enough: whoever feeds this stream must stop reading."""
        self.write_paused = True
        self.on_write_paused(True)

    def resume_writing(self) -> None:
        """The transport has room again."""
        self.write_paused = False
        self.on_write_paused(False)

    # --- what subclasses define -------------------------------------------------------------------------------------

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
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

    cdef int on_write_paused(self, bint paused) except -1:
        return 0

    cdef bint serves_client(self) noexcept:
        return False

    cdef bint is_idle(self) noexcept:
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
        return self.fd >= 0 and not self.buffered

    cdef int note_broken(self, bint by_reset) except -1:
        # Not aborted here: the peer may have answered before it closed. Reading tells.
        self.write_broken = True
        self.was_reset = self.was_reset or by_reset  # a read may have been told
        return 0

    cdef bint fills_pipe(self) noexcept:
        return self.fd >= 0 and self.hub.pipe is not None and not self.hub.pipe.is_refused

    cdef bint takes_pipe(self) except -1:
        return not self.closing and not self.write_broken and self.takes_directly()

    cdef int send_piped(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        """Sends both parts, and behind them what is in the hub's pipe, which is empty afterwards."""
        cdef Pipe pipe = self.hub.pipe
        cdef Py_ssize_t count
        self.push(a, a_len, b, b_len, True)
        if self.takes_pipe():
            count = pipe.drain(self.fd)  # I/O
            if count < 0:
                self.note_broken(count == -3)
            else:
                self.given += count
        while pipe.length:
            count = pipe.take(self.hub.read_data, READ_SIZE)
            if count <= 0:
                raise OSError(errno, "the pipe gave back less than went into it")
            self.send(self.hub.read_data, count, NULL, 0)
        return 0

    cdef Py_ssize_t read_on(self, Py_ssize_t at) except -1:
        """What has arrived by now, behind the first ``at`` bytes in the hub's buffer; its length."""
        cdef Py_ssize_t count = recv(self.fd, self.hub.read_data + at, READ_SIZE - at, MSG_DONTWAIT)
        if count >= 0:
            return count  # 0, the end, is told again
        if errno != EAGAIN and errno != EINTR:
            self.was_reset = True  # an error is told once
        return 0

    cdef Py_ssize_t fill_pipe(self, int64_t most) except -3:
        """The same into the hub's pipe; NOT_PUMPED where nothing came, -1: see errno."""
        cdef Py_ssize_t count = self.hub.pipe.fill(self.fd, min(most, <int64_t>READ_SIZE))
        if count > 0:
            return count
        if count == 0 or errno == EAGAIN:
            return NOT_PUMPED  # not the last word: splice(2) goes no further than to an urgent byte, recv(2) past it
        self.was_reset = True
        return -1

    cdef int send_encrypted(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        """Both parts in one write: the cipher makes as few records of them as it can."""
        cdef bytes data = PyBytes_FromStringAndSize(NULL, a_len + b_len)
        cdef char* at = <char*>data
        if a_len:
            memcpy(at, a, a_len)
        if b_len:
            memcpy(at + a_len, b, b_len)
        # For good: what lies between the cipher and the socket is not told, only the kernel can be asked.
        self.buffered = True
        self.transport.write(data)
        return 0

    cdef bint is_quiet(self) noexcept:
        """Whether nothing waits to be read, neither bytes (encrypted ones too) nor the end."""
        return self.socket_fd < 0 or ws_is_quiet(self.socket_fd)

    cdef Py_ssize_t count_unsent(self) except -1:
        """Bytes the peer has still to take before the transport holds nothing; shrinks as long as the peer reads."""
        cdef Py_ssize_t held
        if not self.buffered or self.transport is None:
            return 0
        held = self.transport.get_write_buffer_size()
        # The kernel has something as long as a cipher has.
        if self.socket_fd >= 0 and (held or self.secure):
            held += ws_unacknowledged(self.socket_fd)
        return held

    cdef int is_being_read(self) except -1:
        cdef Py_ssize_t unsent = self.count_unsent()
        cdef bint fewer = unsent < self.unsent
        cdef int64_t acknowledged
        self.unsent = unsent
        if self.secure and self.socket_fd >= 0:
            # The kernel's part stays as it is while the cipher refills it.
            acknowledged = ws_acknowledged(self.socket_fd)
            fewer = fewer or (unsent > 0 and acknowledged > self.acknowledged)
            self.acknowledged = acknowledged
        return fewer

    cdef int pause_reading(self) except -1:
        if not self.reading_paused and not self.closing:
            self.reading_paused = True
            self.transport.pause_reading()
        return 0

    cdef int resume_reading(self) except -1:
        if self.reading_paused and not self.closing:
            self.reading_paused = False
            self.transport.resume_reading()
        return 0

    cdef int close(self) except -1:
        """Closes after everything that was handed to the transport is sent."""
        if not self.closing:
            self.closing = True
            self.transport.close()
        return 0

    cdef int abort(self) except -1:
        """Closes now; what the transport still holds is lost."""
        if self.transport is not None:
            self.closing = True
            self.transport.abort()
        return 0

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
        if self.socket_fd >= 0 and self.transport is not None:
            ws_reset_on_close(self.socket_fd)
        return self.abort()
