"""A connection that ends in order: whoever still sends reads the whole answer first, and nobody keeps a descriptor for it (RFC 9112 9.6)."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.client import Client, get, request
from tests.support.flow import push
from tests.support.origin import Origin, OriginConnection, answering, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINGER_S = 0.5
HEAD_S = 0.6
KEEPALIVE_S = 1.0
SETTINGS = f"""
[timeouts]
head_s = {HEAD_S}
keepalive_s = {KEEPALIVE_S}
body_s = 30
linger_s = {LINGER_S}
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{{ chain = "server.pem", key = "server.key" }}]
"""
PLAIN, TLS = range(2)
LISTENERS = pytest.mark.parametrize("listener", [PLAIN, TLS], ids=["plain", "tls"])
MIB = 1024 * 1024
SIZE = 300_000
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"z" * SIZE
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
)


@dataclass(slots=True)
class Bench:
    """A proxy that lingers for a moment."""

    proxy: Proxy
    folder: Path
    fresh: list[Lane] = field(default_factory=list)

    def lane(self) -> Lane:
        return self.fresh.pop()

    async def open(self, listener: int = PLAIN, *, receive_buffer: int = 0) -> Client:
        port = self.proxy.ports[listener]
        if listener == PLAIN:
            return await Client.connect(port, receive_buffer=receive_buffer)
        return await TlsClient.open(port, client_context(self.folder / "ca.pem"), "shop.example")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("lingering")
    ca = Authority()
    ca.write_pem(folder)
    ca.issue("shop.example").write_pem(folder, "server")
    lanes = [
        lane(f"lane{number}", attributes='PostSizeLimit="1"', server='wsServerIdleTimeout="1"')
        for number in range(12)
    ]
    large = [lane(f"large{number}") for number in range(8)]
    gone = Lane("gone", [Member(Origin())])
    gone.origin.refuse()
    async with running_proxy(
        [*lanes, *large, gone], settings=SETTINGS, listen=None, folder=folder
    ) as proxy:
        yield Bench(proxy, folder, [*lanes, *large])


async def let_go(proxy: Proxy, listener: int = PLAIN) -> float:
    """Waits until no worker holds a client's connection; the seconds that took."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(WAIT_S):
        while proxy.holds_clients(proxy.ports[listener]):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.02)
    return asyncio.get_running_loop().time() - began


async def send_late(client: Client, data: bytes) -> None:
    """Sends after the proxy has ended; a reset that follows the first piece refuses the next."""
    for _ in range(3):
        await client.send(data)
        await asyncio.sleep(0.01)  # a reset would have come back


@LISTENERS
async def test_answer_that_ends_with_the_connection_is_whole_for_who_sent_ahead(
    bench: Bench, listener: int
) -> None:
    """What was sent ahead, a request and most of a body, lies unread in the proxy's kernel when the answer ends."""
    one = bench.lane()
    ahead = request("POST", f"/{one.name}/y", "Content-Length: 100000000") + bytes(MIB)
    for _ in range(3):
        client = await bench.open(listener)
        async with client:
            await client.send(get(f"/{one.name}/x") + ahead)
            server = await one.origin.accept()
            await server.head()
            await server.send(UNTIL_CLOSE)
            server.close()
            answer = await client.answer()
            assert len(answer.body) == SIZE
            assert await client.rest() == b""


REFUSED = {
    "400": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
    "405": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "414": (b"GET /" + b"y" * 70_000, 414),
    "431": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000, 431),
    "404": (request("POST", "/", "Content-Length: 100000000"), 404),
    "413": (request("POST", "/lane0/x", "Content-Length: 100000000"), 413),
    "413 chunked": (request("POST", "/lane0/x", "Transfer-Encoding: chunked"), 413),
    "503": (request("POST", "/gone/x", "Content-Length: 100000000"), 503),
}


@pytest.mark.parametrize(("begun", "status"), REFUSED.values(), ids=REFUSED)
async def test_refusal_reaches_a_client_that_goes_on_sending(
    bench: Bench, begun: bytes, status: int
) -> None:
    """3 MiB more than anybody wanted, sent before the answer is read."""
    block = b"400\r\n" + b"a" * 1024 + b"\r\n" if b"chunked" in begun else bytes(1024)
    lane0 = next(each for each in bench.fresh if each.name == "lane0")
    async with lane0.origin.serving(keep_answering), await bench.open() as client:
        await client.send(begun)
        await push(client.sock, block * 32, 0, 3 * MIB)
        answer = await client.answer()
        assert (answer.status, answer.closes) == (status, True)
        assert await client.rest() == b""


async def test_408_reaches_a_client_that_goes_on_sending(bench: Bench) -> None:
    """Of its second request, whose first one was whole."""
    one = bench.lane()
    async with one.origin.serving(keep_answering), await bench.open() as client:
        assert (await client.ask(get(f"/{one.name}/x"))).status == 200
        seen = len(bench.proxy.lines)
        await client.send(b"GET /")
        await bench.proxy.line("408: the request did not arrive in time", seen)
        await send_late(client, b"y" * 10_000)
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


async def test_idle_client_that_asks_too_late_meets_an_end_and_no_reset(bench: Bench) -> None:
    """Its request crossed the end of keepalive_s on the way."""
    one = bench.lane()
    async with one.origin.serving(keep_answering), await bench.open() as client:
        assert (await client.ask(get(f"/{one.name}/x"))).status == 200
        assert await client.rest() == b""
        await send_late(client, get(f"/{one.name}/x"))
    assert len(one.origin.requests) == 1


async def test_end_of_a_tunnel_is_none_by_reset(bench: Bench) -> None:
    """Of silence, here: what the server said is there, and what the client says too late is thrown away."""
    one = next(each for each in bench.fresh if each.name.startswith("lane"))
    bench.fresh.remove(one)
    async with await bench.open() as client:
        await client.send(get(f"/{one.name}/x", *UPGRADE))
        server = await one.origin.accept()
        await server.answer(SWITCH)
        assert (await client.head()).status == 101
        assert await server.end() == b""
        await send_late(client, b"late")
        assert await client.rest() == b"hello"


@LISTENERS
async def test_client_that_does_not_end_is_let_go_after_linger_s(
    bench: Bench, listener: int
) -> None:
    """It has its answer; neither does it send nor does it close."""
    one = bench.lane()
    await let_go(bench.proxy, listener)
    async with one.origin.serving(answering_once), await bench.open(listener) as client:
        assert len((await client.ask(get(f"/{one.name}/x"))).body) == SIZE
        assert bench.proxy.holds_clients(bench.proxy.ports[listener])
        assert LINGER_S / 2 < await let_go(bench.proxy, listener) < WAIT_S / 2


async def answering_once(connection: OriginConnection) -> None:
    """A server that ends its answer with the connection."""
    await connection.answer(UNTIL_CLOSE)


async def test_slow_reader_has_its_time_while_the_connection_lingers(bench: Bench) -> None:
    """linger_s begins when its kernel has all; until then it may also send."""
    one = bench.lane()
    async with await bench.open(receive_buffer=4096) as client:
        await client.send(get(f"/{one.name}/x"))
        server = await one.origin.accept()
        await server.head()
        await server.send(UNTIL_CLOSE)
        server.close()
        await client.head()
        for _ in range(8):
            await client.exactly(8192)
            await client.send(b"GET /")
            await asyncio.sleep(LINGER_S / 2)  # the behaviour under test is about time
        assert len(await client.rest()) == SIZE - 8 * 8192


async def test_client_that_said_close_is_let_go_at_once() -> None:
    """It owes nothing: nobody waits for its end, or one connection for each request would cost two turns."""
    one = lane("one")
    async with (
        running_proxy([one], settings="[timeouts]\nlinger_s = 600\n") as proxy,
        one.origin.serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
        await Client.connect(proxy.port) as client,
    ):
        assert (await client.ask(get("/one/x", "Connection: close"))).body == b"ok"
        await let_go(proxy)


async def test_an_eighth_of_the_descriptors_lingers_at_most() -> None:
    """Who comes does not wait for who goes; those that are too many are closed as soon as their answer is sent."""
    files, clients = 256, 50
    one = lane("one")
    async with (
        running_proxy([one], settings="[timeouts]\nlinger_s = 600\n") as proxy,
        one.origin.serving(answering_once),
        AsyncExitStack() as stack,
    ):
        proxy.expected.append("was killed by SIGKILL")
        [worker] = proxy.workers()
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (files, files))
        os.kill(worker, signal.SIGKILL)  # the next one has the new limit
        await proxy.line("was killed by SIGKILL")
        for _ in range(clients):
            client = await stack.enter_async_context(await Client.connect(proxy.port))
            assert len((await client.ask(get("/one/x"))).body) == SIZE
        async with asyncio.timeout(WAIT_S):
            while sum(proxy.clients_of_workers().values()) != files // 8:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_running_answer_is_whole_after_sigterm_for_who_sent_ahead() -> None:
    """The last answer of a connection that would have gone on; and nobody waits long for clients that do not react."""
    one = lane("one")
    settings = "[timeouts]\nshutdown_s = 3600\nlinger_s = 600\nkeepalive_s = 600\n"
    async with running_proxy([one], settings=settings) as proxy, AsyncExitStack() as stack:
        idle, client = [
            await stack.enter_async_context(await Client.connect(proxy.port)) for _ in range(2)
        ]
        async with one.origin.serving(keep_answering):
            assert (await idle.ask(get("/one/x"))).status == 200
        await client.send(get("/one/x") + request("POST", "/one/y", "Content-Length: 100000000"))
        await client.send(bytes(MIB))
        server = await one.origin.accept()
        await server.head()
        proxy.stop()
        assert await idle.rest() == b""
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"z" * SIZE)
        answer = await client.answer()
        assert (len(answer.body), answer.closes) == (SIZE, True)
        assert await client.rest() == b""
        await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
        assert not any("did not end" in line for line in proxy.lines)
