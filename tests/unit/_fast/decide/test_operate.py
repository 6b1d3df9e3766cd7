"""An operator's words: in shared memory, with who and why, over all that decide, and kept when the configuration changes."""

from __future__ import annotations

import time

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import (
    AS_FILE,
    clear_mark,
    end_holds,
    growth_of,
    hold_server,
    numbers_of_file,
    record_word,
    said_of,
    sessions_of,
    set_numbers,
    take_mark,
)
from wsproxy._fast.decide.probes import note_probe, probe_state, watch_servers
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import SharedState, now_ms

pytestmark = pytest.mark.asan

WHO, WHY = b"root (uid 0)", b"new kernel"


def make(state: SharedState, *weights: int, most: int = -1, balanced: int = 0) -> Cluster:
    servers: list[tuple[str, str | None, int, int]] = [
        (f"s{at}", f"c{at}", weight, most) for at, weight in enumerate(weights)
    ]
    primaries = list(range(len(weights) - balanced))
    backups = list(range(len(weights) - balanced, len(weights)))
    return applied(
        Cluster(state, "farm", servers, primaries, backups, balance_backups=balanced > 0)
    )


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def kinds(state: SharedState) -> list[ChangeKind]:
    return [change.kind for change in state.changes()]


def picks(cluster: Cluster, count: int) -> list[int]:
    found = []
    for _ in range(count):
        found.append(cluster.pick_server(0, now_ms()))
        cluster.release_server(found[-1], 0)
    return found


def test_word_is_kept_with_who_why_and_when() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    before = wall_ms()
    assert hold_server(cluster, 1, Hold.DRAIN, who=WHO, why=WHY)
    said = said_of(cluster, 1)
    assert (said.hold, said.who, said.why, said.until_ms) == (
        Hold.DRAIN,
        WHO.decode(),
        WHY.decode(),
        0,
    )
    assert before <= said.since_ms <= wall_ms()
    assert said_of(cluster, 0).hold is Hold.NO_HOLD
    change = state.changes()[-1]
    assert (change.kind, change.cluster, change.server) == (ChangeKind.DRAIN_ON, "farm", "s1")
    assert (change.worker, change.detail) == (-1, "root (uid 0): new kernel")


def test_other_configuration_with_the_server_keeps_the_words() -> None:
    """Its own numbers too: what an operator said holds until it is taken back."""
    state = SharedState(8, 2)
    cluster = make(state, 2, 2)
    hold_server(cluster, 0, Hold.TAKEN_DOWN, who=WHO)
    set_numbers(cluster, 1, weight=6, limit=3, who=WHO)
    later = make(state, 4, 4, most=9)
    assert said_of(later, 0).hold is Hold.TAKEN_DOWN
    assert [later.server_state(at)["start_weight"] for at in range(2)] == [2, 3]
    assert [later.server_state(at)["max_connections"] for at in range(2)] == [9, 3]
    assert numbers_of_file(later, 1) == (4, 9)
    assert (said_of(later, 1).file_weight, said_of(later, 1).file_limit) == (2, -1)
    set_numbers(later, 1, weight=AS_FILE, limit=AS_FILE)
    assert [later.server_state(at)["start_weight"] for at in range(2)] == [1, 1]
    assert later.server_state(1)["max_connections"] == 9
    assert said_of(later, 1).weight is None


def test_weight_holds_from_the_next_turn_on() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    assert set_numbers(cluster, 0, weight=3)
    found = picks(cluster, 400)
    assert (found.count(0), found.count(1)) == (300, 100)
    set_numbers(cluster, 0, weight=0)
    assert picks(cluster, 10) == [1] * 10
    assert cluster.take_server(0, 0, now_ms()) == Verdict.USABLE


def test_backups_that_are_balanced_have_weights_of_their_own() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 4, 6, 6, balanced=2)
    set_numbers(cluster, 2, weight=9)
    assert [cluster.server_state(at)["start_weight"] for at in range(3)] == [1, 2, 3]


def test_limit_holds_at_once() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1)
    assert [cluster.pick_server(0, now_ms()) for _ in range(2)] == [0, 0]
    set_numbers(cluster, 0, limit=2)
    assert cluster.judge_server(0, now_ms()) == Verdict.FULL
    set_numbers(cluster, 0, limit=-1)
    assert cluster.judge_server(0, now_ms()) == Verdict.USABLE


def test_hold_ends_by_itself_and_says_so_once() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    hold_server(cluster, 0, Hold.DRAIN, until_wall_ms=wall_ms() + 50)
    assert cluster.judge_server(0, now_ms()) == Verdict.DRAINED
    later = now_ms() + 60
    assert cluster.judge_server(0, later) == Verdict.USABLE
    assert {cluster.pick_server(0, later) for _ in range(2)} == {0, 1}
    assert cluster.server_state(0)["hold"] == Hold.NO_HOLD
    assert kinds(state) == [ChangeKind.DRAIN_ON, ChangeKind.DRAIN_OFF]
    assert state.changes()[-1].detail == "its time is over"


def test_hold_that_nobody_meets_ends_where_somebody_looks() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    hold_server(cluster, 0, Hold.TAKEN_DOWN, until_wall_ms=wall_ms() - 1)
    hold_server(cluster, 1, Hold.DRAIN)
    assert said_of(cluster, 0).hold is Hold.NO_HOLD
    assert end_holds(cluster) == 1
    assert end_holds(cluster) == 0
    assert kinds(state) == [ChangeKind.DOWN_ON, ChangeKind.DRAIN_ON, ChangeKind.DOWN_OFF]


def test_what_changes_nothing_is_no_entry() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 2, 2)
    assert not hold_server(cluster, 0, Hold.NO_HOLD)
    assert hold_server(cluster, 0, Hold.DRAIN, why=WHY)
    assert not hold_server(cluster, 0, Hold.DRAIN, why=WHY)
    assert hold_server(cluster, 0, Hold.DRAIN, why=b"another")
    assert not set_numbers(cluster, 0, weight=AS_FILE)
    assert set_numbers(cluster, 0, weight=2)  # it holds whatever the file will say
    assert not set_numbers(cluster, 0, weight=2)
    assert not clear_mark(cluster, 0)
    assert len(state.changes()) == 3


def test_mark_of_failed_requests_is_cleared() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    cluster.set_down(0, 0, now_ms(), 111)
    assert clear_mark(cluster, 0, who=WHO)
    assert cluster.judge_server(0, now_ms()) == Verdict.USABLE
    assert kinds(state) == [ChangeKind.MARKED_DOWN, ChangeKind.MARK_CLEARED]


def test_waiters_go_on_when_an_operator_makes_room() -> None:
    state = SharedState(8, 2)
    servers: list[tuple[str, str | None, int, int]] = [("s", None, 1, 1)]
    cluster = applied(Cluster(state, "farm", servers, [0], [], queue_size=4))
    assert cluster.pick_server(0, now_ms()) == 0
    _, ticket = cluster.join_queue(1, now_ms())
    assert ticket
    set_numbers(cluster, 0, limit=2)
    assert cluster.take_queue_turn(ticket, 1) == 0


def test_texts_are_cut_between_characters() -> None:
    state = SharedState(8, 2)
    cluster = make(state, 1, 1)
    hold_server(cluster, 0, Hold.DRAIN, who="ö".encode() * 200, why="€".encode() * 200)
    said = said_of(cluster, 0)
    assert set(said.who) == {"ö"}
    assert len(said.who) == 31
    assert set(said.why) == {"€"}


def test_sessions_of_nobody_are_none() -> None:
    cluster = make(SharedState(8, 2), 1)
    assert sessions_of(cluster, 0) == (0, -1)


def test_entry_about_no_server() -> None:
    state = SharedState(8, 2)
    record_word(state, ChangeKind.LOG_LEVEL_SET, b"", b"", b"root, LogLevel Error -> Trace")
    change = state.changes()[-1]
    assert (change.kind, change.server) == (ChangeKind.LOG_LEVEL_SET, "")


@pytest.mark.parametrize("server", [-1, 2])
def test_index_of_no_server_is_refused(server: int) -> None:
    cluster = make(SharedState(8, 2), 1, 1)
    for call in (said_of, sessions_of, numbers_of_file):
        with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
            call(cluster, server)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
        hold_server(cluster, server, Hold.DRAIN)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
        set_numbers(cluster, server, weight=1)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
        clear_mark(cluster, server)


def test_hold_of_no_kind_is_refused() -> None:
    cluster = make(SharedState(8, 2), 1)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.2"):
        hold_server(cluster, 0, 3)


def test_growing_weight_is_told_without_a_change() -> None:
    cluster = make(SharedState(8, 2), 2, 2)
    now = now_ms()
    assert growth_of(cluster, 0, now) == (1, 0)
    watch_servers(cluster, now, probed=False, slow_start_ms=100_000)
    cluster.set_down(0, 0, now)
    cluster.set_up(0)
    since = probe_state(cluster, 0)["slow_since_ms"]
    for passed, part, left in (
        (0, 1 / 1024, 100_000), (25_000, 0.25, 75_000), (99_999, 1023 / 1024, 1), (100_000, 1, 0),
    ):  # fmt: skip
        assert growth_of(cluster, 0, since + passed) == (part, left)
    assert probe_state(cluster, 0)["slow_since_ms"] == since
    assert growth_of(cluster, 1, since) == (1, 0)


def test_another_proxys_mark_is_one_from_its_failure_on() -> None:
    """With its evidence; one that is older than RetryInterval is none, and one more of a server that is down changes nothing."""
    state = SharedState(8, 2)
    farm = make(state, 1, 1)
    assert not take_mark(farm, 0, True, age_ms=60_000, detail=b"too old")
    assert take_mark(farm, 0, True, age_ms=20_000, error=111, detail=b"b: refused")
    assert not take_mark(farm, 0, True, detail=b"again")
    change = farm.why_down(0)
    assert change is not None
    assert (change.worker, change.error, change.detail) == (-3, 111, "b: refused")
    left_ms = farm.server_state(0)["down_until_ms"] - now_ms()
    assert 39_000 < left_ms <= 40_001
    assert kinds(state) == [ChangeKind.MARKED_DOWN]


def test_another_proxys_answer_ends_a_mark() -> None:
    """But not one that our own probes hold; an operator there ends that, too."""
    state = SharedState(8, 2)
    farm = make(state, 1)
    farm.set_down(0, 0, now_ms())
    assert take_mark(farm, 0, False)
    assert not take_mark(farm, 0, False)
    watch_servers(farm, now_ms(), probed=True, hold_ms=60_000)
    for _ in range(3):
        note_probe(farm, 0, False, now_ms(), rise=2, fall=3, hold_ms=60_000)
    assert not take_mark(farm, 0, False)
    assert farm.server_state(0)["down_until_ms"]
    assert take_mark(farm, 0, False, is_operator=True, detail=b"as b says")
    assert not farm.server_state(0)["down_until_ms"]
    assert kinds(state)[-1] == ChangeKind.MARK_CLEARED
