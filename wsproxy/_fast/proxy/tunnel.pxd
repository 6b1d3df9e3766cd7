# A connection to a server: its tunnel, and its end.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport Exchange
from wsproxy._fast.proxy.pool cimport Pool


# Ends an exchange whose server's side is left already.
cdef int drop_client(Exchange exchange) except -1


cdef class TunnelEnd(Stream):
    cdef Engine engine
    cdef readonly Pool pool
    cdef Exchange exchange          # None: idle in the pool
    cdef bint ended_tunnel          # the server sends no more through its tunnel
    # A place at a server that this connection keeps until it is closed, because it has still to send; -1: none.
    cdef int owed
    cdef bint owed_probe
    cdef Cluster owed_cluster
    cdef bint is_leaving            # a tunnel's: it ends behind what it has still to send
    cdef int64_t moved_ms           # of a tunnel: when a byte went through it last

    # Bytes of the client go through the tunnel.
    cdef int pass_on(self, const char* data, Py_ssize_t length) except -1
    # The client sends no more through the tunnel; whether the tunnel goes on for the other direction.
    cdef bint client_ended(self) except -1
    cdef void touch_tunnel(self) noexcept
    cdef void time_tunnel(self) noexcept
    cdef int end_tunnel(self, bint clean) except -1
    # Leaves the tunnel and closes; `clean`: what was received is delivered.
    cdef int part(self, bint clean) except -1
    # The exchange's place at this server is this connection's from now on, until it is closed.
    cdef void owe(self, Cluster cluster, int server, bint probe) noexcept
    cdef void give_back(self) noexcept
    cdef int check_tunnel(self, int64_t now_ms) except -1
