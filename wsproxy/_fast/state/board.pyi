from enum import IntEnum
from typing import NamedTuple

from typing_extensions import disjoint_base

class Stage(IntEnum):
    QUEUED = 0
    CONNECTING = 1
    SENT = 2
    ANSWERED = 3
    TUNNEL = 4
    OWN_ANSWER = 5

class Running(NamedTuple):
    pid: int
    number: int
    stage: Stage
    age_ms: int
    cluster: str
    server: str
    asked: str
    peer: str

class Page(NamedTuple):
    pid: int
    total: int
    killed: bool
    running: list[Running]

@disjoint_base
class Board:
    workers: int

    def __new__(cls, workers: int, fd: int = -1, offset: int = 0) -> Board: ...
    def ask(self, kill_pid: int = 0, kill_number: int = 0) -> int: ...
    def is_asked(self, worker: int) -> bool: ...
    def read_page(self, worker: int, number: int) -> Page | None: ...
