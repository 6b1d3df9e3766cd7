# The decision for one request: which cluster, which server. Live traffic, explain, replay and admin all come here.

from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport Tried

cdef enum:
    # With the default http port for a Host without one.
    DEFAULT_PORT = 80

cdef struct Choice:
    int server                  # index in the cluster; NONE_REACHABLE or ALL_FULL where there is none
    bint probe                  # the request tries a server whose retry interval is over
    bint by_affinity
    Tried tried                 # servers where this request failed already

# The cluster that takes the request; None: no route matches and nothing stands in for one. `local_host` and `local_port`
# say where the connection came in.
cdef Service decide_service(
    Engine engine, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port, MatchResult* found
)
# Takes a server for the request and counts it in flight there.
cdef void decide_server(Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice) noexcept
# Another server for a request that failed at those in `choice.tried`.
cdef void decide_again(Engine engine, Service service, Choice* choice) noexcept
