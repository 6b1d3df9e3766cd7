"""How long servers take to answer, as ``status`` shows it: exact over processes, and recent."""

from __future__ import annotations

import pytest

from tests.support.applied import applied
from tests.support.forks import run_forked
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import latency_of, note_answer
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

NOTES = 20_000


def make(state: SharedState) -> Cluster:
    return applied(Cluster(state, "farm", [("s0", None, 2, -1), ("s1", None, 2, -1)], [0, 1], []))


def test_no_answer_is_no_number() -> None:
    assert latency_of(make(SharedState(8, 2)), 0) == (0, 0, -1)


def test_first_ones_have_their_plain_mean() -> None:
    """Of the first 64, so that a few say something; each server has its own."""
    cluster = make(SharedState(8, 2))
    for us in (1000, 2000, 6000):
        note_answer(cluster, 0, us)
    answers, total_ms, recent_ms = latency_of(cluster, 0)
    assert (answers, total_ms) == (3, 9)
    assert recent_ms == pytest.approx(3, abs=0.001)
    assert latency_of(cluster, 1) == (0, 0, -1)


def test_recent_ones_count_most() -> None:
    cluster = make(SharedState(8, 2))
    for us in [1000] * 1000 + [50_000] * 64:
        note_answer(cluster, 0, us)
    assert 30 < latency_of(cluster, 0).recent_ms < 34, "two thirds of the way after 64"
    for _ in range(1000):
        note_answer(cluster, 0, 1000)
    assert latency_of(cluster, 0).recent_ms == pytest.approx(1, abs=0.001), (
        "it does not stand still"
    )


def test_clock_that_went_back_is_no_time() -> None:
    cluster = make(SharedState(8, 2))
    note_answer(cluster, 0, -5)
    assert latency_of(cluster, 0) == (1, 0, 0)


def test_no_note_of_several_processes_is_lost() -> None:
    state = SharedState(8, 2)
    cluster = make(state)

    def note(worker: int) -> None:
        for _ in range(NOTES):
            note_answer(cluster, 0, 1000 * (worker + 1))

    run_forked(note, 3)
    answers, total_ms, recent_ms = latency_of(cluster, 0)
    assert (answers, total_ms) == (3 * NOTES, 6 * NOTES)
    assert 1 <= recent_ms <= 3
