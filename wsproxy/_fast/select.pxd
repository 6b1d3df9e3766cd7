# A cluster at work. One implementation for live traffic, explain and replay.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.balance cimport (
    ALL_FULL, DOWN, DRAINED, FULL, NONE_REACHABLE, PROBE, TRIED, USABLE, WAITS, Balancer, Verdict,
)
from wsproxy._fast.changes cimport Evidence
from wsproxy._fast.takeover cimport ClusterSessions, TakeoverTable
from wsproxy._fast.tried cimport Tried, set_tried, was_tried
from wsproxy._fast.waiting cimport Line, Waiter, WaitingLine


cdef class Cluster(Balancer):
    cdef TakeoverTable takeovers    # of all clusters
    cdef ClusterSessions sessions   # of this one
    cdef WaitingLine keep_line
    cdef Line* line                 # NULL: nobody waits, what does not fit is refused

    # All of these: index of a server or a negative constant; no allocation, no Python.
    cdef Verdict take(self, int server, int worker, int64_t now_ms, Tried* tried) noexcept nogil
    cdef int pick(self, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef void release(self, int server, int worker, bint probe) noexcept nogil
    cdef bint mark_down(self, int server, int64_t now_ms, const Evidence* evidence) noexcept nogil
    cdef void mark_up(
        self, int server, int worker, const char* head, Py_ssize_t head_len, uint64_t request_number
    ) noexcept nogil
    cdef void count_affinity(self, int server) noexcept nogil
    cdef void enter(self, int server, int worker, int64_t now_ms, bint probe) noexcept nogil
    cdef void begin_probe(self, int server, int worker, int64_t now_ms) noexcept nogil
    cdef uint64_t record(self, int server, int kind, const Evidence* evidence) noexcept nogil
    # The queue.
    cdef int join(self, int worker, int64_t now_ms, int wanted, Tried* tried, bint* probe, int32_t* place) noexcept nogil
    cdef int take_turn(self, int32_t place, int worker, Tried* tried, bint* probe) noexcept nogil
    cdef int end_wait(self, int32_t place, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef void leave(self, int32_t place, int worker, int64_t now_ms) noexcept nogil
    cdef bint has_turn(self, int32_t place) noexcept nogil
    cdef void pass_on(self) noexcept nogil
    cdef void serve_line(self, int64_t now_ms) noexcept nogil
    cdef int find_turn(self, Waiter* waiter, int64_t now_ms, Tried* full, bint* all_full) noexcept nogil
    cdef void give_turn(self, int32_t place, int server, int64_t now_ms) noexcept nogil
    cdef int take_up(self, int32_t place, int worker, Tried* tried, bint* probe) noexcept nogil
    cdef int check_place(self, int place) except -1
    cdef int read_tried(self, Tried* bits, object tried) except -1
    # The session memory: slots outlive a reload, indices of servers do not.
    cdef uint64_t slot_index(self) noexcept nogil
    cdef int32_t server_slot_index(self, int server) noexcept nogil
    cdef int member_at_slot(self, int32_t slot_index) noexcept nogil
    # Whether this version of a partition table is new to the cluster; keeps it then.
    cdef bint note_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil

    # Newcomers do not overtake: what is free belongs to who waits. Call under the cluster's lock.
    cdef inline void serve_first(self, int64_t now_ms) noexcept nogil:
        if self.line != NULL and self.line.waiting:
            self.serve_line(now_ms)
