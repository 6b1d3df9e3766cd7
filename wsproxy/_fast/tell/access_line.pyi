from collections.abc import Callable
from enum import IntFlag

from wsproxy._fast.tell.access_parts import AccessParts
from wsproxy._fast.tell.mask import SessionNames

class Only(IntFlag):
    ONLY_FAILED = 1
    ONLY_SLOW = 2
    ONLY_RETRIED = 4

class AccessLog(AccessParts):
    def __init__(
        self,
        items: list[tuple[int, bytes]],
        on_block: Callable[[bytes, int], None],
        names: SessionNames = ...,
        *,
        masks: bool = True,
        json: bool = False,
        only: int = 0,
        slow_us: int = 0,
    ) -> None: ...
    def flush(self) -> None: ...
    def line_of(
        self,
        data: bytes,
        peer: bytes = ...,
        *,
        given: int = 0,
        server: bytes = ...,
        knows_plain: bool = False,
    ) -> bytes: ...
