"""
SipHash-2-4 with Python's whole numbers, from the paper (J.-P. Aumasson, D. J. Bernstein, 2012).

Driven by tests/unit/_fast. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

MASK = (1 << 64) - 1


def _rotated(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & MASK


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        for a, b, bits in ((0, 1, 13), (2, 3, 16)):
            v[a] = (v[a] + v[b]) & MASK
            v[b] = _rotated(v[b], bits) ^ v[a]
        v[0] = _rotated(v[0], 32)
        for a, b, bits in ((2, 1, 17), (0, 3, 21)):
            v[a] = (v[a] + v[b]) & MASK
            v[b] = _rotated(v[b], bits) ^ v[a]
        v[2] = _rotated(v[2], 32)


def siphash(key: bytes, data: bytes) -> int:
    """The 64 bits for ``data`` under a key of 16 bytes."""
    constant = b"somepseudorandomlygeneratedbytes"
    v = [int.from_bytes(constant[at : at + 8], "big") for at in range(0, 32, 8)]
    for at in range(4):
        v[at] ^= int.from_bytes(key[at % 2 * 8 :][:8], "little")
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
