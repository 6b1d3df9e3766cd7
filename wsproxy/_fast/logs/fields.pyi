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
    SET_COOKIE = 26
    CONTENT = 27
    CONNECT_FAILED = 28
    CONNECT_TIMEOUT = 29
    NO_STREAM = 30
    IO_TIMEOUT = 31
    BAD_RESPONSE = 32
    FAILED_TRY = 33
    MARKING = 34
    NO_SERVER = 35
    FAILED = 36
    COUNTERS = 37
    END = 38
    CLONE_MATCH = 39
    CONTENT_LENGTH = 40
    CLOSED = 41
    PROBE_FAILED = 42
    PROBE_BACK = 43
    PROBE_AWAITED = 44

class FieldReader:
    count: int
    def __new__(cls, words: list[bytes], numbers: list[bool]) -> FieldReader: ...
    def read(self, text: bytes, at: int = 0) -> tuple[bytes | int, ...] | None: ...
    def read_exact(self, text: bytes) -> bool: ...
