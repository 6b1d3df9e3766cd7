"""Slow and silent clients and servers: the real proxy stops reading instead of buffering, and lets nobody stay for ever."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, IncompleteError, ask, chunks, get, request
from tests.support.flow import pull, push
from tests.support.origin import OK, Origin, OriginConnection, keep_answering
from tests.support.process import STEPS, WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

MIB = 1024 * 1024
ENOUGH = 200 * MIB
# What a proxy may hold for one connection: read buffers and what the allocator keeps. 200 MiB would be no back-pressure.
FEW_BYTES = 12 * MIB
SMALL_BUFFER = 65536
# Nobody took a byte for so long: then nobody will.
STALLED_S = 1.0
SHORT_S = 0.6

WORKERS = pytest.mark.parametrize("workers", [1, 2])


@WORKERS
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_client_that_does_not_read_stops_the_server(workers: int, framing: str) -> None:
    """Of 200 MiB only what kernels hold is taken from the server; memory stays; then all of it arrives."""
    one = lane("one")
    block = bytes(MIB)
    head, end = b"HTTP/1.1 200 OK\r\n\r\n", b""
    if framing == "length":
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ENOUGH
    elif framing == "chunked":
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        payload = bytes(MIB - 9)
        block, end = b"%x\r\n%b\r\n" % (len(payload), payload), b"0\r\n\r\n"
    async with (
        running_proxy([one], workers=workers) as proxy,
        await Client.connect(proxy.port, receive_buffer=SMALL_BUFFER) as client,
    ):
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.head()
        before = proxy.resident_bytes()
        await server.send(head)
        sent = await push(server.sock, block, 0, ENOUGH, STALLED_S)
        assert sent < ENOUGH / 4
        assert proxy.resident_bytes() - before < FEW_BYTES

        async def send_rest() -> None:
            await push(server.sock, block, sent, ENOUGH)
            await server.send(end)
            server.close()

        sending = asyncio.ensure_future(send_rest())
        await client.head()
        await client.throw_away(ENOUGH + len(end))
        await sending
        assert proxy.resident_bytes() - before < FEW_BYTES


@WORKERS
async def test_server_that_does_not_read_stops_the_client(workers: int) -> None:
    """An upload stalls with the server; memory stays; body_s does not count against the client; then all of it arrives."""
    one = Lane("one", [Member(Origin(receive_buffer=SMALL_BUFFER))])
    settings = f"[timeouts]\nbody_s = {SHORT_S}\n"
    block = bytes(MIB)
    async with (
        running_proxy([one], workers=workers, settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(request("POST", "/one/x", f"Content-Length: {ENOUGH}"))
        server = await one.origin.accept()
        before = proxy.resident_bytes()
        sent = await push(client.sock, block, 0, ENOUGH, 3 * SHORT_S)
        assert sent < ENOUGH / 4
        assert proxy.resident_bytes() - before < FEW_BYTES
        await server.head()
        await asyncio.gather(
            push(client.sock, block, sent, ENOUGH), pull(server.sock, ENOUGH - len(server.unread))
        )
        await server.send(OK)
        assert (await client.answer()).body == b"ok"


@pytest.mark.parametrize("line", ["Connection: close", "Connection: keep-alive"])
@pytest.mark.parametrize("size", [20 * MIB, 5 * MIB, 100_000])
async def test_client_that_never_reads_is_cut_off(size: int, line: str) -> None:
    """After body_s without progress, wherever the rest of the answer lies; the server's connection is free again."""
    one = lane("one")
    settings = f"[timeouts]\nbody_s = {SHORT_S}\nkeepalive_s = {SHORT_S}\n"

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await push(connection.sock, bytes(MIB), 0, size)

    async with (
        running_proxy([one], settings=settings) as proxy,
        await Client.connect(proxy.port, receive_buffer=2048) as client,
    ):
        await client.send(get("/one/x", line))
        server = await one.origin.accept()
        try:
            await script(server)
        except (ConnectionResetError, BrokenPipeError):
            assert size > MIB
        await no_client_left(proxy)
        if size < MIB:  # the kernel had all of it and goes on for us
            assert len((await client.answer()).body) == size
        else:
            with pytest.raises(IncompleteError):
                await client.answer()


async def no_client_left(proxy: Proxy) -> None:
    """Waits until no worker holds a client's connection."""
    async with asyncio.timeout(WAIT_S):
        while proxy.holds_clients():  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.05)


async def test_slow_reader_is_not_cut_off_as_long_as_it_reads() -> None:
    """An answer may take many times body_s: time counts from the last progress."""
    one = lane("one")
    settings = f"[timeouts]\nbody_s = {SHORT_S}\nkeepalive_s = {SHORT_S}\nhead_s = {SHORT_S}\n"
    size = MIB
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)

    async def script(connection: OriginConnection) -> None:
        await connection.answer(reply)

    async with (
        running_proxy([one], settings=settings) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port, receive_buffer=2048) as client,
    ):
        await client.send(get("/one/x"))
        head = await client.head()
        for _ in range(20):
            await client.exactly(4096)
            await asyncio.sleep(SHORT_S / STEPS)  # the behaviour under test is about time
        assert int(head.get(b"content-length") or b"0") == size
        await client.exactly(size - 20 * 4096)


async def test_pipelined_answers_do_not_pile_up() -> None:
    """A client that sends requests without end and reads nothing is stopped; memory stays; then it is served in order."""
    async with (
        running_proxy([lane("one")]) as proxy,
        await Client.connect(proxy.port, receive_buffer=SMALL_BUFFER) as client,
    ):
        block = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        most = len(block) * 2_000_000
        before = proxy.resident_bytes()
        sent = await push(client.sock, block * 1000, 0, most, STALLED_S)
        assert sent < most / 4
        assert proxy.resident_bytes() - before < FEW_BYTES
        first = await client.answer()
        assert first.status == 404
        size = len(first.head) + len(b"\r\n\r\n") + len(first.body)
        await client.throw_away((sent // len(block) - 1) * size)


TLS_LISTENER = """
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "server.pem", key = "server.key" }]
"""


@pytest.mark.parametrize(("kind", "most_kib"), [("plain", 90), ("tls", 64 + 358 + 26)])
async def test_requests_sent_ahead_cost_the_worker_what_the_docs_say(
    kind: str, most_kib: int, tmp_path: Path
) -> None:
    """
    Behind one that waits for its server; more of them stay in the client's kernel.

    64 KiB, over TLS 0.35 MiB more (docs/settings.md, ``[limits]``), and what the allocator rounds up.
    """
    one = lane("one")
    clients, kib, mib = 60, 1024, 1024 * 1024
    ca = Authority()
    trust = ca.write_pem(tmp_path)
    ca.issue("shop.example").write_pem(tmp_path, "server")
    context = client_context(trust)
    # Their requests never end.
    settings = "[timeouts]\nshutdown_s = 0\n" + TLS_LISTENER
    async with (
        running_proxy([one], settings=settings, listen=None, folder=tmp_path) as proxy,
        AsyncExitStack() as stack,
    ):
        waiting = []
        block = get("/one/y") * (2 * mib // len(get("/one/y")))
        for _ in range(clients):
            if kind == "tls":
                client: Client = await TlsClient.open(proxy.ports[1], context)
            else:
                client = await Client.connect(proxy.port)
            await stack.enter_async_context(client)
            await client.send(get("/one/x"))
            await (await one.origin.accept()).head()
            waiting.append(client)
        before = proxy.resident_bytes()
        sent = []
        for client in waiting:
            data = client.pipe.seal(block) if isinstance(client, TlsClient) else block
            sent.append(await push(client.sock, data, 0, len(data), SHORT_S / STEPS))
        assert min(sent) > 512 * kib  # whatever a read could take was there
        for _ in range(3):
            assert (await ask(proxy.port, get("/"))).status == 404  # the others had their turn
        assert proxy.resident_bytes() - before < clients * most_kib * kib


async def test_pipelined_requests_of_a_half_closed_slow_reader_are_all_answered() -> None:
    """Requests that wait because their client does not read are answered when it does, also after its half-close."""
    one = lane("one")
    size = 700_000
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.answer(reply)

    async with (
        running_proxy([one]) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port, receive_buffer=2048) as client,
    ):
        await client.send(get("/one/x") * 10)
        client.half_close()
        for _ in range(10):
            assert len((await client.answer()).body) == size
        assert await client.rest() == b""


async def test_uploads_keep_the_server_connection() -> None:
    """A large upload that had to wait for its server leaves a connection that is used again."""
    one = Lane("one", [Member(Origin(receive_buffer=SMALL_BUFFER))])
    async with (
        running_proxy([one]) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        for _ in range(3):
            message = request("POST", "/one/x", body=bytes(3 * MIB))
            assert (await client.ask(message)).body == b"ok"
            chunked = request("POST", "/one/x", "Transfer-Encoding: chunked")
            assert (await client.ask(chunked + chunks(bytes(MIB), bytes(MIB)))).body == b"ok"
        assert one.origin.accepted == 1
