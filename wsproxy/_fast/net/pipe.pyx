"""
The pipe of a worker: bytes of a body go through it from socket to socket without being copied (splice(2)).

Used by ``stream``, ``upstream`` and ``intake``, between two plain connections only, and empty whenever one of them is left:
what a socket does not take is read out again, and waits where bytes wait that came the other way. Must not know HTTP.
Measured in docs/decisions/0004.
"""

import os

from libc.errno cimport EAGAIN, ENOBUFS, ENOMEM, EPIPE, errno
from libc.stdint cimport int64_t
from wsproxy._fast.net.sockets cimport ws_send_room

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <unistd.h>

    /* _GNU_SOURCE is Python's. */
    static inline ssize_t ws_splice(int from, int to, size_t most, int *is_refused) {
        ssize_t count;
        do {
            count = splice(from, NULL, to, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        } while (count < 0 && errno == EINTR);
        if (count < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) {
            /* As in some sandboxes. What was not moved is still there to be read. */
            *is_refused = 1;
            errno = EAGAIN;
        }
        return count;
    }
    """
    enum:
        F_SETPIPE_SZ, F_GETPIPE_SZ, O_NONBLOCK, O_CLOEXEC
    int fcntl(int fd, int command, ...)
    int c_close "close"(int fd)
    Py_ssize_t c_read "read"(int fd, void* data, size_t room)
    Py_ssize_t ws_splice(int source, int target, size_t most, bint* is_refused)

cdef enum:
    # Room is counted in pages, also where a page has a packet's 1,448 bytes: this is all that an unprivileged process gets.
    WANTED_BYTES = 1048576
    # So much of one connection at once, whatever becomes of it: what the other one does not take has to be kept.
    SHARE_BYTES = 262144
    # A user with too many pipes gets one page: worse than copying.
    LEAST_BYTES = 65536


cdef class Pipe:
    """One pipe; raises OSError where there is none to be had."""

    def __cinit__(self):
        self.entry = self.exit = -1
        self.exit, self.entry = os.pipe2(O_NONBLOCK | O_CLOEXEC)
        fcntl(self.entry, F_SETPIPE_SZ, <int>WANTED_BYTES)
        cdef int size = fcntl(self.entry, F_GETPIPE_SZ)
        if size < LEAST_BYTES:
            raise OSError(f"found a pipe of {size} bytes; allowed is {LEAST_BYTES} at least (see fs.pipe-user-pages-soft)")

    def __dealloc__(self):
        if self.entry >= 0:
            c_close(self.entry)
            c_close(self.exit)

    cdef Py_ssize_t fill(self, int fd, int64_t most, int target) noexcept:
        cdef Py_ssize_t count, room
        if self.length:
            self.discard()  # an error came between
        count = ws_splice(fd, self.entry, <size_t>min(most, <int64_t>SHARE_BYTES), &self.is_refused)
        if count <= 0:
            return count
        self.length = count
        if count == SHARE_BYTES and most > SHARE_BYTES and self.spare > 0:  # there is more as a rule
            room = <Py_ssize_t>min(most, <int64_t>min(ws_send_room(target), <Py_ssize_t>WANTED_BYTES)) - count
            if room > 0:
                count = ws_splice(fd, self.entry, room, &self.is_refused)
                if count > 0:
                    self.length += count
                    self.spare -= count
        return self.length

    cdef Py_ssize_t drain(self, int fd) noexcept:
        cdef Py_ssize_t whole = self.length
        cdef Py_ssize_t count
        while self.length:
            count = ws_splice(self.exit, fd, self.length, &self.is_refused)
            if count <= 0:
                break
            self.length -= count
            self.passed += count
        if self.length and count < 0:
            if errno == EPIPE:
                return -2
            if errno != EAGAIN and errno != ENOBUFS and errno != ENOMEM:
                return -3
        return whole - self.length  # what is left is copied

    cdef Py_ssize_t take(self, char* data, Py_ssize_t room) noexcept:
        cdef Py_ssize_t count = c_read(self.exit, data, min(room, self.length))
        if count <= 0:
            self.length = 0  # it has no more, whatever was counted
            return 0
        self.length -= count
        return count

    cdef void discard(self) noexcept:
        cdef char bytes_[4096]
        while self.length:
            self.take(bytes_, sizeof(bytes_))
