# Which server of a cluster takes a request. One implementation for live traffic, explain and replay.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.changes cimport Evidence
from wsproxy._fast.state cimport SharedState, ws_cluster_slot, ws_server_slot
from wsproxy._fast.takeover cimport ClusterSessions, TakeoverTable

cdef enum:
    # Servers a cluster may have: the bitmap of tried servers is 32 bytes. The largest published cell has under 100.
    MAX_SERVERS = 256

cdef enum Verdict:
    USABLE = 0
    PROBE = 1           # down, but its retry interval is over: this request is the one that tries it
    DOWN = 2
    DRAINED = 3
    FULL = 4            # at MaxConnections
    TRIED = 5           # this request already failed there

cdef enum:
    NONE_REACHABLE = -1
    ALL_FULL = -2

cdef struct Tried:
    uint64_t bits[4]
    bint had_last_chance    # a server was tried though it is marked down, because nothing else was left


cdef class Cluster:
    cdef readonly object name
    cdef readonly tuple server_names
    cdef SharedState state          # keeps the slots alive
    cdef ws_cluster_slot* slot
    cdef TakeoverTable takeovers    # of all clusters
    cdef ClusterSessions sessions   # of this one
    cdef ws_server_slot** servers
    cdef const char** clone_ids     # NULL: none; point into `keep`
    cdef Py_ssize_t* clone_id_lens
    cdef const char** names         # the cluster's, then each server's
    cdef object keep
    cdef int count
    cdef int* order                 # primaries, then backups: the order in which clone ids are compared
    cdef int primary_count
    cdef int member_count           # primaries + backups
    cdef int cluster_address        # index of ClusterAddress, -1 none
    cdef bint random
    cdef bint has_clone_ids
    cdef bint ignore_affinity_requests
    cdef bint balance_backups       # False: the first usable one takes all
    cdef bint last_chance           # where nothing is usable a server that is marked down is tried
    cdef readonly char separator
    cdef readonly int64_t retry_interval_ms

    # All of these: index of a server or a negative constant; no allocation, no Python.
    cdef int find_clone(self, const char* clone_id, Py_ssize_t length, int start) noexcept nogil
    cdef Verdict take(self, int server, int worker, int64_t now_ms, Tried* tried) noexcept nogil
    cdef int pick(self, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef void release(self, int server, int worker, bint probe) noexcept nogil
    cdef bint mark_down(self, int server, int64_t now_ms, const Evidence* evidence) noexcept nogil
    cdef void mark_up(self, int server, int worker, const char* head, Py_ssize_t head_len) noexcept nogil
    cdef void count_affinity(self, int server) noexcept nogil
    cdef int choose(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef bint may_choose(self, int position) noexcept nogil
    cdef Verdict judge(self, int server, int64_t now_ms, Tried* tried) noexcept nogil
    cdef void enter(self, int server, int worker, int64_t now_ms, bint probe) noexcept nogil
    cdef void begin_probe(self, int server, int worker, int64_t now_ms) noexcept nogil
    cdef uint64_t record(self, int server, int kind, const Evidence* evidence) noexcept nogil
    # Among order[first:last].
    cdef int pick_balanced(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil
    cdef int pick_weighted(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil
    cdef int pick_random(self, int first, int last, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef bint readjust(self, int first, int last, int64_t now_ms, Tried* tried) noexcept nogil
    cdef int check_server(self, int server) except -1
    cdef object set_start_weights(self, list weights, int first, int last)
    # The session memory: slots outlive a reload, indices of servers do not.
    cdef uint64_t slot_index(self) noexcept nogil
    cdef int32_t server_slot_index(self, int server) noexcept nogil
    cdef int member_at_slot(self, int32_t slot_index) noexcept nogil
    # Whether this version of a partition table is new to the cluster; keeps it then.
    cdef bint note_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil
    cdef int pick_backup(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef int pick_last_chance(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil


cdef inline bint was_tried(Tried* tried, int server) noexcept nogil:
    return (tried.bits[server >> 6] >> (server & 63)) & 1


cdef inline void set_tried(Tried* tried, int server) noexcept nogil:
    tried.bits[server >> 6] |= (<uint64_t>1) << (server & 63)
