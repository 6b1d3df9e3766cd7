"""
One configuration as requests see it: the compiled Routes, a Service a cluster, limits, whom it trusts.

Made by ``dataplane.view``; nothing in it changes afterwards, and making it changes nothing elsewhere: what it says of servers
holds once ``Cluster.apply`` has written that into their slots. So two of them can stand side by side: each exchange goes by
the one it began with (``proxy.client``), also where the worker has taken another one meanwhile (``Engine.take_view``).

Must not do I/O.
"""

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.edge cimport EdgeTable
from wsproxy._fast.decide.match cimport RouteTable
from wsproxy._fast.http.origin cimport TRUST_NOTHING, Trust, TrustedProxies

cdef enum:
    # Requests that bring cookies and no clone id, of a cluster that has CloneIDs: so many are looked at more closely by each
    # worker. A name or a separator that does not fit shows in the first ones, or in the first cookie that a server sets.
    MOST_LOOKS = 100


cdef class Service:
    """A ServerCluster at work: the choice of a server, where it is reached, and what its requests are allowed."""

    def __init__(
        self, Cluster cluster not None, list pools=None, *,
        list secure_pools=None, list addresses=None,
        bint remove_special_headers=True, post_size_limit=-1, post_buffer_size=65536, int io_timeout_retry=-1,
        bint complete_clone_ids=True, bint strip_clone_ids=False, bint take_back_clone_ids=False,
        bint x_forwarded=False, bint forwarded=False, bint waits_for_continue=False,
    ):
        for each in (pools, secure_pools or pools):
            if each and len(each) != len(cluster.server_names):
                raise ValueError(f"cluster {cluster.name}: found pools {each!r}; allowed is one Pool a server, or none")
        self.cluster = cluster
        self.pools = pools or []
        self.secure_pools = secure_pools or self.pools
        self.addresses = addresses or []
        self.remove_special_headers = remove_special_headers
        self.post_size_limit = post_size_limit
        self.post_buffer_size = post_buffer_size
        self.io_timeout_retry = io_timeout_retry
        self.waits_for_continue = waits_for_continue
        self.completes_clone_ids = complete_clone_ids and cluster.has_clone_ids
        self.strips_clone_ids = strip_clone_ids
        self.takes_back = take_back_clone_ids
        self.looks_left = MOST_LOOKS if cluster.has_clone_ids else 0
        self.x_forwarded = x_forwarded
        self.forwarded = forwarded
        self.edits_requests = x_forwarded or forwarded


cdef class View:
    """Everything of one configuration that exchanges go by; made by ``dataplane.view``."""

    def __init__(
        self,
        *,
        RouteTable routes not None,
        list services not None,
        Service fallback=None,
        EdgeTable edges=None,
        object plan=None,
        object session_names=None,
        Py_ssize_t head_bytes=65536,
        Py_ssize_t target_bytes=16384,
        int header_fields=300,
        bint trace=False,
        bint refuse_ambiguous=False,
        bytes via not None=b"",
        bint trailers=False,
        bint encodes_targets=False,
        bint explains=False,
        bytes live_path not None=b"",
        bytes ready_path not None=b"",
        frozenset health_ports not None=frozenset(),
        bint vhost_matching_compat=False,
        bint port_of_listener=False,
        TrustedProxies trusted_proxies=None,
        Trust trust=TRUST_NOTHING,
        uint64_t trace_limit=0,
        int trace_strangers=0,
        frozenset upgrades=frozenset(("websocket",)),
        bint on_503=True,
        bint errors_mark_down=False,
        double head_s=10,
        double keepalive_s=75,
        double body_s=60,
        double linger_s=2,
        double server_head_s=60,
        double half_closed_s=86400,
        double takeover_s=60,
    ):
        for service in services:
            if service is not None and not isinstance(service, Service):
                raise TypeError(f"found {service!r} among the services; allowed is Service or None")
        self.routes = routes
        self.plan = plan
        self.session_names = session_names
        self.services = services
        self.fallback = fallback
        self.edges = edges
        self.limits.head_bytes = head_bytes
        self.limits.target_bytes = target_bytes
        self.limits.header_fields = header_fields
        self.limits.trace = trace
        self.limits.refuse_ambiguous = refuse_ambiguous
        self.via = via
        self.passes_trailers = trailers
        self.encodes_targets = encodes_targets
        self.explains = explains
        self.live_path = live_path
        self.ready_path = ready_path
        self.health_ports = health_ports
        self.vhost_matching_compat = vhost_matching_compat
        self.port_of_listener = port_of_listener
        self.trusted_proxies = TrustedProxies() if trusted_proxies is None else trusted_proxies
        self.trust = trust
        self.trace_limit = trace_limit
        self.trace_strangers = trace_strangers
        self.upgrades = upgrades
        self.on_503 = on_503
        self.errors_mark_down = errors_mark_down
        self.head_timeout_ms = <int64_t>(head_s * 1000)
        self.keepalive_timeout_ms = <int64_t>(keepalive_s * 1000)
        self.body_timeout_ms = <int64_t>(body_s * 1000)
        self.linger_timeout_ms = <int64_t>(linger_s * 1000)
        self.server_head_timeout_ms = <int64_t>(server_head_s * 1000)
        self.half_closed_timeout_ms = <int64_t>(half_closed_s * 1000)
        self.takeover_ms = <int64_t>(takeover_s * 1000)

    cdef list all_services(self):
        return [service for service in [*self.services, self.fallback] if service is not None]

    cdef int show_sight(self, bint wanted) except -1:
        for service in self.all_services():
            (<Service>service).cluster.show_sight(wanted)
        return 0

    cdef int find_queues(self) except -1:
        for service in self.all_services():
            (<Service>service).cluster.find_queue()
        return 0

    cdef set pools(self):
        cdef Service service
        found = set()
        for service in self.all_services():
            found.update(service.pools)
            found.update(service.secure_pools)
        return found
