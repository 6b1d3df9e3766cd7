"""Whether requests fare worse since a reload: what counts, and against what."""

from __future__ import annotations

import pytest

from wsproxy._fast.state.segment import Totals
from wsproxy.reload.guard import LEAST_REQUESTS, Guard

ZERO = Totals(0, 0, 0, 0)


def after(before: Totals, since: Totals, *, guard_s: float = 10, limit: float = 0.05) -> str:
    """What it says where ``before`` came in the seconds before a reload, and ``since`` in the second after it."""
    guard = Guard(guard_s, limit)
    assert guard.look(0, ZERO) == ""
    assert guard.look(5, before) == ""
    guard.watch(5, before)
    return guard.look(6, Totals(*(a + b for a, b in zip(before, since, strict=True))))


@pytest.mark.parametrize(
    ("before", "since", "said"),
    [
        (Totals(100, 0, 0, 0), Totals(100, 0, 0, 0), ""),
        (Totals(100, 0, 0, 0), Totals(50, 50, 0, 0), "50.0% were 404: no Route takes them; before it 0.0%"),
        (Totals(100, 0, 0, 0), Totals(80, 0, 20, 0), "20.0% were 5xx by wsproxy; before it 0.0%"),
        (Totals(100, 0, 0, 0), Totals(100, 0, 0, 30), "30.0% were not taken by a server of their session"),
        (Totals(50, 50, 0, 0), Totals(50, 50, 0, 0), ""),
        (Totals(90, 0, 10, 0), Totals(86, 0, 14, 0), ""),
        (Totals(90, 0, 10, 0), Totals(84, 0, 16, 0), "16.0% were 5xx by wsproxy; before it 10.0%"),
    ],
    ids=["well", "404", "5xx", "sessions", "as bad as before", "a little worse", "worse"],
)  # fmt: skip
def test_shares_are_compared(before: Totals, since: Totals, said: str) -> None:
    found = after(before, since)
    assert said in found
    assert bool(found) == bool(said)


def test_few_requests_say_nothing() -> None:
    few, enough = Totals(LEAST_REQUESTS - 1, 0, 0, 0), Totals(LEAST_REQUESTS, 0, 0, 0)
    bad = Totals(0, LEAST_REQUESTS, 0, 0)
    assert after(enough, bad)
    assert after(enough, Totals(0, LEAST_REQUESTS - 1, 0, 0)) == ""
    assert after(few, bad) == ""


def test_its_time_ends_and_it_speaks_once() -> None:
    guard = Guard(10, 0.05)
    well = Totals(100, 0, 0, 0)
    guard.look(0, ZERO)
    guard.look(1, well)
    guard.watch(1, well)
    assert guard.look(12, Totals(100, 100, 0, 0)) == "", "its time is over"
    guard.look(13, Totals(200, 100, 0, 0))
    guard.watch(13, Totals(200, 100, 0, 0))
    assert guard.look(14, Totals(200, 200, 0, 0))
    assert guard.look(15, Totals(200, 300, 0, 0)) == ""


def test_long_ago_is_not_before() -> None:
    """Only as long before the reload as it is watched after it."""
    guard = Guard(10, 0.05)
    guard.look(0, ZERO)
    guard.look(100, Totals(0, 1000, 0, 0))
    guard.look(105, Totals(1000, 1000, 0, 0))
    guard.watch(105, Totals(1000, 1000, 0, 0))
    assert guard.look(106, Totals(1050, 1050, 0, 0))


def test_servers_that_are_forgotten_take_their_counts_along() -> None:
    assert after(Totals(1000, 0, 0, 50), Totals(-900, 0, 0, -50)) == ""


def test_other_limits_hold_for_what_is_watched_already() -> None:
    guard = Guard(10, 1.0)
    guard.look(0, ZERO)
    guard.look(1, Totals(100, 0, 0, 0))
    guard.watch(1, Totals(100, 0, 0, 0))
    assert guard.look(2, Totals(100, 50, 0, 0)) == ""
    guard.adjust(10, 0.5)
    assert guard.look(3, Totals(100, 100, 0, 0))
    guard.watch(3, Totals(1000, 100, 0, 0))
    guard.adjust(1, 0.5)
    assert guard.look(5, Totals(1000, 200, 0, 0)) == "", "its time is over"
