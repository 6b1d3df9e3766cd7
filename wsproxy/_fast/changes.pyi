from enum import IntEnum
from typing import NamedTuple

class ChangeKind(IntEnum):
    MARKED_DOWN = 0
    STILL_DOWN = 1
    UP = 2
    DRAIN_ON = 3
    DRAIN_OFF = 4
    PROBED = 5

class Change(NamedTuple):
    number: int
    wall_ms: int
    kind: ChangeKind
    cluster: str
    server: str
    worker: int
    error: int
    detail: str
    request: str
    pid: int
    tid: int

def visible_path(target: bytes) -> str: ...
