"""
A place at a server is given back only when the server can see that the request is over.

Looked at in the very turn in which it is given back, by whoever is told of the exchange: another worker could take it now. Which
of the two comes first needs no luck so.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.settings import Settings, TimeoutSettings
from wsproxy.dataplane.witness import Witness

pytestmark = pytest.mark.asan

OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234"
CHUNKED = b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
UPGRADE = b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
BUSY_HALF = b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nhalf"
BUSY_CHUNK = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"


def is_shut(wire: Wire) -> bool:
    """Whether the server at this end can see that no answer is waited for, whatever it has not read yet."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLRDHUP)
    return bool(poll.poll(0))


class Looker(Witness):
    """Looks as it is told of the end of an exchange, or of another server that was chosen."""

    def __init__(self) -> None:
        self.bed: Bed | None = None
        self.wire: Wire | None = None  # of the request to the first server
        self.was_shut: list[bool] = []  # each time that its place was free

    def attach_to(self, engine: Engine) -> None:
        engine.witness = self
        engine.log_level = LogLevel.STATS

    def _look(self) -> None:
        assert self.bed is not None
        if self.wire is not None and self.bed.inflight()[0] == 0:
            self.was_shut.append(is_shut(self.wire))

    def over(self, downstream: Downstream, number: int, server: str, by_affinity: bool) -> None:
        self._look()

    def chosen(self, downstream: Downstream) -> None:
        self._look()


def watched(*servers: Any, settings: Settings | None = None, **cluster: Any) -> tuple[Bed, Looker]:
    looker = Looker()
    bed = Bed(config_of(*servers, **cluster), settings, make_witness=lambda _plan: looker)
    looker.bed = bed
    return bed, looker


ENDS: dict[str, tuple[bytes, bytes, Callable[[Wire], None] | None]] = {
    # what the client sends, what the server says then, what the client does then
    "client leaves": (GET, b"", Wire.reset),
    "client leaves within its request": (POST, b"", Wire.reset),
    "client leaves within the answer": (GET, HALF, Wire.reset),
    "request breaks": (CHUNKED, b"", lambda client: void(client.send_now(b"x\r\n"))),
    "answer cannot be read": (GET, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", None),
    "answer breaks": (
        GET,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n",
        None,
    ),
    "refused answer is not whole": (GET, BUSY_HALF, None),
    "refused answer in chunks is not whole": (GET, BUSY_CHUNK, None),
    "tunnel, client leaves": (UPGRADE, SWITCHED, Wire.reset),
    "tunnel, client leaves in order": (UPGRADE, SWITCHED, Wire.close),
}


def void(_: object) -> None:
    """Of what is sent without waiting."""


@pytest.mark.parametrize("how", ENDS)
async def test_server_sees_the_end_before_its_place_is_given_back(how: str) -> None:
    """Whoever ends the exchange, and when: answered in full it is not."""
    asked, said, end = ENDS[how]
    first, second = Origin(), Origin()
    bed, looker = watched(server("a", first.port), server("b", second.port))
    async with bed:
        client = await bed.client()
        await client.send(asked)
        looker.wire, _ = await first.accept_request()
        assert not is_shut(looker.wire)
        if said:
            await looker.wire.send(said)
        if end is not None:
            if said:
                await client.read_head()
            end(client)
        if how == "tunnel, client leaves in order":
            looker.wire.close()  # a tunnel ends when both ends have
            looker.wire = None
        if how.startswith("refused"):
            other, _ = await second.accept_request()
            await other.send(OK)
            assert await client.read_answer() == (200, b"ok")
        await bed.until(lambda: bed.inflight()[0] == 0)
        if looker.wire is not None:
            assert looker.was_shut
            assert all(looker.was_shut)


@pytest.mark.parametrize("is_answering", [False, True])
async def test_server_that_is_too_slow_sees_it_before_another_one_is_asked(
    is_answering: bool,
) -> None:
    """ServerIOTimeout, before the answer and within its head."""
    first, second = Origin(), Origin()
    bed, looker = watched(server("a", first.port, server_io_timeout_s=1), server("b", second.port))
    async with bed:
        client = await bed.client()
        await client.send(GET)
        looker.wire, _ = await first.accept_request()
        if is_answering:
            await looker.wire.send(b"HTTP/1.1 200 OK\r\n")
        other, _ = await second.accept_request()
        assert looker.was_shut[0]
        await other.send(OK)
        assert await client.read_answer() == (200, b"ok")


async def test_server_of_a_request_that_is_too_late_sees_it_before_the_408() -> None:
    """timeouts.body_s."""
    origin = Origin()
    settings = Settings(timeouts=TimeoutSettings(body_s=0.2))
    bed, looker = watched(server("a", origin.port), settings=settings)
    async with bed:
        client = await bed.client()
        await client.send(POST)
        looker.wire, _ = await origin.accept_request()
        assert (await client.read_head()).startswith(b"HTTP/1.1 408 ")
        assert looker.was_shut == [True]


async def test_whole_answer_that_is_refused_keeps_its_connection() -> None:
    """Nothing of it runs any more, so nothing has to be shut."""
    first, second = Origin(), Origin()
    bed, looker = watched(server("a", first.port), server("b", second.port))
    async with bed:
        client = await bed.client()
        await client.send(GET)
        looker.wire, _ = await first.accept_request()
        await looker.wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        other, _ = await second.accept_request()
        assert looker.was_shut == [False]
        await other.send(OK)
        assert await client.read_answer() == (200, b"ok")
        await client.send(GET)
        assert b"/app/x" in await looker.wire.read_head()
        await looker.wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
