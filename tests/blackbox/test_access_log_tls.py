"""Lines of TLS connections: bytes are those that the socket took, to the record, and a line waits until it has all."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.blackbox.test_access_log import CHUNKED, SWITCH, UPGRADE, settings_of
from tests.support.certificates import Authority
from tests.support.client import get
from tests.support.logfiles import lines_of, lines_with
from tests.support.origin import answering
from tests.support.process import WAIT_S
from tests.support.proxy import LOOPS_TLS, PROGRAM, Lane, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

LISTENER = '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
WAYS = pytest.mark.parametrize("program", [PROGRAM, LOOPS_TLS], ids=["sockets", "loop"])
RECORD = 16384
# What a record of TLS 1.3 has beside its text (RFC 8446 5.2): header, type, tag.
ADDED = 5 + 1 + 16
MUCH = 50_000_000
HELD = 60_000  # the loop holds as much without stopping the server


@asynccontextmanager
async def tls_proxy(
    folder: Path, cluster: Lane, program: tuple[str, ...], more: str = ""
) -> AsyncIterator[Proxy]:
    ca = Authority()
    ca.issue("shop.example").write_pem(folder, "shop")
    ca.write_pem(folder)
    async with running_proxy(
        [cluster],
        folder=folder,
        settings=settings_of("%U %s %B %O %X %{cause}x") + more + LISTENER,
        listen=None,
        program=program,
    ) as proxy:
        yield proxy


@WAYS
async def test_over_tls_bytes_are_those_of_the_messages(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    """A server's answer, and a file in several writes, on one connection; chunks for 1.1, none for 1.0."""
    ca = Authority()
    ca.issue("shop.example").write_pem(tmp_path, "shop")
    ca.write_pem(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "big.txt").write_bytes(bytes(1_000_000))
    settings = (
        settings_of("%U %s %B %O %p")
        + '[fallback]\nmode = "directory"\ndirectory = "files"\n'
        + '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
    )
    cluster = lane("a")
    context = client_context(tmp_path / "ca.pem")
    async with (
        cluster.origin.serving(answering(CHUNKED)),
        running_proxy(
            [cluster], folder=tmp_path, settings=settings, listen=None, program=program
        ) as proxy,
        await TlsClient.open(proxy.port, context) as client,
    ):
        served = await client.ask(get("/a/x"))
        file = await client.ask(get("/big.txt"))
        old = await client.ask(get("/a/x", version="1.0"))
    assert (served.body, old.body, len(file.body)) == (b"hello", b"hello", 1_000_000)
    heads = [len(each.head) + 4 for each in (served, file, old)]
    assert lines_of(tmp_path / "access.log") == [
        f"/a/x 200 15 {heads[0] + 15} 9080",
        f"/big.txt 200 1000000 {heads[1] + 1_000_000} 9080",
        f"/a/x 200 5 {heads[2] + 5} 9080",
    ]


def received(client: TlsClient) -> int:
    """What has come to the client's kernel: tcp_info's tcpi_bytes_received."""
    info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("=Q", info, 128)[0])


def unconfirmed(client: TlsClient) -> int:
    """What the proxy's kernel has for the client that is not confirmed."""
    ends = f":{client.sock.getpeername()[1]:04X} ", f":{client.sock.getsockname()[1]:04X} "
    for row in Path("/proc/net/tcp").read_text().splitlines():
        match = re.match(r" *\d+: \w+(:\w+ )\w+(:\w+ )\w+ (\w+):", row)
        if match is not None and (match[1], match[2]) == ends:
            return int(match[3], 16)
    raise AssertionError("the proxy has no such client")


async def settled(client: TlsClient) -> int:
    """Bytes that the proxy's kernel took, once nothing moves any more."""
    before = -1
    while True:
        taken = received(client) + unconfirmed(client)
        if taken == before:
            return taken
        before = taken
        await asyncio.sleep(0.1)  # what is on its way arrives


async def begin(client: TlsClient, cluster: Lane, length: int) -> asyncio.Future[None]:
    """An answer of which nothing is read; its server sends it, as far as it can."""
    await client.send(get("/a/x"))
    server = await cluster.origin.accept()
    await server.request()
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
    return asyncio.ensure_future(server.send(bytes(length)))


async def opened(proxy: Proxy, folder: Path) -> TlsClient:
    return await TlsClient.open(proxy.port, client_context(folder / "ca.pem"), receive_buffer=4096)


async def leave_within(proxy: Proxy, cluster: Lane, folder: Path) -> tuple[int, str]:
    """A client leaves within an answer of which it read nothing: bytes that the kernel took of it, and its line."""
    client = await opened(proxy, folder)
    before = await settled(client)
    sending = await begin(client, cluster, MUCH)
    taken = await settled(client) - before
    assert lines_of(folder / "access.log") == []
    client.reset()
    (line,) = await lines_with(folder / "access.log")
    sending.cancel()
    return taken, line


def is_of_records(sent: int, taken: int) -> bool:
    """
    Whether so many bytes of text are whole records of what the kernel took.

    Writes end where reads of the server did: some of the records are shorter, and have more beside their text.
    """
    return taken * 0.97 - RECORD < sent <= taken - ADDED * (taken // (RECORD + ADDED))


@WAYS
async def test_bytes_of_a_client_that_leaves_within_its_answer(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    cluster = lane("a")
    async with tls_proxy(tmp_path, cluster, program) as proxy:
        taken, line = await leave_within(proxy, cluster, tmp_path)
    path, status, body, sent, connection, cause = line.split()
    assert (path, status, connection, cause) == ("/a/x", "200", "X", "CD")
    assert int(body) < int(sent)
    assert is_of_records(int(sent), taken), (sent, taken)


@pytest.mark.parametrize("how", ["reads", "leaves", "waits"])
@WAYS
async def test_a_line_waits_for_a_client_that_does_not_read(
    how: str, tmp_path: Path, program: tuple[str, ...]
) -> None:
    """Its answer is with the loop as a whole: it is told of when the client has it, or will not have it any more."""
    cluster = lane("a")
    log = tmp_path / "access.log"
    more = "[timeouts]\nbody_s = 2\nkeepalive_s = 2\n" if how == "waits" else ""
    async with tls_proxy(tmp_path, cluster, program, more) as proxy:
        room, _ = await leave_within(proxy, cluster, tmp_path)
        client = await opened(proxy, tmp_path)
        before = await settled(client)
        length = room + HELD
        await asyncio.wait_for(await begin(client, cluster, length), WAIT_S)
        taken = await settled(client) - before
        assert taken < length
        assert len(lines_of(log)) == 1
        told = 0
        if how == "reads":
            answer = await client.answer()
            assert len(answer.body) == length
            told = length + len(answer.head) + 4
        elif how == "leaves":
            client.reset()
        _, line = await lines_with(log, count=2)
        client.sock.close()
    _, _, _, sent, connection, cause = line.split()
    if how == "reads":
        assert line == f"/a/x 200 {length} {told} + --"
    else:
        assert (connection, cause) == ("X", "CL" if how == "leaves" else "cL")
        assert is_of_records(int(sent), taken), (sent, taken)


@WAYS
async def test_a_tunnel_that_is_cut(tmp_path: Path, program: tuple[str, ...]) -> None:
    """Its small records count each, as far as the socket has them."""
    cluster = lane("a")
    async with tls_proxy(tmp_path, cluster, program) as proxy:
        client = await TlsClient.open(proxy.port, client_context(tmp_path / "ca.pem"))
        await client.send(get("/a/x", *UPGRADE))
        server = await cluster.origin.accept()
        await server.answer(SWITCH)
        await client.head()
        for _ in range(100):
            await server.send(b"seven b")
            await client.exactly(7)
        client.reset()
        (line,) = await lines_with(tmp_path / "access.log")
    assert re.fullmatch(r"/a/x 101 700 \d+ X CD", line)
