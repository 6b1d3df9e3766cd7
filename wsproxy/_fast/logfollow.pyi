from collections.abc import Callable
from typing import Any

from wsproxy._fast.logged import LoggedRequest, Process
from wsproxy._fast.loglines import LogLine
from wsproxy._fast.logtries import LogTries
from wsproxy._fast.match import RouteTable

class LogFollower(LogTries):
    world: Any
    path: str
    split_host: Callable[[bytes], tuple[bytes, int]]
    uris: RouteTable
    find_uri: Callable[[str, str], int]
    cluster_names: tuple[str, ...]
    matched: dict[bytes, Any]
    grouped: dict[bytes, Any]
    rare: dict[int, Callable[[LogLine], None]]
    on_foreign: Callable[[LogLine], None] | None
    shared: bool | None
    has_start: bool
    open: dict[tuple[int, int], LoggedRequest]
    processes: dict[int, Process]
    forgotten: int
    def take(self, lines: list[LogLine]) -> None: ...
    def process_of(self, pid: int) -> Process: ...
    def request_of(self, line: LogLine) -> LoggedRequest: ...
    def finish(self, request: LoggedRequest) -> None: ...
