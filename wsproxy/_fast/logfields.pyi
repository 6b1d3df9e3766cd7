from enum import IntEnum

class Code(IntEnum):
    LOADED = 1
    WEB_SERVER = 2
    RELOADED = 3
    BEGIN = 4
    REQUEST_IS = 5
    VHOST_MATCH = 6
    URI_MATCH = 7
    NO_ROUTE = 8
    GROUP = 9
    PARSING = 10
    CLONE = 11
    CHECKING = 12
    IS_DOWN = 13
    MAX_CONNECTIONS = 14
    MOVED = 15
    PICKED = 16
    TRANSPORT = 17
    REUSED = 18
    NEW_STREAM = 19
    REQUEST_LINE = 20
    HOST = 21
    COOKIE = 22
    IS_SECURE = 23
    SCHEME = 24
    STATUS_LINE = 25
    CONTENT = 26
    CONNECT_FAILED = 27
    CONNECT_TIMEOUT = 28
    NO_STREAM = 29
    IO_TIMEOUT = 30
    BAD_RESPONSE = 31
    FAILED_TRY = 32
    MARKING = 33
    NO_SERVER = 34
    FAILED = 35
    COUNTERS = 36
    END = 37
    SET_COOKIE = 38

class FieldReader:
    count: int
    def __new__(cls, words: list[bytes], numbers: list[bool]) -> FieldReader: ...
    def read(self, text: bytes, at: int = 0) -> tuple[bytes | int, ...] | None: ...
    def read_exact(self, text: bytes) -> bool: ...
