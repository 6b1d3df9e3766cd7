"""
The client's side of a request: receives it, routes it, hands it to an Upstream, and keeps it until it is answered.

Driven by the event loop through ``downstream.DownstreamProtocol``. All of the common case is here and in ``upstream``:
no task, no await, no dict, no timer object. What is rare (no warm connection, failure, local answers) goes to
``engine.slow``, the slow path in ``dataplane``, which works on the same objects.

An Intake owns its exchange (the server it took, what it sent) until ``finish``. Bodies are copied only when the kernel
does not take them at once; then ``pause_writing`` of the one side stops the reading of the other.
"""

import logging

from libc.stdint cimport int64_t
from libc.string cimport memset
from wsproxy._fast.chunked cimport CHUNK_DONE, begin_chunks, scan_chunks
from wsproxy._fast.decide cimport decide_server, decide_service
from wsproxy._fast.edits cimport edit_request
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.exchange cimport CHUNKED_BODY, LENGTH_BODY, NO_BODY, Exchange
from wsproxy._fast.fields cimport HEAD_TOO_LARGE, PRIVATE_FAILOVER
from wsproxy._fast.head cimport RequestHead, find_head_end, parse_request
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.rewrite cimport write_request
from wsproxy._fast.select cimport ALL_FULL
from wsproxy._fast.state cimport ws_count, ws_now_ms
from wsproxy._fast.stream cimport OUT_SIZE, Buffer, Stream, buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.upstream cimport Upstream

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # Requests that a client sent ahead (pipelining) are kept up to this much; then its socket is not read.
    MOST_PENDING = 65536
    # After an answer that left a request unread, so much more is thrown away before the connection is cut: enough for
    # what was already on its way, so that the client reads the answer instead of a reset (RFC 9112 9.6).
    MOST_LINGERED = 1048576
    # A connection that waited in the listen queue when the worker was told to stop has so long for its first request.
    FIRST_REQUEST_MS = 1000


cdef class Intake(Exchange):
    """A client's connection and the exchange that runs on it; one at a time, requests sent ahead wait."""

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

    cdef bint serves_client(self) noexcept:
        return True

    cdef bint is_idle(self) noexcept:
        return self.phase == IDLE and self.pending.length == 0 and self.was_used

    cdef int hurry(self, int64_t now_ms) except -1:
        if self.phase == IDLE and not self.was_used:
            self.deadline_ms = min(self.deadline_ms, now_ms + FIRST_REQUEST_MS)
        return 0

    # --- the request comes in ---------------------------------------------------------------------------------------

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t used = 0
        if self.phase == LINGERING:
            self.lingered += length
            if self.lingered > MOST_LINGERED:
                self.abort()
            return 0
        if self.closing:
            return 0
        if self.phase == IDLE:
            if self.pending.length:
                buffer_append(&self.pending, data, length)
                self.process_pending()
                if self.write_paused and self.pending.length > MOST_PENDING:
                    self.pause_reading()
                return 0
            used = self.process(data, length)
        elif self.phase == RELAYING and not self.request_done:
            return self.relay_body(data, length)
        if used < length and self.phase != LINGERING and not self.closing:
            self.keep_pending(data + used, length - used)
        return 0

    cdef int keep_pending(self, const char* data, Py_ssize_t length) except -1:
        buffer_append(&self.pending, data, length)
        if self.pending.length > MOST_PENDING and (self.phase != IDLE or self.write_paused):
            self.pause_reading()
        return 0

    cdef int process_pending(self) except -1:
        cdef Py_ssize_t used
        # The buffer is moved out first: what runs below may keep other bytes pending.
        cdef Buffer taken = self.pending
        memset(&self.pending, 0, sizeof(Buffer))
        try:
            used = self.process(taken.data, taken.length)
            if used < taken.length and self.phase != LINGERING and not self.closing:
                buffer_drop(&taken, used)
                if self.pending.length:
                    buffer_append(&taken, self.pending.data, self.pending.length)
                    buffer_clear(&self.pending)
                self.pending = taken
                memset(&taken, 0, sizeof(Buffer))
        finally:
            buffer_clear(&taken)
        return 0

    cdef Py_ssize_t process(self, const char* data, Py_ssize_t length) except -1:
        """Takes up requests from these bytes until one waits for its answer; bytes used."""
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t step
        self.processing = True
        try:
            # Nothing new for a client that does not read its answers: they would pile up here without limit.
            while self.phase == IDLE and used < length and not self.closing and not self.write_paused:
                step = self.begin(data + used, length - used)
                if step == 0:
                    break
                used += step
        finally:
            self.processing = False
        return used

    cdef Py_ssize_t begin(self, const char* data, Py_ssize_t length) except -1:
        """One request head, if it is whole; bytes used, 0: more is needed."""
        cdef Py_ssize_t size = 1
        if self.scanned == 0:
            # Empty lines before a request are skipped (RFC 9112 2.2); they do not put off the head's deadline.
            if data[0] == c"\r" and (length == 1 or data[1] == c"\n"):
                return 2 if length > 1 else 0
        else:
            size = find_head_end(data, length, self.scanned)
            if size == 0 and length > self.engine.limits.head_bytes:
                size = -<int>HEAD_TOO_LARGE
        if size > 0:
            size = parse_request(data, length, &self.engine.limits, &self.engine.request)
        if size == 0:
            if self.scanned == 0:
                self.deadline_ms = ws_now_ms() + self.engine.head_timeout_ms
            self.scanned = length
            return 0
        self.scanned = 0
        if size < 0:
            self.refuse(<int>-size)
            return length
        return self.start(data, length)

    cdef int refuse(self, int error) except -1:
        """A head or body that cannot be trusted: answered and closed, nothing after it is read."""
        if self.phase == IDLE:
            self.forget_request()
        self.keep_alive = False
        self.request_done = False
        return self.begin_answer("refuse", (error,))

    cdef void forget_request(self) noexcept:
        """What the request before said must not shape the answer to one that could not be read."""
        self.http10 = False
        self.head_only = False
        self.service = None

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

    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1:
        """Routes and sends the request whose head is ``engine.request``; bytes used of head and body."""
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.request
        cdef MatchResult found
        cdef Py_ssize_t used, forward, out_len
        cdef bint owes_end, waits
        cdef Upstream upstream
        engine.requests += 1
        self.was_used = True
        self.timeout_retries = 0
        self.pardoned = False
        self.expect = 0
        self.response_started = False
        self.ends_by_close = False
        self.http10 = head.minor == 0
        self.head_only = head.is_head
        self.keep_alive = head.keep_alive and not engine.draining
        self.body.seen = 0
        if head.fields.chunked:
            self.body.kind = CHUNKED_BODY
            begin_chunks(&self.body.chunks)
        elif head.fields.content_length > 0:
            self.body.kind = LENGTH_BODY
            self.body.left = head.fields.content_length
        else:
            self.body.kind = NO_BODY
        self.request_done = self.body.kind == NO_BODY

        self.service = decide_service(
            engine, head, self.origin.local_host, self.origin.local_host_len, self.local_port, self.default_port,
            &found,
        )
        if self.service is None:
            used = head.size  # `head` is the engine's: good only until another request is read
            self.begin_answer("no_route", (head.method[:head.method_len], head.target[:head.target_len]))
            return used
        if self.service.post_size_limit >= 0 and head.fields.content_length > self.service.post_size_limit:
            used = head.size
            self.begin_answer("too_large", ())
            return used
        self.cookie = found.cookie
        self.cookie_len = found.cookie_len
        self.url_id = found.url_id
        self.url_id_len = found.url_id_len
        decide_server(engine, self.service, head, &found, &self.choice)
        # A head without its clone list cannot tell the session later, should the server fail: it is kept beforehand.
        if engine.ids.value_len and (not self.choice.by_affinity or self.service.strips_clone_ids):
            self.keep_session()
        self.phase = CONNECTING  # until an upstream has it
        used = self.take_body(data + head.size, length - head.size, &forward, &owes_end)
        if used < 0:
            self.release()
            self.refuse(<int>-used)
            return length
        if 0 <= self.service.post_size_limit < self.body.seen:
            used += head.size
            self.release()
            self.begin_answer("too_large", ())
            return used
        self.origin.keep_private = self.trusted or not self.service.remove_special_headers
        self.origin.port = head.port if head.port >= 0 else self.default_port
        if engine.port_of_listener:
            self.origin.port = self.local_port
        self.failover_marked = self.origin.keep_private and head.fields.private_seen & PRIVATE_FAILOVER
        out_len = -1
        if not self.service.edits_requests or edit_request(engine, self.service, head, &self.origin, &found) == 0:
            out_len = write_request(engine.out, OUT_SIZE, head, &self.origin)
        if out_len < 0:
            self.release()
            self.refuse(<int>HEAD_TOO_LARGE)
            return length
        self.sent_head = out_len
        self.replayable = True
        buffer_append(&self.sent, engine.out, out_len)
        if forward:
            self.keep_sent(data + head.size, forward)
        if owes_end:
            self.keep_sent("\r\n", 2)
        used += head.size
        self.began_ms = ws_now_ms()
        waits = self.service.waits_for_continue and self.body.kind != NO_BODY
        upstream = None
        if self.choice.server >= 0 and not waits:
            upstream = <Upstream>self.service.pool_of(self.choice.server, self.secure).take(self.began_ms)
        if upstream is None:
            if not self.replayable:
                self.keep_unsent(engine.out, out_len, data + head.size, forward, owes_end)
            self.await_client()
            if not self.request_done:
                self.pause_reading()
            if self.choice.server < 0:
                self.ask_slow("no_server", (self.choice.server == ALL_FULL,))  # it may wait in the queue
            else:
                self.ask_slow("send_kept" if waits else "connect", ())
            return used
        self.hand_over(upstream)
        upstream.send(engine.out, out_len, data + head.size, forward)
        if owes_end:
            upstream.send("\r\n", 2, NULL, 0)
        return used

    cdef int keep_unsent(
        self, const char* head, Py_ssize_t head_len, const char* body, Py_ssize_t body_len, bint owes_end
    ) except -1:
        """Nothing was sent yet: whatever PostBufferSize says, all of it is still needed once."""
        buffer_append(&self.sent, head, head_len)
        buffer_append(&self.sent, body, body_len)
        if owes_end:
            buffer_append(&self.sent, "\r\n", 2)
        return 0

    cdef int keep_session(self) except -1:
        """Another server than the session's owner may take the request: what it answers needs the session's value."""
        buffer_clear(&self.session)
        self.session_in_cookie = self.engine.ids.in_cookie
        return buffer_append(&self.session, self.engine.ids.value, self.engine.ids.value_len)

    cdef int hand_over(self, Upstream upstream) except -1:
        """The exchange belongs to this connection now; the caller sends the request right after."""
        self.upstream = upstream
        self.phase = RELAYING
        self.await_client()
        return upstream.begin(self)

    cdef void await_client(self) noexcept:
        """The client has body_s to go on where it is its turn: to send the rest of its request, or to read."""
        if self.write_paused or (self.phase == RELAYING and not self.request_done):
            self.deadline_ms = ws_now_ms() + self.engine.body_timeout_ms
        else:
            self.deadline_ms = 0

    cdef Py_ssize_t take_body(self, const char* data, Py_ssize_t length, Py_ssize_t* forward, bint* owes_end) noexcept:
        """How much of these bytes belongs to the body (or -HeadError) and how much of that goes on as it is."""
        cdef Py_ssize_t used = 0
        forward[0] = 0
        owes_end[0] = False
        if self.body.kind == LENGTH_BODY:
            used = length if length < self.body.left else <Py_ssize_t>self.body.left
            self.body.left -= used
            self.request_done = self.body.left == 0
            forward[0] = used
        elif self.body.kind == CHUNKED_BODY:
            used = scan_chunks(&self.body.chunks, data, length, forward)
            if used < 0:
                return used
            if self.body.chunks.phase == CHUNK_DONE:
                self.request_done = True
                if used - forward[0] == 2 and self.body.chunks.trailer_bytes == 2:
                    forward[0] = used  # no trailers: the end goes on as it came
                else:
                    owes_end[0] = True
        self.body.seen = <int64_t>self.body.chunks.payload if self.body.kind == CHUNKED_BODY else self.body.seen + used
        return used

    cdef int relay_body(self, const char* data, Py_ssize_t length) except -1:
        """Body bytes of a request that an upstream already has; what follows the body waits."""
        cdef Py_ssize_t used, forward
        cdef bint owes_end
        used = self.take_body(data, length, &forward, &owes_end)
        if used < 0 or 0 <= self.service.post_size_limit < self.body.seen:
            self.upstream.abort()
            self.upstream.downstream = None
            self.release()
            self.request_done = False  # nothing behind this is read, even where the body ended here
            if self.response_started:
                self.abort()
            elif used < 0:
                self.refuse(<int>-used)
            else:
                self.begin_answer("too_large", ())
            return 0
        self.await_client()
        if self.replayable:
            self.keep_sent(data, forward)
            if owes_end:
                self.keep_sent("\r\n", 2)
        self.upstream.touch()
        self.upstream.send(data, forward, NULL, 0)
        if owes_end:
            self.upstream.send("\r\n", 2, NULL, 0)
        if used < length and not self.closing:
            self.keep_pending(data + used, length - used)
        return 0

    cdef int keep_sent(self, const char* data, Py_ssize_t length) except -1:
        """Keeps body bytes for a retry as far as PostBufferSize allows; beyond that there will be none."""
        if not self.replayable:
            return 0
        if 0 <= self.service.post_buffer_size < self.sent.length - self.sent_head + length:
            self.replayable = False
            buffer_clear(&self.sent)
            return 0
        return buffer_append(&self.sent, data, length)

    # --- the exchange ends ------------------------------------------------------------------------------------------

    cdef int release(self) except -1:
        """Gives the server back; the request is no longer in flight there."""
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
        if self.ledger is not None:
            ledger, self.ledger = self.ledger, None  # first: the slow path may end in here again
            self.ask_slow("tries_over", (ledger,))
        return 0

    cdef int answer_begins(self) except -1:
        """
        An answer proves that the server lives (PLUGIN 5.2); what was kept for a retry is not needed any more.

        One that counts as a failure proves nothing: the mark stays, and ``release`` lets the next request probe (PM49491).
        """
        cdef int status = self.engine.response.status
        self.response_started = True
        if status < 500 or not self.engine.is_failure(status):
            # The head is gone with a body that was too large to keep.
            self.service.cluster.mark_up(
                self.choice.server, self.engine.worker_id, self.sent.data, self.sent_head if self.sent.length else 0
            )
            self.choice.probe = False
            if self.ledger is not None:
                self.ask_slow("answer_began", (status,))
        buffer_clear(&self.sent)
        self.replayable = False
        return 0

    cdef int finish(self) except -1:
        """The answer is handed over: next request, or close."""
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
        if self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except OSError:  # asyncio's; the client was reset while nobody read from it
                return self.abort()
        self.resume_reading()
        return 0

    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1:
        """The server went away: cut the client off if it already has part of the answer, else ask the slow path."""
        self.upstream = None
        self.held = (<Upstream>upstream).held
        self.was_reused = (<Upstream>upstream).reused
        if self.closing:
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
        """Half-close: requests that are whole are still answered; an unfinished one ends here."""
        self.half_closed = True
        if self.phase == IDLE and self.write_paused and self.pending.length:
            return 1
        # Who waits in the queue and hangs up has left: browsers do not half-close, and its place is somebody else's.
        if (
            self.phase == IDLE or self.phase == LINGERING or self.phase == CLOSED
            or not self.request_done or self.choice.place
        ):
            self.close()
            return 0
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
            self.forget_request()
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
        self.leave_upstream()
        self.release()
        return self.abort()
