"""
A client's connection from request to request: its phases, its deadlines, and how exchanges and connections end.

What a request is and where it goes is ``intake``'s part. A Client owns its exchange (the server it took, what it sent)
until ``finish``, and gives it back on every way out: answered, refused, cut, the client gone, the server gone.
"""

import logging

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from wsproxy._fast.access_log cimport MOST_SERVER, Ending, Entry, ws_now_us
from wsproxy._fast.decide cimport port_of
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.exchange cimport Exchange
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.loglines cimport DETAIL
from wsproxy._fast.state cimport ws_count, ws_now_ms
from wsproxy._fast.stream cimport Stream, buffer_clear
from wsproxy._fast.upstream cimport Upstream

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # A connection that waited in the listen queue when the worker was told to stop has so long for its first request.
    FIRST_REQUEST_MS = 1000
    # In the access log: the client left, or was given up, before an answer began. It is nginx's number; httpd has none.
    LEFT_STATUS = 499
    # The same, but the fault is ours.
    DROPPED_STATUS = 500


cdef class Client(Exchange):
    """A client's connection and the exchange that runs on it; one at a time."""

    def __cinit__(self, Engine engine not None):
        self.hub = engine
        self.engine = engine
        self.choice.server = -1
        self.fd = -1
        self.socket_fd = -1

    def __dealloc__(self):
        buffer_clear(&self.pending)
        buffer_clear(&self.sent)
        buffer_clear(&self.session)
        buffer_clear(&self.trailers)
        if self.entry != NULL:
            buffer_clear(&self.entry.text)
            free(self.entry)

    cdef bint serves_client(self) noexcept:
        return True

    cdef bint is_idle(self) noexcept:
        return self.phase == IDLE and self.pending.length == 0 and self.was_used

    cdef int hurry(self, int64_t now_ms) except -1:
        if self.phase == IDLE and not self.was_used:
            self.deadline_ms = min(self.deadline_ms, now_ms + FIRST_REQUEST_MS)
        return 0

    cdef int process_pending(self) except -1:
        raise NotImplementedError

    # --- who is waited for -------------------------------------------------------------------------------------------

    cdef void await_client(self) noexcept:
        """The client has body_s to go on where it is its turn: to send the rest of its request, or to read."""
        if self.write_paused or (self.phase == RELAYING and not self.request_done):
            self.deadline_ms = ws_now_ms() + self.engine.body_timeout_ms
        elif self.half_closed and not self.response_started and self.phase != TUNNELLING:
            self.deadline_ms = ws_now_ms() + self.engine.half_closed_timeout_ms
        else:
            self.deadline_ms = 0

    cdef int forget_request(self, const char* data, Py_ssize_t length) except -1:
        """What the request before said must not shape the answer to one that could not be read."""
        self.engine.requests += 1
        self.number = self.engine.requests
        self.http10 = False
        self.head_only = False
        self.service = None
        self.explained = None
        if self.engine.access is not None:
            self.begin_entry(NULL, data, length)
        return 0

    cdef int begin_answer(self, str question, tuple details) except -1:
        """The slow path answers from here on; the client owes nothing but to read."""
        self.phase = ANSWERING
        self.await_client()
        return self.ask_slow(question, details)

    cdef int ask_slow(self, str question, tuple details) except -1:
        """Calls the slow path; where it fails the exchange ends here, with everything that it holds given back."""
        try:
            getattr(self.engine.slow, question)(self, *details)
        except Exception:
            log.exception("internal error in %s; the connection is dropped", question)
            self.drop()
        return 0

    cdef int tell(self, str what, tuple details) except -1:
        try:
            getattr(self.engine.witness, what)(self, *details)
        except Exception:
            log.exception("internal error: %s could not be logged", what)
        return 0

    # --- the access log ----------------------------------------------------------------------------------------------

    cdef int begin_entry(self, RequestHead* head, const char* data, Py_ssize_t length) except -1:
        cdef Engine engine = self.engine
        cdef int port = self.local_port if head == NULL else port_of(engine, head, self.local_port, self.default_port)
        self.entry = engine.access.begin(head, data, length, &self.origin, port, self.number)
        self.entry.began_us = self.head_began_us or ws_now_us()
        self.entry.given = self.given
        self.head_began_us = 0
        return 0

    cdef int enter_answer(self, int status, Py_ssize_t head_len) except -1:
        """An answer begins: its server's where one is taken, else our own. A later one counts instead."""
        self.entry.status = status
        self.entry.body_from = self.given + head_len
        self.entry.server_len = 0
        return self.enter_server(self.entry)

    cdef int enter_server(self, Entry* entry) except -1:
        cdef bytes address
        if self.choice.server >= 0:
            address = self.service.pool_of(self.choice.server, self.secure).address
            entry.server_len = min(<Py_ssize_t>len(address), MOST_SERVER)
            memcpy(entry.server, <const char*>address, entry.server_len)
        return 0

    cdef int end_entry(self, int status_of_none, bint whole) except -1:
        """The request's line is written; ``status_of_none``: where no answer began."""
        cdef Entry* entry = self.entry
        cdef Ending ending
        self.entry = NULL
        ending.given = self.given
        ending.connection = c"X" if not whole else c"+" if self.keep_alive and self.request_done else c"-"
        ending.status = entry.status
        if not entry.status or not self.response_started:
            entry.status = 0
            ending.status = status_of_none
            self.enter_server(entry)  # who had the request then
        return self.engine.access.end(entry, &ending)

    # --- the exchange ends ------------------------------------------------------------------------------------------

    cdef int release(self) except -1:
        """Gives the server back; the request is no longer in flight there."""
        cdef int server = self.choice.server
        if self.choice.server >= 0:
            self.service.cluster.release(self.choice.server, self.engine.worker_id, self.choice.probe)
            self.choice.server = -1
            self.choice.probe = False
        elif self.choice.place:
            self.service.cluster.leave(self.choice.place, self.engine.worker_id, ws_now_ms())
            self.choice.place = 0
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
        if noted & IS_WITNESSED:
            taken = server >= 0 and not noted & IS_TOLD
            self.tell("over", (
                self.number, self.service.cluster.server_names[server] if taken else "",
                bool(self.choice.by_affinity or self.choice.remembered),
            ))
        return self.report_tries()

    cdef int report_tries(self) except -1:
        ledger, self.ledger = self.ledger, None  # first: the slow path may end in here again
        return 0 if ledger is None else self.ask_slow("tries_over", (ledger,))

    cdef int note_answer(self, int status) except -1:
        """Who takes notes of the exchange hears that an answer begins."""
        cdef Engine engine = self.engine
        if self.noted & IS_WITNESSED and engine.witness_level >= DETAIL:
            self.tell("answered", (engine.response.start[:engine.response.size],))
        if self.ledger is not None and (status < 500 or not engine.is_failure(status)):
            self.ask_slow("answer_began", (status,))
        return 0

    cdef int answer_begins(self, Py_ssize_t head_len) except -1:
        """
        An answer proves that the server lives (PLUGIN 5.2); what was kept for a retry is not needed any more.

        One that counts as a failure proves nothing: the mark stays, and ``release`` lets the next request probe (PM49491).
        """
        cdef int status = self.engine.response.status
        self.response_started = True
        if status < 500 or not self.engine.is_failure(status):
            # The head is gone with a body that was too large to keep.
            self.service.cluster.mark_up(
                self.choice.server, self.engine.worker_id, self.sent.data, self.sent_head if self.sent.length else 0,
                <uint64_t>self.number,
            )
            self.choice.probe = False
        if self.noted:
            self.note_answer(status)
        if self.entry != NULL:
            self.enter_answer(status, head_len)
        buffer_clear(&self.sent)
        self.replayable = False
        return 0

    cdef int finish(self) except -1:
        """The answer is handed over: next request, or close."""
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, True)
        self.release()
        buffer_clear(&self.sent)
        if self.closing:
            self.phase = CLOSED
            return 0
        if not self.request_done:
            return self.linger()
        if not self.keep_alive or self.engine.draining:
            self.phase = CLOSED
            return self.close()
        self.phase = IDLE
        if self.write_paused:
            self.await_client()
        else:
            self.deadline_ms = ws_now_ms() + self.engine.keepalive_timeout_ms
        return self.go_on()

    cdef int go_on(self) except -1:
        """Reads again, and takes up what the client sent ahead."""
        self.resume_reading()
        if self.processing:
            return 0
        if self.pending.length:
            self.process_pending()
        if self.half_closed and self.phase == IDLE and not (self.write_paused and self.pending.length):
            return self.close()  # nothing more can come
        return 0

    cdef int linger(self) except -1:
        """The request is not read to its end: no more is sent, what still comes is thrown away for a moment."""
        self.phase = LINGERING
        buffer_clear(&self.pending)
        self.lingered = 0
        if not self.secure and self.count_unsent():  # TLS: what was just sent is always on its way; asked at the deadline
            self.deadline_ms = ws_now_ms() + self.engine.body_timeout_ms  # the answer comes first
        else:
            self.deadline_ms = ws_now_ms() + self.engine.linger_timeout_ms
        self.half_close()
        self.resume_reading()
        return 0

    # --- a tunnel ---------------------------------------------------------------------------------------------------

    cdef int begin_tunnel(self) except -1:
        cdef Upstream upstream = self.upstream
        if upstream is None:
            return 0  # dropped since its head came, by an error of the slow path
        self.phase = TUNNELLING
        self.keep_alive = False
        self.await_client()
        upstream.touch_tunnel()
        if self.pending.length:
            upstream.pass_on(self.pending.data, self.pending.length)
            buffer_clear(&self.pending)
        if self.half_closed:
            if not upstream.client_ended():
                return self.close_tunnel()
        elif not upstream.write_paused:
            self.resume_reading()
        if self.ledger is not None:
            self.report_tries()  # now: a tunnel may go on for days
        return 0

    cdef bint server_ended(self) except -1:
        return not self.half_closed and self.half_close()

    cdef int end_tunnel(self, bint clean) except -1:
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, clean)
        self.release()
        self.phase = CLOSED
        return self.close() if clean else self.reset()

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
        if self.closing:
            if self.entry != NULL:
                self.enter_server(self.entry)
            return self.release()  # the client is gone: nobody waits, and the server is not to blame
        ws_count(&self.service.cluster.servers[self.choice.server].failed)
        if self.response_started:
            self.ask_slow("answer_cut", (kind, error))
            self.release()
            return self.abort()
        self.phase = CONNECTING
        self.await_client()
        if not self.request_done:
            self.pause_reading()
        return self.ask_slow("upstream_failed", (kind, error, bool(self.was_reused and not self.pardoned)))

    cdef int lost(self, object error) except -1:
        cdef int phase = self.phase
        self.phase = CLOSED
        if self.entry != NULL:
            self.end_entry(LEFT_STATUS, False)
        self.leave_upstream()
        self.release()
        buffer_clear(&self.pending)
        buffer_clear(&self.sent)
        if phase == ANSWERING:
            self.ask_slow("has_room", ())  # whoever waits for room must see that the client is gone
        return 0

    cdef int leave_upstream(self) except -1:
        """The request is cancelled; its answer has no reader."""
        cdef Upstream upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            upstream.downstream = None
            upstream.abort()
        return 0

    cdef int close(self) except -1:
        if not self.closing:
            Stream.close(self)
            self.deadline_ms = ws_now_ms() + self.engine.body_timeout_ms  # for who does not read the last answer
        return 0

    cdef int abort(self) except -1:
        if self.ends_by_close and (self.phase == RELAYING or self.count_unsent()):
            self.ends_by_close = False
            return self.reset()  # an orderly end would say that the answer is whole
        return Stream.abort(self)

    cdef int ended(self) except -1:
        """
        Half-close: requests that are whole are still answered; an unfinished one ends here.

        A client that is gone looks the same until something is sent to it: timeouts.half_closed_s says what is believed.
        """
        self.half_closed = True
        if self.phase == TUNNELLING:
            # TLS closes for both directions: what the client sent is still delivered, what it would have got is not.
            if not self.secure and self.upstream.client_ended():
                return 1
            self.close_tunnel()
            return 0
        if self.phase == IDLE and self.write_paused and self.pending.length:
            return 1
        # Who waits in the queue and hangs up has left: browsers do not half-close, and its place is somebody else's.
        if (
            self.phase == IDLE or self.phase == LINGERING or self.phase == CLOSED
            or not self.request_done or self.choice.place
            or not self.engine.half_closed_timeout_ms and not self.response_started
        ):
            self.close()
            return 0
        self.await_client()
        return 1

    cdef int on_deadline(self, int64_t now_ms) except -1:
        if self.buffered:
            if self.is_being_read():  # slowly, but it is
                self.deadline_ms = now_ms + self.engine.body_timeout_ms
                return 0
            if self.count_unsent():
                return self.reset()  # after an orderly end the kernel would go on offering the rest for minutes
        if self.closing:
            self.abort()
        elif self.phase == IDLE and self.pending.length:
            self.forget_request(self.pending.data, self.pending.length)
            self.keep_alive = False
            self.begin_answer("timed_out", ())
        elif self.phase == IDLE:
            self.close()
        elif self.phase == RELAYING and not self.request_done and self.reading_paused:
            self.await_client()  # the server does not take what is here: not the client's fault
        elif self.phase == RELAYING and not self.request_done and not self.response_started:
            self.leave_upstream()
            self.release()
            self.begin_answer("timed_out", ())
        elif self.half_closed and self.response_started and self.request_done and not self.write_paused:
            return 0  # its answer came in time; if nobody is there to read it, sending will tell
        elif self.phase == LINGERING and self.secure:
            self.close()  # there was no half-close: only this says that the answer is whole
        else:
            self.abort()
        return 0

    cdef int on_write_paused(self, bint paused) except -1:
        """A client that does not read stops the server it is fed from, and has body_s to go on."""
        if self.upstream is not None:
            if paused:
                self.upstream.pause_reading()
            else:
                self.upstream.resume_reading()
            self.upstream.touch()
        if self.closing or self.phase == LINGERING:
            return 0  # the deadline that runs is the one for this
        if paused or self.phase != IDLE:
            self.await_client()
            if self.phase == ANSWERING and not paused:
                self.ask_slow("has_room", ())
            return 0
        self.deadline_ms = ws_now_ms() + (
            self.engine.head_timeout_ms if self.scanned else self.engine.keepalive_timeout_ms
        )
        return self.go_on()

    cdef int drop(self) except -1:
        """Ends the exchange and the connection without an answer."""
        if self.entry != NULL:
            self.end_entry(DROPPED_STATUS, False)
        self.leave_upstream()
        self.release()
        return self.abort()
