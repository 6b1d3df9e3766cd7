"""A client's connection of HTTP/1: who it is, and its one exchange."""

from __future__ import annotations

from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.proxy.http1 import Http1, Http1Protocol

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"


def test_client_without_a_name_is_never_trusted() -> None:
    """It was gone before it was accepted; its private headers must not pass for those of a trusted proxy."""
    stage = Stage()

    class Nameless(FakeTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return None if name == "peername" else super().get_extra_info(name, default)

    client = Nameless(Http1Protocol(stage.engine))
    stage.transports.append(client)
    client.deliver(GET)
    assert stage.slow.waiting[0].facts.peer == "unknown"
    stage.end()


def test_one_exchange_serves_all_requests_and_the_slow_path_may_keep_it(stage: Stage) -> None:
    """It outlives its connection, and then leads nowhere."""
    client = stage.client()
    assert isinstance(client.protocol, Http1)
    exchange = client.protocol.exchange
    client.deliver(GET)
    assert stage.slow.waiting[0] is exchange
    server = stage.server()
    server.deliver(OK)
    client.deliver(GET)
    server.deliver(OK)
    assert client.drain() == OK * 2
    assert client.protocol.exchange is exchange
    client.deliver(GET.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 2\r\nHost"))
    assert exchange.is_open
    client.lose()
    assert not exchange.is_open
    assert not exchange.is_waiting
    assert exchange.write(b"HTTP/1.1 200 OK\r\n\r\n")
    exchange.answered()
    exchange.cut()
    assert stage.inflight == 0
