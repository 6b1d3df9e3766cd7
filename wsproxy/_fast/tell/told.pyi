from wsproxy._fast.tell.mask import SessionNames

def mask_head(
    head: bytes,
    names: SessionNames = ...,
    separator: bytes = b":",
    *,
    shows_sessions: bool = False,
) -> bytes: ...
def mask_target(
    target: bytes,
    names: SessionNames = ...,
    separator: bytes = b":",
    *,
    shows_sessions: bool = False,
) -> bytes: ...
