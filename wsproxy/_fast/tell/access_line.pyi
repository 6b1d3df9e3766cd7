from collections.abc import Callable
from enum import IntEnum, IntFlag

from wsproxy._fast.tell.mask import SessionNames

MOST_ITEMS: int
MOST_LATE: int

class Item(IntEnum):
    TEXT = 0
    ADDRESS = 1
    LOCAL_ADDRESS = 2
    TIME = 3
    REQUEST_LINE = 4
    METHOD = 5
    PATH = 6
    QUERY = 7
    PROTOCOL = 8
    HOST = 9
    PORT = 10
    FIELD = 11
    COOKIE = 12
    REQUEST_ID = 13
    PID = 14
    STAMP = 15
    STATUS = 16
    BODY_BYTES = 17
    ALL_BYTES = 18
    MICROSECONDS = 19
    MILLISECONDS = 20
    SECONDS = 21
    SERVER = 22
    CONNECTION = 23
    SERVER_NAME = 24
    CLUSTER = 25
    RULE = 26
    ROUTE = 27
    TRIES = 28
    CAUSE = 29
    RECEIVE_TIME = 30
    QUEUE_TIME = 31
    CONNECT_TIME = 32
    SEND_TIME = 33
    FIRST_BYTE_TIME = 34
    ANSWER_TIME = 35

class Only(IntFlag):
    ONLY_FAILED = 1
    ONLY_SLOW = 2
    ONLY_RETRIED = 4

class AccessLog:
    def __init__(
        self,
        items: list[tuple[int, bytes]],
        on_block: Callable[[bytes, int], None],
        names: SessionNames = ...,
        *,
        masks: bool = True,
        json: bool = False,
        only: int = 0,
        slow_us: int = 0,
    ) -> None: ...
    def flush(self) -> None: ...
    def line_of(self, data: bytes, peer: bytes = ..., *, given: int = 0) -> bytes: ...
