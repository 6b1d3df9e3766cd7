"""
Traces, as far as a worker has part in them: the context of each request, which of them are sampled, and a record of these.

Driven by ``proxy`` where ``Engine.trace`` has been called; without it nothing here is reached. A record is a row of small
events in memory of this worker, made without a look at anything but the request's own structs; ``dataplane.tracing`` hands
it to the process that makes spans of it. Where that does not take it, records are dropped and counted: a request never waits.
Must not hold a session id, a cookie or a query: whoever gets spans is not whoever may log in.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport getpid
from wsproxy._fast.base.buffer cimport buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.base.clock cimport ws_now_us
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Choice
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport View
from wsproxy._fast.http.fields cimport equals_ignoring_case
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin, client_is_secure, client_of
from wsproxy._fast.http.trace_context cimport (
    SAMPLED, SPAN_AT, TRACEPARENT_LINE, TraceContext, drop_context, find_traceparent, has_good_state, is_tracestate,
    write_span, write_traceparent,
)
from wsproxy._fast.tell.mask cimport SessionNames
from wsproxy._fast.tell.told cimport told_target

cdef enum:
    # Of one value: a span is to be read, and a collector limits what it takes.
    MOST_TEXT = 1024
    MOST_STATE_BYTES = 512      # of tracestate, the whole of which goes on to the server (3.3.1.5)
    MOST_RECORD = 32768         # some 200 tries
    SEED_BYTES = 32

cdef struct Began:
    uint64_t high
    uint64_t low
    uint64_t parent
    uint64_t span
    int64_t wall_us
    uint64_t number
    unsigned char flags
    unsigned char minor
    unsigned char secure
    unsigned char trusted
    int pid

cdef struct Times:
    int64_t first
    int64_t second

cdef struct Ended:
    int64_t time
    int64_t given
    int64_t body
    int64_t whole


def sample_limit(double ratio):
    """What a random number of 64 bits must be below for a request to be sampled; ``ratio`` 0 to 1."""
    return min(int(ratio * 2.0 ** 64), 2 ** 64 - 1)


cdef class TraceWords:
    """Who has words for a decision; ``dataplane.tracing`` implements it."""

    cpdef bytes route(self, object plan, int route, int uri_group, int uri):
        return b""

    cpdef bytes rule(self, object plan, int route, int by, bint is_unmet):
        return b""


cdef class Trace:
    """The record of one sampled request, until that is over."""

    def __dealloc__(self):
        buffer_clear(&self.events)

    cdef int put(self, TraceEvent event, const void* data, Py_ssize_t length) except -1:
        cdef char head[3]
        cdef uint16_t size
        if length > MOST_TEXT:
            length = MOST_TEXT
        if self.events.length + length > MOST_RECORD and event != ENDED:
            return 0
        size = <uint16_t>length
        head[0] = <char>event
        memcpy(&head[1], &size, 2)
        buffer_append(&self.events, head, 3)
        return buffer_append(&self.events, <const char*>data, length)

    cdef int put_bytes(self, TraceEvent event, bytes text) except -1:
        return self.put(event, <const char*>text, len(text))

    cdef int put_time(self, TraceEvent event) except -1:
        cdef int64_t now = ws_now_us() - self.began_us
        return self.put(event, &now, sizeof(now))

    cdef int put_times(self, TraceEvent event, int64_t first, int64_t second) except -1:
        cdef Times both = Times(first, second)
        return self.put(event, &both, sizeof(both))


cdef inline uint64_t rotated(uint64_t x, int k) noexcept nogil:
    return x << k | x >> (64 - k)


cdef class Tracer:
    """One a worker."""

    def __init__(self, TraceWords words not None, *, bytes seed not None, Py_ssize_t most_bytes):
        """``seed``: 32 bytes of the system's; ``most_bytes``: of records that wait to be taken."""
        if len(seed) != SEED_BYTES or seed == bytes(SEED_BYTES):
            raise ValueError(f"found a seed of {len(seed)} bytes; allowed are {SEED_BYTES} that are not all 0")
        memcpy(self.seed, <const char*>seed, SEED_BYTES)
        self.words = words
        self.pid = getpid()  # it is made in its worker
        self.most = most_bytes

    def __dealloc__(self):
        buffer_clear(&self.block)

    cdef uint64_t next_id(self) noexcept nogil:
        """
        xoshiro256** (Blackman and Vigna), never 0. Ids must not meet, and need not be secret: nobody gets anything for one.
        """
        cdef uint64_t found = 0
        cdef uint64_t t
        while found == 0:
            found = rotated(self.seed[1] * 5, 7) * 9
            t = self.seed[1] << 17
            self.seed[2] ^= self.seed[0]
            self.seed[3] ^= self.seed[1]
            self.seed[1] ^= self.seed[2]
            self.seed[0] ^= self.seed[3]
            self.seed[2] ^= t
            self.seed[3] = rotated(self.seed[3], 45)
        return found

    cdef Trace begin(
        self, View view, str cluster, RequestHead* head, MatchResult* found, Origin* origin, int peer_port, int port,
        char separator, int64_t began_us, uint64_t number,
    ):
        cdef TraceContext context
        cdef TraceContext sent
        cdef bint is_followed, is_obeyed
        cdef uint64_t span
        cdef Trace trace = None
        is_followed = find_traceparent(&head.fields, &context) and (
            origin.trusted or view.trace_strangers != <int>RESTART
        )
        is_obeyed = is_followed and (origin.trusted or view.trace_strangers == <int>OBEY)
        drop_context(&head.fields, not is_followed or not has_good_state(&head.fields))
        if not is_followed:
            context.high, context.low, context.parent, context.flags = self.next_id(), self.next_id(), 0, 0
        if not is_obeyed:
            context.flags &= ~<int>SAMPLED
            if self.next_id() < view.trace_limit:
                context.flags |= SAMPLED
        sent = context
        sent.parent = self.next_id()
        write_traceparent(self.line, &sent)
        head.fields.more = self.line
        head.fields.more_len = TRACEPARENT_LINE
        if not context.flags & SAMPLED:
            # Nothing has this id: whoever records all the same has the sender's span as its parent, where there is one.
            if is_followed:
                write_span(self.line + SPAN_AT, context.parent)
            return None
        self.sampled += 1
        span = self.next_id()
        trace = Trace.__new__(Trace)
        trace.client = sent.parent
        trace.parent = span
        trace.head_us = ws_now_us()
        trace.began_us = began_us or trace.head_us
        trace.route = found.route
        self.put_request(trace, &context, head, origin, number, peer_port, port)
        trace.put_bytes(PATH, told_target(
            head.target, head.path_len, <SessionNames>view.session_names, separator, False
        ))
        if cluster is not None:
            trace.put_bytes(CLUSTER, cluster.encode("utf-8", "backslashreplace"))
        if view.plan is not None:
            trace.put_bytes(ROUTE, self.words.route(view.plan, found.route, found.uri_group, found.uri))
        return trace

    cdef int put_request(
        self, Trace trace, const TraceContext* context, RequestHead* head, Origin* origin, uint64_t number,
        int peer_port, int port,
    ) except -1:
        """What the head says, but for its path."""
        cdef Began began
        cdef timespec wall
        cdef Py_ssize_t length, state = 0
        cdef const char* client
        cdef int i
        clock_gettime(CLOCK_REALTIME, &wall)
        began.high, began.low, began.parent, began.span = context.high, context.low, context.parent, trace.parent
        began.wall_us = <int64_t>wall.tv_sec * 1000000 + wall.tv_nsec // 1000 - (ws_now_us() - trace.began_us)
        began.number = number
        began.flags = <unsigned char>context.flags
        began.minor = <unsigned char>head.minor
        began.secure = client_is_secure(origin)
        began.trusted = origin.trusted
        began.pid = self.pid
        trace.put(BEGAN, &began, sizeof(Began))
        trace.put(METHOD, head.method, head.method_len)
        if head.host != NULL:
            trace.put(HOST, head.host, head.host_len)
        trace.put(PORT, &port, sizeof(int))
        client = client_of(origin, &length)
        trace.put(CLIENT, client, length)
        trace.put(PEER, origin.peer, origin.peer_len)
        if peer_port >= 0:
            trace.put(PEER_PORT, &peer_port, sizeof(int))
        for i in range(head.fields.count):
            if head.fields.at[i].name_len == 10 and not head.fields.at[i].dropped:
                if equals_ignoring_case(head.fields.at[i].line, "user-agent", 10):
                    trace.put(AGENT, head.fields.at[i].value, head.fields.at[i].value_len)
                elif is_tracestate(head.fields.at[i].line, 10):
                    state += head.fields.at[i].value_len + 1
                    if state <= MOST_STATE_BYTES:
                        trace.put(STATE, head.fields.at[i].value, head.fields.at[i].value_len)
        return 0

    cdef int note_try(
        self, Trace trace, object plan, Cluster cluster, const Choice* choice, int server, bytes address
    ) except -1:
        cdef Affinity affinity = AFFINITY_NONE
        cdef char told
        if trace.is_trying:
            return 0
        trace.is_trying = True
        if choice.by_affinity:
            affinity = AFFINITY_KEPT
        elif choice.remembered:
            affinity = AFFINITY_REMEMBERED
        elif choice.broken or choice.unmet:
            affinity = AFFINITY_BROKEN
        trace.put_times(TRY, <int64_t>trace.client, trace.head_us - trace.began_us)
        name = cluster.server_names[server]
        trace.put_bytes(TRY_SERVER, (<str>name).encode("utf-8", "backslashreplace"))
        trace.put_bytes(TRY_ADDRESS, address)
        told = <char>affinity
        trace.put(TRY_AFFINITY, &told, 1)
        if plan is not None:
            trace.put_bytes(TRY_RULE, self.words.rule(plan, trace.route, choice.by, choice.unmet))
        return 0

    cdef int next_try(self, Trace trace, char* head, Py_ssize_t length) except -1:
        cdef Py_ssize_t at
        trace.is_trying = False
        trace.head_us = ws_now_us()
        if not trace.is_used:
            return 0
        trace.is_used = False
        trace.client = self.next_id()
        # Of its own kind it is the only one there: the client's were dropped.
        at = find_line(head, length)
        if at >= 0:
            write_span(head + at + SPAN_AT, trace.client)
        return 0

    cdef int end(self, Trace trace, bint whole, int64_t given, int64_t body) except -1:
        cdef Ended ended = Ended(ws_now_us() - trace.began_us, given, body, whole and not trace.is_cut)
        cdef uint32_t length
        trace.put(ENDED, &ended, sizeof(Ended))
        length = <uint32_t>trace.events.length
        if self.block.length + <Py_ssize_t>sizeof(uint32_t) + trace.events.length > self.most:
            self.lost += 1
            return 0
        buffer_append(&self.block, <const char*>&length, sizeof(uint32_t))
        return buffer_append(&self.block, trace.events.data, trace.events.length)

    def waiting(self, Py_ssize_t most):
        """Whole records from the front, of ``most`` bytes together; each has its length before it. Empty: there is none."""
        cdef Py_ssize_t at = 0
        cdef uint32_t length
        while at < self.block.length:
            memcpy(&length, self.block.data + at, sizeof(uint32_t))
            if at and at + <Py_ssize_t>sizeof(uint32_t) + <Py_ssize_t>length > most:
                break
            at += <Py_ssize_t>sizeof(uint32_t) + <Py_ssize_t>length
        return self.block.data[:at] if at else b""

    def taken(self, Py_ssize_t length):
        """What ``waiting`` gave, of this length, is somebody else's now."""
        buffer_drop(&self.block, length)

    def draw(self):
        """An id, as requests get them."""
        return int(self.next_id())


cdef Py_ssize_t find_line(const char* head, Py_ssize_t length) noexcept nogil:
    """Where our traceparent begins in a head that was written; -1: nowhere."""
    cdef const char* p = head
    cdef const char* end = head + length - TRACEPARENT_LINE
    while p < end:
        p = <const char*>memchr(p, c"\n", end - p)
        if p == NULL:
            return -1
        p += 1
        if memcmp(p, <const char*>"traceparent: 00-", 16) == 0:
            return p - head
    return -1
