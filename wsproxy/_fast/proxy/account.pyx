"""
What is told of a request: where its time went, why it ended, what metrics count, its line in the access log.

Driven by ``course`` and its heirs as they come to each step; must not decide anything. One look at the clock serves all who
tell: metrics and the access log have the same times.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from wsproxy._fast.base.buffer cimport buffer_clear
from wsproxy._fast.base.clock cimport ws_now_us
from wsproxy._fast.decide.decide cimport port_of
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.net.stream cimport complain
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport ANSWERING, CONNECTING, RELAYING, TUNNELLING, Exchange
from wsproxy._fast.proxy.pool cimport Pool, pool_of
from wsproxy._fast.state.meters cimport (
    ANSWER_BYTES, BODY_BYTES, CLUSTER_EDGE, CLUSTER_OWN, CLUSTER_RECEIVE, CLUSTER_TIME, CONNECT, CUT_FAILED, FIRST_BYTE,
    HISTOGRAM, LEFT_BEFORE, LEFT_WITHIN, NO_CLASS, QUEUE, QUEUE_LEFT, REQUESTS, REUSED, TOTAL, add_more, add_one,
    code_index, observe,
)
from wsproxy._fast.tell.access_line cimport AccessLog, Ending, Entry, expect_end
from wsproxy._fast.tell.access_parts cimport Asked
from wsproxy._fast.tell.ended cimport (
    FOR_CONNECTION, FOR_DATA, FOR_HEAD, FOR_REQUEST, IN_QUEUE, Waited, forget_spent,
)
from wsproxy._fast.tell.mask cimport SessionNames
from wsproxy._fast.tell.trace cimport ANSWER, ANSWER_AT, FAILED_AT, FAILURE, OWN, OWN_AT, Trace, TraceEvent

cdef enum:
    # Of `untold`.
    IS_RECEIVED = 1
    HAS_WAITED = 2


cdef inline int class_of(int status) noexcept nogil:
    """0: 1xx, ..., 4: 5xx, and what a server makes up."""
    cdef int kind = status // 100 - 1
    return kind if 0 <= kind < 5 else 4


cdef class Account(Exchange):
    """A request as what is told of it."""

    def __dealloc__(self):
        if self.entry != NULL:
            buffer_clear(&self.entry.text)
            free(self.entry)

    cdef Waited waits_for(self) noexcept:
        if self.phase == TUNNELLING or self.phase == ANSWERING or self.phase == RELAYING and self.response_started:
            return FOR_DATA
        if not self.request_done and self.phase != CONNECTING:
            return FOR_REQUEST
        if self.choice.place != 0:
            return IN_QUEUE
        return FOR_HEAD if self.phase == RELAYING else FOR_CONNECTION

    # --- what metrics tell -------------------------------------------------------------------------------------------

    cdef int note_began(self) noexcept:
        """A request begins, for whoever takes its time."""
        cdef Engine engine = self.engine
        self.forget_end()
        forget_spent(&self.spent)
        self.route = self.tried = 0
        self.handed_us = self.answered_us = self.first_us = self.queued_us = 0
        self.untold = 0
        self.connected_us = -1
        if engine.row == NULL and engine.access is None:
            return 0
        self.dripped = self.head_began_us != 0
        self.began_us = self.head_began_us or ws_now_us()
        self.head_began_us = 0
        self.given_from = self.sink.given()
        if engine.row != NULL:
            self.meter_request()
        return 0

    cdef uint64_t* meter(self) noexcept:
        """The block of the server that is taken; only where there is one, and somebody counts."""
        return self.engine.meters.server_block(
            self.engine.worker_id, self.service.cluster.servers[self.choice.server] - self.service.cluster.state.servers
        )

    cdef uint64_t* cluster_meter(self) noexcept:
        """The block of the cluster; of the worker where the request is no cluster's. Both have answers of our own first."""
        if self.service is None:
            return self.engine.row
        return self.engine.meters.cluster_block(self.engine.worker_id, <Py_ssize_t>self.service.cluster.slot_index())

    cdef void meter_request(self) noexcept:
        add_one(self.engine.row, REQUESTS)
        self.answered_with = 0

    cdef void meter_whole(self) noexcept:
        """All of the request is here. One that came in one piece takes no look at the clock."""
        self.spent.receive_us = ws_now_us() - self.began_us if self.dripped or self.body.seen else 0
        self.untold |= IS_RECEIVED

    cdef void meter_sent(self, bint reused) noexcept:
        """The request goes to the server that is taken."""
        if self.engine.row != NULL and reused:
            add_one(self.meter(), REUSED)

    cdef void meter_answer(self) noexcept:
        """The server's answer has begun, and is one: its first bytes were good."""
        cdef int kind = class_of(self.answered_with)
        if self.first_us and self.choice.server >= 0 and self.engine.row != NULL:
            self.meter_first(self.meter(), kind)
            if self.request_done:
                self.meter_parts(kind)  # now: it may go on for days
        self.first_us = 0

    cdef void meter_first(self, uint64_t* block, int kind) noexcept:
        observe(block, FIRST_BYTE + HISTOGRAM * kind, self.first_us - self.asked_us)
        if self.connected_us >= 0:
            observe(block, CONNECT + HISTOGRAM * kind, self.connected_us)
            self.connected_us = -1

    cdef void meter_unused(self) noexcept:
        if self.connected_us >= 0 and self.choice.server >= 0 and self.engine.row != NULL:
            observe(self.meter(), CONNECT + HISTOGRAM * NO_CLASS, self.connected_us)
        self.connected_us = -1

    cdef void meter_parts(self, int kind) noexcept:
        cdef uint64_t* block
        if self.untold == 0 or self.engine.row == NULL:
            return
        block = self.cluster_meter()
        if self.untold & IS_RECEIVED:
            observe(block, CLUSTER_RECEIVE + HISTOGRAM * kind, self.spent.receive_us)
        if self.untold & HAS_WAITED:
            observe(block, QUEUE + HISTOGRAM * kind, self.spent.queue_us)
        self.untold = 0

    cdef void meter_rest(self) noexcept:
        self.meter_parts(class_of(self.answered_with) if self.answered_with > 0 else NO_CLASS)

    cdef void meter_bytes(self) noexcept:
        if self.choice.server >= 0:
            self.meter_bytes_in(self.meter())

    cdef void meter_bytes_in(self, uint64_t* block) noexcept:
        add_more(block, ANSWER_BYTES, (self.sink.given() - self.given_from))
        if self.body.seen:
            add_more(block, BODY_BYTES, self.body.seen)

    cdef void meter_finish(self) noexcept:
        """An answer is over; where all of it came at once, it took as long as its first byte."""
        cdef uint64_t* block
        cdef int kind
        self.over_us = self.first_us
        if self.engine.row == NULL or self.answered_with <= 0:
            return
        if self.over_us == 0:
            self.over_us = ws_now_us()
        kind = class_of(self.answered_with)
        if self.choice.server >= 0:
            block = self.meter()
            if self.first_us:
                self.meter_first(block, kind)
                self.first_us = 0
            observe(block, TOTAL + HISTOGRAM * (kind - 1 if kind else 0), self.over_us - self.began_us)
            self.meter_bytes_in(block)
        else:
            observe(self.cluster_meter(), CLUSTER_TIME + HISTOGRAM * (kind - 1 if kind else 0), self.over_us - self.began_us)
        self.meter_parts(kind)

    cdef void meter_own(self, int status) noexcept:
        """wsproxy answers by itself; counted once a request."""
        if self.engine.row != NULL and self.answered_with == 0:
            self.answered_with = status
            add_one(self.cluster_meter(), CLUSTER_OWN + code_index(status))

    cdef void meter_edge(self, int kind) noexcept:
        """What an ``[[edge]]`` or an operator says is answered."""
        if self.engine.row != NULL:
            add_one(self.cluster_meter(), CLUSTER_EDGE + kind)

    cdef void meter_left(self) noexcept:
        """The client is gone before its answer was whole, unless it was us who cut it off."""
        if self.engine.row == NULL or self.answered_with < 0:
            return
        self.meter_wait(QUEUE_LEFT)
        self.meter_answer()
        self.meter_rest()
        if self.service is None:
            return
        add_one(self.cluster_meter(), LEFT_WITHIN if self.answered_with else LEFT_BEFORE)
        self.meter_bytes()
        self.answered_with = -1

    cdef void meter_wait(self, int word) noexcept:
        """The wait in the queue is over."""
        if self.queued_us == 0:
            return
        self.spent.queue_us = max(self.spent.queue_us, <int64_t>0) + ws_now_us() - self.queued_us
        self.queued_us = 0
        self.untold |= HAS_WAITED
        if self.engine.row != NULL:
            add_one(self.cluster_meter(), word)

    # --- the access log ----------------------------------------------------------------------------------------------

    cdef int begin_entry(self, RequestHead* head, const char* data, Py_ssize_t length) except -1:
        cdef AccessLog access = self.engine.access
        cdef Asked asked
        asked.head = head
        asked.data = data
        asked.length = length
        asked.origin = &self.origin
        asked.number = self.number
        asked.known = &self.engine.decider.known
        asked.port = self.local_port
        if access.asks_port and head != NULL:
            asked.port = port_of(self.view, head, self.local_port, self.default_port)
        self.entry = access.begin(&asked, <SessionNames>self.view.session_names)
        self.entry.began_us = self.began_us
        self.entry.given = self.given_from
        return 0

    cdef int enter_answer(self, int status, Py_ssize_t head_len) except -1:
        """An answer begins: its server's where one is taken, else our own. A later one counts instead."""
        self.entry.status = status
        self.entry.body_from = self.sink.given() + head_len
        expect_end(self.engine.access, self.entry)
        return self.enter_server(self.entry)

    cdef int note_server(self) except -1:
        if self.entry != NULL:
            self.enter_server(self.entry)
        return 0

    cdef int enter_server(self, Entry* entry) except -1:
        cdef Pool pool
        if self.choice.server >= 0:
            pool = pool_of(self.service, self.choice.server, self.secure)
            entry.server = PyBytes_AS_STRING(pool.address)
            entry.server_len = PyBytes_GET_SIZE(pool.address)
            entry.server_is_plain = pool.is_plain
            entry.server_name = self.service.cluster.names[self.choice.server + 1]
            entry.ending.by = self.choice.by
            entry.ending.unmet = self.choice.unmet
        return 0

    cdef int end_entry(self, int status_of_none, bint whole) except -1:
        """The request's line is written; ``status_of_none``: where no answer began."""
        cdef Entry* entry = self.entry
        cdef Ending* ending = &entry.ending
        cdef AccessLog access = self.engine.access
        cdef int64_t held = self.sink.held()
        self.entry = NULL
        ending.connection = c"X" if not whole else c"+" if self.keep_alive and self.request_done else c"-"
        ending.status = entry.status
        if not entry.status or not self.response_started:
            entry.status = 0
            ending.status = status_of_none
            self.enter_server(entry)  # who had the request then
        ending.over_us = self.over_us or ws_now_us()
        self.over_us = 0
        if access.asks_times:
            ending.spent = self.spent
            if self.queued_us:
                ending.spent.queue_us = max(self.spent.queue_us, <int64_t>0) + ending.over_us - self.queued_us
            if self.handed_us:
                ending.spent.send_us = self.asked_us - self.handed_us
            if self.answered_us:
                ending.spent.answer_us = ending.over_us - self.answered_us
        ending.cause = self.cause
        ending.tried = self.tried
        ending.route = self.route
        if self.service is not None:
            entry.cluster_name = self.service.cluster.names[0]
        ending.given = self.sink.given()
        if held and whole and self.sink.keep_line(entry):
            return 0
        ending.given -= held
        try:
            access.end(entry)
        except Exception:  # an exchange must end, whatever becomes of its line
            complain("internal error: a line of the access log is lost", ())
        return 0

    # --- the record of a sampled request -----------------------------------------------------------------------------

    cdef int trace_try(self, int server) except -1:
        if self.trace is not None and not self.trace.is_trying:
            self.engine.tracer.note_try(
                self.trace, self.view.plan, self.service.cluster, &self.choice, server,
                pool_of(self.service, server, self.secure).address,
            )
        return 0

    cdef int trace_failed(self, int64_t kind) except -1:
        if self.trace is not None and self.choice.server >= 0:
            self.trace_try(self.choice.server)
            self.trace_time(FAILED_AT)
            self.trace_number(FAILURE, kind)
            self.trace.is_used = True
        return 0

    cdef int trace_cut(self) except -1:
        if self.trace is not None:
            self.trace.is_cut = True
            self.trace_time(FAILED_AT)
            self.trace_number(FAILURE, CUT_FAILED)
        return 0

    cdef int trace_time(self, TraceEvent event) except -1:
        return 0 if self.trace is None else self.trace.put_time(event)

    cdef int trace_number(self, TraceEvent event, int64_t number) except -1:
        return 0 if self.trace is None else self.trace.put(event, &number, sizeof(number))

    cdef int trace_next(self, char* head, Py_ssize_t length) except -1:
        return 0 if self.trace is None else self.engine.tracer.next_try(self.trace, head, length)

    cdef int trace_answer(self, int64_t status, bint is_own, bint is_reused) except -1:
        if self.trace is None or self.trace.is_own:
            return 0
        if is_own:
            self.trace.is_own = True
            self.trace_time(OWN_AT)
            return self.trace_number(OWN, status)
        self.trace_try(self.choice.server)
        self.trace_time(ANSWER_AT)
        return self.trace.put_times(ANSWER, status, is_reused)

    cdef int end_trace(self, bint whole) except -1:
        cdef Trace trace = self.trace
        self.trace = None
        if trace is not None:
            self.engine.tracer.end(trace, whole, self.sink.given() - self.given_from, self.body.seen)
        return 0
