from wsproxy._fast.decide.balance import Balancer

def read_clone_ids(
    cookies: list[bytes],
    path: bytes,
    name: bytes = b"JSESSIONID",
    url_id: bytes = b"jsessionid",
    separator: bytes = b":",
    cluster: Balancer | None = None,
    *,
    is_known: bool = False,
) -> list[bytes]: ...
def read_session_id(
    value: bytes, separator: bytes = b":", cluster: Balancer | None = None
) -> bytes: ...
def is_websphere_form(value: bytes) -> bool: ...
