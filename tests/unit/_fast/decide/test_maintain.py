"""Maintenance by an operator's word: of a cluster or of all, over all that decide, until it is over."""

from __future__ import annotations

import time

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.maintain import (
    count_maintenance,
    is_in_maintenance,
    maintain,
    maintenance_of,
)
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.segment import SharedState, cluster_key

pytestmark = pytest.mark.asan


def make(state: SharedState, name: str = "farm") -> Cluster:
    return applied(Cluster(state, name, [("s0", None, 1, -1)], [0], []))


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def test_word_is_kept_with_who_why_and_until_when() -> None:
    state = SharedState(8, 2)
    cluster, other = make(state), make(state, "other")
    before, until = wall_ms(), wall_ms() + 60_000
    assert maintain(
        state, cluster, True, who=b"me", why=b"release", words=b"until noon", until_wall_ms=until
    )
    word = maintenance_of(state, cluster)
    assert word is not None
    assert (word.who, word.why, word.until_ms) == ("me", "release", until)
    assert before <= word.since_ms <= wall_ms()
    assert maintenance_of(state, other) is maintenance_of(state, None) is None
    assert is_in_maintenance(state, cluster)
    assert not is_in_maintenance(state, other)
    [change] = state.changes()
    assert (change.kind, change.cluster, change.server) == (ChangeKind.MAINTENANCE_ON, "farm", "")
    assert change.detail == "me, until noon: release"


def test_word_on_the_whole_proxy_is_one_on_every_cluster() -> None:
    state = SharedState(8, 2)
    cluster = make(state)
    assert maintain(state, None, True)
    assert is_in_maintenance(state, cluster)
    assert is_in_maintenance(state, None)
    assert maintenance_of(state, cluster) is None
    assert maintain(state, None, False)
    assert not is_in_maintenance(state, cluster)


def test_word_ends_by_itself_and_that_is_told_once() -> None:
    state = SharedState(8, 2)
    cluster = make(state)
    assert maintain(state, cluster, True, until_wall_ms=wall_ms() - 1)
    while is_in_maintenance(state, cluster):  # a millisecond of the coarse clock, at most a few
        pass
    assert count_maintenance(state, [cluster]) == 0
    assert count_maintenance(state, [cluster]) == 0
    assert [change.kind for change in state.changes()] == [
        ChangeKind.MAINTENANCE_ON,
        ChangeKind.MAINTENANCE_OFF,
    ]
    assert state.changes()[-1].detail == "its time is over"


def test_same_word_is_no_change_and_another_reason_is() -> None:
    state = SharedState(8, 2)
    cluster = make(state)
    assert not maintain(state, cluster, False)
    assert maintain(state, cluster, True, why=b"a")
    assert not maintain(state, cluster, True, why=b"a")
    assert maintain(state, cluster, True, why=b"b")
    assert count_maintenance(state, [cluster]) == 1


def test_other_configuration_with_the_cluster_keeps_the_word_and_a_freed_slot_does_not() -> None:
    state = SharedState(8, 2)
    cluster = make(state)
    assert maintain(state, cluster, True)
    assert is_in_maintenance(state, make(state))
    state.keep_slots(set(), {cluster_key("else")}, 2)
    state.note_generations(0, 2, 2)
    assert state.free_slots(0) >= 1
    assert not is_in_maintenance(state, make(state))
