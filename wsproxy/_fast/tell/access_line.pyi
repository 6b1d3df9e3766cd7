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
    STATUS = 15
    BODY_BYTES = 16
    ALL_BYTES = 17
    MICROSECONDS = 18
    MILLISECONDS = 19
    SECONDS = 20
    SERVER = 21
    CONNECTION = 22
    SERVER_NAME = 23
    CLUSTER = 24
    RULE = 25
    ROUTE = 26
    TRIES = 27
    CAUSE = 28
    RECEIVE_TIME = 29
    QUEUE_TIME = 30
    CONNECT_TIME = 31
    SEND_TIME = 32
    FIRST_BYTE_TIME = 33
    ANSWER_TIME = 34

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
    def line_of(self, data: bytes, peer: bytes = ...) -> bytes: ...
