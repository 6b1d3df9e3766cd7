from typing import Any, final

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.decide.view import Service, View
from wsproxy._fast.logs.replay import ReplayedRequest

def split_host(text: bytes) -> tuple[bytes, int]: ...

@final
class Place:
    cluster: Cluster
    service: Service
    index: int
    name: str
    max_connections: int
    secure_address: str
    plain_address: str
    io_timeout_s: float
    marked_ms: int
    ruled_line: int
    def __init__(
        self,
        cluster: Cluster,
        service: Service,
        index: int,
        name: str,
        max_connections: int,
        addresses: tuple[str, str],
        io_timeout_s: float = 0,
    ) -> None: ...
    @property
    def addresses(self) -> tuple[str, str]: ...

@final
class Process:
    decider: Decider
    view: View
    clusters: tuple[Cluster | None, ...]
    places: dict[bytes, list[Place]]
    counters: dict[tuple[int, bytes], tuple[int, int, int]]
    knows_start: bool
    used: int
    running: int
    meetings: int
    def __init__(
        self,
        decider: Decider,
        view: View,
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
    is_ruled: bool
    timeouts: int
    body: int
    content_length: int
    matched: bytes
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
