"""What the slow path may do with a request."""

from __future__ import annotations

import pytest

from tests.support.stage import SHORT_S, Stage
from wsproxy._fast.proxy.http1 import Http1

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
LATE_S = 0.6  # more than one that is late is waited for
INTERIM = b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 30_000 + b"\r\n\r\n"


def test_own_answer_follows_what_the_server_said_before_it_died(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    first = stage.server()
    first.deliver(INTERIM * 4)
    assert client.is_paused
    assert not first.is_reading_
    first.lose()
    assert stage.inflight == 0
    assert client.drain().startswith(INTERIM * 4 + b"HTTP/1.1 502 ")


def test_exchange_without_a_server_refuses_what_needs_one(stage: Stage) -> None:
    """These take an index of the exchange; -1 would be memory before the first server."""
    client = stage.client()
    client.deliver(b"GET")
    assert isinstance(client.protocol, Http1)
    downstream = client.protocol.exchange
    for call in (
        downstream.try_warm,
        downstream.next_server,
        downstream.count_failure,
        lambda: downstream.mark_down(1, ""),
    ):
        with pytest.raises(RuntimeError, match="has no server"):
            call()
    assert downstream.pool is None


def test_slow_path_that_is_late_may_go_on_and_one_that_is_gone_costs_its_client(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker may have stood still, and its sweep comes first: nobody is dropped at the first look."""
    late, gone = stage.client(), stage.client()
    for client in (late, gone):
        client.deliver(GET)
    for exchange in stage.slow.waiting:
        exchange.try_until(SHORT_S)
    stage.wait()
    assert not late.is_closing_
    assert not gone.is_closing_
    assert stage.inflight == 2
    stage.slow.waiting.reverse()
    upstream = stage.server()
    stage.wait(LATE_S)
    assert gone.calls[-1] == "abort"
    assert stage.inflight == 1
    assert "nobody goes on with a request" in caplog.text
    upstream.deliver(OK)
    assert late.drain().startswith(b"HTTP/1.1 200 OK")
    gone.lose()
