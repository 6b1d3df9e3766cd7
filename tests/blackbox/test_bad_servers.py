"""Answers that break HTTP and connections that break off: the client never takes a broken answer for a whole one."""

from __future__ import annotations

import pytest

from tests.blackbox.conftest import Shared
from tests.support.client import Client, IncompleteError, ask, get, request
from tests.support.flow import push
from tests.support.origin import OK, OriginConnection, keep_answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = 1 << 40

BAD_ANSWERS: dict[str, bytes] = {
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "random bytes": b"\x15\x03\x03\x00\x02\x02\x0a\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "control character in the reason": b"HTTP/1.1 200 O\x0bK\r\nContent-Length: 0\r\n\r\n",
    "empty Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    "signed Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "two Content-Lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "two equal Content-Lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "both framings": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "Transfer-Encoding gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "chunked of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "oversized head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 301 + b"\r\n",
    "bad interim answer": b"HTTP/1.1 103 Early Hints\r\nX\r\n\r\n" + OK,
    "bad first chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad later chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0x2\r\nok\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_bad_answer_is_502(shared: Shared, name: str) -> None:
    """Nothing of it reaches the client, its connection is not used again, the log names server and reason."""
    lane = shared.lane()
    logged = len(shared.proxy.lines)
    async with await Client.connect(shared.port) as client:
        for _ in range(2):
            await client.send(get(f"/{lane.name}/x"))
            server = await lane.origin.accept()
            await server.answer(BAD_ANSWERS[name])
            answer = await client.answer()
            assert answer.status == 502
            assert answer.get(b"cache-control") == b"no-store"
            assert await server.end() == b""
    line = await shared.proxy.line(rf"cluster {lane.name}: .*: answer is not HTTP/1.1: \w+", logged)
    assert "malformed" not in line.string


PARTS: dict[str, bytes] = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\npart",
    "chunked without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_answer_that_breaks_off_is_incomplete_for_the_client(
    shared: Shared, name: str, how: str, version: str
) -> None:
    """The client has less than the framing says, or a reset where only the end of the connection would say it."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x", version=version))
        server = await lane.origin.accept()
        await server.head()
        await server.send(PARTS[name])
        head = await client.head()
        if how == "close":
            server.close()
        else:
            server.reset()
        with pytest.raises(IncompleteError):
            await client.body(head)
    await shared.proxy.line(
        rf"GET /{lane.name}/x: cut off within the answer after a failure in cluster {lane.name}: .*connection closed, within its answer"
    )


async def test_close_delimited_answer_that_is_reset_is_reset(shared: Shared) -> None:
    """Only an orderly end is the end of such an answer."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        server = await lane.origin.accept()
        await server.head()
        await server.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        head = await client.head()
        assert await client.exactly(4) == b"part"
        server.reset()
        with pytest.raises(IncompleteError):
            await client.body(head)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_bad_chunk_within_an_answer_cuts_the_client_off(shared: Shared, version: str) -> None:
    """Too late for 502: the client must not see an end."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x", version=version))
        server = await lane.origin.accept()
        await server.head()
        await server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        head = await client.head()
        await server.send(b"-1\r\nx\r\n0\r\n\r\n")
        with pytest.raises(IncompleteError):
            await client.body(head)
        await server.end()


async def test_answer_before_the_request_is_asked_for_is_never_given(shared: Shared) -> None:
    """A server that answers twice at once: the second answer reaches nobody."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/1") + get(f"/{lane.name}/2"))
        first = await lane.origin.accept()
        await first.request()
        await first.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert (await client.answer()).body == b"ok"
        second = await lane.origin.accept()
        await second.answer()
        assert (await client.answer()).body == b"ok"


async def test_server_that_closes_without_answer_is_502(shared: Shared) -> None:
    """The only server of the cluster, on a fresh connection: there is nowhere else to go."""
    lane = shared.lane()

    async def script(connection: OriginConnection) -> None:
        await connection.request()

    async with lane.origin.serving(script):
        assert (await ask(shared.port, get(f"/{lane.name}/x"))).status == 502
    assert lane.origin.accepted == 1


async def test_server_that_ends_within_its_head_is_502(shared: Shared) -> None:
    """Half a head is no answer."""
    lane = shared.lane()

    async def script(connection: OriginConnection) -> None:
        await connection.answer(b"HTTP/1.1 200 OK\r\nContent-Le")

    async with lane.origin.serving(script):
        assert (await ask(shared.port, get(f"/{lane.name}/x"))).status == 502


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("body", [None, b"x" * 60_000], ids=["GET", "POST"])
async def test_reused_connection_that_the_server_drops_is_retried(
    shared: Shared, how: str, body: bytes | None
) -> None:
    """The server drops a kept connection when the next request arrives: the client does not notice."""
    lane = shared.lane()
    path = f"/{lane.name}/x"
    message = get(path) if body is None else request("POST", path, body=body)
    async with await Client.connect(shared.port) as client:
        await client.send(get(path))
        first = await lane.origin.accept()
        await first.answer()
        assert (await client.answer()).body == b"ok"
        await client.send(message)
        await first.head()
        if how == "close":
            first.close()
        else:
            first.reset()
        second = await lane.origin.accept()
        again = await second.answer()
        assert (await client.answer()).body == b"ok"
    assert again.endswith(b"\r\n\r\n" + (body or b""))
    assert b"$WSFO" not in again  # the same server: no failover


async def test_connection_that_was_closed_while_idle_is_not_noticed(shared: Shared) -> None:
    """Twenty rounds of answer and close: each next request is answered."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        for _ in range(20):
            await client.send(get(f"/{lane.name}/x"))
            server = await lane.origin.accept()
            await server.answer()
            server.close()
            assert (await client.answer()).body == b"ok"


async def test_upload_is_never_replayed_partly(shared: Shared) -> None:
    """A body above PostBufferSize that its server dropped: 500, and no second server hears of it."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        first = await lane.origin.accept()
        await first.answer()
        await client.answer()
        await client.send(
            request("POST", f"/{lane.name}/x", "Content-Length: 70000") + bytes(69_000)
        )
        await first.head()
        first.reset()
        answer = await client.answer()
        assert (answer.status, answer.closes) == (500, True)
    assert lane.origin.accepted == 1
    assert not lane.origin.has_waiting()


async def test_client_that_resets_cancels_its_request(shared: Shared) -> None:
    """The server sees the end of the connection, before and within its answer."""
    lane = shared.lane()
    for begun in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"):
        async with await Client.connect(shared.port) as client:
            await client.send(get(f"/{lane.name}/x"))
            server = await lane.origin.accept()
            await server.head()
            await server.send(begun)
            if begun:
                await client.head()
            client.reset()
            assert await server.end() == b""


async def test_client_that_leaves_within_its_upload_cancels_it(shared: Shared) -> None:
    """An orderly end within a body is no end of the body: the server sees the cut."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(
            request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n"
        )
        server = await lane.origin.accept()
        await server.head()
        client.half_close()
        assert await server.end() == b"3\r\nabc\r\n"
        assert await client.is_cut()


async def test_client_that_left_stops_an_endless_answer(shared: Shared) -> None:
    """A plain close looks like a half-close; the first bytes that nobody takes end the request."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        server = await lane.origin.accept()
        await server.head()
    await server.send(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await push(server.sock, bytes(65536), 0, ENDLESS)


async def test_answers_in_both_directions_at_once(shared: Shared) -> None:
    """A server that answers while the body still comes: both streams go through."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked"))
        server = await lane.origin.accept()
        await server.head()
        await server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.head()).closes
        for _ in range(5):
            await client.send(b"4\r\nping\r\n")
            assert await server.exactly(9) == b"4\r\nping\r\n"
            await server.send(b"4\r\npong\r\n")
            assert await client.exactly(9) == b"4\r\npong\r\n"
        await client.send(b"0\r\n\r\n")
        assert await server.exactly(5) == b"0\r\n\r\n"
        await server.send(b"0\r\n\r\n")
        assert await client.rest() == b"0\r\n\r\n"


async def test_healthy_server_after_all_that(shared: Shared) -> None:
    """The proxy still works."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        assert (await ask(shared.port, get(f"/{lane.name}/x"))).body == b"ok"
