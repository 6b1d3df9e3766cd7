from wsproxy._fast.access_log import AccessLog
from wsproxy._fast.client_counts import ClientCounts
from wsproxy._fast.match import RouteTable
from wsproxy._fast.pipe import Pipe
from wsproxy._fast.select import Cluster
from wsproxy._fast.stream import Hub

class Engine(Hub):
    worker_id: int
    draining: bool
    requests: int
    refused_connections: int
    services: list[Service | None]
    slow: object
    witness: object
    log_level: int
    def __init__(
        self,
        *,
        worker_id: int,
        routes: RouteTable,
        services: list[Service | None],
        fallback: Service | None,
        slow: object,
        head_bytes: int = 65536,
        target_bytes: int = 16384,
        header_fields: int = 300,
        trace: bool = False,
        refuse_ambiguous: bool = False,
        via: bytes = b"",
        trailers: bool = False,
        explains: bool = False,
        vhost_matching_compat: bool = False,
        port_of_listener: bool = False,
        trusted_proxies: frozenset[bytes] = frozenset(),
        upgrades: frozenset[str] = ...,
        on_503: bool = True,
        errors_mark_down: bool = False,
        head_s: float = 10,
        keepalive_s: float = 60,
        body_s: float = 60,
        linger_s: float = 2,
        half_closed_s: float = 86400,
        takeover_s: float = 60,
        client_counts: ClientCounts | None = None,
        most_of_client: int = 0,
        pipe: Pipe | None = None,
    ) -> None: ...
    def log_access(self, access: AccessLog) -> None: ...
    @property
    def limits_clients(self) -> bool: ...
    def drain(self) -> int: ...
    def close_all(self) -> None: ...

class Service:
    cluster: Cluster
    pools: list[Pool]
    secure_pools: list[Pool]
    io_timeout_retry: int
    def __init__(
        self,
        cluster: Cluster,
        pools: list[Pool],
        *,
        secure_pools: list[Pool] | None = None,
        remove_special_headers: bool = True,
        post_size_limit: int = -1,
        post_buffer_size: int = 65536,
        io_timeout_retry: int = -1,
        complete_clone_ids: bool = True,
        strip_clone_ids: bool = False,
        x_forwarded: bool = False,
        forwarded: bool = False,
    ) -> None: ...

class Pool:
    name: str
    host: str
    port: int
    tls: object
    connect_timeout_s: float
    io_timeout_ms: int
    io_timeout_marks_down: bool
    ws_io_timeout_ms: int
    ws_idle_ms: int
    extended_handshake: bool
    wait_for_continue: bool
    proxy_protocol: str
    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        connect_timeout_s: float = 10,
        io_timeout_s: float = 0,
        io_timeout_marks_down: bool = False,
        ws_io_timeout_s: float = 0,
        ws_idle_s: float = 3600,
        idle_s: float = 25,
        most_idle: int = 256,
        tls: object = None,
        extended_handshake: bool = False,
        wait_for_continue: bool = False,
        proxy_protocol: str = "none",
    ) -> None: ...
    def idle_count(self) -> int: ...
