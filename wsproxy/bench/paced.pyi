NOT_SENT: int
REFUSED: int
TIMED_OUT: int
NOT_HTTP: int

class Run:
    again: int
    columns: dict[str, bytearray]
    def __init__(
        self,
        port: int,
        requests: list[bytes],
        which: bytes,
        due_us: bytes,
        connections: int,
        timeout_us: int,
    ) -> None: ...
    def run(self, start_us: int) -> None: ...
