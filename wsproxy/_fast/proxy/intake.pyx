"""
The client's side of a request: routes it, sends it to an Upstream, and relays its body.

Driven by ``http1``, or whoever else frames requests. All of the common case is here and in ``upstream``: no task, no await,
no dict, no timer object. What is rare (no warm connection, failure, local answers) goes to ``engine.slow``, the slow path
in ``dataplane``, which works on the same objects.

Bodies are copied only when the kernel does not take them at once; then ``pause_writing`` of the one side stops the
reading of the other. How exchanges end is ``course``'s part.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp
from wsproxy._fast.base.atomics cimport ws_load32
from wsproxy._fast.base.buffer cimport OUT_SIZE, buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms, ws_now_us
from wsproxy._fast.decide.cluster cimport ALL_FULL
from wsproxy._fast.decide.decide cimport DEFAULT_PORT, DEFAULT_TLS_PORT, decide_server, decide_service, matched_path, port_of
from wsproxy._fast.decide.edge cimport (
    EDGE_DENIES, EDGE_MAINTENANCE, EDGE_NO_HOST, EDGE_PASSES, EDGE_REDIRECTS, Edge, EdgeAct, EdgeAsked,
    EdgeTable,
)
from wsproxy._fast.decide.edits cimport edit_request
from wsproxy._fast.decide.maintain cimport is_maintained
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.session_cookie cimport TAKE_ALL, TAKE_NOTHING, TAKE_OURS
from wsproxy._fast.decide.view cimport IS_ALIVE, NOT_HEALTH, HealthQuestion
from wsproxy._fast.decide.writers cimport MOST_FOUND, Found, find_misfits, is_news, taking_of
from wsproxy._fast.http.chunked cimport CHUNK_DONE, ChunkState, begin_chunks, scan_chunks
from wsproxy._fast.http.fields cimport HEAD_TOO_LARGE, PRIVATE_FAILOVER
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport believe, client_is_secure
from wsproxy._fast.http.rewrite cimport write_request
from wsproxy._fast.http.scratch cimport Scratch
from wsproxy._fast.http.trailers cimport End, pass_chunks
from wsproxy._fast.http.upgrade cimport pass_upgrade
from wsproxy._fast.proxy.course cimport IS_TRACED, IS_WITNESSED, Course
from wsproxy._fast.net.stream cimport complain
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport CONNECTING, RELAYING
from wsproxy._fast.proxy.explained cimport begin_explained, decide_explained, explain_route
from wsproxy._fast.proxy.pool cimport pool_of
from wsproxy._fast.proxy.sink cimport CHUNKED_BODY, LENGTH_BODY, NO_BODY
from wsproxy._fast.proxy.upstream cimport Upstream
from wsproxy._fast.tell.ended cimport ENDED_LR, ENDED_PR
from wsproxy._fast.tell.witness cimport DETAIL, describe_choice, describe_head, describe_request


cdef class Intake(Course):
    """A request as what is received, sent on and followed by its body."""

    cdef int64_t pipeable(self) noexcept:
        """Bytes of the body that are still to come and that nobody has to see: none that may have to be sent again."""
        if self.phase != RELAYING or self.request_done or self.replayable or self.body.kind != LENGTH_BODY:
            return 0
        return self.body.left

    cdef int piped(self, Py_ssize_t count) except -1:
        """So many bytes of the body are in the hub's pipe."""
        self.body.left -= count
        self.body.seen += count
        self.request_done = self.body.left == 0
        if self.request_done:
            self.meter_whole()
        self.await_client()
        self.asked_us = ws_now_us()
        self.upstream.touch()
        return self.upstream.send_piped(NULL, 0, NULL, 0)

    cdef int refuse(self, int error) except -1:
        """A head or body that cannot be trusted: answered and closed, nothing after it is read."""
        self.keep_alive = False
        self.request_done = False
        self.ended_by(ENDED_PR)
        self.begin_answer()
        return self.ask_refuse(error)

    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1:
        """Routes and sends the request whose head is ``decider.request``; bytes used of head and body."""
        cdef RequestHead* head = &self.engine.decider.request
        cdef Py_ssize_t size = head.size  # `head` is the engine's: good only until another request is read
        cdef MatchResult found
        self.begin_request(head, data, length)
        if self.half_closed and self.has_left(True):
            self.sink.close()  # its end came while an earlier request ran
            return length
        if head.hops == 0:
            self.service = None
            self.ended_by(ENDED_LR)
            self.begin_answer()
            self.ask_last_hop(head.is_options)
            return size
        if (self.view.ready_path or self.view.live_path) and self.is_health(head):
            return size
        if not self.find_service(head, &found):
            return size
        return self.send_on(head, &found, data, length)

    cdef int begin_request(self, RequestHead* head, const char* data, Py_ssize_t length) except -1:
        """What the head says of connection and body; nothing is left of the request before."""
        cdef Engine engine = self.engine
        engine.requests += 1
        self.number = engine.requests
        self.began_ms = 0
        engine.decider.forget_ids()
        if self.trusted:
            self.believe_proxy(head)
        if self.view.edges is not None:
            self.select_edges(head, -1)
        if head.fields.asks_why or self.explained is not None:
            self.explained = begin_explained(engine, self.view, head, self)
        self.timeout_retries = 0
        self.pardoned = False
        self.compression = None
        self.expect = 0
        self.response_started = False
        self.http10 = head.minor == 0
        self.head_only = head.is_head
        self.takes_trailers = self.view.passes_trailers and head.fields.te_trailers
        self.keep_alive = head.keep_alive and not engine.draining
        self.body.seen = 0
        self.note_began()
        if engine.access is not None:
            self.begin_entry(head, data, length)
        if head.fields.chunked:
            self.body.kind = CHUNKED_BODY
            begin_chunks(&self.body.chunks)
            self.passes_trailers = self.view.passes_trailers and not head.fields.nominates_others
        elif head.fields.content_length > 0:
            self.body.kind = LENGTH_BODY
            self.body.left = head.fields.content_length
        else:
            self.body.kind = NO_BODY
        self.request_done = self.body.kind == NO_BODY
        if self.request_done:
            self.meter_whole()
        # With a body, and where it is unclear whose turn it is, it stays an ordinary request.
        self.upgrades = None
        if head.fields.connection_upgrade and self.request_done and not head.is_head:
            self.upgrades = pass_upgrade(&head.fields, self.view.upgrades)
        return 0

    cdef bint is_whole(self, const char* data, Py_ssize_t length) noexcept:
        cdef ChunkState twin
        cdef Py_ssize_t forward
        if self.body.kind == LENGTH_BODY:
            return length >= self.body.left
        if self.body.kind == CHUNKED_BODY:
            twin = self.body.chunks
            # One that is refused is refused where it is read.
            return scan_chunks(&twin, data, length, &forward) < 0 or twin.phase == CHUNK_DONE
        return True

    cdef int believe_proxy(self, RequestHead* head) noexcept:
        """A TrustedProxy says who its client is; where Host names no port, it is that of the client's scheme."""
        believe(self.view.trusted_proxies, self.view.trust, head, &self.origin)
        self.default_port = DEFAULT_TLS_PORT if client_is_secure(&self.origin) else DEFAULT_PORT
        return 0

    cdef bint is_health(self, RequestHead* head) except -1:
        """Whether a load balancer asks how we are, and has its answer; neither metrics nor the witness hear of that."""
        cdef HealthQuestion asked
        cdef bint is_drained
        if not (head.is_head or head.method_len == 3 and memcmp(head.method, b"GET", 3) == 0):
            return False
        asked = self.view.health_asked(head.target, head.path_len, self.local_port)
        if asked == NOT_HEALTH:
            return False
        self.service = None
        self.answered_with = -1
        self.ended_by(ENDED_LR)
        self.begin_answer()
        # The operator's word itself: a sweep tells `draining` of it up to a third of a second later.
        is_drained = self.engine.draining or self.engine.header != NULL and ws_load32(&self.engine.header.is_drained)
        self.ask_health(asked == IS_ALIVE or not is_drained)
        return True

    cdef bint find_service(self, RequestHead* head, MatchResult* found) except -1:
        """Finds the Route; False: none takes the request, or not a body of this size, and the slow path answers."""
        cdef Engine engine = self.engine
        self.service = decide_service(
            engine.decider, self.view, head, self.origin.local_host, self.origin.local_host_len, self.local_port,
            self.default_port, found,
        )
        self.route = found.route + 1
        if self.explained is not None:
            explain_route(
                self.explained, engine, self.view, head, self.origin.local_host, self.origin.local_host_len,
                port_of(self.view, head, self.local_port, self.default_port), found,
            )
        if (self.view.edges is not None or engine.header != NULL and ws_load32(&engine.header.maintained)) and (
            self.is_for_edge(head, found)
        ):
            return False
        if self.service is None:
            self.begin_trace(head, found)
            if engine.witness_level:
                self.tell_start(found, self.describe_asked(found), 0, False)
            method, target, host, port, path = self.describe_unmatched(head)
            self.ended_by(ENDED_LR)
            self.begin_answer()
            self.ask_no_route(method, target, host, port, path)
            return False
        if self.service.is_too_large(head.fields.content_length):
            self.begin_trace(head, found)
            self.ended_by(ENDED_PR)
            self.begin_answer()
            self.ask_too_large()
            return False
        return True

    cdef bint is_for_edge(self, RequestHead* head, MatchResult* found) except -1:
        """Whether an [[edge]] table answers the request; no server was looked for, and nothing of its body was read."""
        cdef EdgeTable edges = self.view.edges
        cdef EdgeAsked asked
        cdef EdgeAct act
        cdef int table = -1
        cdef int cluster = found.cluster if found.route >= 0 else -1
        cdef bint by_word = False
        cdef bytes target
        self.maintained_until_ms = 0
        if self.engine.header != NULL and ws_load32(&self.engine.header.maintained):
            by_word = is_maintained(
                self.engine.header, None if self.service is None else self.service.cluster, ws_now_ms(),
                &self.maintained_until_ms,
            )
        if edges is None:
            act = EDGE_MAINTENANCE if by_word else EDGE_PASSES
        else:
            if edges.by_cluster and cluster >= 0:
                self.select_edges(head, cluster)
            self.ask_of_edges(head, cluster, &asked)
            act = edges.judge(self.edges, &asked, by_word, self.engine.decider.path_scratch, &table)
        if act == EDGE_PASSES:
            if edges is not None and self.edges & edges.compress:
                self.compression = (<Edge>edges.at[edges.first(self.edges, edges.compress)]).compression
                if self.compression is not None:
                    self.coding = self.compression.choose(head)
            return False
        target = edges.location(table, &asked) if act == EDGE_REDIRECTS else head.target[:head.target_len]
        if act != EDGE_MAINTENANCE:
            self.service = None  # the answer is no cluster's
        self.begin_trace(head, found)
        self.ended_by(ENDED_PR if act == EDGE_DENIES or act == EDGE_NO_HOST else ENDED_LR)
        self.begin_answer()
        self.ask_edge(act, table, head.method[:head.method_len], target)
        return True

    cdef int begin_trace(self, RequestHead* head, MatchResult* found) except -1:
        cdef Engine engine = self.engine
        cdef bint is_noted = engine.row != NULL or engine.access is not None
        if self.trace is not None:
            self.end_trace(False)  # nobody ended it
        if engine.tracer is None:
            return 0
        try:
            self.trace = engine.tracer.begin(
                self.view, None if self.service is None else self.service.cluster.name, head, found, &self.origin,
                self.peer_port, port_of(self.view, head, self.local_port, self.default_port),
                0 if self.service is None else self.service.cluster.separator,
                self.began_us if is_noted else 0, <uint64_t>self.number,
            )
        except Exception:
            complain("internal error: a request is not traced", ())
        if self.trace is not None:
            self.noted |= IS_TRACED
        return 0

    cdef tuple describe_unmatched(self, RequestHead* head):
        """Method, target, and what Routes were compared with: host, port, path."""
        cdef Py_ssize_t path_len
        cdef const char* path = matched_path(self.engine.decider, head, &path_len)
        return (
            head.method[:head.method_len],
            head.target[:head.target_len],
            head.host[:head.host_len] if head.host != NULL else self.local_host,
            port_of(self.view, head, self.local_port, self.default_port),
            path[:path_len],
        )

    cdef Py_ssize_t send_on(
        self, RequestHead* head, MatchResult* found, const char* data, Py_ssize_t length
    ) except -1:
        """Chooses the server and sends what is there of the request; bytes used of head and body."""
        cdef Engine engine = self.engine
        cdef Py_ssize_t size = head.size
        cdef Py_ssize_t used, forward, out_len
        cdef End end
        # Only where a server would wait for the rest: we answer also who has ended within a body that nobody reads.
        if self.half_closed and self.has_left(self.request_done or self.is_whole(data + size, length - size)):
            self.sink.close()
            return length
        self.cookie = found.cookie
        self.cookie_len = found.cookie_len
        self.url_id = found.url_id
        self.url_id_len = found.url_id_len
        if engine.tracer is not None:
            self.begin_trace(head, found)
        if engine.witness_level:
            self.service.cluster.sight.count = 0  # of a request that was never told of
        if self.explained is None:
            decide_server(engine.decider, self.view, self.service, head, found, &self.choice)
        else:
            decide_explained(self.explained, engine.decider, self.view, self.service, head, found, &self.choice)
        self.taking = TAKE_ALL if self.service.strips_clone_ids else TAKE_NOTHING
        if engine.decider.ids.has_foreign and self.service.takes_back and self.taking == TAKE_NOTHING:
            self.taking = taking_of(self.service.cluster, self.choice.server)
        self.had_list = engine.decider.ids.has_list and (self.taking == TAKE_NOTHING or self.taking == TAKE_OURS)
        # A head without its clone list cannot tell the session later, should the server fail: it is kept beforehand.
        if engine.decider.ids.value_len and (not self.choice.by_affinity or self.taking != TAKE_NOTHING):
            self.keep_session()
        elif self.service.looks_left and engine.decider.ids.count == 0 and (head.fields.has_cookie or head.has_params):
            self.look_closer(head, found)
        self.enter(CONNECTING)  # until an upstream has it
        used = self.take_body(data + size, length - size, &forward, &end)
        if used < 0:
            self.release()
            self.refuse(<int>-used)
            return length
        if self.service.is_too_large(self.body.seen):
            if engine.witness_level:
                self.tell_start(found, self.describe_asked(found), 0, False)
            self.release()
            self.ended_by(ENDED_PR)
            self.begin_answer()
            self.ask_too_large()
            return size + used
        asked = self.describe_asked(found) if engine.witness_level >= DETAIL else None  # as it came
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
        self.dispatch(found, asked, out_len, data + size, forward, &end)
        return size + used

    cdef Py_ssize_t write_head(self, RequestHead* head, MatchResult* found) except? -2:
        """The head as the server gets it, into ``engine.out``; its length, -1: no room."""
        cdef Engine engine = self.engine
        cdef Scratch scratch = Scratch(engine.edits, 0, OUT_SIZE)
        self.origin.keep_private = self.trusted or not self.service.remove_special_headers
        self.origin.port = head.port if head.port >= 0 else self.default_port
        if self.view.port_of_listener and not self.origin.told_port:
            self.origin.port = self.local_port
        self.failover_marked = self.origin.keep_private and head.fields.private_seen & PRIVATE_FAILOVER
        if (self.service.edits_requests or self.taking != TAKE_NOTHING or head.hops > 0) and edit_request(
            &scratch, self.service, head, &self.origin, found, self.taking
        ) != 0:
            return -1
        return write_request(engine.out, OUT_SIZE, head, &self.origin)

    cdef int dispatch(
        self, MatchResult* found, object asked, Py_ssize_t out_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1:
        """Gives the head in ``engine.out`` and the body behind it to a warm connection, or to the slow path."""
        cdef Engine engine = self.engine
        cdef bint waits = self.service.waits_for_continue and self.body.kind != NO_BODY
        cdef Upstream upstream = None
        self.began_ms = ws_now_ms()
        self.tried = self.choice.server >= 0
        if self.choice.server >= 0 and not waits:
            upstream = <Upstream>pool_of(self.service, self.choice.server, self.secure).take(self.began_ms)
        if engine.witness_level:
            self.tell_start(found, asked, out_len, upstream is not None)
        if upstream is None:
            if not self.replayable:
                self.keep_unsent(engine.out, out_len, body, body_len, end)
            self.await_client()
            if not self.request_done:
                self.sink.pause_request()
            if self.choice.server < 0:
                return self.ask_no_server(self.choice.server == ALL_FULL)  # it may wait in the queue
            return self.ask_send_kept() if waits else self.ask_connect()
        self.spent.connect_us = 0
        self.hand_over(upstream)
        upstream.send(engine.out, out_len, body, body_len)
        if end.length:
            upstream.send(end.data, end.length, NULL, 0)
        return 0

    cdef object describe_asked(self, MatchResult* found):
        """The request for the witness; None where it does not want to know it. Before its head is edited."""
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.decider.request
        if engine.witness_level < DETAIL:
            return None
        return describe_request(
            engine.witness_level, engine.decider, self.view, head,
            head.host if head.host != NULL else self.origin.local_host,
            head.host_len if head.host != NULL else self.origin.local_host_len,
            port_of(self.view, head, self.local_port, self.default_port), found,
            found.route >= 0 and self.service.cluster.has_clone_ids,
        )

    cdef int tell_start(self, MatchResult* found, object asked, Py_ssize_t out_len, bint is_warm) except -1:
        """The witness hears what was decided, and what of it goes to a connection that is there already."""
        cdef Engine engine = self.engine
        chosen = None
        if found.route >= 0:
            self.noted |= IS_WITNESSED
            if engine.witness_level < DETAIL and self.choice.server >= 0 and self.service.cluster.sight.count == 0:
                return self.tell_picked(
                    self.number, self.service.cluster.server_names[self.choice.server], self.choice.by_affinity
                )
            chosen = describe_choice(self.service.cluster, &self.choice)
            if engine.witness_level < DETAIL:
                return self.tell_checked(chosen)
        if engine.witness_level < DETAIL:
            return 0
        sent = b""
        if is_warm:
            sent = describe_head(engine.witness_level, self.view, self.service, engine.out, out_len)
        return self.tell_decided(asked, chosen, sent)

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
        self.session_in_cookie = self.engine.decider.ids.in_cookie
        return buffer_append(&self.session, self.engine.decider.ids.value, self.engine.decider.ids.value_len)

    cdef int look_closer(self, RequestHead* head, MatchResult* found) except -1:
        """Whether the request has a session that only a name or a separator hides; told once."""
        cdef Found misfits[MOST_FOUND]
        cdef int i
        self.service.looks_left -= 1
        for i in range(find_misfits(self.service.cluster, head, found, misfits)):
            if is_news(self.service.cluster, -1, misfits[i].kind):
                self.tell_found(-1, &misfits[i])
        return 0

    cdef int hand_over(self, Upstream upstream) except -1:
        """The exchange belongs to this connection now; the caller sends the request right after."""
        self.upstream = upstream
        self.meter_sent(upstream.exchanges > 0)
        self.try_until_ms = 0
        self.enter(RELAYING)
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
        if self.request_done and self.body.kind != NO_BODY:
            self.meter_whole()
        return used

    cdef Py_ssize_t relay_body(self, const char* data, Py_ssize_t length) except -1:
        """Body bytes of a request that an upstream already has; how many of these are its body's."""
        cdef Py_ssize_t used, forward
        cdef End end
        used = self.take_body(data, length, &forward, &end)
        if used < 0 or self.service.is_too_large(self.body.seen):
            self.note_server()
            self.leave_upstream()
            self.release()
            self.request_done = False  # nothing behind this is read, even where the body ended here
            self.ended_by(ENDED_PR)
            if self.response_started:
                self.trace_cut()
            if self.response_started:
                self.sink.abort()
            elif used < 0:
                self.refuse(<int>-used)
            else:
                self.begin_answer()
                self.ask_too_large()
            return length
        self.await_client()
        if self.replayable:
            self.keep_sent(data, forward)
            if end.length:
                self.keep_sent(end.data, end.length)
        self.asked_us = ws_now_us()
        self.upstream.touch()
        self.upstream.send(data, forward, NULL, 0)
        if end.length:
            self.upstream.send(end.data, end.length, NULL, 0)
        return used

    cdef int keep_sent(self, const char* data, Py_ssize_t length) except -1:
        """Keeps body bytes for a retry as far as PostBufferSize allows; beyond that there will be none."""
        if not self.replayable:
            return 0
        if 0 <= self.service.post_buffer_size < self.sent.length - self.sent_head + length:
            self.replayable = False
            return self.forget_sent()
        return buffer_append(&self.sent, data, length)
