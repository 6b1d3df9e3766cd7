"""Requests and answers through the real proxy: methods, framings, keep-alive, pipelining, old clients."""

from __future__ import annotations

import random

import pytest

from tests.blackbox.conftest import Shared
from tests.support.client import Client, ask, chunks, get, request
from tests.support.origin import (
    OK,
    OriginConnection,
    answering,
    body_of,
    field,
    fields,
    keep_answering,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
SIZES = [0, 1, 65536, 5 * MIB]


def payload(size: int) -> bytes:
    """Bytes that do not repeat, the same each time."""
    return random.Random(size).randbytes(size)


def drip(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_method_and_target_reach_the_server_as_they_came(shared: Shared, method: str) -> None:
    """The request line is the client's, with its query and odd characters."""
    lane = shared.lane()
    target = f"/{lane.name}/a%2Fb;p=1/c.jsp?x={{1}}&y=a|b"
    async with lane.origin.serving(keep_answering):
        answer = await ask(shared.port, request(method, target, body=b"data"))
    assert (answer.status, answer.body) == (200, b"ok")
    [message] = lane.origin.requests
    assert message.startswith(f"{method} {target} HTTP/1.1\r\nHost: shop.example:9080\r\n".encode())
    assert body_of(message) == b"data"


async def test_head_has_the_length_and_no_body(shared: Shared) -> None:
    """An answer to HEAD ends with its head, and both connections live on."""
    lane = shared.lane()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with lane.origin.serving(answering(answer)), await Client.connect(shared.port) as client:
        for _ in range(3):
            got = await client.ask(request("HEAD", f"/{lane.name}/x"), head_only=True)
            assert got.get(b"content-length") == b"5000"
    assert lane.origin.accepted == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_request_body_arrives_whole(shared: Shared, framing: str, size: int) -> None:
    """Bodies of all sizes, by Content-Length and chunked, and the next request on the same connections."""
    lane = shared.lane()
    body = payload(size)
    if framing == "length":
        message = request("POST", f"/{lane.name}/x", body=body)
    else:
        body = chunks(*(body[at : at + 50_000] for at in range(0, size, 50_000)))
        message = request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked") + body
    async with (
        lane.origin.serving(keep_answering),
        await Client.connect(shared.port) as client,
    ):
        assert (await client.ask(message)).body == b"ok"
        assert (await client.ask(get(f"/{lane.name}/next"))).body == b"ok"
    assert body_of(lane.origin.requests[0]) == body
    assert lane.origin.accepted == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_answer_body_arrives_whole(shared: Shared, framing: str, size: int) -> None:
    """Bodies of all sizes, by Content-Length, chunked and ended by close."""
    lane = shared.lane()
    body = payload(size)
    message = b"HTTP/1.1 200 OK\r\n"
    if framing == "length":
        message += b"Content-Length: %d\r\n\r\n" % size + body
    elif framing == "chunked":
        pieces = (body[at : at + 50_000] for at in range(0, size, 50_000))
        message += b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*pieces)
    else:
        message += b"\r\n" + body

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.answer(message)
            if framing == "close":
                return

    async with lane.origin.serving(script), await Client.connect(shared.port) as client:
        answer = await client.ask(get(f"/{lane.name}/x"))
        assert answer.body == body
        assert answer.is_close_delimited is answer.closes is (framing == "close")
        if framing != "close":
            assert (await client.ask(get(f"/{lane.name}/x"))).body == body
    assert lane.origin.accepted == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_dripped_request_and_answer(shared: Shared, framing: str) -> None:
    """Heads and bodies that come byte by byte, in both directions."""
    lane = shared.lane()
    if framing == "length":
        message = request("POST", f"/{lane.name}/x", "Cookie: a=b", body=b"0123456789")
        reply = b"HTTP/1.1 201 Created\r\nX-A: b\r\nContent-Length: 4\r\n\r\ndata"
    else:
        message = request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked") + chunks(
            b"01234", b"56789"
        )
        reply = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"da", b"ta")

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await connection.send(*drip(reply))

    async with lane.origin.serving(script), await Client.connect(shared.port) as client:
        for _ in range(2):
            await client.send(*drip(message))
            answer = await client.answer()
            assert (answer.status, answer.body) == (201, b"data")
    assert [body_of(each) for each in lane.origin.requests] == [body_of(message)] * 2


async def test_request_split_at_every_byte(shared: Shared) -> None:
    """Wherever a packet ends, the server gets the same bytes."""
    lane = shared.lane()
    for message in (
        request("POST", f"/{lane.name}/x", body=b"body"),
        request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked") + chunks(b"bo", b"dy"),
    ):
        lane.origin.connections.clear()
        async with (
            lane.origin.serving(keep_answering),
            await Client.connect(shared.port) as client,
        ):
            for at in range(1, len(message)):
                await client.send(message[:at], message[at:])
                assert (await client.answer()).body == b"ok"
        assert len(set(lane.origin.requests)) == 1
        assert len(lane.origin.requests) == len(message) - 1


async def test_answer_split_at_every_byte(shared: Shared) -> None:
    """Wherever a packet ends, the client gets the same answer; the server's connection stays in use."""
    lane = shared.lane()
    for reply in (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nDate: now\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks(b"bo", b"dy"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\nbody",
    ):
        lane.origin.connections.clear()

        async def script(connection: OriginConnection, reply: bytes = reply) -> None:
            for at in range(1, len(reply)):
                await connection.request()
                await connection.send(reply[:at], reply[at:])
            await connection.end()

        async with lane.origin.serving(script), await Client.connect(shared.port) as client:
            answers = {
                (answer.head, answer.body)
                for answer in [
                    await client.ask(get(f"/{lane.name}/x")) for _ in range(1, len(reply))
                ]
            }
        assert len(answers) == 1
        assert next(iter(answers))[1] == b"body"
        assert lane.origin.accepted == 1


async def test_connections_are_kept_on_both_sides(shared: Shared) -> None:
    """Fifty requests, one connection to the server."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for _ in range(50):
            answer = await client.ask(get(f"/{lane.name}/x"))
            assert (answer.status, answer.get(b"connection")) == (200, None)
    assert lane.origin.accepted == 1


async def test_close_of_the_client_keeps_the_server_connection(shared: Shared) -> None:
    """``Connection: close`` is between client and proxy."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.ask(get(f"/{lane.name}/x"))
        answer = await client.ask(get(f"/{lane.name}/x", "Connection: close"))
        assert answer.closes
        assert await client.rest() == b""
    assert lane.origin.accepted == 1
    assert field(lane.origin.requests[1], b"connection") is None


async def test_close_of_the_server_keeps_the_client_connection(shared: Shared) -> None:
    """A server that closes after each answer is connected to again."""
    lane = shared.lane()
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

    async def script(connection: OriginConnection) -> None:
        await connection.answer(reply)

    async with lane.origin.serving(script), await Client.connect(shared.port) as client:
        for _ in range(5):
            answer = await client.ask(get(f"/{lane.name}/x"))
            assert (answer.status, answer.get(b"connection")) == (200, None)
    assert lane.origin.accepted == 5


async def test_bytes_after_an_answer_end_the_server_connection(shared: Shared) -> None:
    """What follows an answer must never answer the next request."""
    lane = shared.lane()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async with (
        lane.origin.serving(answering(reply)),
        await Client.connect(shared.port) as client,
    ):
        for _ in range(3):
            assert (await client.ask(get(f"/{lane.name}/x"))).body == b"ok"
    assert lane.origin.accepted == 3


async def test_idle_server_connection_that_speaks_is_not_used(shared: Shared) -> None:
    """An answer nobody asked for, sent while the connection is idle, is thrown away with the connection."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        first = await lane.origin.accept()
        await first.answer()
        assert (await client.answer()).body == b"ok"
        await first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert await first.end() == b""
        async with lane.origin.serving(keep_answering):
            assert (await client.ask(get(f"/{lane.name}/x"))).body == b"ok"
    assert lane.origin.accepted == 2


async def test_http10_client_gets_one_answer_and_the_end(shared: Shared) -> None:
    """Without keep-alive the connection closes after the answer."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        answer = await client.ask(get(f"/{lane.name}/x", version="1.0"))
        assert (answer.body, answer.closes) == (b"ok", True)
        assert await client.rest() == b""


async def test_http10_client_without_host_is_served(shared: Shared) -> None:
    """The server gets a Host all the same: HTTP/1.1 demands one."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        answer = await ask(shared.port, f"GET /{lane.name}/x HTTP/1.0\r\n\r\n".encode())
    assert answer.status == 200
    assert field(lane.origin.requests[0], b"host") == b"127.0.0.1"


async def test_http10_client_with_keep_alive_is_kept(shared: Shared) -> None:
    """And told so, because for HTTP/1.0 it is not the default."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for _ in range(3):
            answer = await client.ask(
                get(f"/{lane.name}/x", "Connection: keep-alive", version="1.0")
            )
            assert answer.get(b"connection") == b"keep-alive"


async def test_http10_client_gets_a_chunked_answer_plain(shared: Shared) -> None:
    """HTTP/1.0 has no chunks: the payload and then the end; the server's connection is kept."""
    lane = shared.lane()
    body = payload(200_000)
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body[:7], body[7:])
    async with lane.origin.serving(answering(reply)):
        for _ in range(3):
            answer = await ask(
                shared.port, get(f"/{lane.name}/x", "Connection: keep-alive", version="1.0")
            )
            assert answer.body == body
            assert answer.is_close_delimited
            assert answer.closes
            assert answer.get(b"transfer-encoding") is None


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answer_without_body_ends_with_its_head(shared: Shared, status: bytes) -> None:
    """Whatever framing the server names, and the connection is kept."""
    lane = shared.lane()
    replies = [b"\r\n", b"ETag: x\r\nContent-Length: 10\r\n\r\n"]
    for reply in replies:
        async with (
            lane.origin.serving(answering(b"HTTP/1.1 " + status + b"\r\n" + reply)),
            await Client.connect(shared.port) as client,
        ):
            for _ in range(2):
                answer = await client.ask(get(f"/{lane.name}/x"))
                assert answer.status == int(status[:3])
                assert not answer.closes
                if status.startswith(b"204"):
                    assert answer.get(b"content-length") is None


async def test_no_transfer_encoding_where_it_is_forbidden(shared: Shared) -> None:
    """Neither on 204 nor to HTTP/1.0, also not on an answer to HEAD (RFC 9112 6.1)."""
    lane = shared.lane()
    async with lane.origin.serving(
        answering(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
    ):
        answer = await ask(shared.port, get(f"/{lane.name}/x"))
        assert answer.get(b"transfer-encoding") is None
    async with lane.origin.serving(
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    ):
        answer = await ask(
            shared.port, request("HEAD", f"/{lane.name}/x", version="1.0"), head_only=True
        )
        assert answer.get(b"transfer-encoding") is None


async def test_interim_answers_come_through(shared: Shared) -> None:
    """100 (with the Content-Length: 0 of Liberty) and 103, then the final answer."""
    lane = shared.lane()
    reply = (
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK
    )
    async with (
        lane.origin.serving(answering(reply)),
        await Client.connect(shared.port) as client,
    ):
        for _ in range(2):
            await client.send(get(f"/{lane.name}/x"))
            first, second = await client.head(), await client.head()
            assert (first.status, first.get(b"content-length")) == (100, None)
            assert (second.status, second.get(b"link")) == (103, b"</a.css>")
            assert (await client.answer()).body == b"ok"
    assert lane.origin.accepted == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_framing_of_an_interim_answer_means_nothing(shared: Shared, framing: bytes) -> None:
    """A 1xx ends with its head whatever it says: what follows is the next head, and the connections go on."""
    lane = shared.lane()
    reply = b"HTTP/1.1 103 Early Hints\r\n%b\r\nX-A: b\r\n\r\n" % framing + OK
    async with lane.origin.serving(answering(reply)), await Client.connect(shared.port) as client:
        for _ in range(2):
            await client.send(get(f"/{lane.name}/x"))
            interim = await client.head()
            assert (interim.status, interim.get(b"x-a")) == (103, b"b")
            assert (interim.get(b"content-length"), interim.get(b"transfer-encoding")) == (
                None,
                None,
            )
            assert (await client.answer()).body == b"ok"
    assert lane.origin.accepted == 1


async def test_final_answer_instead_of_continue_ends_the_request(shared: Shared) -> None:
    """The client keeps its body to itself; what it sends next on the connection is not read as a request."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(
            request("POST", f"/{lane.name}/x", "Expect: 100-continue", "Content-Length: 4")
        )
        server = await lane.origin.accept()
        assert field(await server.head(), b"expect") == b"100-continue"
        await server.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        answer = await client.answer()
        assert (answer.status, answer.body, answer.closes) == (403, b"no", True)
        await client.send(get(f"/{lane.name}/smuggled"))
        assert await client.is_cut()
        assert b"smuggled" not in await server.end()


async def test_local_answer_instead_of_continue_ends_the_request(shared: Shared) -> None:
    """No server will ever say 100: the answer comes at once, without one."""
    async with await Client.connect(shared.port) as client:
        await client.send(request("POST", "/nowhere", "Expect: 100-continue", "Content-Length: 4"))
        head = await client.head()
        assert (head.status, head.closes) == (404, True)
        await client.body(head)
        assert await client.rest() == b""


async def test_interim_answers_are_not_for_http10(shared: Shared) -> None:
    """HTTP/1.0 clients take the first head for the last."""
    lane = shared.lane()
    reply = b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK
    async with lane.origin.serving(answering(reply)), await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x", version="1.0"))
        assert (await client.head()).status == 200


async def test_expect_continue_waits_for_the_server(shared: Shared) -> None:
    """The body goes when the server said 100, end to end."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        message = request("POST", f"/{lane.name}/x", "Expect: 100-continue", body=b"data")
        await client.send(message[:-4])
        server = await lane.origin.accept()
        assert field(await server.head(), b"expect") == b"100-continue"
        await server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert (await client.head()).status == 100
        await client.send(message[-4:])
        assert await server.exactly(4) == b"data"
        await server.send(OK)
        assert (await client.answer()).body == b"ok"


async def test_switching_protocols_without_upgrade_is_a_bad_answer(shared: Shared) -> None:
    """101 that nobody asked for: 502."""
    lane = shared.lane()
    async with lane.origin.serving(
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    ):
        answer = await ask(shared.port, get(f"/{lane.name}/x", "Connection: Upgrade", "Upgrade: x"))
    assert answer.status == 502
    assert b"upgrade" not in dict(fields(lane.origin.received))


async def test_trailers_end_here(shared: Shared) -> None:
    """Trailer fields are dropped in both directions; the messages stay whole."""
    lane = shared.lane()
    body = b"2\r\nok\r\n0\r\n"
    reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        + body
        + b"X-T: 1\r\n\r\n"
    )
    message = request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked", "Trailer: X-T")
    async with (
        lane.origin.serving(answering(reply)),
        await Client.connect(shared.port) as client,
    ):
        for _ in range(2):
            answer = await client.ask(message + body + b"X-T: 1\r\n\r\n")
            assert (answer.body, answer.trailers) == (b"ok", ())
            assert answer.get(b"trailer") is None
    for received in lane.origin.requests:
        assert body_of(received) == body + b"\r\n"
        assert field(received, b"trailer") is None


async def test_early_answer_reaches_a_client_that_still_uploads(shared: Shared) -> None:
    """The server says 413 and closes: the client reads 413, whatever it had still to send."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(request("POST", f"/{lane.name}/x", "Content-Length: 50000000"))
        await client.send(bytes(300_000))
        server = await lane.origin.accept()
        await server.head()
        await server.send(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
        )
        server.half_close()
        answer = await client.answer()
        assert (answer.status, answer.body, answer.closes) == (413, b"big", True)
        await client.send(bytes(100_000))
        assert await client.rest() == b""
        server.close()


async def test_options_of_the_whole_server_without_route_is_local(shared: Shared) -> None:
    """``OPTIONS *`` has no path that a Uri could match."""
    assert (await ask(shared.port, request("OPTIONS", "*"))).status == 404
