"""What http_plugin.log is told of a request: the decision that was taken, and no session below Trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.listening import listen
from tests.support.stage import Stage
from wsproxy._fast.tell.witness import LogLevel

pytestmark = pytest.mark.asan

SECRET = b"QWERTZ"
GET = (
    b"GET /app/x;jsessionid=0000QWERTZ:c0?q=1 HTTP/1.1\r\nHost: shop.example:81\r\n"
    b"Cookie: JSESSIONID=0001QWERTZ:c0\r\n\r\n"
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(attributes={"clone_id": "c0"})
    yield made
    made.end()


def test_request_is_told_as_it_was_matched_and_served(stage: Stage) -> None:
    witness = listen(stage)
    stage.client().deliver(GET)
    ((asked, chosen),) = witness.told
    assert (asked.host, asked.port, asked.method, asked.minor) == (b"shop.example", 81, b"GET", 1)
    assert (asked.path, asked.route, asked.cookie) == (b"/app/x", 0, b"JSESSIONID")
    assert asked.clone_ids == [b"c0", b"c0"]
    assert chosen is not None
    assert (chosen.server, chosen.by_affinity, chosen.clone_id) == ("s", True, b"c0")
    assert (chosen.is_down, chosen.retries, chosen.inflight, chosen.passed) == (False, False, 0, [])


@pytest.mark.parametrize("level", [LogLevel.DETAIL, LogLevel.DEBUG, LogLevel.TRACE])
def test_session_is_told_at_trace_only(stage: Stage, level: LogLevel) -> None:
    witness = listen(stage, level)
    stage.client().deliver(GET)
    asked = witness.told[0].asked
    told = b" ".join([asked.target, asked.path, *asked.values])
    assert (SECRET in told) is (level == LogLevel.TRACE)
    assert len(asked.values) == 2
    assert all(value.endswith(b":c0") for value in asked.values)


def test_request_without_a_route_has_no_server(stage: Stage) -> None:
    witness = listen(stage)
    stage.client().deliver(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
    asked, chosen = witness.told[0]
    assert (asked.route, asked.clone_ids, chosen) == (-1, [], None)
