"""
What of a chunked body goes on when its trailers may: written from the whole body at once (RFC 9110 6.5.1).

Driven by tests/unit/_fast and the fuzzer with bodies that the oracle for chunks accepts. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re

from tests.support.oracles.http_head import kind_of

# Names that decide something before the body comes: routing, who asks, conditions, caching, what the body is.
HEAD_ONLY = re.compile(
    rb"""(?x)
    (?: access-control-.+ | if-.+ | proxy-.+ | sec-.+ | x-forwarded-.+
    | content-(?!digest$|md5$).+
    | age | alt-svc | authentication-info | authorization | cache-control | cookie2 | expires | forwarded
    | http2-settings | location | max-forwards | origin | pragma | range | retry-after | set-cookie2
    | strict-transport-security | true-client-ip | vary | via | warning | www-authenticate | x-client-ip | x-real-ip )
    """
)


def may_pass(name: bytes) -> bool:
    """Whether a trailer field of this name goes on: neither one that wsproxy knows nor one of the head alone, nor their like."""
    lower = name.lower()
    return kind_of(lower) == 0 and not HEAD_ONLY.fullmatch(lower.replace(b"_", b"-"))


def split_trailers(body: bytes) -> tuple[bytes, list[bytes]]:
    """A whole chunked body: everything up to and with the line of the last chunk, and the lines of its trailers."""
    at = 0
    while True:
        end = body.index(b"\r\n", at) + 2
        size = int(re.split(rb"[;\r]", body[at:end])[0], 16)
        at = end
        if size == 0:
            break
        at += size + 2
    return body[:at], body[at:].split(b"\r\n")[:-2]


def passed(body: bytes, *, passes: bool) -> bytes:
    """What goes on of a whole chunked body."""
    chunks, lines = split_trailers(body)
    kept = [line for line in lines if passes and may_pass(line.partition(b":")[0])]
    return chunks + b"".join(line + b"\r\n" for line in kept) + b"\r\n"
