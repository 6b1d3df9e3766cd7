"""Counts, paths and times in sentences."""

from __future__ import annotations

import pytest

from wsproxy.logs.words import NO_TIME_US, count_of, listed, short_names, span_text, time_text


@pytest.mark.parametrize(
    ("count", "what", "said"),
    [(1, "request", "1 request"), (2, "request", "2 requests"), (0, "process", "0 processes"), (2, "failed try", "2 failed tries")],
)  # fmt: skip
def test_one_is_one(count: int, what: str, said: str) -> None:
    assert count_of(count, what) == said


def test_many_names_are_some_and_a_number() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg") == "a, b, c, d and 3 more"


def test_paths_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["/a/b/c.log", "/a/b/d.log"]) == {
        "/a/b/c.log": "c.log",
        "/a/b/d.log": "d.log",
    }
    assert short_names(["/a/x/c.log", "/a/y/c.log", "-"]) == {
        "/a/x/c.log": "x/c.log", "/a/y/c.log": "y/c.log", "-": "-",
    }  # fmt: skip
    # one is the end of the other
    assert short_names(["/b/c.log", "/a/b/c.log"]) == {
        "/b/c.log": "/b/c.log",
        "/a/b/c.log": "a/b/c.log",
    }
    assert short_names(["c.log", "c.log"]) == {"c.log": "c.log"}


def test_a_log_without_times_has_none() -> None:
    assert time_text(NO_TIME_US) == ""
    assert span_text(NO_TIME_US, NO_TIME_US) == ""


def test_the_day_is_said_once() -> None:
    first = 1_434_191_524_000_000
    assert span_text(first, first) == "2015-06-13 10:32:04"
    assert span_text(first, first + 61_000_000) == "2015-06-13 10:32:04 to 10:33:05"
    assert span_text(first, first + 86_400_000_000) == "2015-06-13 10:32:04 to 2015-06-14 10:32:04"
