from enum import IntEnum
from typing import NamedTuple

class FailureKind(IntEnum):
    CLOSED_EARLY = 0
    IO_TIMEOUT = 1
    BAD_RESPONSE = 2
    HEAD_TIMEOUT = 3

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

class Phase(IntEnum):
    IDLE = 0
    CONNECTING = 1
    RELAYING = 2
    TUNNELLING = 3
    ANSWERING = 4
    LINGERING = 5
    CLOSED = 6

def phases_after(phase: Phase) -> set[Phase]: ...

class Exchange: ...
