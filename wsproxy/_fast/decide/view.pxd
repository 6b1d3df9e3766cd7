# One configuration as requests see it: Routes, Services, limits, whom it trusts. Frozen.

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.edge cimport EdgeTable
from wsproxy._fast.decide.match cimport RouteTable
from wsproxy._fast.http.fields cimport Limits
from wsproxy._fast.http.origin cimport Trust, TrustedProxies


cdef enum HealthQuestion:
    NO_ANSWER = -1
    NOT_HEALTH = 0
    IS_ALIVE = 1
    IS_READY = 2


cdef class Service:
    cdef readonly Cluster cluster
    cdef readonly list addresses    # by server index: (host:port for https requests, and for http requests)
    # By server index, for whoever sends something: see `proxy.pool`. Empty where the View only decides.
    cdef readonly list pools
    cdef readonly list secure_pools  # the same for clients that came over TLS (PLUGIN 2.4)
    cdef bint remove_special_headers
    cdef bint completes_clone_ids   # in answers
    cdef bint strips_clone_ids      # from all requests
    cdef bint takes_back            # from requests to servers that did not write them
    cdef int looks_left             # see MOST_LOOKS
    cdef bint x_forwarded
    cdef bint forwarded
    cdef bint edits_requests        # one of the last two
    cdef int64_t post_size_limit    # bytes; -1 none
    cdef readonly int64_t post_buffer_size   # bytes
    cdef readonly int io_timeout_retry
    cdef bint waits_for_continue    # a server of it has WaitForContinue="true"

    # Whether PostSizeLimit forbids a body of so many bytes; -1: its length is not known yet.
    cdef inline bint is_too_large(self, int64_t length) noexcept nogil:
        return 0 <= self.post_size_limit < length


cdef class View:
    cdef object __weakref__         # an engine keeps count of those that are in use
    # For whoever serves by it; None where it only decides. What stands above knows them.
    cdef readonly object plan       # what the slow path and the logs go by: see dataplane.served
    cdef readonly object session_names  # `mask.SessionNames`: what logs mask
    cdef Limits limits
    cdef RouteTable routes
    cdef readonly list services     # by cluster index
    cdef readonly Service fallback  # takes what no route matches; None: answered here
    cdef readonly EdgeTable edges   # [[edge]]; None: there is none
    cdef bint vhost_matching_compat
    cdef bint port_of_listener      # AppServerPortPreference="WebserverPort"
    cdef bint passes_trailers       # http.trailers
    cdef bint encodes_targets       # http.non_ascii
    cdef bytes live_path            # [health]; empty: nobody asks
    cdef bytes ready_path
    cdef frozenset health_ports     # where; empty: everywhere
    cdef bint explains              # [explain] trusts somebody
    cdef bytes via                  # our name in the Via of requests; empty: none
    cdef bint on_503                # [retry] on_503
    cdef bint errors_mark_down      # [retry] server_errors
    cdef TrustedProxies trusted_proxies
    cdef Trust trust                # forwarded.trust
    cdef uint64_t trace_limit       # [trace] sample: a random number below it is a request that is recorded
    cdef int trace_strangers        # [trace] strangers, as trace.Strangers
    cdef frozenset upgrades         # protocols that clients may upgrade to, lower case; "*": any but another HTTP
    cdef int64_t head_timeout_ms
    cdef int64_t keepalive_timeout_ms
    cdef int64_t body_timeout_ms
    cdef int64_t linger_timeout_ms
    cdef int64_t server_head_timeout_ms  # 0: none
    cdef int64_t half_closed_timeout_ms  # 0: a client that sends no more is taken for gone
    cdef int64_t takeover_ms        # how long a session's new server is remembered; 0: not at all

    # Whether this status of an answer (>= 500) counts as a failure of the server.
    cdef inline bint is_failure(self, int status) noexcept:
        return self.on_503 if status == 503 else self.errors_mark_down and 500 <= status <= 599

    # Whether wsproxy itself answers a request for this path that came in at this port.
    cdef inline HealthQuestion health_asked(self, const char* path, Py_ssize_t length, int port) except NO_ANSWER:
        cdef HealthQuestion found = NOT_HEALTH
        if length == len(self.ready_path) and memcmp(path, <const char*>self.ready_path, length) == 0:
            found = IS_READY
        elif length == len(self.live_path) and memcmp(path, <const char*>self.live_path, length) == 0:
            found = IS_ALIVE
        return found if found == NOT_HEALTH or not self.health_ports or port in self.health_ports else NOT_HEALTH

    cdef list all_services(self)
    # Whether it is noted from now on which servers were passed over.
    cdef int show_sight(self, bint wanted) except -1
    # Another View on the same slots may have opened queues.
    cdef int find_queues(self) except -1
    # All that it has, each once.
    cdef set pools(self)
