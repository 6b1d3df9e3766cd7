"""Requests that one client sends ahead: nobody waits for them to be over, and what became of their client meanwhile counts."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.client import Client, ask, get, request
from tests.support.logfiles import lines_with
from tests.support.origin import OK, OriginConnection
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = """
[log]
level = "debug"
access = "access.log"
access_format = "%U"
[timeouts]
body_s = 30
head_s = 30
[queue]
size = 5
wait_s = 30
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "h.pem", key = "h.key" }]
"""
# Their answers find room in the kernel at once; else the client that does not read them would be what ends its turn.
COUNT = 200
OTHERS = 40  # one client's requests that another may have to wait for
HALF = b"POST /%b/half HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nhalf"


@dataclass(slots=True)
class Bench:
    """One worker, so that everything waits for the same loop."""

    proxy: Proxy
    folder: Path
    lanes: list[Lane] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def lane(self) -> Lane:
        """A cluster whose one server may have one request at a time."""
        return self.lanes.pop()

    @contextmanager
    def worker_stopped(self) -> Iterator[None]:
        """What is sent meanwhile is all there when the worker looks again."""
        (worker,) = self.proxy.workers()
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    async def has_read_all(self) -> None:
        """The worker has read what every client had sent before."""
        for _ in range(2):
            assert (await ask(self.proxy.port, get("/nowhere"))).status == 404


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("ahead")
    ca = Authority()
    trust = ca.write_pem(folder)
    ca.issue("h", "127.0.0.1").write_pem(folder, "h")
    lanes = [lane(f"lane{at}", server='MaxConnections="1"') for at in range(8)]
    async with running_proxy(lanes, settings=SETTINGS, listen=None, folder=folder) as proxy:
        yield Bench(proxy, folder, list(lanes), client_context(trust))


# --- others have their turn -----------------------------------------------------------------------------------------


async def count_before(bench: Bench, flooding: Client, data: bytes, path: str) -> int:
    """How many of the COUNT requests for ``path`` in ``data`` were over before one that came while all of them were there."""
    late = f"{path}-late"
    async with await Client.connect(bench.proxy.port) as other:
        await bench.has_read_all()
        loop = asyncio.get_running_loop()
        with bench.worker_stopped():
            await loop.sock_sendall(flooding.sock, data)
            await other.send(get(f"/none{late}"))
        assert (await other.answer()).status == 404
        for _ in range(COUNT):
            await flooding.answer()
    # Each worker writes its lines in the order in which requests end; messages of one kind would be summed.
    lines = await lines_with(bench.folder / "access.log", path, COUNT + 1)
    paths = [line for line in lines if path in line]
    assert paths.count(path) == COUNT
    return paths.index(f"/none{late}")


async def test_requests_without_a_route_let_others_have_their_turn(bench: Bench) -> None:
    async with await Client.connect(bench.proxy.port) as client:
        found = await count_before(bench, client, get("/flood") * COUNT, "/flood")
    assert found <= OTHERS


async def test_503s_that_are_answered_at_once_let_others_have_their_turn(bench: Bench) -> None:
    """The queue is full of requests that wait, so that nobody else does."""
    full = bench.lane()
    path = f"/{full.name}/x"
    start = len(bench.proxy.lines)
    asked = [asyncio.ensure_future(ask(bench.proxy.port, get(path))) for _ in range(6)]
    server = await full.origin.accept()
    for _ in range(5):
        found = await bench.proxy.line(r"waits for a place in cluster " + full.name, start)
        start = bench.proxy.lines.index(found.string, start) + 1
    async with await Client.connect(bench.proxy.port) as client:
        before = await count_before(bench, client, get(f"{path}/full") * COUNT, f"{path}/full")
    assert before <= OTHERS
    for _ in asked:
        await server.answer()
    assert [(await each).status for each in asked] == [200] * 6


async def test_requests_in_many_tls_records_let_others_have_their_turn(bench: Bench) -> None:
    """Each of three bytes: what the loop reads at once are thousands of them."""
    assert bench.tls is not None
    client = await TlsClient.open(bench.proxy.ports[1], bench.tls, "h")
    message = get("/records") * COUNT
    pieces = [message[at : at + 3] for at in range(0, len(message), 3)]
    async with client:
        found = await count_before(bench, client, client.pipe.seal(*pieces), "/records")
    assert found <= OTHERS


# --- what became of the client meanwhile ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["half-closed", "closed"])
async def test_half_a_request_of_a_client_that_has_ended_takes_no_place(
    bench: Bench, how: str
) -> None:
    """Its end came while the request before it was answered: it must not wait for the rest for body_s."""
    limited = bench.lane()
    name = limited.name.encode()
    async with await Client.connect(bench.proxy.port) as client:
        await client.send(get(f"/{limited.name}/1") + HALF % name)
        server = await limited.origin.accept()
        assert b"/1 " in await server.request()
        if how == "closed":
            client.sock.close()
        else:
            client.half_close()
        await bench.has_read_all()
        await server.send(OK)
        other = asyncio.ensure_future(ask(bench.proxy.port, get(f"/{limited.name}/other")))
        assert b"/other " in await server.request()
        await server.send(OK)
        assert (await other).status == 200
        if how == "half-closed":
            assert (await client.answer()).status == 200
            assert await client.rest() == b""
    assert limited.origin.accepted == 1
    assert all(b"half" not in each for each in limited.origin.requests)


async def test_client_that_has_ended_does_not_wait_in_the_queue(bench: Bench) -> None:
    """Its second request finds the server taken; nobody is there any more who would wait for it."""
    limited = bench.lane()
    seen: list[bytes] = []
    has_first, let_go = asyncio.Event(), asyncio.Event()

    async def script(connection: OriginConnection) -> None:
        while True:
            seen.append((await connection.request()).split(b" ")[1].rpartition(b"/")[2])
            has_first.set()
            await let_go.wait()
            await connection.send(OK)

    async with limited.origin.serving(script), await Client.connect(bench.proxy.port) as client:
        await client.send(get(f"/{limited.name}/first") + get(f"/{limited.name}/second"))
        await asyncio.wait_for(has_first.wait(), WAIT_S)
        others = [
            asyncio.ensure_future(ask(bench.proxy.port, get(f"/{limited.name}/{at}")))
            for at in range(2)
        ]
        for _ in others:
            await bench.proxy.line("waits for a place")
        client.half_close()
        await bench.has_read_all()
        let_go.set()
        assert (await client.answer()).status == 200
        assert await client.rest() == b""
        assert [(await each).status for each in others] == [200, 200]
    assert b"second" not in seen


async def test_whole_upload_of_a_client_that_has_ended_is_answered(bench: Bench) -> None:
    """It closed its side only; everything that it asked for came whole."""
    limited = bench.lane()
    message = get(f"/{limited.name}/1") + request("POST", f"/{limited.name}/2", body=b"all of it")
    async with await Client.connect(bench.proxy.port) as client:
        await client.send(message)
        server = await limited.origin.accept()
        await server.head()
        client.half_close()
        await bench.has_read_all()
        await server.send(OK)
        assert b"all of it" in await server.answer()
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert await client.rest() == b""
