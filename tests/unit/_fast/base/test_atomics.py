"""Counts of shared memory, from several processes at once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.forks import run_forked
from tests.unit._fast.state.test_segment_processes import make, totals
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

WORKERS = 4
NOW = 1_000_000


def test_no_count_is_lost_when_all_processes_hold_requests() -> None:
    state = SharedState(8, 2)
    chosen = make(state, [3, 2])

    def work(worker: int) -> Counter[int]:
        held = [chosen.pick_server(worker, NOW) for _ in range(3_000)]
        for server in held[:1_000]:
            chosen.release_server(server, worker)
        return Counter(held[1_000:])

    held: Counter[int] = sum(run_forked(work, WORKERS), Counter())
    assert totals(chosen, "inflight") == [held[0], held[1]]
    assert [state.worker_died(worker) for worker in range(WORKERS)] == [2_000] * WORKERS
    assert totals(chosen, "inflight") == [0, 0]
