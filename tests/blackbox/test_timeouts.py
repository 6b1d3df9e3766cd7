"""How long clients may take in the real proxy: heads, idle connections, bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.client import Client, get, request
from tests.support.origin import OK, answering, keep_answering
from tests.support.process import STEPS
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD_S = 0.5
KEEPALIVE_S = 1.0
BODY_S = 0.7
HALF_CLOSED_S = 0.6
SERVER_HEAD_S = 0.8
SETTINGS = f"""
[timeouts]
head_s = {HEAD_S}
keepalive_s = {KEEPALIVE_S}
body_s = {BODY_S}
half_closed_s = {HALF_CLOSED_S}
server_head_s = {SERVER_HEAD_S}
"""


@dataclass(slots=True)
class Hasty:
    """A proxy that waits for nobody."""

    proxy: Proxy
    lanes: list[Lane]

    @property
    def port(self) -> int:
        return self.proxy.port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty() -> AsyncIterator[Hasty]:
    lanes = [lane(f"lane{number}") for number in range(12)]
    async with running_proxy(lanes, settings=SETTINGS) as proxy:
        yield Hasty(proxy, lanes.copy())


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_connection_that_says_nothing_is_closed(hasty: Hasty) -> None:
    """Without a byte there is nothing to answer: an orderly end after head_s."""
    async with await Client.connect(hasty.port) as client:
        began = now()
        assert await client.rest() == b""
        assert now() - began > HEAD_S / 2


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_slow_head_is_408(hasty: Hasty, begun: bytes) -> None:
    """A head that stops."""
    async with await Client.connect(hasty.port) as client:
        answer = await client.ask(begun)
        assert (answer.status, answer.closes) == (408, True)
        assert answer.get(b"cache-control") == b"no-store"
        assert await client.rest() == b""
    await hasty.proxy.line("408: the request did not arrive in time")


async def test_dripping_head_is_408_all_the_same(hasty: Hasty) -> None:
    """head_s counts over the whole head, so a byte now and then buys no time (slowloris)."""
    async with await Client.connect(hasty.port) as client:
        began = now()
        reading = asyncio.ensure_future(client.answer())
        await client.send(b"GET / HTTP/1.1\r\nX: ")
        while not reading.done():
            try:
                await client.send(b"y")
            except (BrokenPipeError, ConnectionResetError):
                break
            await asyncio.wait([reading], timeout=HEAD_S / 10)
        assert (await reading).status == 408
        assert now() - began < 10 * HEAD_S


async def test_slow_second_head_is_408_with_its_page(hasty: Hasty) -> None:
    """On a kept connection, after a HEAD, too."""
    one = hasty.lanes.pop()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with one.origin.serving(answering(reply)), await Client.connect(hasty.port) as client:
        await client.ask(request("HEAD", f"/{one.name}/x"), head_only=True)
        answer = await client.ask(b"GET / HT")
        assert answer.status == 408
        assert b"408 Request Timeout" in answer.body
        assert await client.rest() == b""


async def test_idle_connection_is_closed_after_keepalive(hasty: Hasty) -> None:
    """An orderly end, later than head_s and without a word."""
    one = hasty.lanes.pop()
    async with one.origin.serving(keep_answering), await Client.connect(hasty.port) as client:
        await client.ask(get(f"/{one.name}/x"))
        began = now()
        assert await client.rest() == b""
        assert now() - began > KEEPALIVE_S * 0.9


async def test_each_request_begins_the_time_anew(hasty: Hasty) -> None:
    """A connection in use outlives all limits."""
    one = hasty.lanes.pop()
    async with one.origin.serving(keep_answering), await Client.connect(hasty.port) as client:
        for _ in range(12):
            assert (await client.ask(get(f"/{one.name}/x"))).status == 200
            await asyncio.sleep(KEEPALIVE_S / STEPS)  # the behaviour under test is about time
    assert one.origin.accepted == 1


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_stalled_body_is_408_and_cancels_the_upstream_request(
    hasty: Hasty, framing: str
) -> None:
    """The server sees the cut, never an end."""
    one = hasty.lanes.pop()
    async with await Client.connect(hasty.port) as client:
        await client.send(request("POST", f"/{one.name}/x", framing) + b"4\r\n")
        server = await one.origin.accept()
        await server.head()
        answer = await client.answer()
        assert (answer.status, answer.closes) == (408, True)
        assert await server.end() == b"4\r\n"
        assert await client.rest() == b""


async def test_body_that_moves_may_take_long(hasty: Hasty) -> None:
    """body_s counts from the last byte."""
    one = hasty.lanes.pop()
    async with one.origin.serving(keep_answering), await Client.connect(hasty.port) as client:
        await client.send(request("POST", f"/{one.name}/x", "Content-Length: 12"))
        for _ in range(12):
            await asyncio.sleep(BODY_S / STEPS)  # the behaviour under test is about time
            await client.send(b"x")
        assert (await client.answer()).status == 200


async def test_waiting_for_the_server_has_no_limit_of_the_client(hasty: Hasty) -> None:
    """With the request whole, only ServerIOTimeout counts."""
    one = hasty.lanes.pop()
    async with await Client.connect(hasty.port) as client:
        await client.send(request("POST", f"/{one.name}/x", body=b"data"))
        server = await one.origin.accept()
        await server.request()
        await asyncio.sleep(2 * BODY_S)  # the behaviour under test is about time
        await server.send(OK)
        assert (await client.answer()).status == 200


async def test_stalled_body_after_the_answer_began_is_a_cut(hasty: Hasty) -> None:
    """No 408 into the middle of an answer."""
    one = hasty.lanes.pop()
    async with await Client.connect(hasty.port) as client:
        await client.send(request("POST", f"/{one.name}/x", "Content-Length: 10") + b"half")
        server = await one.origin.accept()
        await server.head()
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await client.head()
        assert await client.exactly(4) == b"part"
        assert await client.is_cut()
        assert await server.end() == b"half"


async def test_half_closed_client_waits_so_long_and_no_longer(hasty: Hasty) -> None:
    """An answer in time is given; then the request is cancelled, as where the client is gone altogether."""
    one = hasty.lanes.pop()
    async with await Client.connect(hasty.port) as client:
        await client.send(get(f"/{one.name}/x"))
        server = await one.origin.accept()
        await server.head()
        client.half_close()
        await server.send(OK)
        assert (await client.answer()).status == 200
        assert await client.rest() == b""
    async with await Client.connect(hasty.port) as client:
        began = now()
        await client.send(get(f"/{one.name}/x"))
        await server.head()
        client.half_close()
        assert await server.end() == b""
        assert now() - began > HALF_CLOSED_S / 2
        assert await client.is_cut()


async def test_head_of_an_answer_that_drips_is_504(hasty: Hasty) -> None:
    """Each byte came in time for ServerIOTimeout; the head as a whole did not, and the log says which limit it was."""
    one = hasty.lanes.pop()
    async with await Client.connect(hasty.port) as client:
        await client.send(get(f"/{one.name}/x"))
        server = await one.origin.accept()
        await server.head()
        began = now()
        await server.send(b"HTTP/1.1 200 OK\r\nX: ")
        answering = asyncio.ensure_future(client.answer())
        while not answering.done():
            try:
                await server.send(b"y")
            except (BrokenPipeError, ConnectionResetError):
                break
            await asyncio.wait([answering], timeout=SERVER_HEAD_S / 10)
        assert (await answering).status == 504
        assert now() - began > SERVER_HEAD_S * 0.9
    await hasty.proxy.line(r"timeouts\.server_head_s: the head of the answer is not whole")
