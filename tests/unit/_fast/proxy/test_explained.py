"""The decision in the answer's fields: for the trusted client that asks, and for nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.stage import Stage
from wsproxy.config.settings import Settings
from wsproxy.config.settings_told import ExplainSettings

pytestmark = pytest.mark.asan

PEER = "192.0.2.7"  # of every client on a stage
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n%b\r\n"
ASK = b"X-Wsproxy-Explain: 1\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\nok"


def make(trusted: str) -> Stage:
    return Stage(settings=Settings(explain=ExplainSettings(trusted=(trusted,))))


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = make(PEER)
    yield made
    made.end()


def answer_of(stage: Stage, lines: bytes) -> bytes:
    """What the client gets, and its server sent."""
    client = stage.client()
    client.deliver(GET % lines)
    stage.server().deliver(OK)
    return client.drain()


def fields_of(answer: bytes) -> list[bytes]:
    return re.findall(rb"\r\n(X-Wsproxy-\w+):", answer)


def test_answer_has_the_decision_and_all_that_the_server_said(stage: Stage) -> None:
    answer = answer_of(stage, ASK)
    assert b"\r\nX-Wsproxy-Server: s" in answer
    assert b"\r\nX-Wsproxy-Affinity: none\r\n" in answer
    assert b"\r\nX-Own: 1\r\n" in answer
    assert answer.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("lines", [b"", b"X-Wsproxy-Explain: 0\r\n", b"X-Wsproxy-Explained: 1\r\n"])
def test_who_does_not_ask_is_told_nothing(stage: Stage, lines: bytes) -> None:
    assert fields_of(answer_of(stage, lines)) == []


def test_who_is_not_trusted_is_told_nothing() -> None:
    stage = make("192.0.2.8")
    assert fields_of(answer_of(stage, ASK)) == []
    stage.end()


def test_decision_of_one_request_is_not_told_to_the_next(stage: Stage) -> None:
    """On the same connection."""
    client = stage.client()
    client.deliver(GET % ASK)
    upstream = stage.server()
    upstream.deliver(OK)
    assert fields_of(client.drain())
    client.deliver(GET % b"")
    upstream.drain()
    upstream.deliver(OK)
    assert fields_of(client.drain()) == []
