from abc import ABCMeta

from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.logs.request import LoggedRequest, Process
from wsproxy._fast.logs.tries import LogTries

class LogFollower(LogTries, metaclass=ABCMeta):
    path: str
    hears_foreign: bool
    shared: bool | None
    has_start: bool
    reads_escapes: bool
    open: dict[tuple[int, int], LoggedRequest]
    processes: dict[int, Process]
    forgotten: int
    most_level: int
    def take(self, lines: list[LogLine]) -> None: ...
    def process_of(self, pid: int) -> Process: ...
    def request_of(self, line: LogLine) -> LoggedRequest: ...
    def finish(self, request: LoggedRequest) -> None: ...
