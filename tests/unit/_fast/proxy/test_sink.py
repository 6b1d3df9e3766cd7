"""
A second kind of client side, several exchanges over one connection: the seam for HTTP/2 (see ``tests/support/frames.pyx``).

Real servers, real connections to them, the real slow path: none of these knows that the client does not speak HTTP/1.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.compiled import compiled
from tests.support.wire import Origin, Wire
from wsproxy._fast.proxy.upstream import Upstream
from wsproxy.config.model import Config
from wsproxy.config.settings import QueueSettings, RetrySettings, Settings, TimeoutSettings
from wsproxy.config.settings_content import CompressSettings
from wsproxy.config.settings_edge import EdgeSettings

pytestmark = pytest.mark.asan

HEAD = b"%s /app/%d HTTP/1.1\r\nHost: h\r\n%s\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


@pytest.fixture(scope="module")
def frames() -> Any:
    return compiled("frames")


class FramesBed(Bed):
    """As ``Bed``, but its clients come with frames."""

    def __init__(self, frames: Any, config: Config, settings: Settings | None = None) -> None:
        super().__init__(config, settings)
        self.frames = frames

    def _accept(self) -> Any:
        self.accepted += 1
        return self.frames.FramesProtocol(self.engine)

    @property
    def connection(self) -> Any:
        (found,) = (each for each in self.engine.streams() if isinstance(each, self.frames.Frames))
        return found

    def check_nothing_left(self) -> None:
        super().check_nothing_left()
        assert self.engine.open_streams == 0


class Client:
    """The client's end of such a connection."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.got: dict[int, list[tuple[bytes, bytes]]] = {}

    async def send(self, kind: bytes, number: int, data: bytes = b"") -> None:
        await self.wire.send(kind + number.to_bytes(4) + len(data).to_bytes(4) + data)

    async def get(self, number: int) -> None:
        await self.send(b"H", number, HEAD % (b"GET", number, b""))

    async def post(self, number: int, length: int) -> None:
        await self.send(b"H", number, HEAD % (b"POST", number, b"Content-Length: %d\r\n" % length))

    async def read(self) -> tuple[bytes, int, bytes]:
        """The next frame, which is noted, too."""
        start = await self.wire.read_exactly(9)
        data = await self.wire.read_exactly(int.from_bytes(start[5:]))
        kind, number = start[:1], int.from_bytes(start[1:5])
        self.got.setdefault(number, []).append((kind, data))
        return kind, number, data

    async def answer(self, number: int) -> tuple[bytes, bytes]:
        """First line of the head, and the body, of an answer that is whole; others come in between."""
        while not any(kind in b"ER" for kind, _ in self.got.get(number, [])):
            await self.read()
        got = self.got.pop(number)
        assert got[-1][0] == b"E", got
        (head,) = [data for kind, data in got if kind == b"H"]
        return head.partition(b"\n")[0], b"".join(data for kind, data in got if kind == b"D")


async def accept(origin: Origin, *numbers: int) -> dict[int, Wire]:
    """The connections of these requests, whichever comes first."""
    found = {}
    for _ in numbers:
        wire, head = await origin.accept_request()
        found[int(head.split(b"/")[2].split()[0])] = wire
    assert sorted(found) == sorted(numbers)
    return found


async def test_answers_are_interleaved_and_one_is_reset_in_the_middle(frames: Any) -> None:
    origin = Origin()
    async with FramesBed(frames, config_of(server("s", origin.port))) as bed:
        client = Client(await bed.client())
        for number in (1, 2, 3):
            await client.get(number)
        wires = await accept(origin, 1, 2, 3)
        assert bed.inflight() == [3]
        for number in (2, 3, 1):
            await wires[number].send(OK % 10 + b"%d____" % number)
            assert await client.read() == (
                b"H",
                number,
                b"200\nDate: now\r\nContent-Length: 10\r\n",
            )
            assert await client.read() == (b"D", number, b"%d____" % number)
        await client.send(b"R", 2)
        assert await wires[2].is_ended()
        assert bed.inflight() == [2]
        for number in (1, 3):
            await wires[number].send(b"12345")
        assert await client.answer(3) == (b"200", b"3____12345")
        assert await client.answer(1) == (b"200", b"1____12345")
        assert bed.inflight() == [0]
        # Both connections are warm, both exchanges are used again; nothing more is made.
        assert bed.connection.made == 3
        for number in (4, 5):
            await client.get(number)
        for number in (1, 3):
            assert await wires[number].read_head()
            await wires[number].send(OK % 0)
        assert await client.answer(4) == await client.answer(5) == (b"200", b"")
        assert bed.connection.made == 3


async def test_one_waits_in_the_queue_one_leaves_it_and_one_goes_elsewhere(frames: Any) -> None:
    """Everything at once: a place that is full, a server that is busy, a body that is kept for the next one."""
    first, second = Origin(), Origin()
    config = config_of(
        server("a", first.port, max_connections=1), server("b", second.port, max_connections=1)
    )
    settings = Settings(queue=QueueSettings(size=4, wait_s=60), retry=RetrySettings())
    async with FramesBed(frames, config, settings) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        client = Client(await bed.client())
        await client.post(1, 10)
        await client.send(b"D", 1, b"01234")
        a = (await accept(first, 1))[1]
        assert await a.read_exactly(5) == b"01234"
        await a.send(BUSY)  # goes elsewhere, with what is there of its body
        b = (await accept(second, 1))[1]
        await client.get(2)  # to the one that is free again
        a = (await accept(first, 2))[2]
        assert bed.inflight() == [1, 1]
        await client.get(3)
        await client.get(4)
        await bed.until(lambda: cluster.queue_length == 2)
        await client.send(b"R", 3)
        await bed.until(lambda: cluster.queue_length == 1)
        await client.send(b"D", 1, b"56789")
        assert await b.read_exactly(10) == b"0123456789"
        await b.send(OK % 2 + b"1b")
        assert await client.answer(1) == (b"200", b"1b")
        assert b"GET /app/4 " in await b.read_head()  # its turn has come, on a warm connection
        await a.send(OK % 2 + b"2a")
        await b.send(OK % 2 + b"4b")
        assert await client.answer(2) == (b"200", b"2a")
        assert await client.answer(4) == (b"200", b"4b")
        assert bed.inflight() == [0, 0]


async def test_answers_of_our_own_and_unframed_ones(frames: Any) -> None:
    """What the slow path writes, and a server's chunks: only what is in them comes through."""
    origin = Origin()
    async with FramesBed(frames, config_of(server("s", origin.port))) as bed:
        client = Client(await bed.client())
        await client.send(b"H", 1, b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.get(2)
        status, page = await client.answer(1)
        assert status == b"404"
        assert page.startswith(b"<!DOCTYPE html>")
        wire = (await accept(origin, 2))[2]
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert await client.read() == (b"I", 2, b"103\nLink: </a>\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.send(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        assert await client.answer(2) == (b"200", b"abcdefg")
        assert bed.streams(Upstream) == 1


async def test_compressed_answers_have_no_chunks_either(frames: Any) -> None:
    """Each piece is told when it comes; the end is the frame's."""
    origin = Origin()
    edge = EdgeSettings(compress=CompressSettings(min_bytes=0))
    async with FramesBed(
        frames, config_of(server("s", origin.port)), Settings(edge=(edge,))
    ) as bed:
        client = Client(await bed.client())
        await client.send(b"H", 1, HEAD % (b"GET", 1, b"Accept-Encoding: gzip\r\n"))
        wire = (await accept(origin, 1))[1]
        await wire.send(
            OK.replace(b"\r\n\r\n", b"\r\nContent-Type: text/css\r\n\r\n") % 8 + b"abcd"
        )
        kind, _, head = await client.read()
        assert (kind, b"Content-Encoding: gzip\r\n" in head) == (b"H", True)
        assert b"Content-Length" not in head
        reader = zlib.decompressobj(31)
        kind, _, piece = await client.read()
        assert (kind, reader.decompress(piece)) == (b"D", b"abcd")
        await wire.send(b"efgh")
        kind, _, piece = await client.read()
        assert (kind, reader.decompress(piece), reader.eof) == (b"D", b"efgh", True)
        assert (await client.read())[0] == b"E"
        assert bed.engine.squeezed == 0


async def test_a_server_that_dies_within_its_answer_ends_that_one_alone(frames: Any) -> None:
    origin = Origin()
    async with FramesBed(frames, config_of(server("s", origin.port))) as bed:
        client = Client(await bed.client())
        await client.get(1)
        await client.get(2)
        wires = await accept(origin, 1, 2)
        await wires[1].send(OK % 10 + b"half")
        assert (await client.read())[0] == b"H"
        wires[1].close()
        while (await client.read())[:2] != (b"R", 1):
            pass
        await wires[2].send(OK % 2 + b"ok")
        assert await client.answer(2) == (b"200", b"ok")
        assert bed.inflight() == [0]


async def test_the_connection_is_lost_with_exchanges_in_every_phase(frames: Any) -> None:
    origin = Origin()
    config = config_of(server("s", origin.port, max_connections=2))
    settings = Settings(queue=QueueSettings(size=2, wait_s=60), timeouts=TimeoutSettings())
    async with FramesBed(frames, config, settings) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        client = Client(await bed.client())
        await client.post(1, 10)  # within its body
        await client.get(2)  # within its answer
        wires = await accept(origin, 1, 2)
        await wires[2].send(OK % 10 + b"half")
        await client.read()
        await client.get(3)  # in the queue
        await bed.until(lambda: cluster.queue_length == 1)
        client.wire.close()
        assert await wires[1].is_ended()
        assert await wires[2].is_ended()
        await bed.until(lambda: cluster.queue_length == 0)
        assert bed.inflight() == [0]
