"""
One request from its head to the end of its answer: its deadlines, what is noted of it, and how it ends.

What a request is and where it goes is ``intake``'s part. A Course owns what the request took (the server, what it sent)
until ``finish``, and gives it back on every way out: answered, refused, cut, the client gone, the server gone. It is used
again for the next one of its client. It knows no socket: what it says to the client goes to its ``sink``.
"""

import logging

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.base.atomics cimport ws_count
from wsproxy._fast.base.buffer cimport buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms, ws_now_us
from wsproxy._fast.decide.decide cimport DEFAULT_PORT, DEFAULT_TLS_PORT
from wsproxy._fast.decide.edge cimport EdgeAsked
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.decide.writers cimport describe_found
from wsproxy._fast.http.origin cimport believe_nothing
from wsproxy._fast.net.stream cimport Stream, complain
from wsproxy._fast.proxy.account cimport Account
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport (
    ANSWERING, BAD_RESPONSE, CLOSED, CLOSED_EARLY, CONNECTING, IDLE, LINGERING, RELAYING, TUNNELLING,
)
from wsproxy._fast.proxy.sink cimport no_sink
from wsproxy._fast.proxy.squeeze cimport end_squeezing
from wsproxy._fast.proxy.upstream cimport Upstream
from wsproxy._fast.state.changes cimport visible_start
from wsproxy._fast.state.latency cimport ws_note_latency
from wsproxy._fast.state.meters cimport CUT_FAILED, FAILED, QUEUE_LEFT, add_one
from wsproxy._fast.tell.ended cimport (
    CLIENT_LATE, CLIENT_LEFT, ENDED_CD, ENDED_cR, ENDED_I, ENDED_PD, ENDED_PH, ENDED_SD, ENDED_sD, ENDED_SH, ENDED_sH,
    FOR_DATA, Cause, cause_of,
)
from wsproxy._fast.tell.scan cimport is_short_and_plain
from wsproxy._fast.tell.witness cimport DETAIL, describe_head

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # In the access log: the client left, or was given up, before an answer began. It is nginx's number; httpd has none.
    LEFT_STATUS = 499
    # The same, but the fault is ours.
    DROPPED_STATUS = 500
    # What is late has so much more: some turns of the loop.
    OVERDUE_MS = 500
    # Of a request's method and path, so much is kept for the logs.
    MOST_ASKED = 1024


cdef Cause failure_of(int kind, bint answer_began) noexcept:
    """How a try at a server failed, a FailureKind, as why the exchange ended."""
    if kind == CLOSED_EARLY:
        return ENDED_SD if answer_began else ENDED_SH
    if kind == BAD_RESPONSE:
        return ENDED_PD if answer_began else ENDED_PH
    return ENDED_sD if answer_began else ENDED_sH


cdef class Course(Account):
    """One request of a client; when it is over, the next one."""

    def __cinit__(self, Engine engine not None):
        self.engine = engine
        self.view = engine.view
        self.sink = no_sink()
        self.choice.server = -1

    def __dealloc__(self):
        buffer_clear(&self.sent)
        buffer_clear(&self.asked)
        buffer_clear(&self.session)
        buffer_clear(&self.trailers)

    # --- who is waited for -------------------------------------------------------------------------------------------

    cdef void await_client(self) noexcept:
        """
        The client has body_s to go on where it is its turn: to send the rest of its request, or to read.

        The slow path has the time that it said itself, for a try at a server.
        """
        cdef int64_t until_ms = 0
        if self.sink.is_paused() or (self.phase == RELAYING and not self.request_done):
            until_ms = ws_now_ms() + self.view.body_timeout_ms
        elif self.half_closed and not self.response_started and self.phase != TUNNELLING:
            until_ms = ws_now_ms() + self.view.half_closed_timeout_ms
        if self.has_try() and (until_ms == 0 or self.try_until_ms < until_ms):
            until_ms = self.try_until_ms
        self.sink.wait(until_ms)

    cdef bint has_try(self) noexcept:
        return self.phase == CONNECTING and self.choice.server >= 0 and self.try_until_ms > 0

    cdef int set_client(
        self, bytes peer, int peer_port, bytes local_host, int local_port, bint secure, bytes constant
    ) except -1:
        self.peer = peer
        self.peer_port = peer_port
        self.local_host = local_host
        self.local_port = local_port
        self.secure = secure
        self.constant = constant
        self.origin.secure = secure
        self.origin.constant = <const char*>self.constant
        self.origin.constant_len = len(self.constant)
        self.origin.local_host = <const char*>self.local_host
        self.origin.local_host_len = len(self.local_host)
        self.origin.peer = <const char*>self.peer
        self.origin.peer_len = len(self.peer)
        self.origin.peer_is_plain = is_short_and_plain(self.origin.peer, self.origin.peer_len)
        return self.take_view()

    cdef int take_view(self) except -1:
        """From here on it goes by the worker's present configuration; nothing of the last request points into another one."""
        self.view = self.engine.view
        self.service = None
        self.cookie_len = self.url_id_len = 0
        self.edges = 0
        self.trusted = self.peer in self.view.trusted_proxies
        self.default_port = DEFAULT_TLS_PORT if self.secure else DEFAULT_PORT
        believe_nothing(&self.origin)
        self.origin.trusted = self.trusted
        self.origin.trailers = self.view.passes_trailers
        self.origin.via = <const char*>self.view.via
        self.origin.via_len = len(self.view.via)
        return 0

    cdef int forget_request(self, const char* data, Py_ssize_t length) except -1:
        """What the request before said must not shape the answer to one that could not be read."""
        self.engine.requests += 1
        self.number = self.engine.requests
        self.engine.decider.forget_ids()
        self.http10 = False
        self.head_only = False
        self.response_started = False
        self.service = None
        self.explained = None
        believe_nothing(&self.origin)
        self.edges = 0
        if self.view.edges is not None:
            self.select_edges(NULL, -1)
        self.note_began()
        if self.engine.access is not None:
            self.begin_entry(NULL, data, length)
        return 0

    cdef void ask_of_edges(self, RequestHead* head, int cluster, EdgeAsked* asked) noexcept:
        asked.head = head
        asked.origin = &self.origin
        asked.local_port = self.local_port
        asked.cluster = cluster
        asked.port = head.port if head != NULL and head.port >= 0 else self.default_port

    cdef void select_edges(self, RequestHead* head, int cluster) noexcept:
        cdef EdgeAsked asked
        self.ask_of_edges(head, cluster, &asked)
        self.edges = self.view.edges.select(&asked, self.engine.decider.path_scratch)

    cdef int begin_answer(self) except -1:
        """The slow path answers from here on; the client owes nothing but to read."""
        if self.engine.draining:
            self.keep_alive = False
        self.enter(ANSWERING)
        self.await_client()
        return 0

    cdef int tell_found(self, int server, Found* found) noexcept:
        cdef Service service = self.service
        try:
            self.engine.slow.noticed(
                describe_found(
                    service.cluster, server, self.cookie[:self.cookie_len], self.url_id[:self.url_id_len], found
                ),
                bool(service.completes_clone_ids), bool(service.takes_back or service.strips_clone_ids),
            )
        except Exception:
            complain("internal error: what was found about clone ids could not be logged", ())
        return 0

    # --- the exchange ends ------------------------------------------------------------------------------------------

    cdef int release(self) except -1:
        """
        Gives the server back; the request is no longer in flight there.

        Not before the server can see that: its answer was read to the end, or the connection was shut (``Stream.sever``). The
        place is somebody's in this moment, of another worker too, and the connection is closed at the end of the turn only.
        """
        cdef int server = self.choice.server
        if self.connected_us >= 0:
            self.meter_unused()
        if self.choice.server >= 0:
            self.service.cluster.release(self.choice.server, self.engine.worker_id, self.choice.probe)
            self.choice.server = -1
            self.choice.probe = False
        elif self.choice.place:
            self.service.cluster.leave(self.choice.place, self.engine.worker_id, ws_now_ms())
            self.choice.place = 0
            self.meter_wait(QUEUE_LEFT)
        self.upstream = None
        if self.session.length:
            buffer_clear(&self.session)
        if self.trailers.length:
            buffer_clear(&self.trailers)
        if self.noted:
            self.end_notes(server)
        return 0

    cdef int end_notes(self, int server) except -1:
        """Who took notes of the exchange hears that it is over."""
        cdef int noted = self.noted
        self.noted = 0  # first: the slow path may end in here again
        if noted & IS_TRACED:
            if server >= 0:
                self.trace_try(server)
            if self.response_started:  # else an answer of our own follows, or nothing does
                self.end_trace(self.phase != CLOSED and not self.sink.is_broken())
        if noted & IS_WITNESSED:
            taken = server >= 0 and not noted & IS_TOLD
            self.tell_over(
                self.number, self.service.cluster.server_names[server] if taken else "",
                self.choice.by_affinity or self.choice.remembered,
            )
        return self.report_tries()

    cdef int report_tries(self) except -1:
        ledger, self.ledger = self.ledger, None  # first: the slow path may end in here again
        return 0 if ledger is None else self.ask_tries_over(ledger)

    cdef int note_answer(self, int status) except -1:
        """Who takes notes of the exchange hears that an answer begins."""
        cdef Engine engine = self.engine
        if self.noted & IS_TRACED:
            self.trace_answer(status, False, self.upstream is not None and self.upstream.reused)
        if self.noted & IS_WITNESSED and engine.witness_level >= DETAIL:
            self.tell_answered(describe_head(
                engine.witness_level, self.view, self.service, engine.response.start, engine.response.size
            ))
        if self.ledger is not None and (status < 500 or not self.view.is_failure(status)):
            self.ask_answer_began(status)
        return 0

    cdef int answer_begins(self, Py_ssize_t head_len) except -1:
        """
        An answer proves that the server lives (PLUGIN 5.2); what was kept for a retry is not needed any more.

        One that counts as a failure proves nothing: the mark stays, and ``release`` lets the next request probe (PM49491).
        """
        cdef int status = self.engine.response.status
        cdef Py_ssize_t asked_len
        cdef const char* asked
        cdef int64_t down_ms, now_us
        self.response_started = True
        now_us = ws_now_us()
        ws_note_latency(&self.service.cluster.servers[self.choice.server].latency, now_us - self.asked_us)
        self.first_us = self.answered_us = now_us
        self.spent.first_byte_us = now_us - self.asked_us
        if self.engine.row != NULL:
            self.answered_with = status
        if status < 500 or not self.view.is_failure(status):
            asked = self.find_asked(&asked_len)
            down_ms = self.service.cluster.mark_up(
                self.choice.server, self.engine.worker_id, asked, asked_len, <uint64_t>self.number
            )
            self.choice.probe = False
            if down_ms >= 0:
                self.ask_server_up(status, down_ms)
        if self.noted:
            self.note_answer(status)
        if self.entry != NULL:
            self.enter_answer(status, head_len)
        self.replayable = False
        if not self.request_done:
            self.forget_sent()  # what of the body is still to come is not kept
        return 0

    cdef int answer_goes_on(self) except -1:
        self.meter_answer()
        return self.forget_sent()

    cdef int forget_sent(self) except -1:
        cdef Py_ssize_t length
        if self.sent.length:
            length = visible_start(self.sent.data, self.sent_head)
            if length and not self.asked.length:
                buffer_append(&self.asked, self.sent.data, min(length, <Py_ssize_t>MOST_ASKED))
                buffer_append(&self.asked, " ", 1)
            buffer_clear(&self.sent)
        return 0

    cdef const char* find_asked(self, Py_ssize_t* length) noexcept:
        if self.sent.length:
            length[0] = self.sent_head
            return self.sent.data
        length[0] = self.asked.length
        return self.asked.data

    cdef int finish(self) except -1:
        """The answer is handed over; the client's side may go on to the next request."""
        cdef bint is_broken = self.sink.is_broken()
        self.meter_finish()
        if is_broken:
            self.ended_by(ENDED_CD)
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, not is_broken)
        self.release()
        buffer_clear(&self.sent)
        if self.asked.length:
            buffer_clear(&self.asked)
        if self.squeezed:
            end_squeezing(self)
        return self.sink.end()

    # --- a tunnel ---------------------------------------------------------------------------------------------------

    cdef int begin_tunnel(self) except -1:
        cdef Upstream upstream = self.upstream
        if upstream is None:
            return 0  # dropped since its head came, by an error of the slow path
        self.enter(TUNNELLING)
        self.keep_alive = False
        self.await_client()
        upstream.touch_tunnel()
        self.sink.begin_tunnel()
        if self.half_closed:
            if not upstream.client_ended():
                return self.close_tunnel()
        elif not upstream.write_paused:
            self.sink.resume_request()
        self.end_trace(True)  # for the same reason
        if self.ledger is not None:
            self.report_tries()  # now: a tunnel may go on for days
        return 0

    cdef bint server_ended(self) except -1:
        return not self.half_closed and self.sink.half_close()

    cdef int end_tunnel(self, bint clean) except -1:
        if self.engine.row != NULL:
            self.meter_answer()
            self.meter_bytes()
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, clean)
        if self.upstream is not None and self.upstream.is_leaving:
            self.leave_place(self.upstream)
        self.release()
        self.enter(CLOSED)
        return self.sink.close() if clean else self.sink.reset()

    cdef int leave_place(self, Upstream upstream) except -1:
        """The server sees the tunnel until what the connection has still to send is sent; so long its place is taken."""
        cdef int server = self.choice.server
        upstream.owe(self.service.cluster, server, self.choice.probe)
        self.choice.server = -1
        self.choice.probe = False
        return self.end_notes(server)

    cdef int close_tunnel(self) except -1:
        """Ends the tunnel on both sides; what was received is delivered."""
        self.upstream.part(True)
        return self.end_tunnel(True)

    # --- the server or the client goes away -------------------------------------------------------------------------

    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1:
        """The server went away: cut the client off if it already has part of the answer, else ask the slow path."""
        self.upstream = None
        self.held = (<Upstream>upstream).held
        self.was_reused = (<Upstream>upstream).reused
        if self.sink.is_closed():
            self.note_server()
            return self.release()  # the client is gone: nobody waits, and the server is not to blame
        ws_count(&self.service.cluster.servers[self.choice.server].failed)
        self.note_server()
        if self.response_started:
            self.ended_by(failure_of(kind, True))
            if self.engine.row != NULL:
                self.meter_answer()
                self.meter_rest()
                self.meter_bytes()
                self.answered_with = -1
                add_one(self.meter(), FAILED + CUT_FAILED)
            self.trace_cut()
            self.ask_answer_cut(kind, error)
            self.release()
            return self.sink.abort()
        end_squeezing(self)
        self.failed_as = failure_of(kind, False)
        self.first_us = self.answered_us = self.answered_with = 0  # what may have begun was none
        self.spent.first_byte_us = -1
        self.enter(CONNECTING)
        self.await_client()
        if not self.request_done:
            self.sink.pause_request()
        return self.ask_upstream_failed(kind, error, self.was_reused and not self.pardoned)

    cdef int client_gone(self) except -1:
        cdef int phase = self.phase
        if phase == CONNECTING or phase == RELAYING or phase == ANSWERING:
            self.meter_left()
        if self.entry != NULL or phase != IDLE and phase != LINGERING and phase != CLOSED:
            self.ended_by(cause_of(CLIENT_LEFT, self.waits_for()))
        self.enter(CLOSED)
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, False)
        end_squeezing(self)
        try:
            self.leave_upstream()
        finally:
            self.release()  # whatever fails before: nobody comes after this who would
            self.end_trace(False)
        buffer_clear(&self.sent)
        buffer_clear(&self.asked)
        if phase == ANSWERING:
            self.ask_has_room()  # whoever waits for room must see that the client is gone
        return 0

    cdef int client_pauses(self, bint paused) except -1:
        """A client that does not read stops the server it is fed from, and has body_s to go on."""
        if self.upstream is not None:
            if paused:
                self.upstream.pause_reading()
            else:
                self.upstream.resume_reading()
            self.upstream.touch()
        if self.sink.is_closed() or self.phase == LINGERING:
            return 0  # the deadline that runs is the one for this
        if paused or self.phase != IDLE:
            self.await_client()
            if self.phase == ANSWERING and not paused:
                self.ask_has_room()
        return 0

    cdef int on_deadline(self) except -1:
        """The client did not go on in time."""
        if self.phase == RELAYING and not self.request_done and not self.response_started:
            self.note_server()
            self.leave_upstream()
            self.release()
            self.ended_by(ENDED_cR)
            self.begin_answer()
            return self.ask_timed_out()
        if self.half_closed and self.response_started and self.request_done and not self.sink.is_paused():
            return 0  # its answer came in time; if nobody is there to read it, sending will tell
        if self.half_closed and not self.response_started and not self.sink.is_paused():
            self.ended_by(cause_of(CLIENT_LEFT, self.waits_for()))
        else:
            self.ended_by(cause_of(CLIENT_LATE, FOR_DATA))
        return self.sink.abort()

    cdef int give_up_try(self, int64_t now_ms) except -1:
        """The slow path did not go on in time: what would wake its task may be lost, and the place at the server with it."""
        if not self.is_overdue:  # the worker may have stood still: then whoever is late is about to go on
            self.is_overdue = True
            self.try_until_ms = now_ms + OVERDUE_MS
            self.await_client()
            return 0
        log.error("internal error: nobody goes on with a request that waits for a connection; its client is dropped")
        return self.drop()

    cdef int leave_upstream(self) except -1:
        """The request is cancelled; its answer has no reader. Its server sees that before it is given back (``release``)."""
        cdef Upstream upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            upstream.exchange = None
            upstream.sever()
        return 0

    cdef bint has_left(self, bint is_whole) noexcept:
        """
        Whether the end of what the client sends means that nobody waits for the exchange that runs.

        Asked when the end comes, and again where it came before: as the next request begins, and as it is about to wait.
        """
        # Who waits in the queue and hangs up has left: browsers do not half-close, and its place is somebody else's.
        return (
            not is_whole or self.choice.place != 0
            or self.view.half_closed_timeout_ms == 0 and not self.response_started
        )

    cdef int drop(self) except -1:
        """Ends the exchange and the connection without an answer."""
        self.ended_by(ENDED_I)
        self.meter_wait(QUEUE_LEFT)
        self.meter_rest()
        self.answered_with = -1
        if self.entry != NULL:
            self.end_entry(DROPPED_STATUS, False)
        try:
            self.leave_upstream()
        finally:
            self.release()
            self.end_trace(False)
        return self.sink.abort()
