"""W3C Trace Context read in plain Python, with regular expressions taken from the standard's grammar."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.DOTALL,
)
_MEMBER = re.compile(rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")


def context(value: bytes) -> tuple[int, int, int] | None:
    """(trace id, parent, sampled and random flag); None where the standard says that the request has no context."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match["version"] == b"ff":
        return None
    if match["version"] == b"00" and match["more"] is not None:
        return None
    trace, parent = int(match["trace"], 16), int(match["parent"], 16)
    return (trace, parent, int(match["flags"], 16) & 3) if trace and parent else None


def is_good_state(*values: bytes) -> bool:
    """Whether these tracestate fields are a list of at most 32 members."""
    members = [each.strip(b" \t") for value in values for each in value.split(b",")]
    members = [each for each in members if each]
    return len(members) <= 32 and all(_MEMBER.fullmatch(each) for each in members)
