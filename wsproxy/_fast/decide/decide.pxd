# The decision for one request: which cluster, which server. Live traffic, explain, replay and admin all come here.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.decide.affinity cimport CloneIds, KnownCookie, clear_clone_ids
from wsproxy._fast.decide.cluster cimport Cluster, Tried
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead

cdef enum:
    # For a Host without one, by scheme.
    DEFAULT_PORT = 80
    DEFAULT_TLS_PORT = 443

cpdef enum ChosenBy:
    # The rule that chose a server; the words of each, for people and for logs, are in `explain.words`.
    BY_NOBODY = 0               # none was
    BY_AFFINITY = 1             # a clone id of the request names it
    BY_TAKEOVER = 2             # the session moved there a moment ago
    BY_WEIGHT = 3               # regular balancing, LoadBalance="Round Robin"
    BY_RANDOM = 4               # regular balancing, LoadBalance="Random"
    BY_BACKUP = 5               # no primary was usable
    BY_CLUSTER_ADDRESS = 6
    BY_RETRY = 7                # it is down, and its RetryInterval is over
    BY_LAST_CHANCE = 8          # it is down, and nothing else was left
    BY_FALLBACK = 9             # no Route matches: a server of what stands in for one

cdef struct Choice:
    int server                  # index in the cluster; NONE_REACHABLE or ALL_FULL where there is none
    bint probe                  # the request tries a server whose retry interval is over
    bint by_affinity            # one of the request's clone ids names the server
    bint remembered             # none does, but the session moved there a moment ago
    int by                      # ChosenBy, of the server that is taken or was last
    bint unmet                  # it was not one that a clone id of the request names: none of these was usable
    bint is_fallback            # no Route matches
    bint had_chance             # a last chance was taken, by this choice or one before
    bint answered               # a server sent it away with an answer (503), and is not down for that
    bint broken                 # it was counted that the request did not go where its clone ids say
    int reason                  # why: Verdict of the first server they name, UNKNOWN_CLONE: they name none
    Tried tried                 # servers where this request failed already
    int wanted                  # 1 + the server of its clone ids that is at MaxConnections; 0 none
    int32_t place               # in the cluster's queue; 0: it does not wait there


cdef class Decider:
    cdef readonly int worker_id     # whose requests in flight these are
    # Scratch that borrows; see the rule in decide.pyx.
    cdef RequestHead request
    cdef CloneIds ids
    cdef KnownCookie known          # of `request`
    cdef char* path_scratch         # a path with its ;params taken out
    cdef Py_ssize_t path_room

    # Before the first request that goes by this View.
    cdef int make_room(self, View view) except -1
    # Nothing borrows from the bytes of a request any more; `forget_ids`: it has no clone ids yet.
    cdef void let_go(self) noexcept
    cdef void check_let_go(self) noexcept
    cdef inline void forget_ids(self) noexcept:
        clear_clone_ids(&self.ids)
        self.known.field = NULL


# The cluster that takes the request; None: no route matches and nothing stands in for one. `local_host` and `local_port`
# say where the connection came in; `default_port` is its scheme's.
cdef Service decide_service(
    Decider decider, View view, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port,
    int default_port, MatchResult* found,
)
# The path that routes are matched with: without `;params`; lives until the next one is asked for.
cdef const char* matched_path(Decider decider, RequestHead* head, Py_ssize_t* length) noexcept
# The port that Routes are matched with.
cdef int port_of(View view, RequestHead* head, int local_port, int default_port) noexcept
# Takes a server for the request and counts it in flight there.
cdef void decide_server(
    Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice
) noexcept
# The same at a given time: replay takes decisions of the past.
cdef void decide_server_at(
    Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice, int64_t now_ms
) noexcept
# The request failed at its server; `answered`: with an answer. A server that is not down for that keeps its sessions.
cdef void strike_off(Cluster cluster, Choice* choice, bint answered) noexcept nogil
# Another server for a request that failed at those in `choice.tried`; `decider.ids` are its clone ids, or none.
cdef void decide_again(Decider decider, View view, Service service, Choice* choice) noexcept
cdef void decide_again_at(Decider decider, View view, Service service, Choice* choice, int64_t now_ms) noexcept
# After a request that waited was given its server.
cdef void decide_waited(Decider decider, View view, Service service, Choice* choice) noexcept
# The word of a ChosenBy in logs.
cdef const char* word_of_rule(int by) noexcept nogil
# Says which rule chose the server that was just taken; `decider.ids` are the request's clone ids, or none.
cdef void note_rule(Decider decider, Cluster cluster, Choice* choice) noexcept nogil
# The server that a clone id names, or, where none of these may have the request, the memory of takeovers.
cdef bint take_named(Decider decider, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil
cdef bint take_remembered(Decider decider, View view, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil
# Under which the memory of takeovers has the request's session; 0: nothing tells the session from others.
cdef uint64_t session_key(Decider decider, Cluster cluster) noexcept nogil
# Whether all clone ids are those of servers outside any cluster.
cdef bint is_stand_alone(CloneIds* ids) noexcept nogil
# After regular balancing took a server for a request with clone ids: counts that, and remembers the session's new server.
cdef void note_move(Decider decider, View view, Cluster cluster, int64_t now_ms, Choice* choice, bint again) noexcept nogil
