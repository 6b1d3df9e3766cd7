"""
The client's side of a request: receives it, routes it, sends it to an Upstream, and relays its body.

Driven by the event loop through ``downstream.DownstreamProtocol``. All of the common case is here and in ``upstream``:
no task, no await, no dict, no timer object. What is rare (no warm connection, failure, local answers) goes to
``engine.slow``, the slow path in ``dataplane``, which works on the same objects.

Bodies are copied only when the kernel does not take them at once; then ``pause_writing`` of the one side stops the
reading of the other. How exchanges and connections end is ``client``'s part.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset
from wsproxy._fast.access_log cimport ws_now_us
from wsproxy._fast.chunked cimport CHUNK_DONE, begin_chunks
from wsproxy._fast.client cimport CONNECTING, IDLE, IS_WITNESSED, LINGERING, RELAYING, TUNNELLING, Client
from wsproxy._fast.decide cimport decide_server, decide_service, port_of
from wsproxy._fast.edits cimport edit_request
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.exchange cimport CHUNKED_BODY, LENGTH_BODY, NO_BODY
from wsproxy._fast.explained cimport begin_explained, decide_explained, explain_route
from wsproxy._fast.fields cimport HEAD_TOO_LARGE, PRIVATE_FAILOVER
from wsproxy._fast.head cimport RequestHead, find_head_end, parse_request
from wsproxy._fast.loglines cimport DETAIL
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.pipe cimport WORTH_PIPING
from wsproxy._fast.rewrite cimport write_request
from wsproxy._fast.select cimport ALL_FULL
from wsproxy._fast.state cimport ws_now_ms
from wsproxy._fast.stream cimport NOT_PUMPED, OUT_SIZE, Buffer, buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.trailers cimport End, pass_chunks
from wsproxy._fast.upgrade cimport pass_upgrade
from wsproxy._fast.upstream cimport Upstream
from wsproxy._fast.witness cimport describe_choice, describe_request

cdef enum:
    # Requests that a client sent ahead (pipelining) are kept up to this much; then its socket is not read.
    MOST_PENDING = 65536
    # After an answer that left a request unread, so much more is thrown away before the connection is cut: enough for
    # what was already on its way, so that the client reads the answer instead of a reset (RFC 9112 9.6).
    MOST_LINGERED = 1048576


cdef class Intake(Client):
    """A client's connection as what receives its requests; those sent ahead wait."""

    cdef Py_ssize_t pump(self) except -3:
        """Bytes of a request's body, from socket to socket; none that may have to be sent again."""
        cdef Py_ssize_t count
        if (
            self.phase != RELAYING or self.request_done or self.replayable or self.body.kind != LENGTH_BODY
            or self.body.left < WORTH_PIPING or not self.fills_pipe() or not self.upstream.takes_pipe()
        ):
            return NOT_PUMPED
        count = self.fill_pipe(self.body.left)
        if count > 0:
            self.body.left -= count
            self.body.seen += count
            self.request_done = self.body.left == 0
            self.await_client()
            self.upstream.touch()
            self.upstream.send_piped(NULL, 0, NULL, 0)
        return count

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
        elif self.phase == TUNNELLING:
            return self.upstream.pass_on(data, length)
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
                if self.engine.access is not None:
                    self.head_began_us = ws_now_us()
            self.scanned = length
            return 0
        self.scanned = 0
        if size < 0:
            self.forget_request(data, length)
            self.refuse(<int>-size)
            return length
        return self.start(data, length)

    cdef int refuse(self, int error) except -1:
        """A head or body that cannot be trusted: answered and closed, nothing after it is read."""
        self.keep_alive = False
        self.request_done = False
        return self.begin_answer("refuse", (error,))

    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1:
        """Routes and sends the request whose head is ``engine.request``; bytes used of head and body."""
        cdef RequestHead* head = &self.engine.request
        cdef Py_ssize_t size = head.size  # `head` is the engine's: good only until another request is read
        cdef MatchResult found
        self.begin_request(head, data, length)
        if head.hops == 0:
            self.service = None
            self.begin_answer("last_hop", (bool(head.is_options),))
            return size
        if not self.find_service(head, &found):
            return size
        return self.send_on(head, &found, data, length)

    cdef int begin_request(self, RequestHead* head, const char* data, Py_ssize_t length) except -1:
        """What the head says of connection and body; nothing is left of the request before."""
        cdef Engine engine = self.engine
        engine.requests += 1
        self.number = engine.requests
        if head.fields.asks_why or self.explained is not None:
            self.explained = begin_explained(engine, head, self)
        self.was_used = True
        self.timeout_retries = 0
        self.pardoned = False
        self.expect = 0
        self.response_started = False
        self.ends_by_close = False
        self.http10 = head.minor == 0
        self.head_only = head.is_head
        self.takes_trailers = engine.passes_trailers and head.fields.te_trailers
        self.keep_alive = head.keep_alive and not engine.draining
        self.body.seen = 0
        if engine.access is not None:
            self.begin_entry(head, data, length)
        if head.fields.chunked:
            self.body.kind = CHUNKED_BODY
            begin_chunks(&self.body.chunks)
            self.passes_trailers = engine.passes_trailers and not head.fields.nominates_others
        elif head.fields.content_length > 0:
            self.body.kind = LENGTH_BODY
            self.body.left = head.fields.content_length
        else:
            self.body.kind = NO_BODY
        self.request_done = self.body.kind == NO_BODY
        # With a body, and where it is unclear whose turn it is, it stays an ordinary request.
        self.upgrades = None
        if head.fields.connection_upgrade and self.request_done and not head.is_head:
            self.upgrades = pass_upgrade(&head.fields, engine.upgrades)
        return 0

    cdef bint find_service(self, RequestHead* head, MatchResult* found) except -1:
        """Finds the Route; False: none takes the request, or not a body of this size, and the slow path answers."""
        cdef Engine engine = self.engine
        self.service = decide_service(
            engine, head, self.origin.local_host, self.origin.local_host_len, self.local_port, self.default_port, found,
        )
        if self.explained is not None:
            explain_route(
                self.explained, engine, head, self.origin.local_host, self.origin.local_host_len,
                port_of(engine, head, self.local_port, self.default_port), found,
            )
        if self.service is None:
            if engine.witness_level:
                self.tell_start(found, 0, False)
            self.begin_answer("no_route", (head.method[:head.method_len], head.target[:head.target_len]))
            return False
        if self.service.post_size_limit >= 0 and head.fields.content_length > self.service.post_size_limit:
            self.begin_answer("too_large", ())
            return False
        return True

    cdef Py_ssize_t send_on(
        self, RequestHead* head, MatchResult* found, const char* data, Py_ssize_t length
    ) except -1:
        """Chooses the server and sends what is there of the request; bytes used of head and body."""
        cdef Engine engine = self.engine
        cdef Py_ssize_t size = head.size
        cdef Py_ssize_t used, forward, out_len
        cdef End end
        self.cookie = found.cookie
        self.cookie_len = found.cookie_len
        self.url_id = found.url_id
        self.url_id_len = found.url_id_len
        if self.explained is None:
            decide_server(engine, self.service, head, found, &self.choice)
        else:
            decide_explained(self.explained, engine, self.service, head, found, &self.choice)
        # A head without its clone list cannot tell the session later, should the server fail: it is kept beforehand.
        if engine.ids.value_len and (not self.choice.by_affinity or self.service.strips_clone_ids):
            self.keep_session()
        self.phase = CONNECTING  # until an upstream has it
        used = self.take_body(data + size, length - size, &forward, &end)
        if used < 0:
            self.release()
            self.refuse(<int>-used)
            return length
        if 0 <= self.service.post_size_limit < self.body.seen:
            if engine.witness_level:
                self.tell_start(found, 0, False)
            self.release()
            self.begin_answer("too_large", ())
            return size + used
        out_len = self.write_head(head, found)
        if out_len < 0:
            self.release()
            self.refuse(<int>HEAD_TOO_LARGE)
            return length
        self.sent_head = out_len
        self.replayable = True
        buffer_append(&self.sent, engine.out, out_len)
        if forward:
            self.keep_sent(data + size, forward)
        if end.length:
            self.keep_sent(end.data, end.length)
        self.dispatch(found, out_len, data + size, forward, &end)
        return size + used

    cdef Py_ssize_t write_head(self, RequestHead* head, MatchResult* found) except? -2:
        """The head as the server gets it, into ``engine.out``; its length, -1: no room."""
        cdef Engine engine = self.engine
        self.origin.keep_private = self.trusted or not self.service.remove_special_headers
        self.origin.port = head.port if head.port >= 0 else self.default_port
        if engine.port_of_listener:
            self.origin.port = self.local_port
        self.failover_marked = self.origin.keep_private and head.fields.private_seen & PRIVATE_FAILOVER
        if (self.service.edits_requests or head.hops > 0) and edit_request(
            engine, self.service, head, &self.origin, found
        ) != 0:
            return -1
        return write_request(engine.out, OUT_SIZE, head, &self.origin)

    cdef int dispatch(
        self, MatchResult* found, Py_ssize_t out_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1:
        """Gives the head in ``engine.out`` and the body behind it to a warm connection, or to the slow path."""
        cdef Engine engine = self.engine
        cdef bint waits = self.service.waits_for_continue and self.body.kind != NO_BODY
        cdef Upstream upstream = None
        self.began_ms = ws_now_ms()
        if self.choice.server >= 0 and not waits:
            upstream = <Upstream>self.service.pool_of(self.choice.server, self.secure).take(self.began_ms)
        if engine.witness_level:
            self.tell_start(found, out_len, upstream is not None)
        if upstream is None:
            if not self.replayable:
                self.keep_unsent(engine.out, out_len, body, body_len, end)
            self.await_client()
            if not self.request_done:
                self.pause_reading()
            if self.choice.server < 0:
                return self.ask_slow("no_server", (self.choice.server == ALL_FULL,))  # it may wait in the queue
            return self.ask_slow("send_kept" if waits else "connect", ())
        self.hand_over(upstream)
        upstream.send(engine.out, out_len, body, body_len)
        if end.length:
            upstream.send(end.data, end.length, NULL, 0)
        return 0

    cdef int tell_start(self, MatchResult* found, Py_ssize_t out_len, bint is_warm) except -1:
        """The witness hears what was decided, and what of it goes to a connection that is there already."""
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.request
        chosen = None
        if found.route >= 0:
            self.noted |= IS_WITNESSED
            if engine.witness_level < DETAIL and self.choice.server >= 0 and self.service.cluster.sight.count == 0:
                return self.tell("picked", (
                    self.number, self.service.cluster.server_names[self.choice.server], self.choice.by_affinity,
                ))
            chosen = describe_choice(self.service.cluster, &self.choice)
            if engine.witness_level < DETAIL:
                return self.tell("checked", (chosen,))
        if engine.witness_level < DETAIL:
            return 0
        asked = describe_request(
            engine, head, head.host if head.host != NULL else self.origin.local_host,
            head.host_len if head.host != NULL else self.origin.local_host_len,
            port_of(engine, head, self.local_port, self.default_port), found,
            found.route >= 0 and self.service.cluster.has_clone_ids,
        )
        return self.tell("decided", (asked, chosen, engine.out[:out_len] if is_warm else b""))

    cdef int keep_unsent(
        self, const char* head, Py_ssize_t head_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1:
        """Nothing was sent yet: whatever PostBufferSize says, all of it is still needed once."""
        buffer_append(&self.sent, head, head_len)
        buffer_append(&self.sent, body, body_len)
        buffer_append(&self.sent, end.data, end.length)
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

    cdef Py_ssize_t take_body(self, const char* data, Py_ssize_t length, Py_ssize_t* forward, End* end) except? -1:
        """How much of these bytes belongs to the body (or -HeadError) and how much of that goes on as it is."""
        cdef Py_ssize_t used = 0
        forward[0] = 0
        end.length = 0
        if self.body.kind == LENGTH_BODY:
            used = length if length < self.body.left else <Py_ssize_t>self.body.left
            self.body.left -= used
            self.request_done = self.body.left == 0
            forward[0] = used
        elif self.body.kind == CHUNKED_BODY:
            used = pass_chunks(&self.body.chunks, &self.trailers, self.passes_trailers, data, length, forward, end)
            if used < 0:
                return used
            self.request_done = self.body.chunks.phase == CHUNK_DONE
        self.body.seen = <int64_t>self.body.chunks.payload if self.body.kind == CHUNKED_BODY else self.body.seen + used
        return used

    cdef int relay_body(self, const char* data, Py_ssize_t length) except -1:
        """Body bytes of a request that an upstream already has; what follows the body waits."""
        cdef Py_ssize_t used, forward
        cdef End end
        used = self.take_body(data, length, &forward, &end)
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
            if end.length:
                self.keep_sent(end.data, end.length)
        self.upstream.touch()
        self.upstream.send(data, forward, NULL, 0)
        if end.length:
            self.upstream.send(end.data, end.length, NULL, 0)
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
