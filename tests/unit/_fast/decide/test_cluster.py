"""The server choice by the worked examples of PLUGIN.md 4 and 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.applied import applied
from tests.support.operators import drain, take_down
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

NONE_REACHABLE, ALL_FULL = -1, -2
USABLE, PROBE, DOWN, DRAINED, FULL, TRIED, OUT = range(7)
INTERVAL_MS = 60_000
NOW = 1_000_000


def cluster(
    *weights: int,
    most: list[int] | None = None,
    backups: list[int] | None = None,
    state: SharedState | None = None,
    name: str = "c",
    **options: Any,
) -> Cluster:
    """Servers s0, s1, ... with these weights and clone ids k0, k1, ...; those not in ``backups`` are primaries."""
    limits = most or [-1] * len(weights)
    servers: list[tuple[str, str | None, int, int]] = [
        (f"s{index}", f"k{index}", weight, limit)
        for index, (weight, limit) in enumerate(zip(weights, limits, strict=True))
    ]
    backups = backups or []
    primaries = options.pop("primaries", [n for n in range(len(weights)) if n not in backups])
    return applied(
        Cluster(state or SharedState(64, 8), name, servers, primaries, backups, **options)
    )


def serve(chosen: Cluster, count: int, now: int = NOW) -> list[int]:
    """Servers of ``count`` requests, one after the other."""
    picked = []
    for _ in range(count):
        server = chosen.pick_server(0, now)
        if server >= 0:
            chosen.release_server(server, 0)
        picked.append(server)
    return picked


def start_weights(chosen: Cluster) -> list[int]:
    return [chosen.server_state(n)["start_weight"] for n in range(len(chosen.server_names))]


def inflight(chosen: Cluster) -> list[int]:
    return [chosen.server_state(n)["inflight"] for n in range(len(chosen.server_names))]


def test_weight_0_is_reached_by_affinity_only() -> None:
    chosen = cluster(1, 0, last_chance=False)
    assert set(serve(chosen, 10)) == {0}
    assert chosen.take_server(1, 0, NOW) == USABLE
    chosen.set_down(0, 0, NOW)
    assert serve(chosen, 1) == [NONE_REACHABLE]


def test_down_server_is_passed_over_until_the_interval_ends() -> None:
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    assert serve(chosen, 4, NOW) == [1] * 4
    assert serve(chosen, 4, NOW + INTERVAL_MS - 1) == [1] * 4
    assert chosen.take_server(0, 0, NOW + INTERVAL_MS - 1) == DOWN
    assert chosen.take_server(0, 0, NOW + INTERVAL_MS) == PROBE


def test_one_request_probes_and_the_others_stay_away() -> None:
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    later = NOW + INTERVAL_MS
    picked = [chosen.pick_server(worker, later) for worker in range(8)]
    assert picked.count(0) == 1
    assert chosen.take_server(0, 9, later) == DOWN
    assert chosen.server_state(0)["probe_by"] == picked.index(0)


def test_failed_probe_starts_the_interval_anew() -> None:
    """PK28197: it counts from the failure, not from the request."""
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    later = NOW + INTERVAL_MS + 5
    assert chosen.take_server(0, 3, later) == PROBE
    chosen.set_down(0, 3, later + 2_000, 111)
    chosen.release_server(0, 3)
    assert chosen.take_server(0, 3, later + 2_000 + INTERVAL_MS - 1) == DOWN
    assert chosen.take_server(0, 3, later + 2_000 + INTERVAL_MS) == PROBE
    state = chosen.server_state(0)
    assert (state["down_since_ms"], state["down_errno"], state["down_by"]) == (NOW, 111, 3)


def test_probe_without_a_verdict_lets_the_next_request_try() -> None:
    """PM49491: a 503 during the probe once left the server down for ever."""
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    later = NOW + INTERVAL_MS
    assert chosen.take_server(0, 1, later) == PROBE
    chosen.release_server(0, 1)
    assert chosen.take_server(0, 2, later) == PROBE


def test_answer_marks_the_server_up_for_all() -> None:
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    assert chosen.take_server(0, 1, NOW + INTERVAL_MS) == PROBE
    chosen.set_up(0)
    state = chosen.server_state(0)
    assert (state["down_until_ms"], state["probe_by"]) == (0, -1)
    assert chosen.take_server(0, 2, NOW) == USABLE


def test_worker_that_died_probing_leaves_the_probe_to_others() -> None:
    state = SharedState(8, 8)
    chosen = cluster(1, 1, state=state)
    chosen.set_down(0, 0, NOW)
    assert chosen.take_server(0, 5, NOW + INTERVAL_MS) == PROBE
    assert state.worker_died(5) == 1
    assert chosen.take_server(0, 6, NOW + INTERVAL_MS) == PROBE


def test_drained_server_gets_requests_of_its_sessions_only() -> None:
    chosen = cluster(1, 1)
    drain(chosen, 0)
    assert serve(chosen, 6) == [1] * 6
    assert chosen.take_server(0, 0, NOW) == USABLE
    assert chosen.judge_server(0, NOW) == DRAINED
    assert chosen.judge_server(0, NOW, has_session=True) == USABLE
    drain(chosen, 0, on=False)
    assert set(serve(chosen, 6)) == {0, 1}


def test_server_that_is_taken_down_gets_nothing() -> None:
    chosen = cluster(1, 1)
    take_down(chosen, 0)
    assert serve(chosen, 6) == [1] * 6
    assert chosen.take_server(0, 0, NOW) == OUT
    take_down(chosen, 0, on=False)
    assert set(serve(chosen, 6)) == {0, 1}


def test_nobody_gets_a_last_chance_against_an_operators_word() -> None:
    """Also the only server, and the ClusterAddress, which nothing else ever keeps from its requests."""
    chosen = cluster(1)
    chosen.set_down(0, 0, NOW)
    take_down(chosen, 0)
    assert serve(chosen, 1) == [NONE_REACHABLE]
    assert chosen.take_server(0, 0, NOW) == OUT
    address = cluster(1, 1, 1, primaries=[0, 1], cluster_address=2)
    drain(address, 2)
    assert serve(address, 2) == [NONE_REACHABLE] * 2


def test_full_server_is_passed_over_without_losing_weight() -> None:
    chosen = cluster(1, 1, most=[1, -1])
    assert chosen.take_server(0, 0, NOW) == USABLE
    assert chosen.take_server(0, 1, NOW) == FULL
    before = chosen.server_state(0)["weight"]
    assert chosen.pick_server(1, NOW) == 1
    assert chosen.server_state(0)["weight"] >= before
    chosen.release_server(0, 0)
    assert chosen.take_server(0, 1, NOW) == USABLE


def test_all_full_is_told_from_none_reachable() -> None:
    chosen = cluster(1, 1, most=[1, 2], last_chance=False)
    picked = [chosen.pick_server(0, NOW) for _ in range(4)]
    assert sorted(picked) == [ALL_FULL, 0, 1, 1]
    for server in (0, 1, 1):
        chosen.release_server(server, 0)
    chosen.set_down(0, 0, NOW)
    chosen.set_down(1, 0, NOW)
    assert chosen.pick_server(0, NOW) == NONE_REACHABLE


@pytest.mark.parametrize("limit", [0, -1])
def test_no_limit_is_0_or_minus_1(limit: int) -> None:
    chosen = cluster(1, most=[limit])
    assert [chosen.pick_server(0, NOW) for _ in range(500)] == [0] * 500


def test_backups_serve_in_order_when_no_primary_can() -> None:
    """Q5: one at a time, in list order, no weights."""
    chosen = cluster(1, 5, 9, 1, backups=[3, 1], last_chance=False)
    assert set(serve(chosen, 10)) == {0, 2}
    chosen.set_down(0, 0, NOW)
    assert set(serve(chosen, 10)) == {2}
    drain(chosen, 2)
    assert serve(chosen, 10) == [3] * 10
    chosen.set_down(3, 0, NOW)
    assert serve(chosen, 10) == [1] * 10
    chosen.set_down(1, 0, NOW)
    assert serve(chosen, 1) == [NONE_REACHABLE]
    chosen.set_up(0)
    assert serve(chosen, 5) == [0] * 5


def test_cluster_address_takes_what_has_no_affinity() -> None:
    """PLUGIN 1.10: another balancer behind; members are reached by affinity only."""
    chosen = cluster(1, 1, 1, primaries=[0, 1], cluster_address=2)
    assert serve(chosen, 5) == [2] * 5
    assert chosen.take_server(1, 0, NOW) == USABLE
    assert chosen.find_clone_id(b"k1") == 1
    assert chosen.find_clone_id(b"k2") == -1


def test_only_server_is_tried_though_marked_down() -> None:
    """PQ71608, Q9: nothing else to turn to."""
    chosen = cluster(1)
    chosen.set_down(0, 0, NOW)
    assert serve(chosen, 3) == [0] * 3
    assert chosen.take_server(0, 0, NOW) == USABLE
    assert chosen.pick_server(0, NOW, [0]) == NONE_REACHABLE
    strict = cluster(1, last_chance=False)
    strict.set_down(0, 0, NOW)
    assert serve(strict, 1) == [NONE_REACHABLE]
    assert strict.take_server(0, 0, NOW) == DOWN


def test_clone_id_is_compared_exactly_and_primaries_come_first() -> None:
    state = SharedState(8, 8)
    servers: list[tuple[str, str | None, int, int]] = [
        ("b", "k", 1, -1),
        ("p", "k", 1, -1),
        ("q", "K", 1, -1),
        ("r", None, 1, -1),
    ]
    chosen = applied(Cluster(state, "c", servers, [1, 2, 3], [0]))
    assert chosen.find_clone_id(b"k") == 1
    assert chosen.find_clone_id(b"K") == 2
    for other in (b"", b"kk", b"k ", b"None"):
        assert chosen.find_clone_id(other) == -1


def test_reload_keeps_the_state_of_servers_that_stay() -> None:
    state = SharedState(8, 8)
    before = cluster(1, 1, state=state)
    before.set_down(1, 0, NOW, 111)
    before.take_server(0, 4, NOW)
    after = cluster(1, 1, 1, state=state)
    assert after.server_state(1)["down_errno"] == 111
    assert inflight(after) == [1, 0, 0]
    assert after.pick_server(0, NOW, [0]) == 2


def test_clusters_with_equal_server_names_do_not_share_slots() -> None:
    state = SharedState(8, 8)
    first, second = cluster(1, state=state, name="a"), cluster(1, state=state, name="b")
    drain(first, 0)
    assert second.server_state(0)["hold"] == 0


def test_server_in_both_lists_is_one_server() -> None:
    """Listed twice it once overflowed the order array."""
    chosen = cluster(1, 1, primaries=[0, 1, 0, 1, 0], backups=[1, 0])
    assert Counter(serve(chosen, 10)) == {0: 5, 1: 5}
    assert start_weights(chosen) == [1, 1]


@pytest.mark.parametrize("server", [-1, 2, 2**20])
def test_servers_that_do_not_exist_are_refused(server: int) -> None:
    chosen = cluster(1, 1)
    calls: list[Callable[[], object]] = [
        lambda: chosen.pick_server(0, NOW, [server]),
        lambda: chosen.take_server(server, 0, NOW),
        lambda: chosen.release_server(server, 0),
        lambda: chosen.set_down(server, 0, NOW),
        lambda: chosen.set_up(server),
        lambda: drain(chosen, server),
        lambda: chosen.server_state(server),
        lambda: cluster(1, 1, primaries=[server]),
        lambda: cluster(1, 1, primaries=[0], backups=[server]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"found server {server}; allowed is 0\.\.1"):
            call()


@pytest.mark.parametrize("worker", [-1, 128])
def test_workers_without_a_row_are_refused(worker: int) -> None:
    state = SharedState(8, 8)
    chosen = cluster(1, 1, state=state)
    calls: list[Callable[[], object]] = [
        lambda: chosen.pick_server(worker, NOW),
        lambda: chosen.take_server(0, worker, NOW),
        lambda: chosen.release_server(0, worker),
        lambda: chosen.set_down(0, worker, NOW),
        lambda: state.worker_started(worker),
        lambda: state.worker_died(worker),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"found worker {worker}; allowed is 0\.\.127"):
            call()


@pytest.mark.parametrize("count", [0, 257])
def test_clusters_of_impossible_size_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"allowed is 1\.\.256"):
        cluster(*[1] * count, state=SharedState(512, 8))


def test_largest_cluster_works() -> None:
    chosen = cluster(*[1] * 256, state=SharedState(256, 1))
    assert sorted(serve(chosen, 256)) == list(range(256))
    assert chosen.pick_server(0, NOW, range(255)) == 255
    assert chosen.pick_server(0, NOW, range(256)) == NONE_REACHABLE
