MASKED: bytes

class SessionNames:
    cookies: frozenset[bytes]
    def __init__(
        self,
        cookies: frozenset[bytes] = ...,
        url_ids: frozenset[bytes] = ...,
        separator: bytes = ...,
    ) -> None: ...

def escape(value: bytes) -> bytes: ...
def kinds_of(value: bytes, is_wide: bool) -> tuple[int, int, bytes]: ...
def mask(
    value: bytes, what: str, names: SessionNames = ..., *, shows_sessions: bool = False
) -> bytes: ...
def mask_address(address: bytes, names: SessionNames = ...) -> bytes: ...
