from typing import Any

HEAD_ERRORS: dict[int, tuple[int, str]]
PRIVATE_NAMES: tuple[bytes, ...]

def read_request(
    data: bytes,
    *,
    head_bytes: int = 65536,
    target_bytes: int = 16384,
    header_fields: int = 300,
    trace: bool = False,
    refuse_ambiguous: bool = False,
) -> dict[str, Any] | int: ...
def read_response(
    data: bytes, *, head_bytes: int = 65536, header_fields: int = 300
) -> dict[str, Any] | int: ...
def has_head_end(data: bytes, resume: int = 0) -> int: ...
