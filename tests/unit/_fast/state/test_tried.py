"""Which servers a request has failed at."""

from __future__ import annotations

import pytest

from tests.unit._fast.decide.test_cluster import cluster

pytestmark = pytest.mark.asan

NONE_REACHABLE, ALL_FULL = -1, -2
NOW = 1_000_000


def test_tried_servers_are_not_picked_again() -> None:
    chosen = cluster(1, 1, 1, backups=[2])
    assert {chosen.pick_server(0, NOW, [0]) for _ in range(5)} == {1}
    assert chosen.pick_server(0, NOW, [0, 1]) == 2
    assert chosen.pick_server(0, NOW, [0, 1, 2]) == NONE_REACHABLE
