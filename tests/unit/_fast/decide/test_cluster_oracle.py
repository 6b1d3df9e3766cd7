"""The compiled server choice takes the same decisions as its oracle, call after call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.applied import applied
from tests.support.oracles.weighted import WeightedCluster
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import hold_server
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

INTERVAL_MS = 1_000
WORKERS = 3
NOW = 10_000


@dataclass
class Twins:
    """The same cluster twice, and the requests that both think are running."""

    compiled: Cluster
    oracle: WeightedCluster
    state: SharedState
    now: int
    running: list[tuple[int, int]]  # (server, worker)


@st.composite
def twins(draw: st.DrawFn) -> Twins:
    """A cluster of one to five servers and its oracle, begun at the same server."""
    count = draw(st.integers(1, 5))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 6), st.sampled_from([-1, 0, 1, 2, 3])),
            min_size=count,
            max_size=count,
        )
    )
    order = draw(st.permutations(range(count)))
    listed = draw(st.integers(0, count))
    primary_count = draw(st.integers(0, listed))
    primaries, backups = order[:primary_count], order[primary_count:listed]
    address = draw(st.sampled_from([None, None, None, *range(count)]))
    ignore_affinity = draw(st.booleans())
    oracle = WeightedCluster(
        rows,
        primaries,
        backups,
        ignore_affinity_requests=ignore_affinity,
        balance_backups=draw(st.booleans()),
        last_chance=draw(st.booleans()),
        retry_interval=INTERVAL_MS,
        cluster_address=address,
    )
    oracle.start = draw(st.integers(0, max(len(primaries) - 1, 0)))
    oracle.backup_start = draw(st.integers(0, max(len(backups) - 1, 0)))
    # Where the round robin begins is random; what hypothesis replays must not be.
    while True:
        compiled, state = build(oracle)
        if compiled.cursors == (oracle.start, oracle.backup_start):
            return Twins(compiled, oracle, state, NOW, [])


def build(oracle: WeightedCluster) -> tuple[Cluster, SharedState]:
    """The compiled cluster of these settings, in a segment of its own."""
    state = SharedState(8, 2)
    servers: list[tuple[str, str | None, int, int]] = [
        (f"s{index}", None, weight, most) for index, (weight, most) in enumerate(oracle.rows)
    ]
    compiled = applied(
        Cluster(
            state,
            "c",
            servers,
            oracle.primaries,
            oracle.backups,
            cluster_address=-1 if oracle.cluster_address is None else oracle.cluster_address,
            ignore_affinity_requests=oracle.ignore_affinity_requests,
            balance_backups=oracle.balance_backups,
            last_chance=oracle.last_chance,
            retry_interval_s=oracle.retry_interval / 1000,
        )
    )
    return compiled, state


def pick(both: Twins, data: st.DataObject) -> None:
    worker = data.draw(st.integers(0, WORKERS - 1))
    tried = data.draw(st.sets(st.integers(0, len(both.oracle.rows) - 1), max_size=2))
    server = both.compiled.pick_server(worker, both.now, tried)
    assert server == both.oracle.pick(worker, both.now, tried)
    if server >= 0:
        both.running.append((server, worker))


def take(both: Twins, data: st.DataObject) -> None:
    worker, server = data.draw(st.integers(0, WORKERS - 1)), any_server(both, data)
    verdict = both.compiled.take_server(server, worker, both.now)
    assert verdict == both.oracle.take(server, worker, both.now)
    if verdict <= 1:
        both.running.append((server, worker))


def release(both: Twins, data: st.DataObject) -> None:
    if both.running:
        server, worker = both.running.pop(data.draw(st.integers(0, len(both.running) - 1)))
        both.compiled.release_server(server, worker)
        both.oracle.release(server, worker)


def fail(both: Twins, data: st.DataObject) -> None:
    server = any_server(both, data)
    both.compiled.set_down(server, 0, both.now)
    both.oracle.set_down(server, both.now)


def recover(both: Twins, data: st.DataObject) -> None:
    server = any_server(both, data)
    both.compiled.set_up(server)
    both.oracle.set_up(server)


def hold(both: Twins, data: st.DataObject) -> None:
    server, word = any_server(both, data), data.draw(st.sampled_from(list(Hold)))
    hold_server(both.compiled, server, word)
    both.oracle.servers[server].hold = word


def wait(both: Twins, data: st.DataObject) -> None:
    both.now += data.draw(st.sampled_from([1, INTERVAL_MS - 1, INTERVAL_MS]))


def die(both: Twins, data: st.DataObject) -> None:
    worker = data.draw(st.integers(0, WORKERS - 1))
    assert both.state.worker_died(worker) == both.oracle.worker_died(worker)
    both.running = [(server, owner) for server, owner in both.running if owner != worker]


def any_server(both: Twins, data: st.DataObject) -> int:
    return data.draw(st.integers(0, len(both.oracle.rows) - 1))


# Picks and releases are what traffic is made of.
STEPS: list[Callable[[Twins, st.DataObject], None]] = [
    *[pick] * 6,
    *[release] * 4,
    *[take] * 2,
    *[fail] * 2,
    recover,
    hold,
    wait,
    wait,
    die,
]


@given(twins(), st.data())
def test_every_decision_is_the_oracles(both: Twins, data: st.DataObject) -> None:
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=60)):
        step(both, data)
        for index, server in enumerate(both.oracle.servers):
            found = both.compiled.server_state(index)
            assert found["weight"] == server.weight
            assert found["start_weight"] == server.start_weight
            assert found["inflight"] == server.inflight
            assert found["down_until_ms"] == (server.down_until or 0)
            assert found["probe_by"] == (-1 if server.probe_by is None else server.probe_by)
