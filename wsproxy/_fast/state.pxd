# What all workers share: one memory segment, made by the supervisor before it forks.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.changes cimport ChangeRing
from wsproxy._fast.client_counts cimport ClientCounts
from wsproxy._fast.lock cimport pthread_mutex_t
from wsproxy._fast.takeover cimport TakeoverTable
from wsproxy._fast.waiting cimport WaitingLine

cdef enum:
    # Rows of in-flight counts a server has, one a worker. 128 = far above the CPUs of one host, 512 bytes a server.
    MAX_WORKERS = 128

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdint.h>
    #include <time.h>

    #define WS_MAX_WORKERS 128

    /* A slot begins at a cache line of its own. The attribute belongs to the struct: on the typedef it would promise an
       alignment that the size does not keep. */
    typedef struct __attribute__((aligned(64))) {
        int32_t weight;               /* what is left of this turn; under the cluster's lock */
        int32_t start_weight;         /* LoadBalanceWeight / GCD of the cluster */
        int32_t max_connections;      /* <= 0: no limit */
        int32_t drained;
        int32_t granted;              /* places kept for waiters that have not taken them up; under the cluster's lock */
        int32_t cluster;              /* index of the cluster's slot */
        int32_t probe_by;             /* 1 + worker that probes a down server; 0 none */
        int32_t down_errno;           /* evidence of the last failure */
        int32_t down_by;              /* worker that saw it */
        int64_t down_until_ms;        /* CLOCK_MONOTONIC; 0: up */
        int64_t down_since_ms;
        int64_t recorded_ms;          /* when its being down was recorded last */
        int64_t probe_recorded_ms;    /* when a probe was */
        uint64_t evidence;            /* number of the last change that says why it is down; 0 none */
        uint64_t total;               /* requests given to the server */
        uint64_t affinity;            /* of these by affinity */
        uint64_t failed;              /* tries that failed */
        int32_t inflight[WS_MAX_WORKERS]; /* requests running, one count a worker: a dead worker's row is zeroed */
    } ws_server_slot;

    typedef struct __attribute__((aligned(64))) {
        int32_t cursor;               /* where the next turn of the round robin starts */
        int32_t backup_cursor;        /* the same among backups that are balanced */
        uint64_t random;              /* xorshift state */
        pthread_mutex_t lock;         /* robust, process-shared: a worker that dies inside leaves it usable */
    } ws_cluster_slot;

    static inline int32_t ws_load32(int32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ws_store32(int32_t *p, int32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline int64_t ws_load64(int64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ws_store64(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void ws_count(uint64_t *p) { __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }
    static inline int ws_swap_if32(int32_t *p, int32_t from, int32_t to) {
        return __atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    static inline int64_t ws_now_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &t);  /* 4 ms steps, no system call */
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    }
    """
    ctypedef struct ws_server_slot:
        int32_t weight
        int32_t start_weight
        int32_t max_connections
        int32_t drained
        int32_t granted
        int32_t cluster
        int32_t probe_by
        int32_t down_errno
        int32_t down_by
        int64_t down_until_ms
        int64_t down_since_ms
        int64_t recorded_ms
        int64_t probe_recorded_ms
        uint64_t evidence
        uint64_t total
        uint64_t affinity
        uint64_t failed
        int32_t inflight[128]
    ctypedef struct ws_cluster_slot:
        int32_t cursor
        int32_t backup_cursor
        uint64_t random
        pthread_mutex_t lock
    int32_t ws_load32(int32_t* p) noexcept nogil
    void ws_store32(int32_t* p, int32_t v) noexcept nogil
    int64_t ws_load64(int64_t* p) noexcept nogil
    void ws_store64(int64_t* p, int64_t v) noexcept nogil
    void ws_count(uint64_t* p) noexcept nogil
    bint ws_swap_if32(int32_t* p, int32_t old, int32_t new) noexcept nogil
    int64_t ws_now_ms() noexcept nogil


cdef class SharedState:
    cdef object memory              # the mmap object; owns the segment
    cdef dict server_index          # server_key -> index of its slot; filled before the fork
    cdef dict cluster_index
    cdef Py_ssize_t server_capacity
    cdef Py_ssize_t cluster_capacity
    cdef ws_server_slot* servers
    cdef ws_cluster_slot* clusters
    cdef ChangeRing* ring
    cdef readonly TakeoverTable takeovers
    cdef readonly ClientCounts client_counts  # None: nobody counts
    cdef dict lines                 # index of a cluster's slot -> WaitingLine
    cdef object log_memory          # the mmap object; owns what the next points to
    cdef int32_t* log_wishes        # what all workers' logs are to do: [0] the level, [1] how often to open the file anew
    cdef int bells[128]             # eventfds that wake workers; -1 none

    # The same for all that ask for this cluster's slot; made by the supervisor, before the fork.
    cdef WaitingLine waiting_line(self, Py_ssize_t cluster)
    cdef int recount(self, Py_ssize_t cluster, WaitingLine line, int worker) except -1
    # Wakes the worker: the turn of one of its waiters has come.
    cdef void call(self, int worker) noexcept nogil

    cdef ws_server_slot* server_slot(self, bytes key) except NULL
    cdef ws_cluster_slot* cluster_slot(self, bytes key) except NULL


cdef void start_turns(ws_cluster_slot* slot, uint64_t random) noexcept nogil
cdef int check_worker(int worker_id) except -1
cdef int32_t total_inflight(ws_server_slot* slot) noexcept nogil
