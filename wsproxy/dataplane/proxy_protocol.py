"""
The PROXY protocol, version 1 and 2: who the client of a load balancer in front is, said before the first byte of HTTP.

``parse_header`` reads it from listed sources (``dataplane.intro`` drives it), ``write_v1`` and ``write_v2`` say it to servers that
ask for it. Pure. Must not guess: a header is whole and well formed, or the connection is not served (PEERS.md D 9).
Source: HAProxy's doc/proxy-protocol.txt, sections 2.1, 2.2 and 2.2.7 (TLVs).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from wsproxy.config.address import unmapped

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# The longest version 1 line, with its CR LF (2.1).
MOST_V1_BYTES = 107
# Addresses and TLVs of version 2. The field could say 65,535; real ones with a certificate's name in a TLV stay far below this,
# and a sender that was not meant to speak here must not make us wait for more.
MOST_V2_BYTES = 4096

_V2_HEAD = struct.Struct("!12sBBH")
_V2_ADDRESSES = {0x11: ("!4s4sHH", 12), 0x21: ("!16s16sHH", 36)}  # TCP over IPv4, over IPv6
_LOCAL, _PROXY = 0x20, 0x21

# (address, port) of a client, and of what it connected to.
Ends = tuple[tuple[str, int], tuple[str, int]]


class ProxyHeaderError(ValueError):
    """What came is no PROXY header; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    A header and how many bytes it took.

    ``source`` and ``destination`` are (address, port), an IPv4-mapped address as the IPv4 address that it is; None where the
    sender speaks for itself (health checks: LOCAL, UNKNOWN).
    """

    size: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def parse_header(data: bytes) -> ProxyHeader | None:
    """
    The header at the beginning of ``data``; None: not whole yet.

    Raises: ProxyHeaderError.
    """
    if data.startswith(b"P"):
        return _parse_v1(data)
    head = data[: len(SIGNATURE)]
    if SIGNATURE.startswith(head):
        return _parse_v2(data) if len(data) >= _V2_HEAD.size else None
    msg = f"found {data[:12]!r}; allowed is a PROXY protocol header, version 1 or 2"
    raise ProxyHeaderError(msg)


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MOST_V1_BYTES)
    if end < 0:
        start = b"PROXY "
        if len(data) >= MOST_V1_BYTES or not start.startswith(data[: len(start)]):
            msg = f"found {data[:12]!r} and no end of line within {MOST_V1_BYTES} bytes; allowed is PROXY TCP4|TCP6|UNKNOWN ..."
            raise ProxyHeaderError(msg)
        return None
    words = data[:end].split(b" ")
    if words[0] == b"PROXY" and words[1:2] == [b"UNKNOWN"]:
        return ProxyHeader(end + 2)
    if len(words) != 6 or words[0] != b"PROXY" or words[1] not in (b"TCP4", b"TCP6"):
        msg = f"found {data[:end]!r}; allowed is PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT"
        raise ProxyHeaderError(msg)
    family = 4 if words[1] == b"TCP4" else 6
    source, destination = (_address(word, family) for word in words[2:4])
    return ProxyHeader(end + 2, (source, _port(words[4])), (destination, _port(words[5])))


def _address(word: bytes, family: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        address = None
    # An IPv6 zone may be any text, line ends too: it would be written into heads. It means nothing beyond its sender.
    if address is None or address.version != family or b"%" in word:
        msg = f"found {word!r}; allowed is an IPv{family} address"
        raise ProxyHeaderError(msg)
    return str(unmapped(address))


def _port(word: bytes) -> int:
    # isdigit of bytes is ASCII only; no sign, no leading zero (2.1)
    if (
        not word.isdigit()
        or len(word) > 5
        or int(word) > 65535
        or (word[:1] == b"0" and word != b"0")
    ):
        msg = f"found port {word!r}; allowed is 0 to 65535"
        raise ProxyHeaderError(msg)
    return int(word)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    _, version_and_command, family, length = _V2_HEAD.unpack_from(data)
    if version_and_command not in (_LOCAL, _PROXY):
        msg = f"found version and command {version_and_command:#x}; allowed is 0x20 (LOCAL) or 0x21 (PROXY)"
        raise ProxyHeaderError(msg)
    if length > MOST_V2_BYTES:
        msg = f"found {length} bytes of addresses and TLVs; allowed is {MOST_V2_BYTES}"
        raise ProxyHeaderError(msg)
    size = _V2_HEAD.size + length
    if len(data) < size:
        return None
    if version_and_command == _LOCAL:
        return ProxyHeader(size)
    if family not in _V2_ADDRESSES:
        if family == 0:  # UNSPEC: the sender does not know
            return ProxyHeader(size)
        msg = f"found family and transport {family:#x}; allowed is TCP over IPv4 (0x11) or IPv6 (0x21)"
        raise ProxyHeaderError(msg)
    layout, needed = _V2_ADDRESSES[family]
    if length < needed:
        msg = f"found {length} bytes of addresses; allowed is {needed} or more"
        raise ProxyHeaderError(msg)
    source, destination, source_port, destination_port = struct.unpack_from(
        layout, data, _V2_HEAD.size
    )
    _check_tlvs(data[_V2_HEAD.size + needed : size])
    return ProxyHeader(
        size,
        (str(unmapped(ipaddress.ip_address(source))), source_port),
        (str(unmapped(ipaddress.ip_address(destination))), destination_port),
    )


def _check_tlvs(tlvs: bytes) -> None:
    """Each TLV must lie within the header: one that says more than is there is an attack or a broken sender."""
    at = 0
    while at < len(tlvs):
        end = at + 3
        if end <= len(tlvs):
            end += int.from_bytes(tlvs[at + 1 : at + 3], "big")
        if end > len(tlvs):
            msg = f"found a TLV that ends {end - len(tlvs)} bytes behind the header; allowed is inside it"
            raise ProxyHeaderError(msg)
        at = end


def write_header(version: str, ends: Ends | None) -> bytes:
    """What a server is told first, by ``version`` "v1", "v2" or "none"; ``ends`` None: we speak for ourselves."""
    if version == "none":
        return b""
    is_v1 = version == "v1"
    if ends is None:
        return b"PROXY UNKNOWN\r\n" if is_v1 else _V2_HEAD.pack(SIGNATURE, _LOCAL, 0, 0)
    source, destination = (
        # The zone of a link-local address means nothing beyond this machine.
        (str(unmapped(ipaddress.ip_address(host.partition("%")[0]))), port)
        for host, port in ends
    )
    return write_v1(source, destination) if is_v1 else write_v2(source, destination)


def write_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The line for a connection from ``source``; addresses of two families cannot be said: UNKNOWN."""
    addresses = [ipaddress.ip_address(host) for host, _ in (source, destination)]
    if addresses[0].version != addresses[1].version:
        return b"PROXY UNKNOWN\r\n"
    return (
        f"PROXY TCP{addresses[0].version} {addresses[0]} {addresses[1]} {source[1]} {destination[1]}\r\n"
    ).encode()


def write_v2(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The binary header; an IPv4 address beside an IPv6 one is written as IPv4-mapped."""
    addresses = [ipaddress.ip_address(host) for host, _ in (source, destination)]
    if {address.version for address in addresses} == {4}:
        family, packed = 0x11, b"".join(address.packed for address in addresses)
    else:
        family = 0x21
        packed = b"".join(
            address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
            for address in addresses
        )
    body = packed + struct.pack("!HH", source[1], destination[1])
    return _V2_HEAD.pack(SIGNATURE, _PROXY, family, len(body)) + body
