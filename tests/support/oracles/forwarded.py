"""
X-Forwarded-* and Forwarded in a whole request head (RFC 7239), the slow and obvious way.

Driven by tests/unit/_fast: a head goes in and the head comes out that must then be rewritten. Must not share code with
``wsproxy/_fast``.
"""

from __future__ import annotations

from tests.support.oracles.http_head import parse_request
from tests.support.oracles.rewrite import lines_of, name_of

CRLF = b"\r\n"
X_FOR, X_PROTO, X_HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"


def bracketed(address: bytes) -> bytes:
    return b"[" + address + b"]" if b":" in address else address


def append(line: bytes, element: bytes) -> bytes:
    """One more element at the end of a list; trailing blanks stay behind it."""
    name, _, value = line.partition(b":")
    bare = value.rstrip(b" \t")
    if not bare.strip(b" \t"):
        return name + b":" + value + element
    return name + b":" + bare + b", " + element + value[len(bare) :]


def without_options(line: bytes, names: set[bytes]) -> bytes:
    """A Connection field without these options; any other field as it is."""
    name, _, value = line.partition(b":")
    if name.lower() != b"connection":
        return line
    return (
        name
        + b":"
        + b",".join(
            option for option in value.split(b",") if option.strip(b" \t").lower() not in names
        )
    )


def write(
    head: bytes,
    *,
    peer: bytes,
    local_host: bytes,
    trusted: bool,
    x_forwarded: bool,
    forwarded: bool,
    secure: bool,
) -> tuple[bytes, list[bytes]]:
    """The request head to be rewritten, and the lines that are written after its own."""
    parsed = parse_request(head)
    assert parsed is not None
    host = parsed["authority"] or bracketed(local_host)
    assert isinstance(host, bytes)
    proto = b"https" if secure else b"http"
    address = b'"[' + peer + b']"' if b":" in peer else peer
    element = b"for=" + address + b';host="' + host + b'";proto=' + proto
    first, *fields = lines_of(head)
    ours = ({X_FOR, X_PROTO, X_HOST} if x_forwarded else set()) | (
        {b"forwarded"} if forwarded else set()
    )
    if trusted:  # Connection cannot take away what a trusted proxy says
        fields = [without_options(line, ours) for line in fields]
    else:
        fields = [line for line in fields if name_of(line) not in ours]
    # What an application that knows no difference between "_" and "-" would take for one of ours.
    fields = [
        line
        for line in fields
        if name_of(line) in ours or name_of(line).replace(b"_", b"-") not in ours
    ]
    for name, more in ((X_FOR, peer), (b"forwarded", element)):
        at = [index for index, line in enumerate(fields) if name_of(line) == name and name in ours]
        if at:
            fields[at[-1]] = append(fields[at[-1]], more)
    there = {name_of(line) for line in fields}
    added = [
        (b"X-Forwarded-For", peer),
        (b"X-Forwarded-Proto", proto),
        (b"X-Forwarded-Host", host),
        (b"Forwarded", element),
    ]
    return CRLF.join([first, *fields, b"", b""]), [
        b": ".join(row) for row in added if row[0].lower() in ours and row[0].lower() not in there
    ]
