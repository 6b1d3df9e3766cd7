# Counters and histograms of requests in shared memory: a row of blocks for each worker, which outlives it.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.base.atomics cimport ws_add_own

cpdef enum:
    # Of a block: 40 cache lines. One size for all kinds, so that whoever adds up need not know what is in it.
    BLOCK_WORDS = 320
    # Of a histogram; behind them a word with the sum. The last one has no upper bound.
    BUCKETS = 16
    HISTOGRAM = 17          # words of it
    OWN_CODES = 25          # words for answers by wsproxy itself: see `code_index`
    # Of answers: 1xx (a changed protocol) to 5xx, and where none came. A time by class has a histogram for each.
    CLASSES = 6
    NO_CLASS = 5

cpdef enum BlockKind:
    # A row has one block of itself, then one for each slot of a cluster, then one for each slot of a server.
    WORKER_BLOCK = 0
    CLUSTER_BLOCK = 1
    SERVER_BLOCK = 2

cpdef enum ServerWord:
    FAILED = 0              # seven: tries that failed, by TryFailure
    RETRIED_SAME = 7        # ... and went on to the same server, on a new connection
    RETRIED_OTHER = 8       # ... or to another one
    MARKED_DOWN = 9         # requests failed there, and it was up
    REUSED = 10             # requests that went over a warm connection
    IDLE = 11               # warm connections now: no counter
    CONNECT = 12            # six histograms: time until a connection was there, by class of the answer that came over it
    FIRST_BYTE = 114        # five, 1xx to 5xx: from the request's going there to the answer's head; they count the answers
    TOTAL = 199             # four, 2xx to 5xx: from the request's first byte to its answer's last one
    ANSWER_BYTES = 267      # heads and bodies, to clients
    BODY_BYTES = 268        # of requests
    # Of the row behind the workers': the prober's.
    PROBES_OK = 269
    PROBES_FAILED = 270

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
    QUEUE = 38              # six histograms: how long a request waited, by class of the answer that its client got
    CLUSTER_TIME = 140      # four, 2xx to 5xx: answers by wsproxy itself, from the request's first byte to the last one
    CLUSTER_RECEIVE = 208   # six: from a request's first byte to its last one

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
    TRACES_LOST = 41        # ... of which nothing is told: there was no room for the record
    # Of the row behind the workers': what other processes count.
    STARTS = 42             # of workers; the supervisor
    DEATHS = 43             # ... that ended while the proxy ran
    SPANS_SENT = 44         # that a collector took; the tracer
    SPANS_LOST = 45
    WORKER_TIME = 140       # as a cluster's, and in the same places
    WORKER_RECEIVE = 208

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
