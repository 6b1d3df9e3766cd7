from enum import IntEnum

class Trust(IntEnum):
    TRUST_NOTHING = 0
    TRUST_X_FORWARDED = 1
    TRUST_FORWARDED = 2

class TrustedProxies:
    def __new__(cls, networks: tuple[tuple[bytes, int], ...] = ()) -> TrustedProxies: ...
    def __contains__(self, peer: bytes) -> bool: ...
