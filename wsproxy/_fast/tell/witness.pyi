from enum import IntEnum
from typing import NamedTuple

class LogLevel(IntEnum):
    FOREIGN = 0
    BLANK = 1
    NO_LEVEL = 2
    PLUGIN = 3
    ERROR = 4
    WARNING = 5
    STATS = 6
    DETAIL = 7
    DEBUG = 8
    TRACE = 9
    OTHER_LEVEL = 10

class Asked(NamedTuple):
    host: bytes
    port: int
    path: bytes
    target: bytes
    method: bytes
    minor: int
    route: int
    uri_group: int
    uri: int
    vhost_group: int
    vhost: int
    score: int
    exact: int
    vhost_score: int
    vhost_exact: int
    cookie: bytes
    url_id: bytes
    values: list[bytes]
    clone_ids: list[bytes]

class Passed(NamedTuple):
    server: str
    is_down: bool
    retries: bool
    left_s: int
    full: bool
    drained: bool
    out: bool

class Chosen(NamedTuple):
    server: str
    by_affinity: bool
    remembered: bool
    is_down: bool
    retries: bool
    left_s: int
    inflight: int
    most: int
    weight: int
    clone_id: bytes
    passed: list[Passed]
    by: int
    unmet: bool
