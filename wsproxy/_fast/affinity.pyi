def read_clone_ids(
    cookies: list[bytes],
    path: bytes,
    name: bytes = b"JSESSIONID",
    url_id: bytes = b"jsessionid",
    separator: bytes = b":",
) -> list[bytes]: ...
