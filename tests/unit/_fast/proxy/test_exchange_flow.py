"""Writes and pauses step by step, on transports whose pace the test decides."""

from __future__ import annotations

import random

from tests.support.fake_transport import HIGH, FakeTransport
from tests.support.stage import LONG_S, Stage

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
SENT = b"GET /app/x HTTP/1.1\r\n"


def payload(count: int) -> bytes:
    return random.Random(count).randbytes(count)


def answer_of(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % size


def upload(stage: Stage, client: FakeTransport, message: bytes) -> FakeTransport:
    """The server that gets it: of a body some is read with the head, the rest once there is a connection."""
    read = client.offer(message)
    upstream = stage.server()
    client.deliver(message[read:])
    return upstream


def test_client_that_does_not_read_pauses_the_server_until_it_does(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    assert client.is_paused
    assert not upstream.is_reading_
    client.drain()
    assert upstream.is_reading_
    upstream.deliver(bytes(300_000))
    client.drain()
    assert stage.inflight == 0


def test_server_that_does_not_read_pauses_the_client_until_it_does(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
    assert not client.is_reading_  # nobody takes the body yet
    upstream = stage.server()
    assert client.is_reading_
    body = payload(600_000)
    client.deliver(body[:200_000])
    assert upstream.is_paused
    assert not client.is_reading_
    read = upstream.drain()
    assert client.is_reading_
    client.deliver(body[200_000:])
    read += upstream.drain()
    assert read.endswith(b"\r\n\r\n" + body)
    upstream.deliver(OK)
    assert client.drain() == OK


def test_body_that_waited_pauses_the_client_when_it_is_attached() -> None:
    """All that was kept is handed to the new connection at once; the client goes on only when that is through."""
    stage = Stage(backup=True)
    client = stage.client()
    body = payload(60_000)
    head = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\nX: %b\r\n\r\n"
    first = upload(stage, client, head % (b"x" * 30_000) + body[:59_000])
    first.lose(ConnectionResetError())
    second = stage.server()
    assert second.is_paused
    assert not client.is_reading_
    read = second.drain()
    assert client.is_reading_
    client.deliver(body[59_000:])
    read += second.drain()
    assert read.endswith(b"\r\n\r\n" + body)
    second.deliver(OK)
    assert client.drain() == OK
    stage.end()


INTERIM = b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 30_000 + b"\r\n\r\n"


def test_pause_reaches_a_connection_that_is_attached_later() -> None:
    """The first server's interim answers were not read yet when it died: the second must not be read either."""
    stage = Stage(backup=True)
    client = stage.client()
    client.deliver(GET)
    first = stage.server()
    first.deliver(INTERIM * 4)
    first.lose()
    assert client.is_paused
    second = stage.server()
    assert not second.is_reading_
    assert client.drain() == INTERIM * 4
    assert second.is_reading_
    second.deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_next_request_waits_until_the_client_has_read_the_last_answer(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET + GET)
    upstream = stage.server()
    upstream.drain()
    upstream.deliver(answer_of(200_000) + bytes(200_000))
    assert client.is_paused
    assert stage.inflight == 0
    assert upstream.is_reading_  # idle, its exchange is over
    assert client.drain() == answer_of(200_000) + bytes(200_000)
    assert stage.inflight == 1
    assert upstream.drain().startswith(SENT)
    upstream.deliver(OK)
    assert client.drain() == OK
    assert stage.inflight == 0


def test_requests_of_a_client_that_never_reads_do_not_pile_up(stage: Stage) -> None:
    """Each answer is larger than its request: without a limit, a stream of requests fills the memory."""
    client = stage.client()
    for _ in range(2000):
        if not client.is_reading_:
            break
        client.deliver(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
    assert not client.is_reading_
    assert len(client.held) < 4 * HIGH
    answers = bytearray()
    while stage.engine.take_turns() or client.held:
        answers += client.drain()
    answers += client.drain()
    assert client.is_reading_
    assert answers.count(b"HTTP/1.1 404 ") >= 2000


def test_client_that_stops_reading_is_cut_and_its_server_given_back(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    client.pump()
    stage.wait()
    assert not client.is_closing_  # it read something
    stage.wait()
    assert client.calls[-1] == "abort"
    client.lose()
    assert upstream.calls[-1] == "abort"
    assert stage.inflight == 0


def test_upload_that_ends_while_the_client_does_not_read_keeps_its_deadline(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    assert client.is_paused
    client.deliver(b"defghij")
    stage.wait()
    assert client.calls[-1] == "abort"


def test_slow_upload_is_the_clients_fault_and_ends_with_408(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    upstream = stage.server()
    stage.wait()
    assert client.drain().startswith(b"HTTP/1.1 408 ")
    assert upstream.calls[-1] == "abort"
    assert stage.inflight == 0


def test_upload_that_the_server_does_not_take_is_not_the_clients_fault(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
    upstream = stage.server()
    client.deliver(bytes(200_000))
    assert not client.is_reading_
    stage.wait()
    stage.wait()
    assert client.taken() == b""
    assert stage.inflight == 1
    upstream.drain()
    assert client.is_reading_
    client.deliver(bytes(400_000))
    upstream.drain()
    upstream.deliver(OK)
    assert client.drain() == OK


def test_server_io_timeout_does_not_count_while_the_client_sends_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
    upstream = stage.server()
    for _ in range(50):  # over a second, in steps shorter than body_s
        client.deliver(b"a")
        stage.wait(0.02)
    assert not upstream.is_closing_
    client.deliver(b"a" * 50)
    upstream.deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_server_io_timeout_does_not_count_while_the_client_reads_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(250_000))
    for _ in range(30):
        client.pump()
        stage.wait(0.04)
    assert not upstream.is_closing_
    client.drain()
    upstream.deliver(bytes(250_000))
    client.drain()
    assert stage.inflight == 0
    stage.end()


def test_server_io_timeout_does_not_count_while_the_server_reads_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    upstream = upload(
        stage,
        client,
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000),
    )
    assert upstream.held
    for _ in range(2):
        upstream.pump()
        stage.wait(1)
        assert not upstream.is_closing_
    assert upstream.held
    stage.wait(1)  # no byte more: now it hangs
    assert upstream.calls[-1] == "abort"
    assert client.drain().startswith(b"HTTP/1.1 504 ")
    stage.end()


def test_large_upload_leaves_the_connection_usable(stage: Stage) -> None:
    """The transport had to hold some of it back; when that is sent, the connection is as good as any."""
    client = stage.client()
    upstream = upload(
        stage,
        client,
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000),
    )
    upstream.drain()
    upstream.deliver(OK)
    client.drain()
    client.deliver(GET)
    assert stage.slow.waiting == []
    assert upstream.drain().startswith(SENT)
    upstream.deliver(OK)
    client.drain()


def test_connection_with_an_unsent_request_is_not_used_again(stage: Stage) -> None:
    """The server answered before it read all: what is held back would be the head of the next request to it."""
    client = stage.client()
    upstream = upload(
        stage,
        client,
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000),
    )
    assert upstream.held
    upstream.deliver(OK)
    assert upstream.calls[-1] == "abort"
    assert client.drain() == OK
    client.deliver(GET)
    assert len(stage.slow.waiting) == 1
