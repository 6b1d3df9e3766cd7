"""How the weight of a server grows that has come back, by whatever it came back; what probes say is in ``decide/test_probes.py``."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit._fast.decide.test_probes import NONE_REACHABLE, Bed
from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.probes import probe_state

pytestmark = pytest.mark.asan


def shares(bed: Bed, count: int = 1000) -> Counter[int]:
    return Counter(bed.serve(count))


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("weights", [(1, 1), (20, 20), (3, 3)])
def test_the_weight_of_a_server_that_came_back_grows(
    weights: tuple[int, int], random: bool
) -> None:
    """Also where weights cannot be smaller: then it has a turn in some of the rounds only."""
    bed = Bed(*weights, slow_start_ms=100_000, random=random)
    for _ in range(3):
        bed.probe(0, False)
    bed.serve(50)
    bed.probe(0, True)
    bed.probe(0, True)
    assert bed.serve(5) == [1] * 5 or random
    wanted = {10_000: 1 / 11, 50_000: 1 / 3, 90_000: 9 / 19, 100_000: 1 / 2, 200_000: 1 / 2}
    for at, share in wanted.items():
        bed.passed = at
        assert shares(bed)[0] / 1000 == pytest.approx(share, abs=0.06 if random else 0.03)


@pytest.mark.parametrize("random", [False, True])
def test_growing_servers_carry_all_where_nobody_else_is(random: bool) -> None:
    """By what has grown: one that came back earlier has more."""
    bed = Bed(1, 1, slow_start_ms=100_000, random=random)
    for server in (0, 1):
        bed.cluster.set_down(server, 0, bed.now)
    bed.cluster.set_up(0, worker=0)
    bed.passed = 0
    assert bed.serve(3) == [0] * 3
    bed.passed = 30_000
    bed.cluster.set_up(1, worker=0)  # now, by the real clock: both began in the same moment
    assert NONE_REACHABLE not in shares(bed)
    assert min(shares(bed).values()) > 350


def test_a_server_that_came_back_by_a_request_grows_too_and_without_probes() -> None:
    bed = Bed(1, 1, slow_start_ms=100_000, probed=False)
    bed.cluster.set_down(0, 0, bed.now)
    bed.cluster.set_up(0, worker=1)
    bed.passed = 10_000
    assert shares(bed)[0] < 150
    assert probe_state(bed.cluster, 0)["slow_since_ms"] > 0


def test_affinity_goes_to_a_server_whose_weight_grows() -> None:
    bed = Bed(1, 1, slow_start_ms=100_000)
    bed.cluster.set_down(0, 0, bed.now)
    bed.cluster.set_up(0, worker=1)
    assert bed.cluster.take_server(0, 0, bed.now) == Verdict.USABLE


def test_without_slow_start_a_server_has_its_weight_at_once() -> None:
    bed = Bed(1, 1)
    bed.cluster.set_down(0, 0, bed.now)
    bed.cluster.set_up(0, worker=1)
    assert shares(bed, 100) == {0: 50, 1: 50}
