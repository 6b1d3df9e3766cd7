"""
Lines sent as datagrams, each in one of its own: how syslog daemons take them (RFC 5426; a local socket does the same).

Used by ``logs.outlets``, in a thread that writes: without the interpreter's lock, so that requests do not wait. Must not know
what a line says.
"""

from libc.errno cimport EINTR, errno
from libc.string cimport memchr

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT, MSG_NOSIGNAL
    Py_ssize_t c_send "send"(int fd, const void* data, size_t length, int flags)


def send_lines(int fd, bytes lines not None, Py_ssize_t start, bint waits=True) -> tuple[int, int]:
    """
    Sends whole lines from ``start`` on, without their ends; (where it stopped, errno): the length and 0 where all are sent.

    ``waits``: as long as the socket's own time limit says (SO_SNDTIMEO). # I/O.
    """
    cdef const char* data = lines
    cdef Py_ssize_t length = len(lines)
    cdef Py_ssize_t at = start
    cdef Py_ssize_t size, sent
    cdef const char* end
    cdef int error = 0
    cdef int flags = MSG_NOSIGNAL if waits else MSG_NOSIGNAL | MSG_DONTWAIT
    if not 0 <= start <= length:
        raise ValueError(f"found start {start}; allowed is 0..{length}")
    with nogil:
        while at < length:
            end = <const char*>memchr(data + at, c"\n", length - at)
            size = length - at if end == NULL else end - (data + at)
            sent = c_send(fd, data + at, min(size, <Py_ssize_t>MOST_MESSAGE), flags)
            if sent < 0:
                if errno == EINTR:
                    continue
                error = errno
                break
            at = min(at + size + 1, length)
    return at, error
