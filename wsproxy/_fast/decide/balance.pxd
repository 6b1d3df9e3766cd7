# Which server regular balancing chooses. One implementation for live traffic, explain and replay.

from libc.stdint cimport int32_t, int64_t
from wsproxy._fast.base.atomics cimport ws_load32
from wsproxy._fast.decide.sight cimport Sight
from wsproxy._fast.state.operator cimport Hold, hold_at
from wsproxy._fast.state.probed cimport is_awaited
from wsproxy._fast.state.segment cimport SharedState, ws_cluster_slot, ws_server_slot
from wsproxy._fast.state.tried cimport Tried

cdef enum:
    # Servers a cluster may have: the bitmap of tried servers is 32 bytes. The largest published cell has under 100.
    MAX_SERVERS = 256

cpdef enum Verdict:
    # Whether a server may have a request.
    USABLE = 0
    PROBE = 1           # down, but its retry interval is over: this request is the one that tries it
    DOWN = 2
    DRAINED = 3         # by an operator: only for requests of sessions that it has
    FULL = 4            # at MaxConnections
    TRIED = 5           # this request already failed there
    OUT = 6             # taken down by an operator

cpdef enum NoServer:
    # In place of the index of a server.
    NONE_REACHABLE = -1
    ALL_FULL = -2
    WAITS = -3          # the request stands in the queue


cdef class Balancer:
    cdef readonly object name
    cdef readonly tuple server_names
    cdef SharedState state          # keeps the slots alive
    cdef ws_cluster_slot* slot
    cdef ws_server_slot** servers
    cdef const char** clone_ids     # NULL: none; point into `keep`
    cdef Py_ssize_t* clone_id_lens
    cdef const char** names         # the cluster's, then each server's
    cdef list keep
    cdef list rows                  # (name, clone id, LoadBalanceWeight, MaxConnections): what `apply` writes
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
    cdef readonly int queue_size    # most requests that wait for a place; 0: none does
    cdef bint affinity_waits        # for its own server, instead of going to another one
    cdef readonly char separator
    cdef readonly int64_t retry_interval_ms
    cdef Sight* sight               # NULL: nobody wants to know who was passed over; owned

    # All of these: index of a server or a negative constant; no allocation, no Python.
    cdef int find_clone(self, const char* clone_id, Py_ssize_t length, int start) noexcept nogil
    # What an operator's word leaves the server now.
    cdef inline Hold hold_of(self, int server, int64_t now_ms) noexcept nogil:
        return hold_at(ws_load32(&self.servers[server].hold), &self.servers[server].said, now_ms)

    cdef inline bint is_backup(self, int server) noexcept nogil:
        cdef int position
        for position in range(self.primary_count, self.member_count):
            if self.order[position] == server:
                return True
        return False

    # For a request of a session that the server has; and for any other.
    cdef Verdict judge(self, int server, int64_t now_ms, const Tried* tried) noexcept nogil
    cdef Verdict judge_new(self, int server, int64_t now_ms, const Tried* tried) noexcept nogil
    # `verdict`, noted for who wants to know it.
    cdef Verdict say(self, int server, Verdict verdict, int64_t now_ms, const Tried* tried) noexcept nogil
    # Whether it is noted from now on.
    cdef int show_sight(self, bint wanted) except -1
    cdef int choose_or_say(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef int choose(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef bint may_choose(self, int position) noexcept nogil
    # Among order[first:last].
    cdef int pick_balanced(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil
    cdef int pick_weighted(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil
    cdef int pick_random(self, int first, int last, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef bint readjust(self, int first, int last, int64_t now_ms, Tried* tried) noexcept nogil
    cdef int pick_backup(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    # Whether it may be tried though it is down: not before the first probe of a server that is awaited.
    cdef inline bint may_be_last(self, int server, int64_t now_ms) noexcept nogil:
        return self.last_chance and not is_awaited(self.servers[server], now_ms)

    cdef int pick_last_chance(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil
    cdef int check_server(self, int server) except -1
    # What an operator says, else what the configuration does.
    cdef int32_t weight_of(self, int server)
    cdef int32_t limit_of(self, int server)
    # Writes both into the slots; call under the cluster's lock.
    cdef int apply_numbers(self) except -1
    # Its part, of order[first:last].
    cdef int set_start_weights(self, int first, int last) except -1
