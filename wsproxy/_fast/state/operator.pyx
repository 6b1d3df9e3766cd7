"""
What an operator has said of a server: kept in its slot, so that it holds for all workers at once and outlives each.

Written by ``decide.operate``, read where servers are judged (``decide.balance``). Must not decide, nor hold a secret.
"""

import time

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset


cdef void keep_text(char* out, Py_ssize_t size, bytes text) noexcept:
    """What fits, never half a character; the rest is zeroes."""
    cdef Py_ssize_t length = min(len(text), size - 1)
    while 0 < length < len(text) and (<unsigned char>(<const char*>text)[length] & 0xC0) == 0x80:
        length -= 1
    memset(out, 0, size)
    memcpy(out, <const char*>text, length)


cdef int64_t wall_ms() except -1:
    return time.time_ns() // 1_000_000


cdef bytes sentence(bytes who, bytes what, bytes why):
    return b", ".join(filter(None, (who, what))) + (b": " + why if why else b"")


cdef void say(ws_said* said, bytes who, bytes why, int64_t at_ms) noexcept:
    said.at_ms = at_ms
    keep_text(said.who, WHO_BYTES, who)
    keep_text(said.why, WHY_BYTES, why)


def said_as(bytes who not None, bytes why not None) -> tuple[bytes, bytes]:
    """What is kept of both; for tests."""
    cdef ws_said said
    say(&said, who, why, 0)
    return said.who, said.why


def hold_left(int hold, int64_t until_ms, int64_t now_ms) -> int:
    """What is left of a hold; for tests."""
    cdef ws_operator said
    said.until_ms = until_ms
    return hold_at(hold, &said, now_ms)
