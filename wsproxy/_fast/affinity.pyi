def read_clone_ids(
    cookies: list[bytes],
    path: bytes,
    name: bytes = b"JSESSIONID",
    url_id: bytes = b"jsessionid",
    separator: bytes = b":",
) -> list[bytes]: ...
def read_session_id(value: bytes, separator: bytes = b":") -> bytes: ...
