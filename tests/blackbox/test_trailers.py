"""Trailer fields through the real proxy: only where the setting and the client allow them, never those of a head."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.blackbox.conftest import Shared
from tests.support.client import Client, get, request
from tests.support.origin import OK, answering, body_of, field, fields
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = (
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n$WSRU: root\r\nCookie: a=b\r\n"
    b"Set-Cookie: a=b\r\nAuthorization: x\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n"
)
GOOD = b"X-Sum: 12\r\nx-other:\t a b\r\n"
CHUNKS = b"2\r\nok\r\n0\r\n"
WHOLE = CHUNKS + FORGED + GOOD + FORGED + b"\r\n"
CLEAN = CHUNKS + GOOD + b"\r\n"
PAIRS = ((b"x-sum", b"12"), (b"x-other", b"a b"))
REPLY = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-Other\r\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def allowing() -> AsyncIterator[tuple[Proxy, Iterator[Lane]]]:
    """A proxy that lets trailers pass, and lanes that each test takes one of."""
    lanes = [lane(f"lane{number}") for number in range(40)]
    async with running_proxy(lanes, settings="[http]\ntrailers = true\n") as proxy:
        yield proxy, iter(lanes)


def asking(name: str, *lines: str, version: str = "1.1") -> bytes:
    return get(f"/{name}/x", *lines, version=version)


@pytest.mark.parametrize(
    "te", ["TE: trailers", "te:deflate;q=0.5 , Trailers", "TE: x\r\nTE: trailers"]
)
async def test_answers_trailers_go_to_who_wants_them(
    allowing: tuple[Proxy, Iterator[Lane]], te: str
) -> None:
    """Those of a head end here; the server hears that trailers are welcome, and the connection goes on."""
    proxy, lanes = allowing
    one = next(lanes)
    async with one.origin.serving(answering(REPLY)), await Client.connect(proxy.port) as client:
        for _ in range(2):
            answer = await client.ask(asking(one.name, te, "Connection: TE"))
            assert (answer.body, answer.trailers) == (b"ok", PAIRS)
            assert answer.get(b"trailer") == b"X-Sum, X-Other"
    assert one.origin.accepted == 1
    for message in one.origin.requests:
        assert field(message, b"te") == b"trailers"
        assert field(message, b"connection") == b"TE"


@pytest.mark.parametrize(
    "lines", [(), ("TE: deflate",), ("TE: trailers;q=0",), ("TE: trailersx",), ("TE:",)]
)
async def test_answers_trailers_are_not_for_others(
    allowing: tuple[Proxy, Iterator[Lane]], lines: tuple[str, ...]
) -> None:
    proxy, lanes = allowing
    one = next(lanes)
    async with one.origin.serving(answering(REPLY)), await Client.connect(proxy.port) as client:
        for _ in range(2):
            answer = await client.ask(asking(one.name, *lines))
            assert (answer.body, answer.trailers, answer.get(b"trailer")) == (b"ok", (), None)
    assert field(one.origin.requests[0], b"te") is None


async def test_answers_trailers_are_not_for_http10(allowing: tuple[Proxy, Iterator[Lane]]) -> None:
    proxy, lanes = allowing
    one = next(lanes)
    async with one.origin.serving(answering(REPLY)), await Client.connect(proxy.port) as client:
        answer = await client.ask(asking(one.name, "TE: trailers", version="1.0"))
        assert (answer.body, answer.is_close_delimited) == (b"ok", True)
        assert answer.get(b"trailer") is None
    assert field(one.origin.requests[0], b"te") is None


async def test_trailers_that_connection_may_name_end_here(
    allowing: tuple[Proxy, Iterator[Lane]],
) -> None:
    """What Connection names must not go on: with any name in it but TE, no trailer does."""
    proxy, lanes = allowing
    one = next(lanes)
    reply = REPLY.replace(b"\r\n", b"\r\nConnection: x-sum\r\n", 1)
    async with one.origin.serving(answering(reply)), await Client.connect(proxy.port) as client:
        head = request(
            "POST", f"/{one.name}/x", "TE: trailers", "Connection: X-Sum, TE", "Transfer-Encoding: chunked",
        )  # fmt: skip
        answer = await client.ask(head + WHOLE)
    assert (answer.body, answer.trailers, answer.get(b"trailer")) == (b"ok", (), None)
    assert body_of(one.origin.requests[0]) == CHUNKS + b"\r\n"


async def test_requests_trailers_go_to_the_server(allowing: tuple[Proxy, Iterator[Lane]]) -> None:
    """With the head, behind it and dripped; what follows is the next request."""
    proxy, lanes = allowing
    one = next(lanes)
    head = request("POST", f"/{one.name}/x", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    async with one.origin.serving(answering(OK)), await Client.connect(proxy.port) as client:
        await client.send(head + WHOLE + asking(one.name))
        for _ in range(2):
            assert (await client.answer()).body == b"ok"
        await client.send(head, WHOLE)
        assert (await client.answer()).body == b"ok"
        await client.send(head, *(WHOLE[at : at + 1] for at in range(len(WHOLE))))
        assert (await client.answer()).body == b"ok"
    first, get_request, second, third = one.origin.requests
    for message in (first, second, third):
        assert body_of(message) == CLEAN
        assert field(message, b"trailer") == b"X-Sum"
        assert b"evil" not in message
    assert body_of(get_request) == b""


async def test_answers_trailers_arrive_byte_by_byte(allowing: tuple[Proxy, Iterator[Lane]]) -> None:
    proxy, lanes = allowing
    one = next(lanes)
    async with await Client.connect(proxy.port) as client:
        await client.send(asking(one.name, "TE: trailers"))
        server = await one.origin.accept()
        await server.request()
        await server.send(*(REPLY[at : at + 1] for at in range(len(REPLY))))
        answer = await client.answer()
        assert (answer.body, answer.trailers) == (b"ok", PAIRS)


async def test_trailers_stay_with_a_request_that_is_sent_again() -> None:
    """The first server dies with the request; the second gets the same body and the same trailers."""
    two = lane("two", 2)
    first, second = (member.origin for member in two.members)
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            running_proxy([two], settings="[http]\ntrailers = true\n")
        )
        client = await stack.enter_async_context(await Client.connect(proxy.port))
        head = request(
            "POST", "/two/x", "Transfer-Encoding: chunked", "Cookie: JSESSIONID=0000a:c0"
        )
        await client.send(head, WHOLE)
        server = await first.accept()
        assert body_of(await server.request()) == CLEAN
        server.reset()
        server = await second.accept()
        assert body_of(await server.answer()) == CLEAN
        assert (await client.answer()).body == b"ok"


async def test_trailers_beyond_their_limit_are_refused(
    allowing: tuple[Proxy, Iterator[Lane]],
) -> None:
    """8 KiB are kept at most, whoever sends them."""
    proxy, lanes = allowing
    one = next(lanes)
    endless = CHUNKS + b"X: " + b"y" * 8200
    head = request("POST", f"/{one.name}/x", "Transfer-Encoding: chunked")
    async with await Client.connect(proxy.port) as client:
        await client.send(head + endless)
        assert (await client.answer()).status == 400
    reply = REPLY.replace(WHOLE, endless)
    async with one.origin.serving(answering(reply)), await Client.connect(proxy.port) as client:
        assert (await client.ask(asking(one.name, "TE: trailers"))).status == 502


async def test_trailers_end_here_by_default(shared: Shared) -> None:
    """Whatever the client says about them."""
    lane = shared.lane()
    head = request(
        "POST", f"/{lane.name}/x", "TE: trailers", "Connection: TE", "Transfer-Encoding: chunked"
    )
    async with lane.origin.serving(answering(REPLY)), await Client.connect(shared.port) as client:
        answer = await client.ask(head + WHOLE)
    assert (answer.body, answer.trailers, answer.get(b"trailer")) == (b"ok", (), None)
    [message] = lane.origin.requests
    assert body_of(message) == CHUNKS + b"\r\n"
    assert not {b"te", b"connection", b"trailer"} & dict(fields(message)).keys()
