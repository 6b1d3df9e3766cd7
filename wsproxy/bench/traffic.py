"""
What clients send and what the app servers must see: browser headers, sessions, clone ids, private headers.

Used by ``render`` (for wrk) and ``verify`` (for the proof before each measurement), so that both speak of the same
requests. Pure.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from wsproxy.bench.site import HOST_NAME, Member, Sample, Site

# Of a server that no configuration has: where a session had been before.
GONE_CLONE_ID = "17c3bqzzz"

# Enough sessions that no proxy lives off one cached value, few enough to be formatted once in wrk
SESSIONS = 64
# wrk keeps all of them in memory
MOST_VISITS = 256

# Says which answer an upstream shall give.
ANSWER_HEADER = "X-Bench"

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


def expected_private_headers(
    listen_port: int, cipher: str | None = None, host: str = HOST_NAME
) -> dict[str, str]:
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
        host,
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


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of a session: where, and whose it is; ``owner`` None: a new visitor."""

    host: str
    path: str
    cookie: str
    cluster: int
    owner: Member | None


def cookie(number: int, session: str = "", length: int = 0) -> str:
    """
    The Cookie header of a visitor: the session's cookie between those that such sites set, with one more to fill ``length`` bytes.

    Without ``session`` there is none: a new visitor.
    """
    ltpa = base64.b64encode(hashlib.sha512(f"ltpa {number}".encode()).digest() * 2).decode()
    before = f"lang=en_US; _ga=GA1.2.{1000000 + number}.1732176000; "
    between = f"{session}; " if session else ""
    text = f"{before}{between}LtpaToken2={ltpa}; consent=functional%2Canalytics"
    if length > len(text):
        filler = base64.urlsafe_b64encode(
            hashlib.sha512(text.encode()).digest() * (length // 64 + 1)
        ).decode()
        text = f"seen={filler}"[: length - len(text) - 2] + f"; {text}"
    return text


def session_cookie(number: int, name: str, separator: str, clones: list[str]) -> str:
    """``JSESSIONID=0000<23 characters>:<clone id>``."""
    return f"{name}=0000{session_id(number)}{''.join(separator + clone for clone in clones)}"


def visit(
    site: Site,
    sample: Sample,
    owner: Member | None,
    number: int,
    *,
    clone_ids: int = 1,
    length: int = 0,
) -> Visit:
    """One request of this kind; ``clone_ids`` of others behind the owner's, as a session has that moved."""
    cluster = site.clusters[sample.cluster]
    session = ""
    if owner is not None and owner.clone_id:
        others = [each.clone_id for each in cluster.owners if each is not owner and each.clone_id]
        clones = [owner.clone_id, *others, GONE_CLONE_ID][:clone_ids]
        session = session_cookie(number, sample.cookie, cluster.separator, clones)
    return Visit(sample.host, sample.path, cookie(number, session, length), sample.cluster, owner)


def visits(site: Site, *, clone_ids: int = 1, length: int = 0) -> list[Visit]:
    """What wrk sends in turn: all kinds of requests, of sessions of all owners; neighbours belong to different servers."""
    count = max(SESSIONS, len(site.samples))
    most_owners = max(len(cluster.owners) for cluster in site.clusters)
    while count % len(site.samples) or (
        count < len(site.samples) * most_owners and count < MOST_VISITS
    ):
        count += 1
    found = []
    for number in range(count):
        sample = site.samples[number % len(site.samples)]
        owners = site.clusters[sample.cluster].owners
        owner = owners[number // len(site.samples) % len(owners)] if owners else None
        found.append(visit(site, sample, owner, number, clone_ids=clone_ids, length=length))
    return found


def host_field(host: str, port: int) -> str:
    """The Host header."""
    return f"{host}:{port}"


def browser_headers(
    host: str, answer: str, scheme: str = "http", *, closes: bool = False
) -> list[tuple[str, str]]:
    """
    Everything that a browser sends with a click on a link, but for the Cookie header; ``host`` with its port.

    ``answer``: what the upstream shall say. ``closes``: no browser says so; it is how wrk is made to open a connection for each request.
    """
    return [
        ("Host", host),
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
        ("Referer", f"{scheme}://{host}/app/catalog?category=42&page=3"),
        ("Upgrade-Insecure-Requests", "1"),
        ("Connection", "close" if closes else "keep-alive"),
        (ANSWER_HEADER, answer),
    ]
