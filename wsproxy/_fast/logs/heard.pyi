from abc import ABCMeta, abstractmethod
from typing import Any, Literal, final

from wsproxy._fast.decide.match import RouteTable
from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.logs.request import LoggedRequest, Process

# Not abstract where they run: a type checker is to see that whoever derives from these has every method.

@final
class Matched:
    logged: str
    ours: str
    host: bytes
    port: int
    def __init__(self, logged: str, ours: str, host: bytes, port: int) -> None: ...

@final
class Grouped:
    group: str
    score: int
    exact: int
    cookie: bytes
    url: bytes
    def __init__(self, group: str, score: int, exact: int, cookie: bytes, url: bytes) -> None: ...

class Routes(metaclass=ABCMeta):
    @property
    def uris(self) -> RouteTable: ...
    @property
    def cluster_names(self) -> tuple[str, ...]: ...
    @property
    def matched(self) -> dict[bytes, Matched | None]: ...
    @property
    def grouped(self) -> dict[bytes, Grouped | None]: ...
    def __init__(self, uris: RouteTable, cluster_names: tuple[str, ...]) -> None: ...
    @abstractmethod
    def vhost(self, line: LogLine) -> Matched | None: ...
    @abstractmethod
    def uri(self, line: LogLine) -> Matched | None: ...
    @abstractmethod
    def group(self, line: LogLine) -> Grouped | None: ...
    @abstractmethod
    def find_uri(self, group: str, pattern: str) -> int: ...
    @abstractmethod
    def rebuild(self, request: LoggedRequest, group: str) -> str: ...

class RareTries(metaclass=ABCMeta):
    @abstractmethod
    def name_by_transport(self, request: LoggedRequest) -> bool: ...
    @abstractmethod
    def judge_going_on(self, request: LoggedRequest, line: int) -> None: ...
    @abstractmethod
    def meet_stranger(self, request: LoggedRequest, line: int) -> None: ...
    @abstractmethod
    def explain_affinity(self, request: LoggedRequest, was_named: bool) -> str: ...
    @abstractmethod
    def judge_size(self, request: LoggedRequest, line: int) -> None: ...
    @abstractmethod
    def check_first(self, request: LoggedRequest, now: tuple[int, int, int], line: int) -> None: ...
    @abstractmethod
    def judge_giving_up(self, request: LoggedRequest) -> None: ...
    @abstractmethod
    def judge_error(self, request: LoggedRequest) -> None: ...

class Heard(metaclass=ABCMeta):
    @abstractmethod
    def new_process(self) -> Process: ...
    @abstractmethod
    def read_tolerantly(self, code: int, text: bytes, at: int) -> tuple[Any, ...] | None: ...
    @abstractmethod
    def on_rare(self, line: LogLine) -> None: ...
    @abstractmethod
    def on_foreign(self, line: LogLine) -> None: ...
    @abstractmethod
    def keep_check(
        self,
        request: LoggedRequest,
        what: str,
        result: Literal["same", "differs", "undecided"],
        logged: str,
        ours: str,
        line: int,
        note: str,
    ) -> None: ...
    @abstractmethod
    def hand_over(self, request: LoggedRequest) -> None: ...
