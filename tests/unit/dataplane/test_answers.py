"""Answers of our own: whole messages, no word about servers."""

from __future__ import annotations

import time

import pytest

from tests.support.oracles.http_head import parse_response
from wsproxy._fast.http.dates import date_line
from wsproxy._fast.http.head import HEAD_ERRORS
from wsproxy.dataplane.answers import WORDS, answer

STATUSES = sorted(WORDS)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("http10", [True, False])
def test_answer_is_a_whole_message(status: int, keep_alive: bool, http10: bool) -> None:
    message = answer(status, keep_alive=keep_alive, head_only=False, http10=http10)
    head = parse_response(message)
    assert head is not None
    assert head["status"] == status
    size, length = head["size"], head["content_length"]
    assert isinstance(size, int)
    assert isinstance(length, int)
    assert len(message) == size + length
    assert b"wsproxy" in message[size:]


@pytest.mark.parametrize(
    ("keep_alive", "http10", "connection"),
    [
        (True, False, []),
        (False, False, [b"close"]),
        (True, True, [b"keep-alive"]),
        (False, True, [b"close"]),
    ],
)
def test_connection_field_says_what_happens(
    keep_alive: bool, http10: bool, connection: list[bytes]
) -> None:
    lines = answer(404, keep_alive=keep_alive, head_only=False, http10=http10).split(b"\r\n")
    assert [line[12:] for line in lines if line.startswith(b"Connection: ")] == connection


def test_answer_to_head_has_the_length_but_not_the_page() -> None:
    whole = answer(404, keep_alive=True, head_only=False)
    assert answer(404, keep_alive=True, head_only=True) == whole.partition(b"<!DOCTYPE")[0]


def test_405_names_the_methods_that_are_served() -> None:
    assert b"\r\nAllow: GET, HEAD, POST" in answer(405, keep_alive=True, head_only=False)
    own = answer(405, keep_alive=True, head_only=False, extra="Allow: GET, HEAD\r\n")
    assert own.count(b"Allow:") == 1


def test_answers_are_never_cached() -> None:
    for status in STATUSES:
        assert b"\r\nCache-Control: no-store\r\n" in answer(
            status, keep_alive=True, head_only=False
        )


def test_an_answer_has_the_date_of_its_own_moment() -> None:
    """Not that of the first one of its kind (RFC 9110 6.6.1)."""
    first = date_line()
    answer(404, keep_alive=True, head_only=False)
    while date_line() == first:
        time.sleep(0.02)
    before = date_line()
    message = answer(404, keep_alive=True, head_only=False)
    after = date_line()
    assert any(b"\r\n" + line.encode() in message for line in (before, after))
    assert first.encode() not in message


def test_every_status_of_a_refused_head_has_words() -> None:
    assert {status for status, _ in HEAD_ERRORS.values()} <= set(WORDS)
