from typing import Any

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.edge import EdgeTable
from wsproxy._fast.decide.match import RouteTable
from wsproxy._fast.http.origin import Trust, TrustedProxies

class Service:
    cluster: Cluster
    pools: list[Any]
    secure_pools: list[Any]
    addresses: list[tuple[str, str]]
    post_buffer_size: int
    io_timeout_retry: int
    def __init__(
        self,
        cluster: Cluster,
        pools: list[Any] | None = None,
        *,
        secure_pools: list[Any] | None = None,
        addresses: list[tuple[str, str]] | None = None,
        remove_special_headers: bool = True,
        post_size_limit: int = -1,
        post_buffer_size: int = 65536,
        io_timeout_retry: int = -1,
        complete_clone_ids: bool = True,
        strip_clone_ids: bool = False,
        take_back_clone_ids: bool = False,
        x_forwarded: bool = False,
        forwarded: bool = False,
        waits_for_continue: bool = False,
    ) -> None: ...

class View:
    plan: Any
    session_names: Any
    services: list[Service | None]
    fallback: Service | None
    edges: EdgeTable | None
    def __init__(
        self,
        *,
        routes: RouteTable,
        services: list[Service | None],
        fallback: Service | None = None,
        edges: EdgeTable | None = None,
        plan: object = None,
        session_names: object = None,
        head_bytes: int = 65536,
        target_bytes: int = 16384,
        header_fields: int = 300,
        trace: bool = False,
        refuse_ambiguous: bool = False,
        via: bytes = b"",
        trailers: bool = False,
        encodes_targets: bool = False,
        explains: bool = False,
        live_path: bytes = b"",
        ready_path: bytes = b"",
        health_ports: frozenset[int] = frozenset(),
        vhost_matching_compat: bool = False,
        port_of_listener: bool = False,
        trace_limit: int = 0,
        trace_strangers: int = 0,
        trusted_proxies: TrustedProxies | None = None,
        trust: Trust = ...,
        upgrades: frozenset[str] = ...,
        on_503: bool = True,
        errors_mark_down: bool = False,
        head_s: float = 10,
        keepalive_s: float = 75,
        body_s: float = 60,
        linger_s: float = 2,
        server_head_s: float = 60,
        half_closed_s: float = 86400,
        takeover_s: float = 60,
    ) -> None: ...
