# Where clients come in: listening sockets of a worker, in its epoll set.

from libc.stdint cimport int64_t
from wsproxy._fast.net.epoll cimport INET6_ADDRSTRLEN
from wsproxy._fast.net.poller cimport Channel, Poller
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.net.tls_socket cimport TlsTransport
from wsproxy._fast.net.tls_terms cimport Terms


cdef class Door(Channel):
    cdef object sock
    cdef object make                # () -> the Stream that the poller adopts the socket for; or
    cdef object give                # (descriptor) -> None: somebody else's from now on
    cdef char local_host[INET6_ADDRSTRLEN]  # the same for all its connections where it is bound to one address
    cdef int local_port             # -1: it is bound to any
    cdef int most                   # connections that it accepts in a row
    cdef int full_rows              # rows in which there were as many
    cdef double silent_until        # on the loop's clock: when it says again that it cannot accept
    cdef double paused_until        # the same clock: when it accepts again; 0: it does

    cdef int take(self, int fd) except -1
    cdef int pause(self, int number) except -1


cdef class TlsDoor(Door):
    cdef Terms terms

# What `adopt` does.
cdef TlsTransport begin(Poller poller, int fd, Stream stream, Terms terms, int64_t most_ms)
