"""
Large bodies through the real proxy, passed on inside the kernel or copied: not a byte more, less or of another exchange.

Sizes stand around the ones where the way changes: what is read with a head (8 KiB), what is worth a pipe (16 KiB), what one
read takes (256 KiB).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Client, IncompleteError, get, request
from tests.support.flow import push
from tests.support.logfiles import lines_with
from tests.support.origin import OriginConnection, answering
from tests.support.process import STEPS, WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy

KIB = 1024
MIB = 1024 * KIB
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
FIRST_READ, WORTH_PIPING, READ_SIZE = 8 * KIB, 16 * KIB, 256 * KIB
BORDERS = (FIRST_READ, WORTH_PIPING, FIRST_READ + WORTH_PIPING, READ_SIZE, READ_SIZE + WORTH_PIPING)
SIZES = sorted(
    {0, 1, 3 * MIB + 7}
    | {size + near for size in BORDERS for near in (-1, 0, 1)}
    # the same, so that a head stands in the first read, too
    | {size + near - len(HEAD % size) for size in BORDERS for near in (-1, 0, 1)}
)
BYTES = random.Random(11).randbytes(8 * MIB)
SMALL_BUFFER = 64 * KIB
# More than the kernels of both connections hold.
PLENTY = 64 * MIB

SPLICE = pytest.mark.parametrize("splice", ["true", "false"])


@asynccontextmanager
async def proxy_of(one: Lane, splice: str = "true") -> AsyncIterator[Proxy]:
    async with running_proxy([one], settings=f"[upstream]\nsplice = {splice}\n") as proxy:
        yield proxy


def body_of(size: int) -> bytes:
    """Of each size another part of the noise: bytes of an earlier body would show."""
    start = size * 7 % (len(BYTES) - size)
    return BYTES[start : start + size]


def pieces_of(message: bytes, how: str) -> list[bytes]:
    """The message as it is written: at once, the head for itself, or in odd pieces."""
    end = message.index(b"\r\n\r\n") + 4
    if how == "whole":
        return [message]
    if how == "head first":
        return [message[:end], message[end:]]
    cuts = random.Random(len(message))
    pieces, at = [], 0
    while at < len(message):
        step = cuts.choice((1, 700, 5000, 20_000, 70_000, 300_000))
        pieces.append(message[at : at + step])
        at += step
    return pieces


@SPLICE
@pytest.mark.parametrize("how", ["whole", "head first", "odd pieces"])
async def test_answers_arrive_as_they_are(how: str, splice: str) -> None:
    """All of them on one connection of the client and one to the server: each ends where its length says."""
    one = lane("one")

    async def script(server: OriginConnection) -> None:
        for size in SIZES:
            await server.request()
            for piece in pieces_of(HEAD % size + body_of(size), how):
                await server.send(piece)
                if how != "whole":
                    await asyncio.sleep(0.001)

    async with (
        proxy_of(one, splice) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as client,
    ):
        for size in SIZES:
            answer = await client.ask(get("/one/x"))
            assert answer.body == body_of(size)
        assert one.origin.accepted == 1


@SPLICE
@pytest.mark.parametrize("how", ["whole", "head first", "odd pieces"])
async def test_uploads_arrive_as_they_are(how: str, splice: str) -> None:
    """Also where the next request is right behind: nothing of it may go with the body."""
    one = lane("one", attributes='PostBufferSize="0"')
    ask = b"POST /one/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"

    async def script(server: OriginConnection) -> None:
        for _ in SIZES:
            await server.answer()

    async with (
        proxy_of(one, splice) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as client,
    ):
        messages = [ask % size + body_of(size) for size in SIZES]

        async def send_all() -> None:
            for message in messages:
                for piece in pieces_of(message, how):
                    await client.send(piece)

        sending = asyncio.ensure_future(send_all())
        for _ in SIZES:
            assert (await client.answer()).body == b"ok"
        await sending
    (server,) = one.origin.connections
    for size, message in zip(SIZES, server.requests, strict=True):
        assert message.partition(b"\r\n\r\n")[2] == body_of(size)


@pytest.mark.parametrize(
    "behind", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", bytes(64 * KIB)]
)
@pytest.mark.parametrize("size", [FIRST_READ + WORTH_PIPING, 64 * KIB, MIB])
async def test_bytes_behind_an_answer_go_nowhere(size: int, behind: bytes) -> None:
    """A server that sends too much answers nobody with it: its connection ends."""
    one = lane("one")

    async def script(server: OriginConnection) -> None:
        await server.request()
        await server.send(HEAD % size + body_of(size) + behind)
        await server.end()

    async with (
        proxy_of(one) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as client,
    ):
        for count in range(1, 4):
            assert (await client.ask(get("/one/x"))).body == body_of(size)
            assert one.origin.accepted == count


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", [FIRST_READ, 64 * KIB, 300 * KIB])
async def test_an_answer_that_is_cut_is_incomplete(sent: int, how: str) -> None:
    one = lane("one")
    async with proxy_of(one) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.request()
        await server.send(HEAD % MIB + body_of(MIB)[:sent])
        head = await client.head()
        assert await client.exactly(sent) == body_of(MIB)[:sent]
        server.close() if how == "close" else server.reset()
        with pytest.raises(IncompleteError):
            await client.body(head)


@SPLICE
async def test_a_client_that_leaves_takes_nothing_of_it_to_the_next(splice: str) -> None:
    """Clients with full buffers reset their connections within an answer; those after them get what is theirs."""
    one = lane("one")
    left = asyncio.Semaphore(0)

    async def script(server: OriginConnection) -> None:
        while b"/one/left" not in await server.request():
            await server.send(HEAD % MIB + body_of(MIB))
        await server.send(HEAD % PLENTY)
        try:
            await push(server.sock, b"L" * MIB, 0, PLENTY, WAIT_S)
        except (BrokenPipeError, ConnectionResetError):
            left.release()

    async with proxy_of(one, splice) as proxy, one.origin.serving(script):
        for _ in range(8):
            client = await Client.connect(proxy.port, receive_buffer=SMALL_BUFFER)
            await client.send(get("/one/left"))
            await client.head()
            await client.exactly(MIB)
            client.reset()
            async with await Client.connect(proxy.port) as after:
                assert (await after.ask(get("/one/x"))).body == body_of(MIB)
            await asyncio.wait_for(left.acquire(), WAIT_S)


@SPLICE
async def test_a_slow_reader_gets_all_of_it_beside_others(splice: str) -> None:
    """What the client does not take waits for it alone; others go through the same pipe meanwhile."""
    one = lane("one")
    size = 6 * MIB

    async def script(server: OriginConnection) -> None:
        while True:
            await server.answer(HEAD % size + body_of(size))

    async with (
        proxy_of(one, splice) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port, receive_buffer=SMALL_BUFFER) as slow,
        await Client.connect(proxy.port) as fast,
    ):
        await slow.send(get("/one/x"))
        head = await slow.head()
        for _ in range(5):
            assert (await fast.ask(get("/one/x"))).body == body_of(size)
        assert (await slow.body(head)).body == body_of(size)


async def test_a_server_that_leaves_within_an_upload() -> None:
    """It said no and closed: the client is told, and the next upload goes to a new connection whole."""
    one = lane("one", attributes='PostBufferSize="0"')
    ask = request("POST", "/one/x", f"Content-Length: {PLENTY}")

    async def script(server: OriginConnection) -> None:
        message = await server.head()
        if b": %d\r\n" % PLENTY in message:
            await server.exactly(MIB)
            await server.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        assert await server.exactly(MIB) == body_of(MIB)
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with proxy_of(one) as proxy, one.origin.serving(script):
        for _ in range(3):
            async with await Client.connect(proxy.port) as client:
                await client.send(ask)
                sending = asyncio.ensure_future(push(client.sock, bytes(MIB), 0, PLENTY, WAIT_S))
                assert (await client.answer()).status == 403
                sending.cancel()
            async with await Client.connect(proxy.port) as client:
                upload = request("POST", "/one/x", f"Content-Length: {MIB}") + body_of(MIB)
                assert (await client.ask(upload)).status == 200


async def test_the_head_of_an_answer_does_not_wait_for_its_body() -> None:
    """It may be held back for a moment, for the body to come with it; not for ever (on loopback: 200 ms)."""
    one = lane("one")
    async with proxy_of(one) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.request()
        await server.send(HEAD % MIB)
        head = await asyncio.wait_for(client.head(), WAIT_S)
        await server.send(body_of(MIB))
        assert (await client.body(head)).body == body_of(MIB)


@SPLICE
@pytest.mark.parametrize("direction", ["upload", "answer"])
async def test_an_urgent_byte_stops_no_body(direction: str, splice: str) -> None:
    """It is not part of the body; splice(2) stops before it for ever, with more behind it that can be read."""
    one = lane("one", attributes='PostBufferSize="0"')
    async with proxy_of(one, splice) as proxy, await Client.connect(proxy.port) as client:
        if direction == "upload":
            await client.send(request("POST", "/one/x", f"Content-Length: {MIB}"))
        else:
            await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.head()
        if direction == "answer":
            await server.send(HEAD % MIB)
            await client.head()
        source, sink = (client, server) if direction == "upload" else (server, client)
        await source.send(body_of(MIB)[:KIB])
        assert await sink.exactly(KIB) == body_of(MIB)[:KIB]
        source.sock.send(b"!", socket.MSG_OOB)
        await source.send(body_of(MIB)[KIB:])
        assert await sink.exactly(MIB - KIB) == body_of(MIB)[KIB:]
        if direction == "upload":
            await server.send(HEAD % 0)
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("size", [FIRST_READ - 64, FIRST_READ, WORTH_PIPING + FIRST_READ, MIB])
async def test_a_large_page_of_a_busy_server_reaches_nobody(size: int) -> None:
    """The next server answers instead, and nothing of the page is left for anybody."""
    pair = lane("pair", 2)
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % size + b"B" * size

    async def script(server: OriginConnection) -> None:
        try:
            while True:
                await server.answer(busy)
        except (BrokenPipeError, ConnectionResetError):
            pass  # nobody reads a page to its end that is not wanted

    good, other = (member.origin for member in pair.members)
    async with (
        proxy_of(pair) as proxy,
        good.serving(script),
        other.serving(answering(HEAD % MIB + body_of(MIB))),
        await Client.connect(proxy.port) as client,
    ):
        for _ in range(4):
            answer = await client.ask(get("/pair/x"))
            assert (answer.status, answer.body) == (200, body_of(MIB))
        assert good.requests
        if size < WORTH_PIPING:  # read to its end, although its head came with a part of it
            assert good.accepted == 1
            assert len(good.requests) > 1


@SPLICE
async def test_the_access_log_counts_them(splice: str, tmp_path: Path) -> None:
    one = lane("one")
    settings = (
        f"[upstream]\nsplice = {splice}\n[log]\naccess = 'access.log'\naccess_format = '%U %B %O'\n"
    )
    async with (
        running_proxy([one], settings=settings, folder=tmp_path) as proxy,
        one.origin.serving(answering(HEAD % (3 * MIB) + body_of(3 * MIB))),
        await Client.connect(proxy.port) as client,
    ):
        answers = [await client.ask(get("/one/x")) for _ in range(2)]
        lines = await lines_with(tmp_path / "access.log", count=2)
        assert [each.body for each in answers] == [body_of(3 * MIB)] * 2
        assert lines == [f"/one/x {3 * MIB} {len(each.head) + 4 + 3 * MIB}" for each in answers]


@SPLICE
async def test_servers_and_clients_that_are_slow_but_alive_have_the_time_they_need(
    splice: str,
) -> None:
    """ServerIOTimeout and body_s count from the last bytes, also where nobody looks at them."""
    one = lane("one", attributes='PostBufferSize="0"', server='ServerIOTimeout="1"')
    settings = f"[upstream]\nsplice = {splice}\n[timeouts]\nbody_s = 1.0\n"
    async with (
        running_proxy([one], settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(request("POST", "/one/x", f"Content-Length: {MIB}"))
        server = await one.origin.accept()
        await server.head()
        for at in range(0, MIB, MIB // 16):
            await client.send(body_of(MIB)[at : at + MIB // 16])
            await server.exactly(MIB // 16)
            await asyncio.sleep(1 / STEPS)
        await server.send(HEAD % MIB)
        await client.head()
        for at in range(0, MIB, MIB // 16):
            await server.send(body_of(MIB)[at : at + MIB // 16])
            assert await client.exactly(MIB // 16) == body_of(MIB)[at : at + MIB // 16]
            await asyncio.sleep(1 / STEPS)


@SPLICE
async def test_a_server_that_falls_silent_within_an_answer_is_given_up(splice: str) -> None:
    one = lane("one", server='ServerIOTimeout="1"')
    async with proxy_of(one, splice) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.head()
        await server.send(HEAD % MIB + body_of(MIB)[: MIB // 2])
        head = await client.head()
        with pytest.raises(IncompleteError) as caught:
            await client.body(head)
        assert len(caught.value.incomplete) == MIB // 2


@SPLICE
async def test_a_server_that_has_an_upload_and_falls_silent_is_given_up(splice: str) -> None:
    """The time begins with the last bytes, which it got through the pipe."""
    one = lane("one", attributes='PostBufferSize="0"', server='ServerIOTimeout="1"')
    async with proxy_of(one, splice) as proxy, await Client.connect(proxy.port) as client:
        await client.send(request("POST", "/one/x", f"Content-Length: {4 * KIB + 64 * KIB}"))
        server = await one.origin.accept()
        await server.head()
        await client.send(bytes(4 * KIB))
        await server.exactly(4 * KIB)
        await client.send(bytes(64 * KIB))
        await server.exactly(64 * KIB)
        assert (await client.answer()).status >= 500
        sent = await proxy.line(r"ServerIOTimeout.*?; (\d+) bytes were sent")
        assert int(sent[1]) == len(server.received)


@pytest.mark.parametrize("first", [READ_SIZE + 40 * KIB, 2 * READ_SIZE + 1, MIB - 5])
async def test_server_that_pauses_within_a_fast_body_holds_nothing_back(first: int) -> None:
    """The kernel wakes a worker for a quarter MiB at once (SO_RCVLOWAT), as long as that comes fast: what is here goes on all the same."""
    one = lane("one")
    goes_on = asyncio.Event()

    async def script(server: OriginConnection) -> None:
        for _ in range(2):
            await server.request()
            await server.send(HEAD % MIB + body_of(MIB)[:first])
            await goes_on.wait()
            goes_on.clear()
            await server.send(body_of(MIB)[first:])

    async with (
        proxy_of(one) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as client,
    ):
        for _ in range(2):
            await client.send(get("/one/x"))
            assert (await client.head()).status == 200
            assert await client.exactly(first) == body_of(MIB)[:first]
            goes_on.set()
            assert await client.exactly(MIB - first) == body_of(MIB)[first:]
        assert one.origin.accepted == 1


async def test_server_that_stops_within_a_fast_body_is_found() -> None:
    """ServerIOTimeout counts as ever where the worker waits for a quarter MiB."""
    one = lane("one", server='ServerIOTimeout="1"')
    part = READ_SIZE + 40 * KIB

    async def script(server: OriginConnection) -> None:
        await server.request()
        await server.send(HEAD % MIB + body_of(MIB)[:part])
        await server.end()

    async with (
        proxy_of(one) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as client,
    ):
        with pytest.raises(IncompleteError) as cut:
            await client.ask(get("/one/x"))
        assert len(cut.value.incomplete) >= part
