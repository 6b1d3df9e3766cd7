"""
Chunked bodies read from the whole text at once (RFC 9112 7.1).

Driven by tests/unit/_fast with everything that was fed; the compiled reader sees the same in pieces. Must not share code
with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.oracles.errors import HeadError, RefusedError

MOST_DIGITS = 15
LONGEST_SIZE_LINE = 256  # with CR LF
MOST_TRAILER_BYTES = 8192  # with the empty line

# What a size line may begin with while it is not whole; each alternative goes on to the end of what is there.
SIZE_PREFIX = re.compile(
    rb"(?:[0-9A-Fa-f]{0,15}|[0-9A-Fa-f]{1,15}(?:;[\t -~\x80-\xff]*)?(?:\r\n?)?)"
)
TRAILER_PREFIX = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[\t -~\x80-\xff]*(?:\r\n?)?)?|\r\n?)?"
)


@dataclass
class ChunkedBody:
    """What is known of a body after some of its bytes."""

    payload: bytes
    consumed: int
    done: bool


def take_line(data: bytes, at: int) -> bytes:
    """From ``at`` to the LF and with it, or what there is of the line."""
    end = data.find(b"\n", at)
    return data[at:] if end < 0 else data[at : end + 1]


def parse_chunked(data: bytes) -> ChunkedBody:
    """Payload and end of the body that ``data`` begins with. Raises RefusedError as soon as no body can begin so."""
    payload = b""
    at = 0
    while True:
        line = take_line(data, at)
        if not SIZE_PREFIX.fullmatch(line[:LONGEST_SIZE_LINE]) or len(line) > LONGEST_SIZE_LINE:
            raise RefusedError(HeadError.BAD_CHUNK)
        at += len(line)
        if not line.endswith(b"\n"):
            return ChunkedBody(payload, at, done=False)
        size = int(re.split(rb"[;\r]", line)[0], 16)
        if size == 0:
            break
        chunk = data[at : at + size]
        payload += chunk
        at += len(chunk)
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise RefusedError(HeadError.BAD_CHUNK)
        at += len(end)
        if len(end) < 2:
            return ChunkedBody(payload, at, done=False)
    start = at
    while True:
        line = take_line(data, at)
        allowed = line[: max(MOST_TRAILER_BYTES - (at - start), 0)]
        if not TRAILER_PREFIX.fullmatch(allowed) or len(allowed) < len(line):
            raise RefusedError(HeadError.BAD_TRAILER)
        at += len(line)
        if line == b"\r\n" or not line.endswith(b"\n"):
            return ChunkedBody(payload, at, done=line == b"\r\n")
