"""One connection: what is written goes out whole and in order, and ends when it may."""

from __future__ import annotations

from tests.support.stage import Stage
from tests.unit._fast.proxy.test_exchange_flow import answer_of, payload

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
SENT = b"GET /app/x HTTP/1.1\r\n"


def test_what_the_kernel_does_not_take_follows_in_order(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    assert upstream.drain().startswith(SENT)
    body = payload(300_000)
    upstream.deliver(answer_of(len(body)) + body[:100])
    assert client.calls == []  # taken by the kernel at once
    read = b""
    for at in range(100, len(body), 20_000):
        if not upstream.is_reading_:
            read += client.drain()
        upstream.deliver(body[at : at + 20_000])
        read += client.pump()
    read += client.drain()
    assert read == answer_of(len(body)) + body
    assert any(call.startswith("write") for call in client.calls)


def test_direct_sends_begin_again_when_the_transport_is_empty(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(60_000) + bytes(30_000))
    client.drain()
    client.calls.clear()
    upstream.deliver(bytes(100))
    assert client.calls == []
    assert client.taken() == bytes(100)
    assert client.held == b""
    upstream.deliver(bytes(29_900))
    client.drain()


def test_direct_send_never_overtakes_what_the_transport_holds(stage: Stage) -> None:
    """The kernel has room again, but the transport has not noticed yet."""
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    body = payload(60_000)
    upstream.deliver(answer_of(60_000) + body[:40_000])
    read = client.taken()
    assert client.held
    upstream.deliver(body[40_000:])
    read += client.drain()
    assert read == answer_of(60_000) + body


def test_idle_client_that_still_reads_its_answer_is_not_ended(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(60_000) + bytes(60_000))
    assert not client.is_paused  # below the mark: nothing but the deadline knows
    read = client.pump()
    stage.wait()
    assert not client.is_closing_
    read += client.drain()
    assert len(read) == len(answer_of(60_000)) + 60_000
    stage.wait()  # it read: so it was there, and gets time for its next request
    assert not client.wrote_eof
    stage.wait()
    assert client.wrote_eof
    client.end()
    assert client.calls[-1] == "close"


def test_drain_waits_for_the_last_byte_of_an_answer(stage: Stage) -> None:
    """The exchange is over when the server is done; the client is not before it has read."""
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    assert stage.engine.drain() == 1
    upstream.deliver(answer_of(50_000) + bytes(50_000))
    assert stage.inflight == 0
    assert client.wrote_eof
    client.end()
    assert client.calls[-1] == "close"
    assert (stage.engine.drain(), stage.engine.count_served()) == (1, 1)
    assert b"\r\nConnection: close\r\n" in client.drain()
    assert stage.engine.count_served() == 0
    client.lose()
    assert stage.engine.drain() == 0
