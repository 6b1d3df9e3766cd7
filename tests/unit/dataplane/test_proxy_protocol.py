"""PROXY protocol headers: read whole, in pieces and broken, and written."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.dataplane.proxy_protocol import (
    MOST_V1_BYTES,
    MOST_V2_BYTES,
    SIGNATURE,
    Ends,
    ProxyHeader,
    ProxyHeaderError,
    parse_header,
    write_header,
    write_v1,
    write_v2,
)

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 56324 443\r\n"


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    count = len(body) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, count) + body


IPV4 = bytes([192, 0, 2, 7, 198, 51, 100, 9]) + struct.pack("!HH", 56324, 443)
MAPPED = b"".join(bytes(10) + b"\xff\xff" + IPV4[at : at + 4] for at in (0, 4)) + IPV4[8:]
BOTH = ProxyHeader(0, ("192.0.2.7", 56324), ("198.51.100.9", 443))


def sized(header: ProxyHeader, size: int) -> ProxyHeader:
    return ProxyHeader(size, header.source, header.destination)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (V1, sized(BOTH, len(V1))),
        (
            b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
            ProxyHeader(36, ("2001:db8::1", 1), ("::1", 65535)),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c633:6409 56324 443\r\n",
            sized(BOTH, 56),
        ),
        (
            b"PROXY TCP6 ::ffff:0:102:304 ::102:304 1 2\r\n",
            ProxyHeader(43, ("::ffff:0:102:304", 1), ("::102:304", 2)),
        ),
        (b"PROXY UNKNOWN\r\n", ProxyHeader(15)),
        (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n", ProxyHeader(33)),
        (v2(0x21, 0x11, IPV4), sized(BOTH, 28)),
        (v2(0x21, 0x11, IPV4 + b"\x04\x00\x01x"), sized(BOTH, 32)),
        (v2(0x21, 0x21, MAPPED), sized(BOTH, 52)),
        (v2(0x20, 0x00, b""), ProxyHeader(16)),
        (v2(0x20, 0x11, IPV4), ProxyHeader(28)),
        (v2(0x21, 0x00, b""), ProxyHeader(16)),
    ],
)
def test_header_is_read_and_what_follows_is_left(data: bytes, expected: ProxyHeader) -> None:
    """A header ends where it says, whatever comes behind."""
    assert parse_header(data) == expected
    assert parse_header(data + b"GET / HTTP/1.1\r\n") == expected


@pytest.mark.parametrize("data", [V1, v2(0x21, 0x11, IPV4 + b"\x04\x00\x01x")])
def test_every_beginning_of_a_header_waits_for_more(data: bytes) -> None:
    """TCP may deliver it byte by byte."""
    assert all(parse_header(data[:size]) is None for size in range(1, len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PUT / HTTP/1.1\r\n",
        b"PROXY" + b"x" * MOST_V1_BYTES,
        b"PROXY TCP4 " + b" " * MOST_V1_BYTES,
        b"PROXY TCP4 192.0.2.7 198.51.100.9 56324\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.9 56324 443 1\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.9 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1%x\nX-Evil:y ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.9 65536 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.9 +1 1\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.9 01 1\r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.9 1 1\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.9 1 1\r\n",
        b"PROXY\r\n",
        v2(0x11, 0x11, IPV4),
        v2(0x22, 0x11, IPV4),
        v2(0x21, 0x12, IPV4),
        v2(0x21, 0x31, b"x" * 216),
        v2(0x21, 0x11, IPV4[:-1]),
        v2(0x21, 0x21, IPV4),
        v2(0x21, 0x11, b"", MOST_V2_BYTES + 1),
        v2(0x21, 0x11, IPV4 + b"\x04\x00\x02x"),
        v2(0x21, 0x11, IPV4 + b"\x04\x00"),
        b"\r\n\r\n\0\r\nQUIT\r",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Whoever may speak PROXY must speak it: a guess would let a client choose its address."""
    with pytest.raises(ProxyHeaderError, match="allowed is"):
        parse_header(data)


@pytest.mark.parametrize(
    ("version", "ends", "written"),
    [
        ("none", (("192.0.2.7", 1), ("198.51.100.9", 2)), b""),
        ("v1", None, b"PROXY UNKNOWN\r\n"),
        ("v2", None, v2(0x20, 0, b"")),
        ("v1", (("::ffff:192.0.2.7", 1), ("198.51.100.9", 2)), b"PROXY TCP4 192.0.2.7 198.51.100.9 1 2\r\n"),
        ("v1", (("fe80::1%eth0", 1), ("fe80::2%eth0", 2)), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
        ("v2", (("192.0.2.7", 258), ("::ffff:198.51.100.9", 2)), v2(0x21, 0x11, bytes.fromhex("c0000207c633640901020002"))),
    ],
)  # fmt: skip
def test_header_for_a_server(version: str, ends: Ends | None, written: bytes) -> None:
    assert write_header(version, ends) == written


addresses = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


@given(source=addresses, destination=addresses)
def test_written_headers_are_read_back(
    source: tuple[str, int], destination: tuple[str, int]
) -> None:
    """What we tell servers is what the same rules read."""
    for written in (write_v1(source, destination), write_v2(source, destination)):
        header = parse_header(written + b"GET")
        assert header is not None
        assert header.size == len(written)
        if header.source is not None:
            host, port = header.source
            sent = ipaddress.ip_address(source[0])
            assert host == str(getattr(sent, "ipv4_mapped", None) or sent)
            assert port == source[1]


@given(data=st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: SIGNATURE + tail))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """No other exception, and never more than was there."""
    try:
        header = parse_header(data)
    except ProxyHeaderError:
        return
    assert header is None or header.size <= len(data)
