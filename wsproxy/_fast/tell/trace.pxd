# Traces: which requests are sampled, and a small record of each of these for whoever makes spans of it.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Choice
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport View
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.http.trace_context cimport TraceContext

cpdef enum TraceEvent:
    # What a record is made of: a byte that says what, two with the length, and that. Numbers are the machine's own; times are
    # in us since the first byte of the request.
    BEGAN = 1           # trace id (two), parent, span, us since 1970, number; flags, minor, secure, trusted; pid
    METHOD
    PATH                # masked
    HOST
    PORT                # 16 bits
    CLIENT              # the client's address, by the word of a TrustedProxy where that has said it
    PEER                # who is connected
    PEER_PORT
    AGENT
    STATE               # tracestate; one for each field
    CLUSTER
    ROUTE               # words of explain, NUL, the Uri
    WAITED              # time: it waits for a place
    UNQUEUED            # time
    TRY                 # span, time
    TRY_SERVER
    TRY_ADDRESS
    TRY_RULE            # words of explain
    TRY_AFFINITY        # byte: Affinity
    CONNECTED           # us that it took
    ANSWER_AT           # time
    ANSWER              # status, whether the connection was a warm one: 64 bits each
    FAILED_AT           # time
    FAILURE             # TryFailure
    FAILED_STATUS       # of its answer; 0: none
    WHY                 # words of the ledger
    OWN_AT              # time
    OWN                 # status of an answer by wsproxy
    ENDED               # time, bytes that the client was given, bytes of the request's body, whether it is whole

cpdef enum Affinity:
    AFFINITY_NONE = 0   # no clone id
    AFFINITY_KEPT
    AFFINITY_REMEMBERED
    AFFINITY_BROKEN

cpdef enum Strangers:
    # What is made of the traceparent of whoever is no TrustedProxy: trace.strangers.
    RESTART = 0         # as if there were none
    CONTINUE            # its trace goes on, but whether it is recorded is ours to say
    OBEY                # as a TrustedProxy's


cdef class TraceWords:
    # Cached by whoever implements it: asked for each sampled request. `plan`: View.plan.
    cpdef bytes route(self, object plan, int route, int uri_group, int uri)
    cpdef bytes rule(self, object plan, int route, int by, bint is_unmet)


cdef class Trace:
    cdef uint64_t client        # span of the present try, or of the next one
    cdef uint64_t parent        # the server's span
    cdef int64_t began_us
    cdef int64_t head_us        # when its head was read
    cdef int route              # -1: none
    cdef bint is_trying         # TRY was noted, and not how that ended
    cdef bint is_used           # `client` is the span of a try that is over
    cdef bint is_own            # wsproxy answers
    cdef bint is_cut            # the answer broke off
    cdef Buffer events

    cdef int put(self, TraceEvent event, const void* data, Py_ssize_t length) except -1
    cdef int put_bytes(self, TraceEvent event, bytes text) except -1
    cdef int put_time(self, TraceEvent event) except -1
    cdef int put_times(self, TraceEvent event, int64_t first, int64_t second) except -1


cdef class Tracer:
    cdef TraceWords words
    cdef uint64_t seed[4]
    cdef int pid
    cdef char line[70]          # the traceparent of the request that is read: lives until the next one is
    cdef Buffer block           # records that were not taken yet: 32 bits of length, then events
    cdef Py_ssize_t most        # bytes of it
    cdef readonly long long sampled
    cdef readonly long long lost  # of these: there was no room

    cdef uint64_t next_id(self) noexcept nogil
    cdef int put_request(
        self, Trace trace, const TraceContext* context, RequestHead* head, Origin* origin, uint64_t number,
        int peer_port, int port,
    ) except -1
    # For each request before its head is written: replaces its traceparent. The Trace of one that is sampled, or None.
    cdef Trace begin(
        self, View view, str cluster, RequestHead* head, MatchResult* found, Origin* origin, int peer_port, int port,
        char separator, int64_t began_us, uint64_t number,
    )
    # The try at this server of the cluster is to be told of, if it is not yet.
    cdef int note_try(
        self, Trace trace, object plan, Cluster cluster, const Choice* choice, int server, bytes address
    ) except -1
    # Another try begins: its span, in the head that is sent again.
    cdef int next_try(self, Trace trace, char* head, Py_ssize_t length) except -1
    # The request is over, and the Trace with it.
    cdef int end(self, Trace trace, bint whole, int64_t given, int64_t body) except -1
