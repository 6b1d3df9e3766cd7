"""What the slow path may know of a request."""

from __future__ import annotations

import pytest

from tests.support.stage import Stage
from wsproxy._fast.proxy.http1 import Http1

GET = b"GET /app/x?y=1 HTTP/1.1\r\nHost: h\r\nX-One: a\r\nX-Two: b\r\nx-one: c\r\n\r\n"


def test_exchange_that_waits_for_a_server_says_what_it_is(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    (exchange,) = stage.slow.waiting
    assert exchange.is_waiting
    assert exchange.is_open
    assert not exchange.is_secure
    assert exchange.pool is not None
    assert exchange.cluster is not None
    assert exchange.cluster_name == exchange.cluster.name
    assert exchange.facts.body_bytes == 0
    assert not exchange.facts.reused
    assert exchange.tries is None
    client.lose()
    assert not exchange.is_open


def test_fields_are_told_only_while_the_head_is_there(stage: Stage) -> None:
    """The head is the reader's: afterwards its bytes may be another request's."""
    client = stage.client()
    client.deliver(GET)
    (exchange,) = stage.slow.waiting
    with pytest.raises(RuntimeError, match="head is gone"):
        exchange.asked_fields(frozenset({b"x-one"}))


def test_exchange_without_a_request_has_nothing_to_tell(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"GET")
    assert isinstance(client.protocol, Http1)
    exchange = client.protocol.exchange
    assert exchange.pool is None
    assert exchange.cluster is None
    assert exchange.cluster_name == ""
    assert exchange.request_line == b""
    assert exchange.own_page(503) is None
    assert not exchange.is_waiting
