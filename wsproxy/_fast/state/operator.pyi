from enum import IntEnum

class Hold(IntEnum):
    NO_HOLD = 0
    DRAIN = 1
    TAKEN_DOWN = 2

def said_as(who: bytes, why: bytes) -> tuple[bytes, bytes]: ...
def hold_left(hold: int, until_ms: int, now_ms: int) -> int: ...
