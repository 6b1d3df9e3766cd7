"""Which slot is whose, over the lives of several configurations and processes."""

from __future__ import annotations

import pytest

from tests.support.applied import applied
from tests.support.forks import run_forked
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, cluster_key, server_key

pytestmark = pytest.mark.asan

WORKERS = 2
NOW = 1_000_000


def cluster(state: SharedState, name: str, *servers: str, most: int = -1) -> Cluster:
    rows: list[tuple[str, str | None, int, int]] = [(each, each, 1, most) for each in servers]
    made = Cluster(state, name, rows, list(range(len(rows))), [], queue_size=5 * (most > 0))
    return applied(made)


def keep(state: SharedState, generation: int, **clusters: tuple[str, ...]) -> None:
    """The configuration that has these clusters with these servers holds, and all workers went over to it."""
    servers = {server_key(name, each) for name, all_of in clusters.items() for each in all_of}
    state.keep_slots(servers, {cluster_key(name) for name in clusters}, generation)
    state.generation = generation


def all_took(state: SharedState, newest: int, oldest: int) -> None:
    for worker in range(WORKERS):
        state.note_generations(worker, newest, oldest)


def test_cluster_that_came_after_the_fork_is_one_for_all_processes() -> None:
    """Its slots, its sessions and its queue: whoever takes over the index finds the same memory."""
    state = SharedState(8, 4, grows=True)
    cluster(state, "old", "s1")

    def take(_worker: int) -> tuple[dict[bytes, int], dict[bytes, int]]:
        made = cluster(state, "new", "s2", most=1)
        made.take_server(0, 0, NOW)
        return state.index()

    [index] = run_forked(take, 1)
    state.take_index(index)
    mine = Cluster(state, "new", [("s2", "s2", 1, 1)], [0], [], queue_size=5)
    assert mine.server_state(0)["inflight"] == 1
    assert mine.server_state(0)["max_connections"] == 1
    assert state.worker_died(0) == 1, (
        "the queue of a cluster that this process never made is looked at, too"
    )


def test_index_is_read_from_the_slots_by_a_process_that_knows_nothing() -> None:
    state = SharedState(8, 4, grows=True)
    cluster(state, "c", "s1", "s2")
    known = state.index()
    state.take_index(({}, {}))
    assert state.index() == ({}, {})
    state.read_index()
    assert state.index() == known


def test_slot_that_somebody_may_still_touch_is_nobody_elses() -> None:
    state = SharedState(2, 1)
    old = cluster(state, "c", "s1", "s2")
    old.take_server(1, 0, NOW)
    keep(state, 2, c=("s1",))
    all_took(state, newest=2, oldest=1)
    assert state.free_slots(0) == 0, "a request goes by the configuration that has it"
    all_took(state, newest=2, oldest=2)
    assert state.free_slots(0) == 0, "a request is in flight there"
    old.release_server(1, 0)
    assert state.free_slots(60_000) == 0, "it left a moment ago"
    with pytest.raises(MemoryError, match="more than 2 servers"):
        cluster(state, "c", "s1", "s3")
    assert state.free_slots(0) == 1
    assert cluster(state, "c", "s1", "s3").server_state(1)["total"] == 0
    assert old.server_state(0)["total"] == 0


def test_server_that_comes_back_before_its_slot_is_emptied_has_its_state() -> None:
    state = SharedState(4, 1)
    first = cluster(state, "c", "s1", "s2")
    first.take_server(1, 0, NOW)
    first.release_server(1, 0)
    keep(state, 2, c=("s1",))
    keep(state, 3, c=("s1", "s2"))
    all_took(state, newest=3, oldest=3)
    assert state.free_slots(0) == 0
    assert cluster(state, "c", "s1", "s2").server_state(1)["total"] == 1


def test_cluster_that_left_leaves_a_slot_as_new() -> None:
    state = SharedState(4, 1, grows=True)
    first = cluster(state, "a", "s1")
    for _ in range(3):
        first.pick_server(0, NOW)
        first.release_server(0, 0)
    keep(state, 2, b=())
    all_took(state, newest=2, oldest=2)
    assert state.free_slots(0) == 1
    second = cluster(state, "b", "s1")
    assert second.server_state(0)["total"] == 0
    assert second.pick_server(0, NOW) == 0, "its lock is as good as before"


def test_twin_has_the_same_slots_and_nothing_of_what_happens_later() -> None:
    state = SharedState(4, 2, grows=True)
    cluster(state, "gone", "s0")
    chosen = cluster(state, "c", "s1")
    chosen.take_server(0, 0, NOW)
    twin = state.twin()
    ahead = cluster(twin, "c", "s1")
    state.copy_to(twin)
    assert ahead.server_state(0)["inflight"] == 1
    ahead.take_server(0, 0, NOW)
    assert chosen.server_state(0)["inflight"] == 1


def test_index_of_another_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found slot 2; allowed is 0\.\.1"):
        SharedState(2, 2).take_index(({b"k" * 16: 2}, {}))
