# A cluster at work. One implementation for live traffic, explain and replay.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.base.atomics cimport ws_load64, ws_store32, ws_store64
from wsproxy._fast.decide.balance cimport (
    ALL_FULL, DOWN, DRAINED, FULL, NONE_REACHABLE, OUT, PROBE, TRIED, USABLE, WAITS, Balancer, Verdict,
)
from wsproxy._fast.state.changes cimport UP, Evidence
from wsproxy._fast.state.probed cimport begin_slow_start
from wsproxy._fast.state.queue cimport Queue, SharedQueue, Waiter
from wsproxy._fast.state.segment cimport ws_server_slot
from wsproxy._fast.state.takeover cimport ClusterSessions, TakeoverTable
from wsproxy._fast.state.tried cimport Tried, set_tried, was_tried


cpdef enum MarkDown:
    # What a failure was to a server's mark.
    STILL_MARKED = 0        # it failed within its RetryInterval, as others do that were on their way
    STILL_FAILING = 1       # its RetryInterval was over: the next one begins
    NEWLY_MARKED = 2        # it was up


cdef class Cluster(Balancer):
    cdef TakeoverTable takeovers    # of all clusters
    cdef uint64_t takeover_id       # of the cluster's name: by which the table tells its sessions from others'
    cdef ClusterSessions sessions   # of this one
    cdef SharedQueue keep_queue
    cdef Queue* queue               # NULL: nobody waits. Requests of another configuration may, where this one has no queue
    cdef readonly bint has_queue    # requests may wait for a place: queue.size is set, and a server has MaxConnections

    # All of these: index of a server or a negative constant; no allocation, no Python.
    cdef Verdict take(self, int server, int worker, int64_t now_ms, Tried* tried) noexcept nogil
    cdef int pick(self, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef void release(self, int server, int worker, bint probe) noexcept nogil
    cdef MarkDown mark_down(self, int server, int64_t now_ms, const Evidence* evidence) noexcept nogil
    # For how long it was marked down, in milliseconds; -1: it was not.
    cdef int64_t mark_up(
        self, int server, int worker, const char* head, Py_ssize_t head_len, uint64_t request_number
    ) noexcept nogil
    # `now_ms`: by another clock than this machine's; 0: by that.
    cdef int64_t mark_up_at(
        self, int server, int worker, const char* head, Py_ssize_t head_len, uint64_t request_number, int64_t now_ms
    ) noexcept nogil
    cdef void count_affinity(self, int server) noexcept nogil
    cdef void enter(self, int server, int worker, int64_t now_ms, bint probe) noexcept nogil
    cdef bint end_hold(self, int server, int64_t now_ms) noexcept nogil
    cdef void begin_probe(self, int server, int worker, int64_t now_ms) noexcept nogil
    cdef uint64_t record(self, int server, int kind, const Evidence* evidence) noexcept nogil
    # The queue.
    cdef int join(self, int worker, int64_t now_ms, int wanted, Tried* tried, bint* probe, int32_t* ticket) noexcept nogil
    cdef int take_turn(self, int32_t ticket, int worker, Tried* tried, bint* probe) noexcept nogil
    cdef int end_wait(self, int32_t ticket, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef void leave(self, int32_t ticket, int worker, int64_t now_ms) noexcept nogil
    cdef bint has_turn(self, int32_t ticket) noexcept nogil
    cdef void pass_on(self) noexcept nogil
    cdef void serve_waiting(self, int64_t now_ms) noexcept nogil
    cdef int find_lineup(self) noexcept nogil
    cdef int add_lineup(self) noexcept nogil
    cdef int find_turn(self, Waiter* waiter, int64_t now_ms, Tried* full, bint* all_full) noexcept nogil
    cdef int find_turn_elsewhere(self, Waiter* waiter, int64_t now_ms, Tried* full, bint* all_full) noexcept nogil
    cdef void give_turn(self, int32_t ticket, int server, int64_t now_ms) noexcept nogil
    cdef int take_up(self, int32_t ticket, int worker, Tried* tried, bint* probe) noexcept nogil
    cdef int check_ticket(self, int ticket) except -1
    cdef int read_tried(self, Tried* bits, object tried) except -1
    # Another configuration may have opened a queue since.
    cdef int find_queue(self) except -1
    # The session memory: slots outlive a reload, indices of servers do not.
    cdef uint64_t slot_index(self) noexcept nogil
    cdef int32_t server_slot_index(self, int server) noexcept nogil
    cdef int member_at_slot(self, int32_t slot_index) noexcept nogil
    cpdef set_down(self, int server, int worker, int64_t now_ms, int error=*, bytes detail=*, bytes head=*)
    cpdef set_up(self, int server, int worker=*, bytes head=*, int64_t now_ms=*)
    cpdef last_failure(self, int server)
    # The change of this number, while it is kept; 0: there was none.
    cdef object change_at(self, uint64_t number)
    # Whether this version of a partition table is new to the cluster; keeps it then.
    cdef bint note_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil

    # Newcomers do not overtake: what is free belongs to who waits. Call under the cluster's lock.
    cdef inline void serve_first(self, int64_t now_ms) noexcept nogil:
        if self.queue != NULL and self.queue.waiting:
            self.serve_waiting(now_ms)

    # Ends the server's mark; for how long it was down. Call under the cluster's lock.
    cdef inline int64_t come_back(self, int server, int64_t now_ms, const Evidence* evidence) noexcept nogil:
        cdef ws_server_slot* slot = self.servers[server]
        self.record(server, UP, evidence)
        ws_store64(&slot.down_until_ms, 0)
        ws_store32(&slot.probe_by, 0)
        slot.probe_streak = 0
        begin_slow_start(slot, now_ms)
        self.serve_first(now_ms)
        return max(0, now_ms - ws_load64(&slot.down_since_ms))
