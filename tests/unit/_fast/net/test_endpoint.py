"""What a connection learns of its socket: whether its peer still reads."""

from __future__ import annotations

from tests.support.stage import Stage
from tests.unit._fast.proxy.test_exchange_flow import answer_of

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
SENT = b"GET /app/x HTTP/1.1\r\n"


def test_closed_connection_is_ended_when_the_rest_is_never_read(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    upstream = stage.server()
    upstream.deliver(answer_of(200_000) + bytes(200_000))
    assert stage.inflight == 0
    assert client.calls[-1] == "close"
    stage.wait()
    assert client.calls[-1] == "abort"


def test_closed_connection_lives_as_long_as_the_rest_is_read(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    upstream = stage.server()
    upstream.deliver(answer_of(50_000) + bytes(50_000))
    read = client.pump()
    stage.wait()
    read += client.pump()
    stage.wait()
    assert client.calls[-1] == "close"
    read += client.drain()
    assert read.endswith(b"\r\nConnection: close\r\n\r\n" + bytes(50_000))
