"""PROXY headers at the door: taken from listed senders, byte for byte, and from nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from tests.support.origin import listening_socket
from tests.support.process import WAIT_S
from wsproxy._fast.net.poller import Poller
from wsproxy._fast.net.stream import Hub
from wsproxy.dataplane import tasks
from wsproxy.dataplane.introduction import IntroducingListener, Network, is_listed
from wsproxy.dataplane.proxy_protocol import ProxyHeader, write_v1, write_v2

LOCAL = [ipaddress.ip_network("127.0.0.0/8")]
NOBODY = [ipaddress.ip_network("192.0.2.0/24")]
SOURCE = ("203.0.113.9", 4711)
DESTINATION = ("198.51.100.1", 80)
Served = tuple[socket.socket, ProxyHeader | None]


@pytest.fixture
def door() -> Iterator[socket.socket]:
    sock = listening_socket()
    yield sock
    sock.close()


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = Poller(Hub())
    yield poller
    poller.close()


async def introduced(
    poller: Poller, door: socket.socket, pieces: list[bytes], senders: Sequence[Network] = LOCAL
) -> tuple[ProxyHeader | None, bytes]:
    """What the served connection was told, and the first bytes that it reads."""
    loop = asyncio.get_running_loop()
    served: asyncio.Queue[Served] = asyncio.Queue()

    async def serve(sock: socket.socket, header: ProxyHeader | None) -> None:
        await served.put((sock, header))

    listener = IntroducingListener(poller, door, senders, lambda: WAIT_S, serve)
    client = socket.socket()
    client.setblocking(False)
    try:
        await loop.sock_connect(client, door.getsockname())
        for piece in pieces:
            await loop.sock_sendall(client, piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            sock, header = await served.get()
            data = await loop.sock_recv(sock, 100)
        sock.close()
        return header, data
    finally:
        client.close()
        listener.close()
        await tasks.end_all()


@pytest.mark.parametrize("written", [write_v1(SOURCE, DESTINATION), write_v2(SOURCE, DESTINATION)])
async def test_header_is_taken_and_nothing_behind_it(
    poller: Poller, door: socket.socket, written: bytes
) -> None:
    """HTTP or a TLS handshake may follow in the same segment."""
    header, data = await introduced(poller, door, [written + b"GET / HTTP/1.1"])
    assert header is not None
    assert (header.source, header.destination) == (SOURCE, DESTINATION)
    assert data == b"GET / HTTP/1.1"


async def test_header_that_comes_byte_by_byte_is_read(poller: Poller, door: socket.socket) -> None:
    """Waiting for more costs no CPU and loses nothing."""
    written = write_v1(SOURCE, DESTINATION) + b"GET"
    pieces = [written[at : at + 1] for at in range(len(written))]
    header, data = await introduced(poller, door, pieces)
    assert header is not None
    assert header.source == SOURCE
    assert b"GET".startswith(data)


async def test_who_is_not_listed_is_served_as_it_is(poller: Poller, door: socket.socket) -> None:
    """A client that writes such a line itself gains nothing: it reaches the HTTP parser."""
    written = write_v1(SOURCE, DESTINATION)
    assert await introduced(poller, door, [written], NOBODY) == (None, written)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3.4", b""])
async def test_sender_without_a_whole_header_is_dropped(
    poller: Poller, door: socket.socket, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is listed as one that speaks for others; a guess would make it speak for itself."""
    loop = asyncio.get_running_loop()

    async def serve(_sock: socket.socket, _header: ProxyHeader | None) -> None:
        raise AssertionError

    listener = IntroducingListener(poller, door, LOCAL, lambda: WAIT_S, serve)
    client = socket.socket()
    client.setblocking(False)
    try:
        await loop.sock_connect(client, door.getsockname())
        await loop.sock_sendall(client, sent)
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionResetError):  # what it had sent was not read
                assert await loop.sock_recv(client, 1) == b""
        assert "allowed is" in caplog.text
    finally:
        client.close()
        listener.close()
        await tasks.end_all()


async def test_sender_that_says_nothing_is_dropped_in_time(
    poller: Poller, door: socket.socket
) -> None:
    """Slow senders do not pile up."""
    loop = asyncio.get_running_loop()

    async def serve(_sock: socket.socket, _header: ProxyHeader | None) -> None:
        raise AssertionError

    listener = IntroducingListener(poller, door, LOCAL, lambda: 0.05, serve)
    client = socket.socket()
    client.setblocking(False)
    try:
        await loop.sock_connect(client, door.getsockname())
        async with asyncio.timeout(WAIT_S):
            assert await loop.sock_recv(client, 1) == b""
    finally:
        client.close()
        listener.close()
        await tasks.end_all()


def test_mapped_ipv4_client_is_an_ipv4_client() -> None:
    """A dual-stack socket names it ::ffff:a.b.c.d."""
    assert is_listed("::ffff:127.0.0.1", LOCAL)
    assert not is_listed("::1", LOCAL)
    assert not is_listed("unknown", LOCAL)
