"""What one client may cost: requests sent ahead, and bytes after the last answer."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
MOST_KEPT = 65536
MOST_LINGERED = 16 << 20
MIB = 1 << 20
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


@pytest.mark.parametrize("at_once", [False, True], ids=["body later", "at once"])
@pytest.mark.parametrize(("head", "body"), BODIES.values(), ids=BODIES)
def test_requests_sent_ahead_are_read_up_to_64_kib(
    stage: Stage, head: bytes, body: bytes, at_once: bool
) -> None:
    """Behind a request that waits for its server, whatever its framing, and however large one read could be."""
    client = stage.client()
    ahead = GET * (4 * MOST_KEPT // len(GET))
    rest = head + body + ahead
    taken = client.offer(rest if at_once else head)
    assert taken <= len(head) + len(body) + MOST_KEPT
    rest = rest[taken:]
    upstream = stage.server(kernel_bytes=1 << 20)
    while rest and client.is_reading_:
        rest = rest[client.offer(rest) :]
        upstream.drain()
    # A socket that is read again, because its server is there, has at least a byte taken.
    assert len(ahead) - len(rest) <= MOST_KEPT + 1
    assert not client.is_reading_
    upstream.deliver(OK)
    assert client.taken() == OK


def test_client_that_does_not_read_has_64_kib_of_requests_read(stage: Stage) -> None:
    """Its answer waits for it, so they do."""
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
    )
    assert client.is_paused
    assert client.offer(GET * 10_000) == MOST_KEPT
    client.drain()
    assert client.is_reading_


def test_client_that_never_stops_sending_is_read_up_to_a_limit_and_keeps_its_answer(
    stage: Stage,
) -> None:
    """What it was on its way with has room; then it is not read, and cut when it has had its time."""
    client = stage.client()
    client.deliver(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
    assert client.wrote_eof
    block = bytes(MIB)
    count = 0
    while client.is_reading_:
        count += client.offer(block)
    assert MOST_LINGERED < count <= MOST_LINGERED + MIB
    assert not client.is_closing_
    assert client.taken().startswith(b"HTTP/1.1 404 ")
    assert stage.engine.lingering == 1
    stage.wait(0.3)
    stage.wait()
    assert client.calls[-1] == "abort"
    client.lose()
    assert stage.engine.lingering == 0
