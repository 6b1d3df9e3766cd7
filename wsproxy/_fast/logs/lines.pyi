class LogLine:
    number: int
    time_us: int
    pid: int
    tid: int
    key: tuple[int, int]
    level: int
    code: int
    at: int
    text: bytes

class LineScanner:
    lines: int
    records: int
    foreign: int
    blank: int
    glued: int
    def __init__(
        self, shapes: list[tuple[bytes, bytes, int]], *, wanted_only: bool = False
    ) -> None: ...
    def feed(self, data: bytes) -> list[LogLine]: ...
    def end(self) -> list[LogLine]: ...
    def join(self, line: LogLine, more: bytes) -> LogLine: ...
    def restart(self) -> None: ...

def are_records(lines: list[LogLine]) -> bool: ...
def read_lines(data: bytes, shapes: list[tuple[bytes, bytes, int]]) -> list[LogLine]: ...
