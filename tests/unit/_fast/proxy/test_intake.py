"""What happened to a client while one request ran is judged again for the next that it had sent ahead."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.stage import SHORT_S, Stage
from tests.support.wire import Origin
from wsproxy.config.settings import Settings, TimeoutSettings

pytestmark = pytest.mark.asan

MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/y HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST /app/z HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET /app/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize(
    "part",
    [
        POST,
        POST + b"123456789",
        CHUNKED,
        CHUNKED + b"5\r\nab",
        CHUNKED + b"5\r\nabcde\r\n0\r\n",
        CHUNKED + b"1\r\na\r\n0\r\nA: b\r\n",
    ],
    ids=["head only", "one byte short", "no chunk", "in a chunk", "no end", "in trailers"],
)
def test_half_a_request_of_a_client_that_ended_before_its_turn_goes_nowhere(
    stage: Stage, part: bytes
) -> None:
    """As it would have been cancelled, had its end come a moment later."""
    client = stage.client()
    client.deliver(GET + part)
    upstream = stage.server()
    upstream.drain()
    assert client.protocol.eof_received()
    upstream.deliver(OK)
    assert stage.inflight == 0
    assert upstream.taken() == b""
    assert stage.slow.waiting == []
    assert client.drain() == OK
    assert client.calls[-1] == "close"


@pytest.mark.parametrize(
    "whole",
    [GET, POST + b"1234567890", CHUNKED + b"1\r\na\r\n0\r\nA: b\r\n\r\n", UPGRADE],
    ids=["no body", "length", "chunked", "upgrade"],
)
def test_whole_request_of_a_client_that_ended_before_its_turn_is_answered(
    stage: Stage, whole: bytes
) -> None:
    """It may have closed its side only; and one more, behind it, is not whole."""
    client = stage.client()
    client.deliver(GET + whole + POST)
    upstream = stage.server()
    upstream.drain()
    assert client.protocol.eof_received()
    upstream.deliver(OK)
    assert stage.inflight == 1
    upstream.deliver(OK)
    assert stage.inflight == 0
    assert client.drain() == OK + OK
    assert client.calls[-1] == "close"


@pytest.mark.parametrize("rest", [b"", b"12345", b"1234567890"], ids=["none", "half", "all"])
def test_request_that_is_answered_here_is_answered_whatever_came_of_its_body(
    stage: Stage, rest: bytes
) -> None:
    """Nobody reads it, so nobody asks whether it is whole; as where the end comes a moment later."""
    client = stage.client()
    client.deliver(GET + POST.replace(b"/app/", b"/none/") + rest)
    upstream = stage.server()
    assert client.protocol.eof_received()
    upstream.deliver(OK)
    answers = client.drain()
    assert answers.startswith(OK)
    assert b"HTTP/1.1 404 " in answers
    assert client.calls[-1] == "close"


def test_client_that_ended_before_its_malformed_request_is_told_and_not_waited_for(
    stage: Stage,
) -> None:
    client = stage.client()
    client.deliver(GET + CHUNKED + b"zz\r\n")
    upstream = stage.server()
    assert client.protocol.eof_received()
    upstream.deliver(OK)
    assert b"HTTP/1.1 400 " in client.drain()
    assert stage.inflight == 0
    assert client.calls[-1] == "close"


@pytest.mark.parametrize("half_closed_s", [0.0, 60.0], ids=["gone", "may wait"])
def test_half_closed_s_is_asked_for_each_request_that_begins(half_closed_s: float) -> None:
    """With 0 the answer that has begun is brought to its end, and no other one is begun."""
    stage = Stage(settings=Settings(timeouts=TimeoutSettings(half_closed_s=half_closed_s)))
    client = stage.client()
    client.deliver(GET + GET)
    upstream = stage.server()
    upstream.drain()
    upstream.deliver(LONG + b"ab")
    assert client.protocol.eof_received()
    upstream.deliver(b"cd")
    assert client.drain() == LONG + b"abcd"
    assert stage.inflight == (half_closed_s > 0)
    assert ("close" in client.calls) == (half_closed_s == 0)
    stage.end()


def test_half_closed_s_counts_for_the_next_request_too() -> None:
    """As long as its answer has not begun."""
    stage = Stage(settings=Settings(timeouts=TimeoutSettings(half_closed_s=SHORT_S)))
    client = stage.client()
    client.deliver(GET + GET)
    upstream = stage.server()
    assert client.protocol.eof_received()
    upstream.deliver(OK)
    assert stage.inflight == 1
    stage.wait()
    assert client.calls[-1] == "abort"
    client.lose()
    assert stage.inflight == 0
    stage.end()


def test_next_request_of_a_client_whose_reset_was_told_to_a_send_goes_nowhere(
    stage: Stage,
) -> None:
    client = stage.client()
    client.far.close()
    client.deliver(MISS + POST + b"1234567890")
    assert stage.inflight == 0
    assert stage.slow.waiting == []
    assert client.calls[-1] == "abort"


async def test_request_that_lies_before_a_reset_goes_nowhere() -> None:
    """The kernel hands out what came before it, and then tells of it: with the event, it is known before."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        client.send_now(GET)
        client.reset()
        await bed.until(lambda: bed.engine.open_streams == 0)
        assert bed.engine.requests == 0
        assert not origin.has_waiting()
