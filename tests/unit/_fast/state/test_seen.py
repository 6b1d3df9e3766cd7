"""How many sessions a server has had: right for few, near enough for many, and old ones are forgotten."""

from __future__ import annotations

import random

import pytest

from wsproxy._fast.state.seen import count_keys

pytestmark = pytest.mark.asan

MINUTE_MS = 60_000
START = 1_000 * MINUTE_MS


def keys(count: int, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(64) or 1 for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_are_counted_exactly(count: int) -> None:
    some = keys(count)
    assert count_keys(some * 3, [START] * len(some) * 3, START) == count


@pytest.mark.parametrize("count", [50, 500, 5_000, 100_000])
def test_many_are_counted_nearly(count: int) -> None:
    """Three standard errors of 6.5 %."""
    for seed in range(5):
        found = count_keys(keys(count, seed), [START] * count, START)
        assert abs(found - count) <= 0.2 * count


def test_sessions_without_a_request_are_forgotten() -> None:
    """After 30 minutes for sure not before, after 45 for sure."""
    old, new = keys(5), keys(3, 2)
    assert count_keys(old, [START] * 5, START + 29 * MINUTE_MS) == 5
    assert count_keys(old, [START] * 5, START + 46 * MINUTE_MS) == 0
    later = START + 46 * MINUTE_MS
    assert count_keys([*old, *new], [START] * 5 + [later] * 3, later) == 3


def test_session_that_goes_on_is_one() -> None:
    times = [START + minute * MINUTE_MS for minute in range(0, 120, 5)]
    assert count_keys(keys(1) * len(times), times, times[-1]) == 1


def test_request_without_a_session_id_is_no_session() -> None:
    assert count_keys([0, 0], [START, START], START) == 0
