"""What one peer may cost: memory that waits, a head that drips, bytes after the last answer."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.fake_transport import FakeTransport
from tests.support.stage import LONG_S, SHORT_S, Stage

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
MOST_KEPT = 65536
MOST_LINGERED = 16 << 20
MIB = 1 << 20


# --- memory -------------------------------------------------------------------------------------------------------

BODIES = {
    "none": (GET, b""),
    "length": (POST + b"Content-Length: 10\r\n\r\n", b"0123456789"),
    "length, large": (POST + b"Content-Length: 300000\r\n\r\n", b"x" * 300_000),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "chunk, large": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"30000\r\n" + b"x" * 0x30000 + b"\r\n0\r\n\r\n",
    ),
}


# --- what still comes after the last answer -----------------------------------------------------------------------


# --- the head of an answer ----------------------------------------------------------------------------------------


def head_of(size: int) -> bytes:
    """An answer's head of about so many bytes, in few fields, without its empty line."""
    field = b"X: %b\r\n" % (b"v" * 4090)
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + field * (size // len(field))


def seconds_of(action: Callable[[], None]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def drip(transport: FakeTransport, data: bytes) -> None:
    for at in range(len(data)):
        transport.deliver(data[at : at + 1])


def test_head_of_a_server_that_drips_costs_what_each_byte_costs() -> None:
    """Read from where it was read to, as a client's: 2,000 bytes behind 900 KiB would be scanned 2,000 times else."""
    few, many = (Stage(head_bytes=MIB, body_s=LONG_S) for _ in range(2))
    spent = []
    for stage, size in ((few, 8192), (many, 900_000)):
        client = stage.client()
        client.deliver(GET)
        upstream = stage.server()
        upstream.deliver(head_of(size))
        spent.append(seconds_of(lambda: drip(upstream, b"Y: " + b"y" * 2000)))  # noqa: B023
        upstream.deliver(b"\r\n\r\nok")
        assert client.drain().endswith(b"\r\n\r\nok")
        stage.end()
    assert spent[1] < 8 * spent[0]


def test_head_of_an_answer_must_be_whole_in_time() -> None:
    """server_head_s counts over the whole head, so each byte in time buys none: ServerIOTimeout is per read."""
    stage = Stage(backup=True, body_s=LONG_S, server_head_s=SHORT_S)
    client = stage.client()
    client.deliver(GET)
    first = stage.server()
    stage.wait(2 * SHORT_S)  # not before it has begun: that is ServerIOTimeout's
    assert not first.is_closing_
    for at in range(len(OK)):
        if first.is_closing_:
            break
        first.deliver(OK[at : at + 1])
        stage.wait(SHORT_S / 3)
    assert first.calls[-1] == "abort"
    second = stage.server()
    second.deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_interim_heads_have_their_own_time() -> None:
    # all of them take longer than the limit, none of them does on a machine that others use
    stage = Stage(body_s=LONG_S, server_head_s=10 * SHORT_S)
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    for _ in range(6):
        upstream.deliver(b"HTTP/1.1 103 Early Hints\r\n")
        stage.wait()
        upstream.deliver(b"\r\nHTTP/1.1")
        upstream.deliver(b" 102 Processing\r\n\r\n")
        stage.wait()
    assert not upstream.is_closing_
    upstream.deliver(OK)
    assert client.drain().endswith(OK)
    stage.end()


def test_head_has_time_without_end_where_there_is_no_limit() -> None:
    stage = Stage(body_s=LONG_S, server_head_s=0)
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(OK[:20])
    stage.wait(0.3)
    upstream.deliver(OK[20:])
    assert client.drain() == OK
    stage.end()


def test_time_of_a_head_does_not_count_while_the_client_does_not_read() -> None:
    """Nobody reads from the server then: the rest of its head may be here."""
    stage = Stage(body_s=LONG_S, server_head_s=SHORT_S)
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    interim = b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 30_000 + b"\r\n\r\n"
    upstream.deliver(interim * 3 + b"HTTP/1.1 200 OK\r\n")
    assert client.is_paused
    assert not upstream.is_reading_
    stage.wait(3 * SHORT_S)
    assert not upstream.is_closing_
    read = client.drain()
    stage.engine.sweep()
    upstream.deliver(OK[17:])
    assert (read + client.drain()).endswith(b"ok")
    stage.end()
