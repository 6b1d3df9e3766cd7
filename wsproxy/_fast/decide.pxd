# The decision for one request: which cluster, which server. Live traffic, explain, replay and admin all come here.

from libc.stdint cimport int32_t, int64_t, uint64_t
from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport Cluster, Tried

cdef enum:
    # For a Host without one, by scheme.
    DEFAULT_PORT = 80
    DEFAULT_TLS_PORT = 443

cdef struct Choice:
    int server                  # index in the cluster; NONE_REACHABLE or ALL_FULL where there is none
    bint probe                  # the request tries a server whose retry interval is over
    bint by_affinity            # one of the request's clone ids names the server
    bint remembered             # none does, but the session moved there a moment ago
    bint broken                 # it was counted that the request did not go where its clone ids say
    int reason                  # why: Verdict of the first server they name, UNKNOWN_CLONE: they name none
    Tried tried                 # servers where this request failed already
    int wanted                  # 1 + the server of its clone ids that is at MaxConnections; 0 none
    int32_t place               # in the cluster's queue; 0: it does not wait there

# The cluster that takes the request; None: no route matches and nothing stands in for one. `local_host` and `local_port`
# say where the connection came in; `default_port` is its scheme's.
cdef Service decide_service(
    Engine engine, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port, int default_port,
    MatchResult* found,
)
# The path that routes are matched with: without `;params`; lives until the next one is asked for.
cdef const char* matched_path(Engine engine, RequestHead* head, Py_ssize_t* length) noexcept
# The port that Routes are matched with.
cdef int port_of(Engine engine, RequestHead* head, int local_port, int default_port) noexcept
# Takes a server for the request and counts it in flight there.
cdef void decide_server(Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice) noexcept
# The same at a given time: replay takes decisions of the past.
cdef void decide_server_at(
    Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice, int64_t now_ms
) noexcept
# Another server for a request that failed at those in `choice.tried`; `engine.ids` are its clone ids, or none.
cdef void decide_again(Engine engine, Service service, Choice* choice) noexcept
cdef void decide_again_at(Engine engine, Service service, Choice* choice, int64_t now_ms) noexcept
# After a request that waited was given its server.
cdef void decide_waited(Engine engine, Service service, Choice* choice) noexcept
# The server that a clone id or the memory of takeovers names, if it may have the request.
cdef bint take_owner(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil
cdef bint take_remembered(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil
# Under which the memory of takeovers has the request's session; 0: nothing tells the session from others.
cdef uint64_t session_key(Engine engine, Cluster cluster) noexcept nogil
# After regular balancing took a server for a request with clone ids: counts that, and remembers the session's new server.
cdef void note_move(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice, bint again) noexcept nogil
