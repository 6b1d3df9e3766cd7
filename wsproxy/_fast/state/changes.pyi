from enum import IntEnum
from typing import NamedTuple

class ChangeKind(IntEnum):
    MARKED_DOWN = 0
    STILL_DOWN = 1
    UP = 2
    DRAIN_ON = 3
    DRAIN_OFF = 4
    PROBED = 5
    PROBE_FAILED = 6
    PROBE_OK = 7
    DOWN_ON = 16
    DOWN_OFF = 17
    NUMBERS_SET = 18
    MARK_CLEARED = 19
    REQUEST_KILLED = 20
    LOG_LEVEL_SET = 21
    PROXY_DRAIN_ON = 22
    PROXY_DRAIN_OFF = 23
    MAINTENANCE_ON = 24
    MAINTENANCE_OFF = 25

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
