"""What is read of a ClientHello: whether its server name is one that Python's ssl can take."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterable

import pytest

from wsproxy.dataplane.client_hello import MOST_BYTES, HelloReader

NAME = b"a-name-to-replace.example"


def hello(name: bytes = b"") -> bytes:
    """What a client begins with, its server name replaced by another of the same length; empty: it has none."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    if not name:
        context.check_hostname = False
    client = context.wrap_bio(incoming, outgoing, server_hostname=NAME.decode() if name else None)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read().replace(NAME, name.ljust(len(NAME), b"a"))


def in_records(data: bytes, size: int) -> bytes:
    """The same message in records of ``size`` bytes."""
    message = data[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def read(parts: Iterable[bytes]) -> HelloReader:
    reader = HelloReader()
    for part in parts:
        assert not reader.is_done
        reader.feed(part)
    return reader


@pytest.mark.parametrize("size", [1 << 14, 100, 1])
@pytest.mark.parametrize(
    ("name", "is_odd"),
    [(b"shop.example", False), (b"\xc3\xa9.example", True), (b"\xff", True), (b"", False)],
)
def test_name_that_is_not_ascii_is_found(name: bytes, is_odd: bool, size: int) -> None:
    """However the message is cut into records, and the records into pieces."""
    data = in_records(hello(name), size)
    for parts in ([data], [data[:1], data[1:]], [data[at : at + 1] for at in range(len(data))]):
        reader = read(parts)
        assert reader.is_done
        assert reader.is_odd is is_odd


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\x00\x00" * (MOST_BYTES // 5 + 1),
        b"\x16\x03\x01\xff\xff" + bytes(MOST_BYTES),
    ],
)
def test_what_is_no_hello_is_left_to_openssl(data: bytes) -> None:
    """Nothing of it is kept, and nothing more is waited for."""
    reader = read([data])
    assert reader.is_done
    assert not reader.is_odd


def test_hello_that_is_cut_or_damaged_is_no_error() -> None:
    """Wherever a byte is wrong or missing."""
    whole = hello(b"\xff")
    for at in range(len(whole)):
        assert not read([whole[:at]]).is_odd
    draw = random.Random(1)
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 3, 20])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        read([bytes(damaged)])
