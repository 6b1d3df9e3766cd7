from typing import Any, final

from wsproxy._fast.engine import Engine, Pool, Service
from wsproxy._fast.replay import ReplayedRequest
from wsproxy._fast.select import Cluster

@final
class Place:
    cluster: Cluster
    service: Service
    index: int
    name: str
    max_connections: int
    secure_address: str
    plain_address: str
    def __init__(
        self, cluster: Cluster, service: Service, index: int, name: str, max_connections: int
    ) -> None: ...
    @property
    def addresses(self) -> tuple[str, str]: ...
    def pool(self, *, secure: bool) -> Pool: ...

@final
class Process:
    engine: Engine
    clusters: tuple[Cluster | None, ...]
    places: dict[bytes, list[Place]]
    counters: dict[tuple[int, bytes], tuple[int, int, int]]
    knows_start: bool
    used: int
    running: int
    meetings: int
    def __init__(
        self,
        engine: Engine,
        clusters: tuple[Cluster | None, ...],
        places: dict[bytes, list[Place]],
    ) -> None: ...
    def find(self, server: bytes, cluster: int = -1) -> Place | None: ...

@final
class Attempt:
    server: bytes
    is_decided: bool
    place: Place | None
    transport: str | None
    transport_line: int
    failure: Any
    reused: bool
    moved: bool
    status: int
    status_line: int
    marked_line: int

@final
class LoggedRequest:
    process: Process
    key: tuple[int, int]
    file: str
    first: int
    last: int
    time_us: int
    has_begun: bool
    host: bytes
    port: int
    uri: bytes | None
    method: bytes
    values: list[bytes]
    cookies: list[bytes]
    set_cookies: list[bytes]
    checks: list[Any]
    same_count: int
    attempt: Attempt
    replayed: ReplayedRequest | None
    cluster: int
    group: str
    clone_ids: bytes
    is_secure: bool | None
    ruling: Any
    goes_on: bool
    timeouts: int
    body: int
    server_name: str
    by_affinity: bool
    knows_affinity: bool
    failures: int
    counted: bool
    gave_up: bool
    declined: bool
    has_debug: bool
    status_seen: int
    try_us: int
    end_us: int
    failed_at: tuple[str, ...]
    marked: tuple[str, ...]
    def __new__(
        cls,
        process: Process,
        key: tuple[int, int],
        file: str,
        number: int,
        time_us: int,
        *,
        has_begun: bool,
    ) -> LoggedRequest: ...
    @property
    def is_alone(self) -> bool: ...
    def knows_session(self) -> bool: ...
