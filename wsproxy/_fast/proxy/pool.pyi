class Pool:
    name: str
    host: str
    port: int
    tls: object
    connect_timeout_s: float
    io_timeout_ms: int
    io_timeout_marks_down: bool
    ws_io_timeout_ms: int
    ws_idle_ms: int
    extended_handshake: bool
    wait_for_continue: bool
    proxy_protocol: str
    parameters: tuple[object, ...]
    is_retired: bool
    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        connect_timeout_s: float = 10,
        io_timeout_s: float = 0,
        io_timeout_marks_down: bool = False,
        ws_io_timeout_s: float = 0,
        ws_idle_s: float = 3600,
        idle_s: float = 25,
        most_idle: int = 2048,
        tls: object = None,
        extended_handshake: bool = False,
        wait_for_continue: bool = False,
        proxy_protocol: str = "none",
    ) -> None: ...
