# Warm connections to one server.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.net.stream cimport Stream


cdef class Pool:
    cdef readonly str name          # of the server
    cdef readonly str host
    cdef readonly int port
    cdef bytes address              # host:port
    cdef bint is_plain              # the access log has it as it stands, and it is short
    cdef readonly object tls        # how connections are secured: see dataplane.upstream_tls; None: they are not
    cdef readonly double connect_timeout_s
    cdef readonly int64_t io_timeout_ms
    cdef readonly bint io_timeout_marks_down
    cdef readonly int64_t ws_io_timeout_ms  # of a tunnel: until bytes that wait are taken; 0: none
    cdef readonly int64_t ws_idle_ms        # of a tunnel: without a byte in either direction; 0: none
    cdef readonly bint extended_handshake
    cdef readonly bint wait_for_continue
    cdef readonly str proxy_protocol  # "v1", "v2": each connection begins with its client's address; "none"
    # All that it was made of: a pool of the same leads to the same server in the same way.
    cdef readonly tuple parameters
    cdef readonly bint is_retired   # its View was replaced: nothing is kept any more
    cdef int64_t idle_ms
    cdef int most_idle
    cdef list idle                  # Upstreams, the one used last at the end of the first `warm`; behind them None
    cdef Py_ssize_t warm            # how many: a list that shrinks and grows with each request costs 500 instructions

    cdef Stream take(self, int64_t now_ms)
    cdef int put(self, Stream upstream, int64_t now_ms) except -1
    cdef int retire(self) except -1
    cdef int reopen(self) except -1
    cdef int forget(self, Stream upstream) except -1


# Where requests go that this server of the service has been chosen for; `secure`: their client came over TLS.
cdef inline Pool pool_of(Service service, int server, bint secure):
    return <Pool>(service.secure_pools if secure else service.pools)[server]
