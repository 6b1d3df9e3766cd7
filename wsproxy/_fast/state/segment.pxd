# What all workers share: one memory segment, made by the supervisor before it forks.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.base.lock cimport pthread_mutex_t
from wsproxy._fast.state.board cimport Board
from wsproxy._fast.state.changes cimport ChangeRing
from wsproxy._fast.state.client_counts cimport ClientCounts
from wsproxy._fast.state.latency cimport ws_latency
from wsproxy._fast.state.meters cimport Meters
from wsproxy._fast.state.operator cimport ws_maintenance, ws_operator
from wsproxy._fast.state.queue cimport SharedQueue
from wsproxy._fast.state.seen cimport ws_seen
from wsproxy._fast.state.takeover cimport ClusterSessions, TakeoverTable

cdef enum:
    KEY_BYTES = 16          # of what a slot is found by: a digest of names
    # Rows of in-flight counts a server has, one a worker. 128 = far above the CPUs of one host, 512 bytes a server.
    MAX_WORKERS = 128

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdint.h>

    #define WS_MAX_WORKERS 128

    /* A slot begins at a cache line of its own. The attribute belongs to the struct: on the typedef it would promise an
       alignment that the size does not keep. */
    typedef struct __attribute__((aligned(64))) {
        int32_t weight;               /* what is left of this turn; under the cluster's lock */
        int32_t start_weight;         /* LoadBalanceWeight / GCD of the cluster */
        int32_t max_connections;      /* <= 0: no limit */
        int32_t hold;                 /* an operator's: Hold of operator.pxd, `said` knows until when */
        int32_t granted;              /* places kept for waiters that have not taken them up; under the cluster's lock */
        int32_t cluster;              /* index of the cluster's slot */
        int32_t probe_by;             /* 1 + worker that probes a down server; 0 none */
        int32_t writer;               /* what it does about clone ids: Writer of writers.pxd */
        int32_t told;                 /* bits of what was said of it already: Finding of writers.pxd */
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
        ws_latency latency;           /* of its answers */
        unsigned char key[16];        /* whose it is; zeroes: nobody's */
        int64_t left_ms;              /* since when no configuration has it, CLOCK_MONOTONIC; 0: the present one has it */
        int64_t left_at;             /* the first generation that does not have it */
        int32_t probe_says;           /* what active probes say, see probed.pxd; these seven under the lock */
        int32_t probe_streak;         /* probes in a row that went well, below 0 that failed; since the last mark */
        int64_t probe_until_ms;       /* until when that holds */
        int32_t slow_start_ms;        /* how long its weight grows when it has come back; 0: not at all */
        int32_t slow_credit;          /* parts of a turn that it has meanwhile, see probed.pxd */
        int64_t slow_since_ms;        /* since when it grows; 0: it does not */
        int32_t is_known;             /* a configuration with it was in use: it is no new server */
        int32_t inflight[WS_MAX_WORKERS]; /* requests running, one count a worker: a dead worker's row is zeroed */
        ws_operator said;             /* what an operator has said of it, and who that was */
        ws_seen seen;                 /* sessions */
    } ws_server_slot;

    typedef struct __attribute__((aligned(64))) {
        int32_t cursor;               /* where the next turn of the round robin starts */
        int32_t backup_cursor;        /* the same among backups that are balanced */
        int32_t writer;               /* what its servers do about clone ids: what the last one that showed it does */
        int32_t told;                 /* the same as a server's */
        uint64_t random;              /* xorshift state */
        unsigned char key[16];        /* the same three as a server's */
        int64_t left_ms;
        int64_t left_at;
        int32_t is_open;              /* the lock was made */
        int32_t has_queue;            /* requests may wait: there is a queue with the slot's number */
        pthread_mutex_t lock;         /* robust, process-shared: a worker that dies inside leaves it usable */
        ws_maintenance maintenance;   /* an operator's: nobody's requests go to its servers */
    } ws_cluster_slot;

    typedef struct {
        uint64_t layout;              /* of all that stands here: what has another one is another version's */
        int32_t server_count;         /* slots below these numbers are or were somebody's */
        int32_t cluster_count;
        int32_t log_level;            /* of http_plugin.log for all workers; 0: the configured one */
        int32_t file_log_level;       /* the configured one, as a reload found it; 0: that of the start */
        int32_t log_reopens;          /* how often that file was to be opened anew */
        int32_t wants_prober;         /* the configuration that holds has probes */
        int32_t is_drained;           /* an operator's word on the whole proxy: it is not ready, and connections end */
        int32_t maintained;           /* some word of maintenance may hold: only then it is looked for */
        ws_maintenance maintenance;   /* of the whole proxy */
        int64_t generation;          /* number of the configuration that holds; the one of the start is 1 */
        uint64_t unrouted;            /* requests that wsproxy answered 404: no Route takes them */
        uint64_t unserved;            /* requests that wsproxy answered 5xx */
        uint64_t reloads[5];          /* configurations that came later, by result: RELOADS in segment.pyx; the loader */
        int64_t reload_tried_ms;      /* when the last one came, since 1970; 0: none did */
        int64_t reload_taken_ms;      /* when one was taken over last; 0: that of the start holds */
        int32_t is_reload_refused;    /* the last one was refused, or failed */
        int64_t newest[WS_MAX_WORKERS]; /* generation by which the worker's new requests go */
        int64_t oldest[WS_MAX_WORKERS]; /* by which the oldest of its requests goes */
    } ws_header;
    """
    ctypedef struct ws_header:
        uint64_t layout
        int32_t server_count
        int32_t cluster_count
        int32_t log_level
        int32_t file_log_level
        int32_t log_reopens
        int32_t wants_prober
        int32_t is_drained
        int32_t maintained
        ws_maintenance maintenance
        int64_t generation
        uint64_t unrouted
        uint64_t unserved
        uint64_t reloads[5]
        int64_t reload_tried_ms
        int64_t reload_taken_ms
        int32_t is_reload_refused
        int64_t newest[128]
        int64_t oldest[128]
    ctypedef struct ws_server_slot:
        int32_t weight
        int32_t start_weight
        int32_t max_connections
        int32_t hold
        int32_t granted
        int32_t cluster
        int32_t probe_by
        int32_t writer
        int32_t told
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
        ws_latency latency
        unsigned char key[16]
        int64_t left_ms
        int64_t left_at
        int32_t probe_says
        int32_t probe_streak
        int64_t probe_until_ms
        int32_t slow_start_ms
        int32_t slow_credit
        int64_t slow_since_ms
        int32_t is_known
        int32_t inflight[128]
        ws_operator said
        ws_seen seen
    ctypedef struct ws_cluster_slot:
        int32_t cursor
        int32_t backup_cursor
        int32_t writer
        int32_t told
        uint64_t random
        unsigned char key[16]
        int64_t left_ms
        int64_t left_at
        int32_t is_open
        int32_t has_queue
        pthread_mutex_t lock
        ws_maintenance maintenance


cdef class SharedState:
    cdef int fd                     # the memfd of a state that grows; -1: anonymous memory
    cdef char* memory               # the segment, a mapping
    cdef Py_ssize_t size            # of the segment; what is behind it in the same file is mapped alone
    cdef long long counts_at        # where the counts of clients are, for MAX_WORKERS
    cdef long long board_at         # the same of what operators ask through
    cdef long long rest_at          # of sessions and queues
    cdef dict server_index          # server_key -> index of its slot, as this process knows them
    cdef dict cluster_index
    cdef list free_servers          # slots that were somebody's, and are nobody's any more
    cdef list free_clusters
    cdef Py_ssize_t server_capacity
    cdef Py_ssize_t cluster_capacity
    cdef ws_header* header
    cdef ws_server_slot* servers
    cdef ws_cluster_slot* clusters
    cdef ChangeRing* ring
    cdef readonly TakeoverTable takeovers
    cdef readonly ClientCounts client_counts  # None: nobody counts
    cdef readonly Board board       # None: nobody asks what workers do
    cdef readonly Meters meters     # None: nobody counts what metrics tell
    cdef dict queues                # index of a cluster's slot -> SharedQueue, as far as they were needed here
    cdef dict sessions              # the same -> ClusterSessions
    cdef int bells[128]             # eventfds that wake workers; -1 none

    # The same for all that ask for this cluster's slot.
    cdef SharedQueue queue_of(self, Py_ssize_t cluster)
    cdef ClusterSessions sessions_of(self, Py_ssize_t cluster)
    cdef long long place_of(self, Py_ssize_t cluster, bint is_queue) except -2
    cdef int empty_cluster(self, Py_ssize_t at) except -1
    cdef int give_back(self, int worker_id) except -1
    cdef bint forget_waiters(self, int worker_id) except -1
    cdef int recount(self, Py_ssize_t cluster, SharedQueue queue, int worker) except -1
    # Wakes the worker: the turn of one of its waiters has come.
    cdef void call(self, int worker) noexcept nogil

    cdef ws_server_slot* server_slot(self, bytes key) except NULL
    cdef ws_cluster_slot* cluster_slot(self, bytes key) except NULL
    # Makes the slot's lock and where its turns begin, if it is new.
    cdef int open_cluster(self, int cluster) except -1


cdef void start_turns(ws_cluster_slot* slot, uint64_t random) noexcept nogil
cdef int check_worker(int worker_id) except -1
cdef int32_t total_inflight(ws_server_slot* slot) noexcept nogil
