# What the connections of one worker share: routes, services, pools, limits.

from libc.stdint cimport int64_t
from wsproxy._fast.access_log cimport AccessLog
from wsproxy._fast.affinity cimport CloneIds
from wsproxy._fast.client_counts cimport ClientCounts
from wsproxy._fast.fields cimport Limits
from wsproxy._fast.head cimport RequestHead, ResponseHead
from wsproxy._fast.match cimport RouteTable
from wsproxy._fast.select cimport Cluster
from wsproxy._fast.stream cimport Hub, Stream


cdef class Pool
cdef class Service


cdef class Engine(Hub):
    cdef readonly int worker_id
    cdef Limits limits
    cdef RequestHead request
    cdef ResponseHead response
    cdef CloneIds ids
    cdef char* path_scratch         # a path with its ;params taken out
    cdef char* edits                # memory of `lines.Room`, OUT_SIZE bytes
    cdef RouteTable routes
    cdef readonly list services     # by cluster index
    cdef Service fallback           # takes what no route matches; None: answered here
    cdef public object slow         # the slow path: see dataplane.slowpath
    cdef public object witness      # is told what is decided: see dataplane.witness
    # loglines.LogLevel of what it is told of requests that go well; 0: nothing. The one thing that they are asked for it.
    cdef int witness_level
    cdef AccessLog access           # gets a line for each request; None: nobody does. Set once: see `log_access`
    cdef bint vhost_matching_compat
    cdef bint passes_trailers       # http.trailers
    cdef bint explains              # [explain] trusts somebody
    cdef bytes via                  # our name in the Via of requests; empty: none
    cdef bint on_503                # [retry] on_503
    cdef bint errors_mark_down      # [retry] server_errors
    cdef bint port_of_listener      # AppServerPortPreference="WebserverPort"
    cdef frozenset trusted_proxies
    cdef ClientCounts client_counts  # limits.client_connections; None: no limit
    cdef int64_t most_of_client
    cdef readonly long long refused_connections  # because of it
    cdef frozenset upgrades         # protocols that clients may upgrade to, lower case; "*": any but another HTTP
    cdef int64_t head_timeout_ms
    cdef int64_t keepalive_timeout_ms
    cdef int64_t body_timeout_ms
    cdef int64_t linger_timeout_ms
    cdef int64_t half_closed_timeout_ms  # 0: a client that sends no more is taken for gone
    cdef int64_t takeover_ms        # how long a session's new server is remembered; 0: not at all
    cdef readonly bint draining
    cdef readonly long long requests

    # Whether this status of an answer (>= 500) counts as a failure of the server.
    cdef bint is_failure(self, int status) noexcept


cdef class Service:
    cdef readonly Cluster cluster
    cdef readonly list pools        # by server index
    cdef readonly list secure_pools  # the same for clients that came over TLS (PLUGIN 2.4)
    cdef bint remove_special_headers
    cdef bint completes_clone_ids   # in answers
    cdef bint strips_clone_ids      # from requests
    cdef bint x_forwarded
    cdef bint forwarded
    cdef bint edits_requests        # one of the last three
    cdef int64_t post_size_limit    # bytes; -1 none
    cdef int64_t post_buffer_size   # bytes; -1 any
    cdef readonly int io_timeout_retry
    cdef bint waits_for_continue    # a server of it has WaitForContinue="true"

    cdef inline Pool pool_of(self, int server, bint secure):
        return <Pool>(self.secure_pools if secure else self.pools)[server]


cdef class Pool:
    cdef readonly str name          # of the server
    cdef readonly str host
    cdef readonly int port
    cdef bytes address              # host:port
    cdef readonly object tls        # how connections are secured: see dataplane.upstream_tls; None: they are not
    cdef readonly double connect_timeout_s
    cdef readonly int64_t io_timeout_ms
    cdef readonly bint io_timeout_marks_down
    cdef readonly int64_t ws_io_timeout_ms  # of a tunnel: until bytes that wait are taken; 0: none
    cdef readonly int64_t ws_idle_ms        # of a tunnel: without a byte in either direction; 0: none
    cdef readonly bint extended_handshake
    cdef readonly bint wait_for_continue
    cdef readonly str proxy_protocol  # "v1", "v2": each connection begins with its client's address; "none"
    cdef int64_t idle_ms
    cdef int most_idle
    cdef list idle                  # Upstreams, the one used last at the end

    cdef Stream take(self, int64_t now_ms)
    cdef int put(self, Stream upstream, int64_t now_ms) except -1
    cdef int forget(self, Stream upstream) except -1
