"""
What clients send and what the app servers must see: browser headers, sessions, clone ids, private headers.

Used by ``render`` (for wrk) and ``verify`` (for the proof before each measurement), so that both speak of the same
requests. Pure.
"""

from __future__ import annotations

import base64
import hashlib

# Two clones: the fewest with which affinity is a decision. Shaped like WebSphere's own (9 characters, base 32).
CLONE_IDS = ("17c3bq8d2", "17c3bqa0v")
HOST_NAME = "shop.example"

# Enough sessions that no proxy lives off one cached value, few enough to be formatted once in wrk
SESSIONS_PER_CLONE = 32

# What an upload is made of: one line again and again, so that a piece that is lost or moved shows
UPLOAD_LINE = "field=value+of+a+form+that+somebody+filled+in+with+care&"

# What a proxy tells the app server about the client (PLUGIN.md 6.1: those sent on every plain HTTP request)
PRIVATE_HEADERS = (
    "$WSIS",
    "$WSSC",
    "$WSPR",
    "$WSRA",
    "$WSRH",
    "$WSSN",
    "$WSSP",
    "_WS_HAPRT_WLMVERSION",
)

# and on requests that came by TLS
CIPHER_HEADER = "$WSCS"
SESSION_ID_HEADER = "$WSSI"  # where the TLS session has an id

# What a client sends that wants to pass for somebody else; none of it may arrive
SPOOFED_HEADERS = (
    ("$WSRA", "203.0.113.66"),
    ("$wssn", "evil.example"),
    ("$WSRU", "admin"),
    ("$WSCC", "MIIB"),
    ("$WSCS", "NULL"),
    ("$WSSI", "00"),
    ("_WS_HAPRT_WLMVERSION", "666"),
)


def expected_private_headers(listen_port: int, cipher: str | None = None) -> dict[str, str]:
    """
    The value of each private header for a request from 127.0.0.1 to the proxy's port.

    ``cipher`` is that of the client's TLS connection; None means plain HTTP.
    """
    values = (
        "false" if cipher is None else "true",
        "http" if cipher is None else "https",
        "HTTP/1.1",
        "127.0.0.1",
        "127.0.0.1",
        HOST_NAME,
        str(listen_port),
        "-1",
    )
    expected = dict(zip(PRIVATE_HEADERS, values, strict=True))
    return expected if cipher is None else expected | {CIPHER_HEADER: cipher}


def upload_body(length: int) -> bytes:
    """The body of an upload; ``request.lua`` makes the same one."""
    return (UPLOAD_LINE * (length // len(UPLOAD_LINE) + 1))[:length].encode()


def session_id(number: int) -> str:
    """23 characters as WebSphere makes them (base64 alphabet with - and _), always the same for a number."""
    digest = hashlib.sha256(f"session {number}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:23]


def cookie(number: int, clone_id: str | None) -> str:
    """
    The Cookie header of a session: JSESSIONID between the cookies that such sites set.

    Without ``clone_id`` there is no JSESSIONID: a new visitor.
    """
    ltpa = base64.b64encode(hashlib.sha512(f"ltpa {number}".encode()).digest() * 2).decode()
    before = f"lang=en_US; _ga=GA1.2.{1000000 + number}.1732176000; "
    session = f"JSESSIONID=0000{session_id(number)}:{clone_id}; " if clone_id is not None else ""
    return f"{before}{session}LtpaToken2={ltpa}; consent=functional%2Canalytics"


def cookies_in_turn() -> list[str]:
    """The Cookie headers that wrk cycles through; neighbours belong to different clones."""
    return [
        cookie(number, CLONE_IDS[number % len(CLONE_IDS)])
        for number in range(SESSIONS_PER_CLONE * len(CLONE_IDS))
    ]


def browser_headers(
    listen_port: int, scheme: str = "http", *, closes: bool = False
) -> list[tuple[str, str]]:
    """
    Everything that a browser sends with a click on a link, but for the Cookie header.

    ``closes``: no browser says so; it is how wrk is made to open a connection for each request.
    """
    origin = f"{HOST_NAME}:{listen_port}"
    return [
        ("Host", origin),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ),
        ("Accept-Language", "en-US,en;q=0.9,de;q=0.8"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", f"{scheme}://{origin}/app/catalog?category=42&page=3"),
        ("Upgrade-Insecure-Requests", "1"),
        ("Connection", "close" if closes else "keep-alive"),
    ]
