# Where clients come in that speak TLS on sockets of our own.

from libc.stdint cimport int64_t
from wsproxy._fast.net.poller cimport Door, Poller
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.net.tls_socket cimport TlsTransport
from wsproxy._fast.net.tls_terms cimport Terms


cdef class TlsDoor(Door):
    cdef Terms terms

# What `adopt` does.
cdef TlsTransport begin(Poller poller, int fd, Stream stream, Terms terms, int64_t most_ms)
