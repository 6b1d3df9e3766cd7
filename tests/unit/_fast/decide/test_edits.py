"""The order of all edits of a head: each sees what those before it left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.session_heads import (
    CLONE_IDS,
    COOKIE_LINES,
    FORWARDED_LINES,
    NAME,
    OTHERS,
    PATHS,
    SET_COOKIES,
    STATUS,
    URL_ID,
    completing,
    head_of,
    is_request,
    is_response,
    service_of,
)
from wsproxy._fast.decide.edits import rewrite_request, rewrite_response

pytestmark = pytest.mark.asan


@given(PATHS, st.lists(st.one_of(COOKIE_LINES, FORWARDED_LINES), max_size=5))
def test_clone_ids_are_taken_away_before_addresses_are_written(
    path: bytes, lines: list[bytes]
) -> None:
    """All edits of a request in one go are those edits one after the other; what is written means the same to the next."""
    data = head_of(b"GET " + path + b" HTTP/1.1", [b"Host: h", *lines])
    at_once = rewrite_request(
        data, service=service_of(x_forwarded=True, forwarded=True), strip=(NAME, URL_ID)
    )
    if not is_request(data):
        assert isinstance(at_once, int)
        return
    stripped = rewrite_request(data, service=service_of(), strip=(NAME, URL_ID), keep_private=True)
    assert isinstance(at_once, bytes)
    assert isinstance(stripped, bytes)
    assert is_request(at_once)
    target, cookies = seen(at_once)
    assert (target, cookies) == seen(stripped)
    assert at_once.count(b"\r\nX-Forwarded-For:") == 1


def test_a_hop_is_counted_before_all_else() -> None:
    data = head_of(b"OPTIONS / HTTP/1.1", [b"Host: h", b"Max-Forwards: 7"])
    written = rewrite_request(data, service=service_of(x_forwarded=True), keep_private=True)
    assert isinstance(written, bytes)
    assert b"\r\nMax-Forwards: 6\r\n" in written
    assert b"\r\nX-Forwarded-For: 192.0.2.1\r\n" in written
    assert rewrite_request(data, service=service_of(), scratch_size=10) == 1


def seen(head: bytes) -> tuple[bytes, list[bytes]]:
    """What the session is read from."""
    first, *lines = head.split(b"\r\n")
    return first.split(b" ")[1], [line for line in lines if line.lower().startswith(b"cookie:")]


@given(STATUS, st.lists(st.one_of(SET_COOKIES, OTHERS), max_size=5), CLONE_IDS)
def test_completed_answer_has_the_fields_that_every_answer_gets(
    status: bytes, lines: list[bytes], clone_id: bytes
) -> None:
    """The clone id is one edit, close and Date are others: none of them loses what another wrote."""
    data = head_of(status, lines)
    if not is_response(data):
        return
    completed = rewrite_response(data, service=completing(clone_id))
    assert isinstance(completed, bytes)
    both = rewrite_response(data, service=completing(clone_id), close=True)
    assert isinstance(both, bytes)
    assert b"\r\nConnection: close\r\n" in both
    assert set_cookies(both) == set_cookies(completed)


def set_cookies(head: bytes) -> list[bytes]:
    return [line for line in head.split(b"\r\n") if line.lower().startswith(b"set-cookie:")]
