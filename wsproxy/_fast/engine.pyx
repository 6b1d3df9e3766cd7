"""
What the connections of one worker share: the compiled routes, a Service a cluster, a Pool a server, limits.

Made by ``dataplane.worker`` before the first connection; read by every request. Must not do I/O by itself.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from wsproxy._fast.access_log cimport AccessLog
from wsproxy._fast.client_counts cimport ClientCounts
from wsproxy._fast.match cimport RouteTable
from wsproxy._fast.pipe cimport Pipe
from wsproxy._fast.select cimport Cluster
from wsproxy._fast.state cimport ws_now_ms
from wsproxy._fast.stream cimport OUT_SIZE, Hub, Stream


cdef class Engine(Hub):
    """Everything that the connections of one worker have in common; made by ``dataplane.worker``."""

    def __cinit__(self, *args, **kwargs):
        self.path_scratch = <char*>PyMem_Malloc(OUT_SIZE)
        self.edits = <char*>PyMem_Malloc(OUT_SIZE)
        if self.path_scratch == NULL or self.edits == NULL:
            raise MemoryError

    def __init__(
        self,
        *,
        int worker_id,
        RouteTable routes not None,
        list services not None,
        Service fallback,
        object slow,
        Py_ssize_t head_bytes=65536,
        Py_ssize_t target_bytes=16384,
        int header_fields=300,
        bint trace=False,
        bint refuse_ambiguous=False,
        bytes via not None=b"",
        bint trailers=False,
        bint explains=False,
        bint vhost_matching_compat=False,
        bint port_of_listener=False,
        frozenset trusted_proxies=frozenset(),
        frozenset upgrades=frozenset(("websocket",)),
        bint on_503=True,
        bint errors_mark_down=False,
        double head_s=10,
        double keepalive_s=60,
        double body_s=60,
        double linger_s=2,
        double half_closed_s=86400,
        double takeover_s=60,
        ClientCounts client_counts=None,
        int64_t most_of_client=0,
        Pipe pipe=None,
    ):
        for service in services:
            if service is not None and not isinstance(service, Service):
                raise TypeError(f"found {service!r} among the services; allowed is Service or None")
        if client_counts is not None and not 0 <= worker_id < client_counts.workers:
            raise ValueError(f"found worker {worker_id}; allowed is one of the {client_counts.workers} that are counted for")
        self.worker_id = worker_id
        self.pipe = pipe
        self.client_counts = client_counts
        self.most_of_client = most_of_client
        self.routes = routes
        self.services = services
        self.fallback = fallback
        self.slow = slow
        self.witness = None
        self.limits.head_bytes = head_bytes
        self.limits.target_bytes = target_bytes
        self.limits.header_fields = header_fields
        self.limits.trace = trace
        self.limits.refuse_ambiguous = refuse_ambiguous
        self.via = via
        self.passes_trailers = trailers
        self.explains = explains
        self.vhost_matching_compat = vhost_matching_compat
        self.port_of_listener = port_of_listener
        self.trusted_proxies = trusted_proxies
        self.upgrades = upgrades
        self.on_503 = on_503
        self.errors_mark_down = errors_mark_down
        self.head_timeout_ms = <int64_t>(head_s * 1000)
        self.keepalive_timeout_ms = <int64_t>(keepalive_s * 1000)
        self.body_timeout_ms = <int64_t>(body_s * 1000)
        self.linger_timeout_ms = <int64_t>(linger_s * 1000)
        self.half_closed_timeout_ms = <int64_t>(half_closed_s * 1000)
        self.takeover_ms = <int64_t>(takeover_s * 1000)

    def __dealloc__(self):
        PyMem_Free(self.path_scratch)
        PyMem_Free(self.edits)

    cdef bint is_failure(self, int status) noexcept:
        return self.on_503 if status == 503 else self.errors_mark_down and 500 <= status <= 599

    @property
    def log_level(self) -> int:
        """``LogLevel`` that the witness is told of requests that go well; 0: it is told of failures only."""
        return self.witness_level

    @log_level.setter
    def log_level(self, int level) -> None:
        self.witness_level = level if self.witness is not None else 0
        for service in [*self.services, self.fallback]:
            if service is not None:
                (<Service>service).cluster.show_sight(self.witness_level > 0)

    def log_access(self, AccessLog access not None) -> None:
        """From now on each request leaves a line there; once, before the first connection."""
        if self.access is not None:
            raise RuntimeError("the engine has an access log")
        self.access = access

    @property
    def limits_clients(self) -> bool:
        """Whether there is a limit for the connections of a client."""
        return self.client_counts is not None

    def drain(self) -> int:
        """Ends idle clients now and the others after their exchange; returns how many are left."""
        cdef int left = 0
        cdef int64_t now_ms = ws_now_ms()
        cdef bint first = not self.draining
        self.draining = True
        for stream in self.streams():
            if (<Stream>stream).serves_client():
                if (<Stream>stream).is_idle():
                    (<Stream>stream).close()
                elif first:
                    (<Stream>stream).hurry(now_ms)
                # A closed one may have the last answer in its transport still: not over before that is sent.
                if not (<Stream>stream).closing or (<Stream>stream).count_unsent():
                    left += 1
        return left

    def close_all(self) -> None:
        """Cuts every connection; the end of a worker whose time to finish is over."""
        for stream in self.streams():
            (<Stream>stream).abort()


cdef class Service:
    """A ServerCluster at work: the choice of a server, a pool for each, and what its requests are allowed."""

    def __init__(
        self, Cluster cluster not None, list pools not None, *,
        list secure_pools=None,
        bint remove_special_headers=True, post_size_limit=-1, post_buffer_size=65536, int io_timeout_retry=-1,
        bint complete_clone_ids=True, bint strip_clone_ids=False, bint x_forwarded=False, bint forwarded=False,
    ):
        for each in (pools, secure_pools or pools):
            if len(each) != len(cluster.server_names) or not all(isinstance(pool, Pool) for pool in each):
                raise ValueError(f"cluster {cluster.name}: found pools {each!r}; allowed is one Pool for each server")
        self.cluster = cluster
        self.pools = pools
        self.secure_pools = secure_pools or pools
        self.remove_special_headers = remove_special_headers
        self.post_size_limit = post_size_limit
        self.post_buffer_size = post_buffer_size
        self.io_timeout_retry = io_timeout_retry
        self.waits_for_continue = any(pool.wait_for_continue for pool in pools)
        self.completes_clone_ids = complete_clone_ids and cluster.has_clone_ids
        self.strips_clone_ids = strip_clone_ids
        self.x_forwarded = x_forwarded
        self.forwarded = forwarded
        self.edits_requests = strip_clone_ids or x_forwarded or forwarded


cdef class Pool:
    """Warm connections to one server, used last in first out; each worker has its own."""

    def __init__(
        self, str name not None, str host not None, int port, *,
        double connect_timeout_s=10, double io_timeout_s=0, bint io_timeout_marks_down=False,
        double ws_io_timeout_s=0, double ws_idle_s=3600,
        double idle_s=25, int most_idle=256, object tls=None,
        bint extended_handshake=False, bint wait_for_continue=False, str proxy_protocol not None="none",
    ):
        self.name = name
        self.host = host
        self.port = port
        self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        self.tls = tls
        self.connect_timeout_s = connect_timeout_s
        self.io_timeout_ms = <int64_t>(io_timeout_s * 1000)
        self.io_timeout_marks_down = io_timeout_marks_down
        self.ws_io_timeout_ms = <int64_t>(ws_io_timeout_s * 1000)
        self.ws_idle_ms = <int64_t>(ws_idle_s * 1000)
        self.proxy_protocol = proxy_protocol
        # A connection that began with a client's address is that client's: kept, it would serve others in its name.
        self.idle_ms = <int64_t>(idle_s * 1000) if proxy_protocol == "none" else 0
        self.most_idle = most_idle
        self.extended_handshake = extended_handshake
        self.wait_for_continue = wait_for_continue
        self.idle = []

    cdef Stream take(self, int64_t now_ms):
        """
        The connection used last; None where none is warm.

        One on which something waits is dropped: bytes behind the last answer would pass for the next one, and an end
        means that the server closed it. One recv a request (0.2 us) buys both.
        """
        cdef Stream upstream
        while self.idle:
            upstream = self.idle.pop()
            if not upstream.closing and upstream.deadline_ms > now_ms and upstream.is_quiet():
                return upstream
            upstream.abort()
        return None

    cdef int put(self, Stream upstream, int64_t now_ms) except -1:
        if upstream.closing:
            return 0
        if self.idle_ms <= 0 or len(self.idle) >= self.most_idle:
            upstream.close()
            return 0
        upstream.deadline_ms = now_ms + self.idle_ms
        self.idle.append(upstream)
        return 0

    cdef int forget(self, Stream upstream) except -1:
        """A connection that was lost while it lay here."""
        if upstream in self.idle:
            self.idle.remove(upstream)
        return 0

    def idle_count(self) -> int:
        """Warm connections."""
        return len(self.idle)
