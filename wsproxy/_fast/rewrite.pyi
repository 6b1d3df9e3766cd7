def rewrite_request(
    data: bytes,
    *,
    peer: bytes = b"192.0.2.1",
    local_host: bytes = b"proxy",
    port: int = 80,
    keep_private: bool = False,
    failover: bool = False,
    capacity: int = ...,
) -> bytes | int: ...
def rewrite_response(
    data: bytes,
    *,
    close: bool = False,
    say_keep_alive: bool = False,
    drop_length: bool = False,
    drop_chunked: bool = False,
    capacity: int = ...,
) -> bytes | int: ...
