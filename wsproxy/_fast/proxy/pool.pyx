"""
Warm connections to one server.

Made by ``dataplane.view`` after the fork: each worker has its own. Must not open connections: the slow path does.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.tell.scan cimport is_short_and_plain


cdef class Pool:
    """Warm connections to one server, used last in first out; each worker has its own."""

    def __init__(
        self, str name not None, str host not None, int port, *,
        double connect_timeout_s=10, double io_timeout_s=0, bint io_timeout_marks_down=False,
        double ws_io_timeout_s=0, double ws_idle_s=3600,
        double idle_s=25, int most_idle=2048, object tls=None,
        bint extended_handshake=False, bint wait_for_continue=False, str proxy_protocol not None="none",
    ):
        self.parameters = (
            name, host, port, connect_timeout_s, io_timeout_s, io_timeout_marks_down, ws_io_timeout_s, ws_idle_s, idle_s,
            most_idle, tls, extended_handshake, wait_for_continue, proxy_protocol,
        )
        self.name = name
        self.host = host
        self.port = port
        self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        self.tls = tls
        self.is_plain = is_short_and_plain(<const char*>self.address, len(self.address))
        self.connect_timeout_s = connect_timeout_s
        self.io_timeout_ms = <int64_t>(io_timeout_s * 1000)
        self.io_timeout_marks_down = io_timeout_marks_down
        self.ws_io_timeout_ms = <int64_t>(ws_io_timeout_s * 1000)
        self.ws_idle_ms = <int64_t>(ws_idle_s * 1000)
        self.proxy_protocol = proxy_protocol
        # A connection that began with a client's address is that client's: kept, it would serve others in its name.
        self.idle_ms = <int64_t>(idle_s * 1000) if proxy_protocol == "none" else 0
        self.most_idle = most_idle
        self.extended_handshake = extended_handshake
        self.wait_for_continue = wait_for_continue
        self.idle = []

    cdef Stream take(self, int64_t now_ms):
        """
        The connection used last; None where none is warm.

        One on which something waits is dropped: bytes behind the last answer would pass for the next one, and an end
        means that the server closed it. One recv a request (0.2 us) buys both.
        """
        cdef Stream upstream
        while self.warm:
            self.warm -= 1
            upstream = <Stream>self.idle[self.warm]
            self.idle[self.warm] = None
            if not upstream.closing and upstream.deadline_ms > now_ms and upstream.is_quiet():
                return upstream
            upstream.abort()
        return None

    cdef int put(self, Stream upstream, int64_t now_ms) except -1:
        if upstream.closing:
            return 0
        if self.is_retired or self.idle_ms <= 0 or self.warm >= self.most_idle:
            upstream.close()
            return 0
        upstream.deadline_ms = now_ms + self.idle_ms
        if self.warm == len(self.idle):
            self.idle.append(None)
        self.idle[self.warm] = upstream
        self.warm += 1
        return 0

    cdef int retire(self) except -1:
        """Closes what is idle; what is in use is closed as it is given back."""
        cdef list idle = self.idle[:self.warm]
        cdef Stream upstream
        self.is_retired = True
        self.idle = []  # first: each of them is looked for here when it is lost
        self.warm = 0
        for upstream in idle:
            upstream.close()
        return 0

    cdef int reopen(self) except -1:
        """A View that has it is the present one (again)."""
        self.is_retired = False
        return 0

    cdef int forget(self, Stream upstream) except -1:
        """A connection that was lost while it lay here."""
        if upstream in self.idle:
            self.idle.remove(upstream)
            self.warm -= 1
        return 0
