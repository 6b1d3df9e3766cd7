"""
One request, as both of its sides see it: its phase, its questions to the slow path, what the server's side asks of it.

``Downstream`` implements what is an interface here, so that the two sides need not import each other; ``Upstream`` drives it.
"""

from collections import namedtuple

from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.net.stream cimport Stream, complain

# What retry rules and local answers need to know of an exchange: see ``Downstream.facts``. ``peer``: the client, as logs name
# it; a TrustedProxy may have said who that is.
Facts = namedtuple(
    "Facts",
    "peer keep_alive http10 head_only replayable timeout_retries io_timeout_retry bytes_sent reused age_ms body_bytes",
)

NOT_LOGGED = "internal error: %s could not be logged"


cdef int may_follow(int phase) noexcept:
    """The phases that may follow this one, a bit each: the one table of transitions."""
    cdef int over = 1 << LINGERING | 1 << CLOSED
    if phase == IDLE:
        return 1 << CONNECTING | 1 << ANSWERING | over
    if phase == CONNECTING:  # and again, where a connection is lost before it has the request
        return 1 << CONNECTING | 1 << RELAYING | 1 << ANSWERING | over
    if phase == RELAYING:  # CONNECTING: the next try
        return 1 << IDLE | 1 << CONNECTING | 1 << TUNNELLING | 1 << ANSWERING | over
    if phase == TUNNELLING:
        return over
    if phase == ANSWERING:
        return 1 << IDLE | over
    if phase == LINGERING:  # under TLS what is closed already may still be relaying
        return 1 << CLOSED
    return over  # the last exchange is over: its client may linger


cdef void check_phase(Phase now, Phase later) noexcept:
    if not may_follow(now) >> later & 1:
        fprintf(stderr, "wsproxy: phase %d of an exchange follows phase %d: see _fast/proxy/exchange.pyx\n", later, now)
        abort()


def phases_after(Phase phase):
    """The phases that may follow; for tests."""
    return {Phase(each) for each in range(CLOSED + 1) if may_follow(phase) >> each & 1}


cdef class Exchange:
    """What an Upstream may ask of the exchange it serves."""

    # --- questions to the slow path ---------------------------------------------------------------------------------
    # No `return` within an `except`: where memory was short there is no traceback, and Cython would let go of that.

    cdef int ask_connect(self) except -1:
        try:
            self.engine.slow.connect(self)
        except Exception:
            self.slow_failed("connect")
        return 0

    cdef int ask_send_kept(self) except -1:
        try:
            self.engine.slow.send_kept(self)
        except Exception:
            self.slow_failed("send_kept")
        return 0

    cdef int ask_no_server(self, bint full) except -1:
        try:
            self.engine.slow.no_server(self, full)
        except Exception:
            self.slow_failed("no_server")
        return 0

    cdef int ask_upstream_failed(self, int kind, int error, bint reused) except -1:
        try:
            self.engine.slow.upstream_failed(self, kind, error, reused)
        except Exception:
            self.slow_failed("upstream_failed")
        return 0

    cdef int ask_answer_cut(self, int kind, int error) except -1:
        try:
            self.engine.slow.answer_cut(self, kind, error)
        except Exception:
            self.slow_failed("answer_cut")
        return 0

    cdef int ask_answer_began(self, int status) except -1:
        try:
            self.engine.slow.answer_began(self, status)
        except Exception:
            self.slow_failed("answer_began")
        return 0

    cdef int ask_server_up(self, int status, int64_t down_ms) except -1:
        try:
            self.engine.slow.server_up(self, status, down_ms)
        except Exception:
            self.slow_failed("server_up")
        return 0

    cdef int ask_tries_over(self, object ledger) except -1:
        try:
            self.engine.slow.tries_over(self, ledger)
        except Exception:
            self.slow_failed("tries_over")
        return 0

    cdef int ask_has_room(self) except -1:
        try:
            self.engine.slow.has_room(self)
        except Exception:
            self.slow_failed("has_room")
        return 0

    cdef int ask_refuse(self, int error) except -1:
        try:
            self.engine.slow.refuse(self, error)
        except Exception:
            self.slow_failed("refuse")
        return 0

    cdef int ask_last_hop(self, bint is_options) except -1:
        try:
            self.engine.slow.last_hop(self, is_options)
        except Exception:
            self.slow_failed("last_hop")
        return 0

    cdef int ask_health(self, bint ok) except -1:
        try:
            self.engine.slow.health(self, ok)
        except Exception:
            self.slow_failed("health")
        return 0

    cdef int ask_no_route(self, bytes method, bytes target, bytes host, int port, bytes path) except -1:
        try:
            self.engine.slow.no_route(self, method, target, host, port, path)
        except Exception:
            self.slow_failed("no_route")
        return 0

    cdef int ask_edge(self, int act, int table, bytes method, bytes target) except -1:
        try:
            self.engine.slow.edge(self, act, table, method, target)
        except Exception:
            self.slow_failed("edge")
        return 0

    cdef int ask_page(self, int table, int status) except -1:
        try:
            self.engine.slow.page(self, table, status)
        except Exception:
            self.slow_failed("page")
        return 0

    cdef int ask_too_large(self) except -1:
        try:
            self.engine.slow.too_large(self)
        except Exception:
            self.slow_failed("too_large")
        return 0

    cdef int ask_timed_out(self) except -1:
        try:
            self.engine.slow.timed_out(self)
        except Exception:
            self.slow_failed("timed_out")
        return 0

    cdef int slow_failed(self, str question) except -1:
        """Within the handling of what it raised."""
        self.drop()
        complain("internal error in %s; the connection is dropped", (question,))
        return 0

    # --- what the witness is told -----------------------------------------------------------------------------------

    cdef int tell_picked(self, long long number, str server, bint by_affinity) except -1:
        try:
            self.engine.witness.picked(self, number, server, by_affinity)
        except Exception:
            complain(NOT_LOGGED, ("picked",))
        return 0

    cdef int tell_checked(self, object chosen) except -1:
        try:
            self.engine.witness.checked(self, chosen)
        except Exception:
            complain(NOT_LOGGED, ("checked",))
        return 0

    cdef int tell_decided(self, object asked, object chosen, bytes head) except -1:
        try:
            self.engine.witness.decided(self, asked, chosen, head)
        except Exception:
            complain(NOT_LOGGED, ("decided",))
        return 0

    cdef int tell_sent(self, bytes head, bint reused) except -1:
        try:
            self.engine.witness.sent(self, head, reused)
        except Exception:
            complain(NOT_LOGGED, ("sent",))
        return 0

    cdef int tell_answered(self, bytes head) except -1:
        try:
            self.engine.witness.answered(self, head)
        except Exception:
            complain(NOT_LOGGED, ("answered",))
        return 0

    cdef int tell_over(self, long long number, str server, bint by_affinity) except -1:
        try:
            self.engine.witness.over(self, number, server, by_affinity)
        except Exception:
            complain(NOT_LOGGED, ("over",))
        return 0

    # --- what the server's side asks for; see ``exchange.pxd`` -------------------------------------------------------

    cdef int drop(self) except -1:
        raise NotImplementedError

    cdef int edit_answer(self, ResponseHead* head, const char* body, Py_ssize_t length) noexcept:
        return 0

    cdef int note_partitions(self, Fields* fields) except -1:
        raise NotImplementedError

    cdef int answer_begins(self, Py_ssize_t head_len) except -1:
        raise NotImplementedError

    cdef int answer_goes_on(self) except -1:
        raise NotImplementedError

    cdef int finish(self) except -1:
        raise NotImplementedError

    cdef int continue_body(self) except -1:
        raise NotImplementedError

    cdef bint is_refused(self, int status) except -1:
        raise NotImplementedError

    cdef int go_elsewhere(self) except -1:
        raise NotImplementedError

    cdef bint wants_page(self, int status) noexcept:
        return False

    cdef int give_page(self, int status) except -1:
        raise NotImplementedError

    cdef int begin_tunnel(self) except -1:
        raise NotImplementedError

    cdef bint server_ended(self) except -1:
        raise NotImplementedError

    cdef int end_tunnel(self, bint clean) except -1:
        raise NotImplementedError

    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1:
        raise NotImplementedError
