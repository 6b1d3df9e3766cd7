"""The server choice by the worked examples of PLUGIN.md 4 and 5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from wsproxy._fast.select import Cluster
from wsproxy._fast.state import SharedState

pytestmark = pytest.mark.asan

NONE_REACHABLE, ALL_FULL = -1, -2
USABLE, PROBE, DOWN, DRAINED, FULL = range(5)
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
    return Cluster(state or SharedState(64, 8), name, servers, primaries, backups, **options)


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


@pytest.mark.parametrize(
    ("weights", "reduced"),
    [
        ([100, 90, 80], [10, 9, 8]),
        ([20, 20, 20], [1, 1, 1]),
        ([20, 19, 20], [20, 19, 20]),
        ([7], [1]),
        ([0, 0], [0, 0]),
        ([4, 0, 6], [2, 0, 3]),
    ],
)
def test_weights_are_divided_by_their_greatest_common_divisor(
    weights: list[int], reduced: list[int]
) -> None:
    assert start_weights(cluster(*weights)) == reduced


def test_only_primaries_count_for_the_divisor() -> None:
    assert start_weights(cluster(4, 6, 5, backups=[2])) == [2, 3, 0]


@pytest.mark.parametrize("weights", [[100, 90, 80], [20, 20, 20], [2, 3, 5], [1, 0, 3]])
def test_each_turn_gives_every_server_its_weight_exactly(weights: list[int]) -> None:
    chosen = cluster(*weights)
    turn = sum(start_weights(chosen))
    expected = {n: weight for n, weight in enumerate(start_weights(chosen)) if weight}
    for _ in range(3):
        assert Counter(serve(chosen, turn)) == expected


def test_worked_example_comes_out_from_any_start() -> None:
    """PLUGIN 4.1, 100/90/80: eight rounds of three, one of the two that have left, one of the heaviest."""
    seen: set[int] = set()
    while len(seen) < 3:
        chosen = cluster(100, 90, 80)
        start = chosen.cursors[0]
        seen.add(start)
        picked = serve(chosen, 27)
        assert Counter(picked) == {0: 10, 1: 9, 2: 8}
        assert picked[:24] == [(start + turn) % 3 for turn in range(24)]
        assert sorted(picked[24:26]) == [0, 1]
        assert picked[26] == 0
        assert Counter(serve(chosen, 27)) == {0: 10, 1: 9, 2: 8}


def test_equal_weights_go_round_in_list_order() -> None:
    picked = serve(cluster(20, 20, 20), 12)
    assert all(after == (before + 1) % 3 for before, after in pairwise(picked))


def test_unequal_weights_go_round_until_one_has_no_more() -> None:
    """2/1: a turn is one round of both and one of the heavier alone."""
    picked = serve(cluster(2, 1), 30)
    turns = {tuple(picked[at : at + 3]) for at in range(0, 30, 3)}
    assert turns <= {(0, 1, 0), (1, 0, 0)}


def test_first_server_differs_from_cluster_to_cluster() -> None:
    """A random start: many proxies must not all begin with the same server. 200 alike: one in 3^199."""
    assert {serve(cluster(1, 1, 1), 1)[0] for _ in range(200)} == {0, 1, 2}


def test_weight_0_is_reached_by_affinity_only() -> None:
    chosen = cluster(1, 0, last_chance=False)
    assert set(serve(chosen, 10)) == {0}
    assert chosen.take_server(1, 0, NOW) == USABLE
    chosen.set_down(0, 0, NOW)
    assert serve(chosen, 1) == [NONE_REACHABLE]


def test_affinity_requests_are_ignored_by_the_weights() -> None:
    chosen = cluster(3, 2)
    for _ in range(50):
        assert chosen.take_server(0, 0, NOW) == USABLE
    assert Counter(serve(chosen, 5)) == {0: 3, 1: 2}


def test_affinity_requests_count_when_they_are_not_to_be_ignored() -> None:
    """Ten sessions' requests to s0: new sessions go to s1 until both are level again (PLUGIN 4.1)."""
    chosen = cluster(1, 1, ignore_affinity_requests=False)
    for _ in range(10):
        chosen.take_server(0, 0, NOW)
    assert chosen.server_state(0)["weight"] == -9
    assert serve(chosen, 10) == [1] * 10
    assert sorted(serve(chosen, 2)) == [0, 1]


def test_affinity_alone_cannot_wrap_a_weight() -> None:
    """Without a floor the busiest server would get all new sessions after 2^31 requests."""
    chosen = cluster(1, 1, ignore_affinity_requests=False)
    for _ in range(1_000_005):
        chosen.take_server(0, 0, NOW)
        chosen.release_server(0, 0)
    assert chosen.server_state(0)["weight"] == -1_000_000


def test_readjusting_a_far_lowered_weight_stays_in_32_bits() -> None:
    chosen = cluster(1, 2_000_000_000, ignore_affinity_requests=False)
    for _ in range(5_000):
        chosen.take_server(0, 0, NOW)
    chosen.set_down(1, 0, NOW)
    assert serve(chosen, 1) == [0]
    assert chosen.server_state(1)["weight"] == 2_000_000_000


def test_returning_server_gets_no_more_than_its_turn() -> None:
    """PQ79730: after a down server returned, the spread was uneven."""
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    assert serve(chosen, 100) == [1] * 100
    chosen.set_up(0)
    serve(chosen, 1)
    assert Counter(serve(chosen, 10)) == {0: 5, 1: 5}


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


def test_drained_server_gets_nothing() -> None:
    chosen = cluster(1, 1)
    chosen.set_drained(0, True)
    assert serve(chosen, 6) == [1] * 6
    assert chosen.take_server(0, 0, NOW) == DRAINED
    chosen.set_drained(0, False)
    assert set(serve(chosen, 6)) == {0, 1}


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


def test_tried_servers_are_not_picked_again() -> None:
    chosen = cluster(1, 1, 1, backups=[2])
    assert {chosen.pick_server(0, NOW, [0]) for _ in range(5)} == {1}
    assert chosen.pick_server(0, NOW, [0, 1]) == 2
    assert chosen.pick_server(0, NOW, [0, 1, 2]) == NONE_REACHABLE


def test_backups_serve_in_order_when_no_primary_can() -> None:
    """Q5: one at a time, in list order, no weights."""
    chosen = cluster(1, 5, 9, 1, backups=[3, 1], last_chance=False)
    assert set(serve(chosen, 10)) == {0, 2}
    chosen.set_down(0, 0, NOW)
    assert set(serve(chosen, 10)) == {2}
    chosen.set_drained(2, True)
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


def test_balanced_backups_share_by_their_own_weights() -> None:
    """Q5, balancing.backups = "balanced": 6/4 are 3/2, whatever the primaries' weights are; 0 stays for affinity."""
    chosen = cluster(5, 6, 4, 0, backups=[1, 2, 3], balance_backups=True)
    assert start_weights(chosen) == [1, 3, 2, 0]
    assert set(serve(chosen, 10)) == {0}
    chosen.set_down(0, 0, NOW)
    for _ in range(3):
        assert Counter(serve(chosen, 5)) == {1: 3, 2: 2}
    chosen.set_down(1, 0, NOW)
    assert serve(chosen, 5) == [2] * 5
    assert chosen.take_server(3, 0, NOW) == USABLE
    chosen.set_up(0)
    assert serve(chosen, 5) == [0] * 5


def test_balanced_backups_are_random_where_the_primaries_are() -> None:
    chosen = cluster(1, 9, 1, 0, backups=[1, 2, 3], balance_backups=True, random=True)
    chosen.set_down(0, 0, NOW)
    picked = Counter(serve(chosen, 2_000))
    assert set(picked) == {1, 2}
    assert abs(picked[1] - 1_000) < 224  # standard deviation 22.4: ten of them


def test_first_balanced_backup_differs_from_cluster_to_cluster() -> None:
    """A random start, like the primaries': 100 alike: one in 2^99."""
    firsts = set()
    for _ in range(100):
        chosen = cluster(1, 1, 1, backups=[1, 2], balance_backups=True)
        chosen.set_down(0, 0, NOW)
        firsts |= set(serve(chosen, 1))
    assert firsts == {1, 2}


def test_last_chance_goes_to_the_server_that_failed_longest_ago() -> None:
    """Every failure makes another one the next: what lives is found within a round, primary or backup."""
    chosen = cluster(1, 1, 1, backups=[1])
    for server, at in ((2, 0), (0, 10), (1, 20)):
        chosen.set_down(server, 0, NOW + at)
    tried = []
    for turn in range(6):
        server = chosen.pick_server(0, NOW + 100 + turn)
        chosen.set_down(server, 0, NOW + 100 + turn)
        chosen.release_server(server, 0)
        tried.append(server)
    assert tried == [2, 0, 1, 2, 0, 1]


def test_last_chance_is_a_probe() -> None:
    """One request at a time pays for it: the others are refused at once, and its success counts for all."""
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    chosen.set_down(1, 0, NOW + 1)
    assert [chosen.pick_server(worker, NOW + 2) for worker in (3, 4, 5)] == [0, 1, NONE_REACHABLE]
    assert [chosen.server_state(n)["probe_by"] for n in (0, 1)] == [3, 4]
    chosen.set_up(0)
    assert chosen.pick_server(5, NOW + 2) == 0


def test_last_chance_without_a_verdict_leaves_it_to_the_next() -> None:
    chosen = cluster(1, 1)
    chosen.set_down(0, 0, NOW)
    chosen.set_drained(1, True)
    for _ in range(2):
        assert chosen.pick_server(3, NOW) == 0
        assert chosen.pick_server(4, NOW) == NONE_REACHABLE
        chosen.release_server(0, 3)


def test_last_chance_is_not_for_what_is_full_drained_tried_or_without_weight() -> None:
    chosen = cluster(1, 1, 0, 1)
    for server in (0, 1, 2):
        chosen.set_down(server, 0, NOW)
    chosen.set_drained(3, True)
    chosen.set_drained(0, True)
    assert chosen.pick_server(0, NOW, [1]) == NONE_REACHABLE
    full = cluster(1, 1, most=[1, -1])
    assert full.take_server(0, 0, NOW) == USABLE
    full.set_down(1, 0, NOW)
    assert full.pick_server(0, NOW) == ALL_FULL


def test_no_last_chance_where_it_is_turned_off() -> None:
    chosen = cluster(1, 1, last_chance=False)
    for server in (0, 1):
        chosen.set_down(server, 0, NOW)
    assert chosen.pick_server(0, NOW) == NONE_REACHABLE


def test_server_in_no_list_has_no_last_chance() -> None:
    """PLUGIN 1.11: it is not used; that the only member is tried though down says nothing of it."""
    chosen = cluster(1, 1, primaries=[0])
    chosen.set_down(1, 0, NOW)
    assert chosen.take_server(1, 0, NOW) == DOWN


def test_random_ignores_weights_except_0() -> None:
    chosen = cluster(1, 1_000, 0, 1, random=True)
    picked = Counter(serve(chosen, 6_000))
    assert set(picked) == {0, 1, 3}
    # 2000 expected, standard deviation 37: ten of them
    assert all(abs(count - 2_000) < 370 for count in picked.values())


def test_random_passes_over_what_cannot_serve() -> None:
    chosen = cluster(1, 1, 1, 1, random=True, most=[-1, -1, 1, -1])
    chosen.set_down(0, 0, NOW)
    chosen.set_drained(1, True)
    assert chosen.take_server(2, 0, NOW) == USABLE
    assert set(serve(chosen, 50)) == {3}
    assert chosen.pick_server(0, NOW + INTERVAL_MS, [3]) == 0


def test_clone_id_is_compared_exactly_and_primaries_come_first() -> None:
    state = SharedState(8, 8)
    servers: list[tuple[str, str | None, int, int]] = [
        ("b", "k", 1, -1),
        ("p", "k", 1, -1),
        ("q", "K", 1, -1),
        ("r", None, 1, -1),
    ]
    chosen = Cluster(state, "c", servers, [1, 2, 3], [0])
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
    first.set_drained(0, True)
    assert second.server_state(0)["drained"] == 0


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
        lambda: chosen.set_drained(server, True),
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
