"""
The server's side of a tunnel, and whose the place at the server is when a connection ends.

``upstream`` derives from it and has what comes before: a request, and the answer that changes the protocol. A place is
given back when the server can see that nothing of the request runs any more: see ``Course.release``.
"""

import logging

from libc.stdint cimport int64_t
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.net.stream cimport Stream, complain
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport Exchange
from wsproxy._fast.proxy.pool cimport Pool
from wsproxy._fast.tell.ended cimport ENDED_I, ENDED_sD

log = logging.getLogger("wsproxy.connection")


cdef int drop_client(Exchange exchange) except -1:
    """Ends an exchange whose server's side is left already: nobody else would know of what went wrong."""
    exchange.ended_by(ENDED_I)
    exchange.sink.abort()
    complain("internal error at the end of an exchange; the client's connection is dropped", ())
    return 0


cdef class TunnelEnd(Stream):
    """A connection to a server as what ends, and as what passes on whatever comes."""

    def __cinit__(self, Engine engine not None, Pool pool not None):
        self.hub = engine
        self.engine = engine
        self.pool = pool
        self.fd = -1
        self.owed = -1

    cdef int pass_on(self, const char* data, Py_ssize_t length) except -1:
        self.send(data, length, NULL, 0)
        if self.write_broken and self.ended_tunnel:
            return self.end_tunnel(True)  # nothing is read from it any more that would tell
        self.touch_tunnel()
        return 0

    cdef void touch_tunnel(self) noexcept:
        self.moved_ms = ws_now_ms()
        self.time_tunnel()

    cdef void time_tunnel(self) noexcept:
        """When to look next: at the first limit that may be over; which one counts, `check_tunnel` sees."""
        cdef int64_t limit_ms = self.pool.ws_idle_ms
        cdef int64_t body_ms
        if self.ended_tunnel or self.exchange.half_closed:
            # Who ended may be gone for good, as most are: that is no reason to keep the other's connection for an hour.
            body_ms = self.exchange.view.body_timeout_ms
            limit_ms = min(limit_ms, body_ms) if limit_ms else body_ms
        if self.buffered and self.pool.ws_io_timeout_ms:
            limit_ms = min(limit_ms, self.pool.ws_io_timeout_ms) if limit_ms else self.pool.ws_io_timeout_ms
        self.deadline_ms = self.moved_ms + limit_ms if limit_ms else 0

    cdef bint client_ended(self) except -1:
        self.touch_tunnel()
        return not self.ended_tunnel and self.half_close()

    cdef int check_tunnel(self, int64_t now_ms) except -1:
        """
        Its time is over, unless the server reads after all, or the client has still to read.

        While bytes wait that the server does not take, wsServerIOTimeout counts, else wsServerIdleTimeout.
        """
        cdef int64_t io_deadline_ms = self.moved_ms + self.pool.ws_io_timeout_ms
        if self.buffered:
            if self.is_being_read():
                self.touch_tunnel()
                return 0
            if self.count_unsent():
                if io_deadline_ms > now_ms:
                    self.deadline_ms = io_deadline_ms
                    return 0
                log.info(
                    "server %s: a tunnel is closed: the server does not read (%s)", self.pool.name,
                    "wsServerIOTimeout" if self.pool.ws_io_timeout_ms else "wsServerIdleTimeout",
                )
                self.exchange.ended_by(ENDED_sD)
                return self.end_tunnel(False)
            self.buffered = False  # all was taken: only the silence counts
            self.time_tunnel()
            if self.deadline_ms == 0 or self.deadline_ms > now_ms:
                return 0
        if self.exchange.sink.is_paused():
            self.touch_tunnel()  # it is the client's turn, and body_s counts: what it takes are bytes, too
            return 0
        log.info("server %s: a tunnel is closed: nobody says anything (wsServerIdleTimeout)", self.pool.name)
        self.exchange.ended_by(ENDED_sD)
        return self.end_tunnel(True)

    cdef int end_tunnel(self, bint clean) except -1:
        cdef Exchange exchange = self.exchange
        self.part(clean)
        try:
            exchange.end_tunnel(clean)
        except Exception:
            drop_client(exchange)
        return 0

    cdef int part(self, bint clean) except -1:
        self.exchange = None
        if not clean:
            return self.sever()
        self.close()
        self.deadline_ms = ws_now_ms() + self.engine.view.body_timeout_ms  # for a server that does not take the last bytes
        self.is_leaving = self.secure or self.count_held() > 0
        if not self.is_leaving:
            self.shut()
        return 0

    cdef void owe(self, Cluster cluster, int server, bint probe) noexcept:
        self.owed_cluster = cluster
        self.owed = server
        self.owed_probe = probe

    cdef void give_back(self) noexcept:
        self.owed_cluster.release(self.owed, self.engine.worker_id, self.owed_probe)
        self.owed = -1
        self.owed_cluster = None

    # --- the end ----------------------------------------------------------------------------------------------------

    cdef int lose(self, object error) except -1:
        """Its socket is closed when this has returned: the server is told before, and only then its place is given back."""
        if self.exchange is not None or self.owed >= 0:
            self.shut()
        try:
            Stream.lose(self, error)
        finally:
            if self.owed >= 0:  # also since a moment ago
                self.give_back()
        return 0
