"""
Bytes of requests and answers, made with a random generator: good ones of all shapes, and what is done to them.

Driven by ``plans`` and ``origins``. Good ones are good by construction; tags in them say whose they are.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from tests.fuzz.traffic.reading import pattern
from tests.support.http_grammar import TRICKY_BYTES, TRICKY_WORDS

METHODS = (
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "PUT",
    "HEAD",
    "OPTIONS",
    "DELETE",
    "!#$%&'*+-.^_`|~",
)
# Fields between client and proxy, and forged ones: no server may see them as they are.
FIELDS = (
    b"Connection: x-hop, keep-alive\r\nX-Hop: evil",
    b"Connection: $wsra, host, content-length",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"TE: trailers",
    b"Connection: TE\r\nTE: trailers;q=0.5, trailers",
    b"Upgrade: h2c",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    b"$WSRA: 6.6.6.6",
    b"$WSRU: admin\r\n$wsat: BASIC",
    b"_WS_HAPRT_WLMVERSION: 77",
    b"X-Wsproxy-Server: evil",
    b"Content_Length: 7\r\ntransfer_encoding: chunked",
    b"_ws-haprt-wlmversion: 77\r\nX_Wsproxy-Explain: 1",
    b"X-Wsproxy-Explain: 1",
    b"X-Wsproxy-Explain: 1",
    b"Via: 1.1 other",
    b"Accept: */*",
    b"X-High: \xe4\xff\t\"",
    b"Cookie: JSESSIONID=0000abc:c0; a=b",
    b"Cookie: JSESSIONID=0000abc:c1",
    b"Cookie: JSESSIONID=0000abc:zz:c1:c0",
    b"Cookie: JSESSIONID=0000abc" + b":zz" * 70,
)  # fmt: skip
EXTENSIONS = (b"", b"", b"", b";a", b'; a = "b;\t\xff"', b";" + b"e" * 200)
# What stands below the fallback's directory.
FILES = "files"
FILE_PATH = b"/files/page.bin"
FILE = pattern("file", 200_000)
TRAILERS = (
    b"X-Sum: 1\r\n",
    b"Content-Digest: a\r\n",
    b"Content-Length: 5\r\n",
    b"$WSRU: admin\r\n",
)
SIZES = (0, 1, 10, 1000, 5000, 17_000, 70_000, 70_001, 250_000)
SMALL_SIZES = (0, 1, 10, 100)
# An answer that no client asked for; whoever sees a byte of it was given somebody else's.
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Poison: 1\r\n\r\npoison"


def request(
    rng: Random,
    lane: str,
    tag: str,
    *,
    room: int = 0,
    expects: bool = False,
    is_small: bool = False,
) -> tuple[bytes, bytes]:
    """Head and body of a request for ``lane``; ``room``: about so many bytes of head."""
    method = rng.choice(("POST", "PUT")) if expects else rng.choice(METHODS)
    is_http10 = not expects and rng.random() < 0.08
    target = b"/%b/%b%b" % (lane.encode(), tag.encode(), _path_end(rng))
    if lane == FILES:
        target = FILE_PATH + b"?" + tag.encode()
    lines = [
        b"%b %b HTTP/1.%d" % (method.encode(), target, not is_http10),
        rng.choice((b"Host: shop.example:9080", b"Host: a", b"hOST:[::1]:81")),
        b"X-Tag: %b" % tag.encode(),
        *rng.sample(FIELDS, rng.choice((0, 0, 1, 2, 4))),
    ]  # fmt: skip
    if is_http10 and rng.random() < 0.5:
        lines.append(b"Connection: keep-alive")
    if expects:
        lines.append(b"Expect: 100-continue")
    if room:
        lines.append(b"X-Room: " + pattern(tag, room))
        lines.append(b"Cookie: JSESSIONID=0000big" + b":zz" * rng.randrange(70))
    elif not is_small and rng.random() < 0.02:
        lines += rng.choice(OVERSIZED)
    body = b""
    if method in ("POST", "PUT") or rng.random() < 0.1:
        payload = pattern(f"r{tag}", rng.choice(SMALL_SIZES if is_small else SIZES))
        if is_http10 or rng.random() < 0.5:
            lines.append(b"Content-Length: %d" % len(payload))
            body = payload
        else:
            lines.append(b"transfer-Encoding: chunked")
            body = chunked(rng, payload)
    first, *others = lines
    rng.shuffle(others)
    return b"\r\n".join([first, *others, b"", b""]), body


OVERSIZED = (
    [b"X-Large: " + b"l" * 66_000],
    [b"X-Many: %d" % number for number in range(302)],
    [b"X-Many: %d" % number for number in range(280)],
)


def upgrade(rng: Random, lane: str, tag: str) -> bytes:
    """A request to change to a protocol that is allowed, or to one that is not."""
    protocol = rng.choice((b"websocket", b"websocket", b"WebSocket", b"h2c", b"other"))
    return (
        b"GET /%b/%b HTTP/1.1\r\nHost: a\r\nX-Tag: %b\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %b\r\n\r\n"
        % (lane.encode(), tag.encode(), tag.encode(), protocol)
    )


def chunked(rng: Random, payload: bytes) -> bytes:
    """A chunked body: pieces, extensions, trailers."""
    count = rng.choice((0, 1, 2, 5, 20))
    cuts = sorted({0, len(payload), *(rng.randrange(len(payload) + 1) for _ in range(count))})
    parts = []
    for start, end in pairwise(cuts):
        size = rng.choice((b"%x", b"%X", b"00000%x")) % (end - start)
        parts.append(size + rng.choice(EXTENSIONS) + b"\r\n" + payload[start:end] + b"\r\n")
    parts.append(rng.choice((b"0", b"000")) + rng.choice(EXTENSIONS) + b"\r\n")
    parts += rng.sample(TRAILERS, rng.choice((0, 0, 0, 1, 3)))
    return b"".join(parts) + b"\r\n"


def mutated(rng: Random, data: bytes) -> bytes:
    """``data`` with one to three wounds."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        change = rng.randrange(6)
        if change == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif change == 1:
            data = data[:at] + rng.choice(TRICKY_BYTES) + data[at:]
        elif change == 2:
            starts = [match + 1 for match, byte in enumerate(data) if byte == 0x0A]
            at = rng.choice(starts) if starts and rng.random() < 0.7 else at
            data = data[:at] + rng.choice(TRICKY_WORDS) + data[at:]
        elif change == 3:
            data = data[:at] + data[at + rng.randint(1, 4) :]
        elif change == 4:
            lines = data.split(b"\n")
            line = rng.randrange(len(lines))
            data = b"\n".join([*lines[: line + 1], *lines[line:]])
        else:
            data = data[: max(at, 1)]
    return data


def _path_end(rng: Random) -> bytes:
    return rng.choice((b"", b"", b"?q=1", b";jsessionid=0000abc:c1", b"/a;p/b%2f?x={|}", b"/./../x", b"/" + b"t" * 17_000 if rng.random() < 0.02 else b"/y"))  # fmt: skip
