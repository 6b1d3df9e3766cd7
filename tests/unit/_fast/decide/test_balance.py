"""Which server comes next: weights, turns, backups and the last chance, by the worked examples of PLUGIN.md 4."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.support.operators import drain
from tests.unit._fast.decide.test_cluster import cluster, serve, start_weights

pytestmark = pytest.mark.asan

NONE_REACHABLE, ALL_FULL = -1, -2
USABLE, PROBE, DOWN, DRAINED, FULL = range(5)
INTERVAL_MS = 60_000
NOW = 1_000_000


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
    drain(chosen, 1)
    for _ in range(2):
        assert chosen.pick_server(3, NOW) == 0
        assert chosen.pick_server(4, NOW) == NONE_REACHABLE
        chosen.release_server(0, 3)


def test_last_chance_is_not_for_what_is_full_drained_tried_or_without_weight() -> None:
    chosen = cluster(1, 1, 0, 1)
    for server in (0, 1, 2):
        chosen.set_down(server, 0, NOW)
    drain(chosen, 3)
    drain(chosen, 0)
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
    drain(chosen, 1)
    assert chosen.take_server(2, 0, NOW) == USABLE
    assert set(serve(chosen, 50)) == {3}
    assert chosen.pick_server(0, NOW + INTERVAL_MS, [3]) == 0
