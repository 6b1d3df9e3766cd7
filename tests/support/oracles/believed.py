"""
Who the client is where a TrustedProxy says it, by docs/settings.md ([forwarded]), with ``ipaddress`` and split().

Driven by tests/unit/_fast. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.oracles.rewrite import lines_of, name_of

BLANKS = b" \t"
MOST_HOPS = 32
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass
class Told:
    """The client's address (None: nobody says), whether it came over https, and the port that it named."""

    client: Address | None
    secure: bool
    port: int


@dataclass
class Said:
    client: bytes | None = None
    rest: dict[bytes, bytes] = field(default_factory=dict)


def split_port(text: bytes) -> tuple[bytes, int] | None:
    """(host, port or -1); None where it is neither a host nor an address."""
    found = re.fullmatch(rb"\[([^\]]*)\](?::([0-9]{1,5}))?", text)
    if text.startswith(b"[") and not found:
        return None
    host, port = (found[1], found[2]) if found else (text, None)
    if not found and text.count(b":") == 1:
        host, _, port = text.partition(b":")
        if not re.fullmatch(rb"[0-9]{1,5}", port):
            return None
    if not text or (port is not None and not 0 < int(port) <= 65535):
        return None
    return host, -1 if port is None else int(port)


def read_address(text: bytes) -> Address | None:
    found = split_port(text.strip(BLANKS))
    if found is None or not found[0].isascii() or b"%" in found[0]:
        return None
    try:
        address = ipaddress.ip_address(found[0].decode())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def is_trusted(address: Address, proxies: Sequence[Network]) -> bool:
    return any(address.version == each.version and address in each for each in proxies)


def walk(hops: list[bytes | None], proxies: Sequence[Network]) -> tuple[Address | None, int]:
    """From the right: (the client, which of them says it; -1 none)."""
    client, at = None, -1
    for index in range(len(hops) - 1, max(len(hops) - MOST_HOPS, 0) - 1, -1):
        text = hops[index]
        address = None if text is None else read_address(text)
        if address is None:
            break
        client, at = address, index
        if not is_trusted(address, proxies):
            break
    return client, at


def elements_of(value: bytes) -> list[Said]:
    """Of one Forwarded field; ``;`` and ``,`` in quotes separate nothing."""
    said = [Said()]
    pair, quoted, at = b"", False, 0
    pairs: list[bytes] = []
    while at <= len(value):
        here = value[at : at + 1]
        if at == len(value) or (not quoted and here in b",;"):
            pairs.append(pair)
            pair = b""
            if at == len(value) or here == b",":
                said[-1] = _said(pairs)
                pairs = []
                said.append(Said())
        else:
            if here == b'"':
                quoted = not quoted
            elif quoted and here == b"\\":
                pair += here
                at += 1
                here = value[at : at + 1]
            pair += here
        at += 1
    return said[:-1]


def _said(pairs: list[bytes]) -> Said:
    said = Said()
    for pair in pairs:
        name, equals, value = pair.partition(b"=")
        if not equals:
            continue
        value = value.strip(BLANKS)
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1]
        said.rest[name.strip(BLANKS).lower()] = value
    said.client = said.rest.get(b"for")
    return said


def believe(
    head: bytes, *, trust: str, proxies: Sequence[Network], secure: bool, port: int
) -> Told:
    """``port``: the one in Host, -1 none."""
    _, *fields = lines_of(head)
    rows = [(name_of(line), line.partition(b":")[2].strip(BLANKS)) for line in fields]
    names = {name for name, _ in rows}
    told = Told(None, secure, port)

    def last(name: bytes) -> bytes | None:
        values = [value for each, value in rows if each == name]
        return values[-1].rpartition(b",")[2].strip(BLANKS) if values else None

    proto = host = own_port = None
    if trust == "x-forwarded":
        hops: list[bytes | None] = [
            each for name, value in rows if name == b"x-forwarded-for" for each in value.split(b",")
        ]
        told.client = walk(hops, proxies)[0]
        proto, host, own_port = map(
            last, (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
        )
    elif trust == "forwarded":
        said = [each for name, value in rows if name == b"forwarded" for each in elements_of(value)]
        told.client, at = walk([each.client for each in said], proxies)
        if said:
            proto, host = (said[at].rest.get(name) for name in (b"proto", b"host"))
    if b"$wsra" in names:
        first = next(value for name, value in rows if name == b"$wsra")
        told.client = read_address(first)
    if not names & {b"$wsis", b"$wssc"} and proto is not None:
        lower = proto.lower()
        told.secure = lower in (b"https", b"wss") or (told.secure and lower not in (b"http", b"ws"))
    if b"$wssp" not in names:
        found = None if host is None else split_port(host)
        if found is not None:
            told.port = found[1]
        if own_port is not None and re.fullmatch(rb"[0-9]{1,5}", own_port):
            told.port = int(own_port) if 0 < int(own_port) <= 65535 else told.port
    return told
