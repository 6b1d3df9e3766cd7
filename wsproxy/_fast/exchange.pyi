from enum import IntEnum
from typing import NamedTuple

from wsproxy._fast.stream import Stream

class FailureKind(IntEnum):
    CLOSED_EARLY = 0
    IO_TIMEOUT = 1
    BAD_RESPONSE = 2

class Facts(NamedTuple):
    peer: str
    keep_alive: bool
    http10: bool
    head_only: bool
    replayable: bool
    timeout_retries: int
    io_timeout_retry: int
    bytes_sent: int
    reused: bool
    age_ms: int
    body_bytes: int

class Exchange(Stream): ...
