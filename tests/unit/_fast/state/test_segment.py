"""The shared segment: its room, its keys, and what a dead worker gives back."""

from __future__ import annotations

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, cluster_key, server_key

pytestmark = pytest.mark.asan


def cluster(state: SharedState, name: str, servers: int) -> Cluster:
    rows: list[tuple[str, str | None, int, int]] = [(f"s{n}", None, 1, -1) for n in range(servers)]
    return applied(Cluster(state, name, rows, list(range(servers)), []))


def test_keys_of_different_names_differ() -> None:
    keys = {server_key("a", "b"), server_key("ab", ""), server_key("", "ab"), cluster_key("a")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}


def test_worker_gives_back_exactly_its_own_requests() -> None:
    state = SharedState(8, 8)
    chosen = cluster(state, "c", 2)
    for worker, server, count in ((0, 0, 3), (1, 0, 5), (1, 1, 2), (127, 1, 1)):
        for _ in range(count):
            chosen.take_server(server, worker, 1)
    assert state.worker_died(1) == 7
    assert [chosen.server_state(n)["inflight"] for n in (0, 1)] == [3, 1]
    assert state.worker_died(1) == 0
    assert state.worker_died(127) == 1
    assert chosen.server_state(0)["total"] == 8


def test_worker_that_starts_has_nothing_in_flight() -> None:
    state = SharedState(8, 8)
    chosen = cluster(state, "c", 1)
    chosen.take_server(0, 4, 1)
    state.worker_started(4)
    assert chosen.server_state(0)["inflight"] == 0


def test_segment_that_is_full_says_so_and_stays_sound() -> None:
    """The refused server was once counted all the same; worker_died then wrote behind the segment."""
    state = SharedState(2, 1)
    chosen = cluster(state, "c", 2)
    for _ in range(3):
        with pytest.raises(MemoryError, match="more than 2 servers"):
            cluster(state, "c", 3)
        with pytest.raises(MemoryError, match="more than 1 clusters"):
            cluster(state, "d", 1)
    chosen.take_server(1, 0, 1)
    assert state.worker_died(0) == 1
    assert cluster(state, "c", 2).server_state(1)["total"] == 1
