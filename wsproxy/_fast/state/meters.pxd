# Counters and histograms of requests in shared memory: a row of blocks for each worker, which outlives it.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.base.atomics cimport ws_add_own

cpdef enum:
    # Of a block: 16 cache lines. One size for all kinds, so that whoever adds up need not know what is in it.
    BLOCK_WORDS = 128
    # Of a histogram; behind them a word with the sum. The last one has no upper bound.
    BUCKETS = 16
    HISTOGRAM = 17          # words of it
    OWN_CODES = 25          # words for answers by wsproxy itself: see `code_index`

cpdef enum BlockKind:
    # A row has one block of itself, then one for each slot of a cluster, then one for each slot of a server.
    WORKER_BLOCK = 0
    CLUSTER_BLOCK = 1
    SERVER_BLOCK = 2

cpdef enum ServerWord:
    ANSWERED = 0            # five: answers with 1xx (a changed protocol) to 5xx
    FAILED = 5              # seven: tries that failed, by TryFailure
    RETRIED_SAME = 12       # ... and went on to the same server, on a new connection
    RETRIED_OTHER = 13      # ... or to another one
    MARKED_DOWN = 14        # requests failed there, and it was up
    REUSED = 15             # requests that went over a warm connection
    IDLE = 16               # warm connections now: no counter
    CONNECT = 17            # histogram: time until a connection was there
    FIRST_BYTE = 34         # histogram: from the request's going there to the head of the answer
    TOTAL = 51              # four histograms: from the request's first byte to its answer's last one, by class: 2xx to 5xx
    ANSWER_BYTES = 119       # heads and bodies, to clients
    BODY_BYTES = 120         # of requests
    # Of the row behind the workers': the prober's.
    PROBES_OK = 121
    PROBES_FAILED = 122

cpdef enum TryFailure:
    # In the order of `routing.retry.Failure`, and what that does not judge: an answer that broke off.
    CONNECT_FAILED = 0
    CLOSED_EARLY_FAILED = 1
    IO_TIMEOUT_FAILED = 2
    BAD_RESPONSE_FAILED = 3
    BUSY_FAILED = 4
    SERVER_ERROR_FAILED = 5
    CUT_FAILED = 6
    TRY_FAILURES = 7

cpdef enum EdgeAnswer:
    # Of [[edge]], [fallback] directory and operators: what answered instead of a server.
    DENIED_ANSWER = 0
    REDIRECTED_ANSWER = 1
    MAINTENANCE_ANSWER = 2
    FILE_ANSWER = 3
    PAGE_ANSWER = 4         # an operator's page instead of a server's error
    NO_HOST_ANSWER = 5      # a redirect of a request that names no host
    EDGE_ANSWERS = 6

cpdef enum ClusterWord:
    CLUSTER_OWN = 0         # twenty-five: answers by wsproxy itself, by `code_index`
    CLUSTER_EDGE = 25       # six, by EdgeAnswer; of these, but for PAGE_ANSWER, each is in CLUSTER_OWN, too
    LEFT_BEFORE = 31        # clients that left before an answer began
    LEFT_WITHIN = 32        # ... and while it came
    QUEUED = 33             # requests that waited for a place; of these, in this order:
    QUEUE_SERVED = 34       # ... that got one
    QUEUE_VAIN = 35         # ... whose time was over, or there was nothing left to wait for
    QUEUE_LEFT = 36         # ... whose client left
    QUEUE_FULL = 37         # requests that could not even wait
    QUEUE = 38              # histogram: of those that waited

cpdef enum WorkerWord:
    WORKER_OWN = 0          # as a cluster's: answers to requests of no cluster
    WORKER_EDGE = 25        # the same
    REQUESTS = 31           # heads that were read, or could not be
    OPENED = 32             # connections of clients
    CLOSED_CLIENTS = 33
    HANDSHAKES = 34         # TLS
    RESUMED = 35            # ... of these with a session of before
    HANDSHAKE_FAILED = 36
    REFUSED_CLIENTS = 37    # limits.client_connections
    ACCESS_LOST = 38        # lines of the access log that were not written
    PLUGIN_LOST = 39        # ... of http_plugin.log
    TRACED = 40             # requests that were sampled for a trace
    REQUEST = 41            # histogram: from a request's first byte to its last one
    TRACES_LOST = 58        # ... of which nothing is told: there was no room for the record
    # Of the row behind the workers': what other processes count.
    STARTS = 59             # of workers; the supervisor
    DEATHS = 60             # ... that ended while the proxy ran
    SPANS_SENT = 61         # that a collector took; the tracer
    SPANS_LOST = 62

cdef extern from *:
    """
    #include <stdint.h>
    #define WS_BOUNDS 15
    /* Upper bounds in microseconds, inclusive: from what a server beside us takes to what nobody waits for. */
    static const int64_t ws_bounds_us[WS_BOUNDS] = {
        500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000
    };
    static inline int ws_bucket(int64_t us) {
        int at = 0;
        while (at < WS_BOUNDS && us > ws_bounds_us[at]) at++;
        return at;
    }
    """
    const int64_t ws_bounds_us[15]
    int ws_bucket(int64_t us) noexcept nogil


# In a block of one's own row: one more, so many more, a length of time in the histogram that begins with `word`.
cdef inline void add_one(uint64_t* block, int word) noexcept nogil:
    ws_add_own(&block[word], 1)


cdef inline void add_more(uint64_t* block, int word, int64_t more) noexcept nogil:
    ws_add_own(&block[word], <uint64_t>more)


cdef inline void observe(uint64_t* block, int word, int64_t us) noexcept nogil:
    if us < 0:
        us = 0
    ws_add_own(&block[word + ws_bucket(us)], 1)
    ws_add_own(&block[word + BUCKETS], <uint64_t>us)


# Which of the sixteen words counts answers of our own with this status; the last one: those that wsproxy rarely gives.
cdef int code_index(int status) noexcept nogil


cdef class Meters:
    cdef char* memory
    cdef Py_ssize_t size
    cdef Py_ssize_t row_words
    cdef readonly int workers
    cdef readonly Py_ssize_t servers
    cdef readonly Py_ssize_t clusters

    # Borrowed: lives as long as the Meters. Rows 0 .. workers - 1 are the workers', the next one is everybody else's.
    cdef inline uint64_t* row(self, int worker) noexcept nogil:
        return <uint64_t*>self.memory + worker * self.row_words

    cdef inline uint64_t* cluster_block(self, int worker, Py_ssize_t slot) noexcept nogil:
        return self.row(worker) + (1 + slot) * BLOCK_WORDS

    cdef inline uint64_t* server_block(self, int worker, Py_ssize_t slot) noexcept nogil:
        return self.row(worker) + (1 + self.clusters + slot) * BLOCK_WORDS

    cdef Py_ssize_t block_at(self, int kind, Py_ssize_t slot) except -1
    # The block of this kind and slot, added up over all rows.
    cdef int add_up(self, int kind, Py_ssize_t slot, uint64_t* sums) except -1
    # Zeroes in all rows: the slot becomes somebody else's. Nobody may count there meanwhile.
    cdef int empty(self, int kind, Py_ssize_t slot) except -1
    # The worker is gone: what was open there is not any more. Its counters stay.
    cdef int forget(self, int worker, Py_ssize_t servers) except -1
    cpdef int count(self, int worker, int kind, Py_ssize_t slot, int word, int64_t more=*) except -1
    cpdef int put(self, int worker, int kind, Py_ssize_t slot, int word, int64_t number) except -1
    cdef int check(self, int worker) except -1
    cdef uint64_t* word_at(self, int worker, int kind, Py_ssize_t slot, int word) except NULL
