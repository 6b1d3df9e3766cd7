"""Words that all commands share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wsproxy.cli.asking import ago, joined, span

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_span_has_one_unit(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_ago_is_never_ahead() -> None:
    """The clocks of two machines differ."""
    assert ago("2026-11-30T11:57:00+00:00", NOW) == "3 min"
    assert ago("2026-11-30T12:57:00+00:00", NOW) == "0 s"
    assert ago("", NOW) == ""


def test_what_says_nothing_is_left_out() -> None:
    assert joined(["a", "", "b"]) == "a, b"
    assert joined(["", ""]) == ""
