"""
What the slow path may do with an exchange; what it may know of one is in ``asked``.

Driven by ``dataplane.slowpath``, on the event loop, between two steps of the fast half in ``course`` and ``intake``.
Whoever takes an exchange up (``is_waiting``) must end it: ``attach`` a connection, or ``write`` an answer and say
``answered``, or ``cut``.
"""

import logging

from libc.stdint cimport int64_t
from libc.string cimport memset
from wsproxy._fast.base.atomics cimport ws_count
from wsproxy._fast.base.buffer cimport OUT_SIZE, Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms, ws_now_us
from wsproxy._fast.decide.affinity cimport collect_clone_ids, read_value
from wsproxy._fast.decide.cluster cimport ALL_FULL, NEWLY_MARKED, WAITS, Cluster, MarkDown
from wsproxy._fast.decide.decide cimport Choice, decide_again, decide_waited, strike_off
from wsproxy._fast.decide.edits cimport Session, edit_response
from wsproxy._fast.decide.session_cookie cimport TAKE_NOTHING
from wsproxy._fast.decide.writers cimport NOTHING_FOUND, Found
from wsproxy._fast.http.fields cimport PARTITION_TABLE, PARTITION_VERSION, Fields
from wsproxy._fast.http.head cimport RequestHead, ResponseHead, parse_request
from wsproxy._fast.http.origin cimport client_is_secure
from wsproxy._fast.http.scratch cimport Scratch
from wsproxy._fast.net.stream cimport complain
from wsproxy._fast.proxy.course cimport IS_TOLD, IS_TRACED, IS_WITNESSED
from wsproxy._fast.proxy.asked cimport Asked
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport (
    ANSWERING, CLOSED_EARLY, CONNECTING, EXPECT_ADDED, EXPECT_HELD, RELAYING,
)
from wsproxy._fast.proxy.explained cimport add_explained
from wsproxy._fast.proxy.pool cimport pool_of
from wsproxy._fast.proxy.sink cimport NO_BODY
from wsproxy._fast.proxy.squeeze cimport begin_squeezing
from wsproxy._fast.proxy.upstream cimport Upstream
from wsproxy._fast.state.changes cimport Evidence
from wsproxy._fast.state.meters cimport (
    EDGE_ANSWERS, FAILED, MARKED_DOWN, QUEUE_FULL, QUEUE_SERVED, QUEUE_VAIN, QUEUED, RETRIED_OTHER, RETRIED_SAME,
    TRY_FAILURES, EdgeAnswer, TryFailure, add_one,
)
from wsproxy._fast.state.tried cimport has_tried_none
from wsproxy._fast.tell.ended cimport ENDED_CQ, ENDED_PQ, ENDED_RC, ENDED_SC, ENDED_sC, ENDED_sQ
from wsproxy._fast.tell.trace cimport CONNECTED, FAILED_STATUS, UNQUEUED, WAITED, WHY
from wsproxy._fast.tell.witness cimport describe_head

log = logging.getLogger("wsproxy.connection")


cdef class Downstream(Asked):
    """An exchange, whole."""

    def note_told(self, bint is_told) -> None:
        """Whether the witness knows how the try at the present server ended."""
        self.noted = self.noted | IS_TOLD if is_told else self.noted & ~IS_TOLD

    def attach(self, Upstream upstream not None) -> None:
        """Sends the waiting request on this connection; one that is lost already counts as closed early."""
        if not self.waits():
            raise RuntimeError("the exchange does not wait for a connection")
        if upstream.exchange is not None:
            raise RuntimeError("the connection serves another exchange")
        if upstream.closing:
            # The server closed it between accepting it and now: nothing will ever come from it, and nothing was sent.
            upstream.held = self.sent.length
            self.upstream_failed(upstream, CLOSED_EARLY, 0)
            return
        if self.noted & IS_WITNESSED:
            self.tell_sent(describe_head(
                self.engine.witness_level, self.view, self.service, self.sent.data, self.sent_head
            ), upstream.exchanges > 0)
        self.expect &= ~EXPECT_HELD
        self.held = 0
        self.hand_over(upstream)
        self.was_reused = upstream.reused
        if upstream.pool.wait_for_continue and self.body.kind != NO_BODY:
            self.send_head(upstream)
            return
        upstream.send(self.sent.data, self.sent.length, NULL, 0)
        if not self.replayable:
            buffer_clear(&self.sent)
        if not upstream.write_paused:
            self.sink.resume_request()

    cdef int send_head(self, Upstream upstream) except -1:
        """Sends the head alone; the body waits, and the client with it, until the server wants it (WaitForContinue)."""
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.decider.request
        if not self.expect & EXPECT_ADDED:
            if parse_request(self.sent.data, self.sent_head, &self.view.limits, head) <= 0 or not head.fields.has_expect:
                self.add_line("Expect: 100-continue\r\n", 22)
                self.expect |= EXPECT_ADDED
        self.expect |= EXPECT_HELD
        engine.decider.let_go()
        upstream.send(self.sent.data, self.sent_head, NULL, 0)
        upstream.touch()
        return 0

    cdef int continue_body(self) except -1:
        """Sends the body as far as it is here; from now on it is relayed as it comes."""
        if not self.expect & EXPECT_HELD:
            return 0
        self.expect &= ~EXPECT_HELD
        self.asked_us = ws_now_us()
        self.upstream.send(self.sent.data + self.sent_head, self.sent.length - self.sent_head, NULL, 0)
        if not self.replayable:
            buffer_clear(&self.sent)
        self.await_client()
        if not self.upstream.write_paused:
            self.sink.resume_request()
        return 0

    def try_warm(self) -> bool:
        """Sends the waiting request on a pooled connection to the taken server, if there is one."""
        cdef Upstream upstream
        self.check_taken()
        upstream = <Upstream>pool_of(self.service, self.choice.server, self.secure).take(ws_now_ms())
        if upstream is None:
            return False
        self.spent.connect_us = 0
        self.attach(upstream)
        return True

    def mark_down(self, int error, str detail not None) -> int:
        """
        Takes the server out of service for all workers; what that was to its mark (``select.MarkDown``).

        ``error`` (an errno or 0), ``detail`` (in words) and the request are recorded as evidence.
        """
        cdef Evidence evidence
        cdef MarkDown mark
        cdef bytes words = detail.encode("utf-8", "backslashreplace")
        self.check_taken()
        evidence.worker = self.engine.worker_id
        evidence.error = error
        evidence.detail = words
        evidence.detail_len = len(words)
        evidence.head = self.find_asked(&evidence.head_len)
        evidence.request_number = self.number
        self.choice.probe = False  # the mark ends it: one that begins now is another request's
        mark = self.service.cluster.mark_down(self.choice.server, ws_now_ms(), &evidence)
        if mark == NEWLY_MARKED and self.engine.row != NULL:
            add_one(self.meter(), MARKED_DOWN)
        return <int>mark

    def note_unreached(self, bint in_time, bint for_want) -> None:
        """
        No connection to the server that is taken: why the exchange ends, should no other server take it.

        ``in_time``: refused rather than not answered; ``for_want``: of something of ours (``OWN_LACKS``).
        """
        self.failed_as = ENDED_RC if for_want else ENDED_SC if in_time else ENDED_sC

    def note_full(self) -> None:
        """All servers are at MaxConnections, and the request does not wait, or has waited long enough."""
        self.ended_by(ENDED_sQ if self.spent.queue_us >= 0 else ENDED_PQ)

    def try_until(self, double seconds) -> None:
        """
        The slow path gets on with the waiting request within that time, or the sweep drops it.

        The time limits of tasks are others' timers and wake-ups, which may be lost where there is no memory for them.
        """
        self.try_until_ms = ws_now_ms() + <int64_t>(seconds * 1000)
        self.is_overdue = False
        self.await_client()

    def count_failure(self) -> None:
        """One more failed try at the server; why is said in ``meter_failure``."""
        self.check_taken()
        ws_count(&self.service.cluster.servers[self.choice.server].failed)

    def meter_failure(self, TryFailure failure) -> None:
        """A try at the server that is taken failed, for metrics and traces."""
        self.trace_failed(failure)
        if self.engine.row != NULL and self.choice.server >= 0 and 0 <= failure < TRY_FAILURES:
            add_one(self.meter(), FAILED + failure)

    def meter_edge_answer(self, EdgeAnswer kind) -> None:
        """The answer that follows is one of ``[[edge]]`` or of an operator's word."""
        if 0 <= kind < EDGE_ANSWERS:
            self.meter_edge(kind)

    def note_failure(self, str words not None, int64_t status) -> None:
        """How the try that failed last did, for the trace; ``status``: of its answer, 0 none."""
        if self.trace is not None:
            self.trace_number(FAILED_STATUS, status)
            self.trace.put_bytes(WHY, words.encode("utf-8", "backslashreplace"))

    def meter_connect(self, int64_t us) -> None:
        """A connection to the server that is taken was there after so many microseconds."""
        self.spent.connect_us = us
        self.meter_unused()  # another one, of a try before at the same server
        self.connected_us = us
        if self.choice.server >= 0:
            self.trace_try(self.choice.server)
            self.trace_number(CONNECTED, us)

    def join_queue(self) -> int:
        """
        A server for the waiting request, because there is one now; or WAITS (-3): it stands in the cluster's queue.

        Other negative numbers: the queue is full, or there is none. A client that sends no more does not wait: it has left.
        """
        cdef Cluster cluster
        cdef int wanted = -1
        if not self.waits() or self.choice.server >= 0 or self.choice.place:
            raise RuntimeError("the exchange has a server or waits for one already")
        cluster = self.service.cluster
        if not cluster.has_queue or not self.sent.length:
            return self.choice.server
        if cluster.affinity_waits and self.choice.wanted:
            wanted = self.choice.wanted - 1
        self.choice.server = cluster.join(
            self.engine.worker_id, ws_now_ms(), wanted, &self.choice.tried, &self.choice.probe, &self.choice.place
        )
        if self.choice.server == WAITS:
            self.queued_us = ws_now_us()
        if self.engine.row != NULL:
            if self.choice.server == WAITS:
                add_one(self.cluster_meter(), QUEUED)
            elif self.choice.server == ALL_FULL:
                add_one(self.cluster_meter(), QUEUE_FULL)
        if self.choice.server == WAITS:
            self.trace_time(WAITED)
        if self.half_closed and self.has_left(self.request_done):
            self.sink.close()
        return self.after_wait()

    @property
    def is_queued(self) -> bool:
        """Whether the request stands in its cluster's queue, or its turn there was not taken up yet."""
        return self.choice.place != 0

    def look_for_end(self) -> None:
        """
        Closes where the client has ended or reset a connection that is not read for now: it has left.

        For an exchange that waits in the queue with a body of which the rest is not wanted yet.
        """
        if self.choice.place and self.sink.has_hung_up():
            self.ended_by(ENDED_CQ)
            self.release()  # now: what it was given before it may still read, and its connection linger for that
            self.sink.close()

    @property
    def has_turn(self) -> bool:
        """Whether the wait in the queue is over."""
        return self.choice.place != 0 and self.service.cluster.has_turn(self.choice.place)

    def take_turn(self) -> int:
        """The server that was granted; WAITS (-3), or why there will be none."""
        if self.choice.place:
            self.choice.server = self.service.cluster.take_turn(
                self.choice.place, self.engine.worker_id, &self.choice.tried, &self.choice.probe
            )
        return self.after_wait()

    def end_wait(self) -> int:
        """The time is over: a server that is free all the same, or why there is none."""
        if self.choice.place:
            self.choice.server = self.service.cluster.end_wait(
                self.choice.place, self.engine.worker_id, ws_now_ms(), &self.choice.tried, &self.choice.probe
            )
        return self.after_wait()

    cdef int after_wait(self) except? -1:
        if self.choice.server == WAITS:
            return WAITS
        if self.choice.place:
            self.trace_time(UNQUEUED)
        self.trace_next(self.sent.data, self.count_head())
        self.meter_wait(QUEUE_SERVED if self.choice.server >= 0 else QUEUE_VAIN)
        self.choice.place = 0
        if self.choice.server >= 0:
            self.tried += 1
            self.reread_session()
            decide_waited(self.engine.decider, self.view, self.service, &self.choice)
            self.follow_session()
            self.engine.decider.let_go()
            if not has_tried_none(&self.choice.tried):
                self.mark_failover()
        return self.choice.server

    def next_server(self, bint keep=False) -> int:
        """
        Gives the server back and takes another one; negative: none is left (-1 down or tried, -2 full).

        With ``keep`` its answer counts as a failure, and will do where none is left: then the server stays taken.
        """
        cdef Choice before
        cdef int chosen
        self.check_taken()
        self.reread_session()
        strike_off(self.service.cluster, &self.choice, keep)
        before = self.choice
        decide_again(self.engine.decider, self.view, self.service, &self.choice)
        chosen = self.choice.server
        if chosen < 0 and keep:
            self.choice = before
            self.engine.decider.let_go()
            return chosen
        if self.upstream is not None and not self.upstream.is_read:
            self.upstream.sever()  # what it still sends of its answer it would count as a request that runs
        self.service.cluster.release(before.server, self.engine.worker_id, before.probe)
        self.choice.server = before.server
        self.meter_unused()
        if chosen >= 0 and self.engine.row != NULL:
            add_one(self.meter(), RETRIED_OTHER)
        self.choice.server = chosen
        self.follow_session()
        self.engine.decider.let_go()
        if chosen >= 0:
            self.tried += 1
            self.trace_next(self.sent.data, self.count_head())
            self.mark_failover()
        return chosen

    cdef int follow_session(self) except -1:
        """Keeps the session's value for the answer of another server than its owner; after ``reread_session``."""
        if self.choice.by_affinity and self.taking == TAKE_NOTHING:
            buffer_clear(&self.session)
        elif self.engine.decider.ids.value_len and not self.session.length:
            self.keep_session()
        return 0

    cdef bint is_refused(self, int status) except -1:
        """Whether the slow path has taken another server for the request; where it fails, the answer will do."""
        cdef bint is_taken = False
        if self.sink.is_closed():
            return False
        self.held = 0
        self.was_reused = self.upstream.reused
        self.note_server()
        try:
            is_taken = bool(self.engine.slow.refused(self, status))
        except Exception:
            complain("internal error after an answer %d; it is passed on", (status,))
        return is_taken

    cdef int go_elsewhere(self) except -1:
        """The refused answer is dropped: the request goes to the server that was taken instead."""
        self.upstream = None
        self.enter(CONNECTING)
        self.await_client()
        if not self.request_done:
            self.sink.pause_request()
        return self.ask_send_kept()

    cdef bint wants_page(self, int status) noexcept:
        return self.view.edges.page_instead(self.edges, status) >= 0

    cdef int give_page(self, int status) except -1:
        """The server's answer counts as one, in all that is told; the client gets its status, and an operator's page."""
        cdef int table = self.view.edges.page_instead(self.edges, status)
        self.upstream = None
        if self.phase != RELAYING:
            return 0  # dropped, by an error of the slow path
        self.response_started = False
        if self.trace is not None:
            self.trace.is_own = True  # told already, as the server's
        self.begin_answer()
        return self.ask_page(table, status)

    cdef int edit_answer(self, ResponseHead* head, const char* body, Py_ssize_t length) noexcept:
        """The server writes its clone id into the session's cookie, or we do (DESIGN 6)."""
        cdef Scratch scratch = Scratch(self.engine.edits, 0, OUT_SIZE)
        cdef Found news
        cdef Session session
        cdef int edited
        if self.cookie_len:
            session = Session(
                self.cookie, self.cookie_len, self.session.data, self.session.length if self.session_in_cookie else 0,
                self.session.length > 0, self.had_list, client_is_secure(&self.origin),
            )
            edited = edit_response(&scratch, self.service, self.choice.server, head, &session, &news)
            if news.kind != NOTHING_FOUND:
                self.tell_found(self.choice.server, &news)
            if edited < 0:
                return -1
        if self.compression is not None and begin_squeezing(self, &scratch, head, body, length) < 0:
            return -1
        if self.edges and self.view.edges.edit_answer(self.edges, &scratch, head) < 0:
            return -1
        if self.explained is not None:
            add_explained(self.explained, self, &scratch, head)
        return 0

    cdef int reread_session(self) except -1:
        """
        The clone ids of the request into ``decider.ids``: from the head that was sent, or what was kept beforehand.

        The caller lets go of them before either of these changes.
        """
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.decider.request
        engine.decider.forget_ids()
        if self.taking != TAKE_NOTHING:
            read_value(
                self.session.data, self.session.length, self.service.cluster.separator, self.service.cluster,
                self.session_in_cookie, &engine.decider.ids,
            )
            return 0
        if not self.cookie_len or not self.sent_head or self.sent.length < self.sent_head:
            return 0
        if parse_request(self.sent.data, self.sent_head, &self.view.limits, head) <= 0:
            return 0  # what we add took it over a limit; the session is balanced anew
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params,
            self.cookie, self.cookie_len, self.url_id, self.url_id_len, self.service.cluster.separator,
            self.service.cluster, NULL, &engine.decider.ids,
        )
        return 0

    cdef int note_partitions(self, Fields* fields) except -1:
        """
        Keeps the partition table of memory-to-memory sessions for all workers, and tells of a new one.

        What would read it is ``routing.partition``; as long as that cannot, partition ids are unknown clone ids.
        """
        cdef Buffer table
        cdef const char* version = ""
        cdef Py_ssize_t version_len = 0
        cdef int i
        memset(&table, 0, sizeof(Buffer))
        try:
            for i in range(fields.count):
                if fields.at[i].private_bit == PARTITION_VERSION:
                    version = fields.at[i].value
                    version_len = fields.at[i].value_len
                elif fields.at[i].private_bit == PARTITION_TABLE:
                    if table.length:
                        buffer_append(&table, "\n", 1)
                    buffer_append(&table, fields.at[i].value, fields.at[i].value_len)
            if self.service.cluster.note_partitions(version, version_len, table.data, table.length):
                log.info(
                    "cluster %s: partition table version %r, %d bytes, from server %s; found a format that is not known: "
                    "partition ids are treated as unknown clone ids",
                    self.service.cluster.name, (version[:version_len]).decode("ascii", "backslashreplace"), table.length,
                    self.service.cluster.server_names[self.choice.server],
                )
        finally:
            buffer_clear(&table)
        return 0

    cdef int check_taken(self) except -1:
        """Raises where the exchange has no server: its number would be an index before the first."""
        if self.choice.server < 0:
            raise RuntimeError("the exchange has no server")
        return 0

    def mark_failover(self) -> None:
        """Puts ``$WSFO: true`` into the request that is sent again (PLUGIN 5.4)."""
        if self.failover_marked or self.sent.length < self.sent_head:
            return
        self.add_line("$WSFO: true\r\n", 13)
        self.failover_marked = True

    cdef int add_line(self, const char* line, Py_ssize_t length) except -1:
        cdef Buffer longer
        cdef Py_ssize_t at = self.sent_head - 2  # before the empty line
        memset(&longer, 0, sizeof(Buffer))
        buffer_append(&longer, self.sent.data, at)
        buffer_append(&longer, line, length)
        buffer_append(&longer, self.sent.data + at, self.sent.length - at)
        buffer_clear(&self.sent)
        self.sent = longer
        self.sent_head += length
        return 0

    def pardon(self) -> None:
        """The failed connection was a reused one and does not count; that is believed once a request."""
        self.pardoned = True
        self.tried += 1
        self.trace_next(self.sent.data, self.count_head())
        if self.engine.row != NULL and self.choice.server >= 0:
            add_one(self.meter(), RETRIED_SAME)

    def count_timeout_retry(self) -> None:
        """One retry because of ServerIOTimeout; ServerIOTimeoutRetry limits them."""
        self.timeout_retries += 1

    def write(self, bytes data not None) -> bool:
        """Part of a local answer; False: wait for the client to read (see ``on_room``)."""
        if self.phase == CONNECTING:
            self.ended_by(self.failed_as)
            self.release()
            self.enter(ANSWERING)
        if self.edges and not self.response_started:
            data = self.view.edges.edit_own(self.edges, data)
        if self.engine.row != NULL and self.answered_with == 0:
            self.meter_own(int(data[9:12]))
        if self.entry != NULL and not (self.response_started and self.entry.status):
            self.enter_answer(int(data[9:12]), data.find(b"\r\n\r\n") + 4)
        if self.trace is not None and not self.trace.is_own:
            self.trace_answer(int(data[9:12]), True, False)
            self.noted |= IS_TRACED  # it ends with this answer
        self.response_started = True
        self.sink.own(<const char*>data, len(data))
        return not self.sink.is_paused()

    def answered(self) -> None:
        """The local answer is written whole."""
        if self.phase == ANSWERING:
            self.finish()

    def cut(self) -> None:
        """Ends the exchange and the connection without an answer."""
        self.drop()
