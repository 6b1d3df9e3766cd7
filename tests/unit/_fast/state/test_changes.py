"""The ring of changes: each change once, with its evidence, readable while others write."""

from __future__ import annotations

import errno
import multiprocessing
import os
from datetime import UTC, datetime

import pytest

from tests.support.applied import applied
from tests.support.forks import run_forked, start_child
from tests.support.operators import drain
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.changes import Change, ChangeKind
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

fork = multiprocessing.get_context("fork")
WORKERS = 4
NOW = 1_000_000
INTERVAL_MS = 60_000
KEPT = 4096
HEAD = (
    b"GET /shop/cart;jsessionid=0000SECRET?q=SECRET HTTP/1.1\r\nCookie: JSESSIONID=SECRET\r\n\r\n"
)


def make(state: SharedState, servers: int = 2, name: str = "c") -> Cluster:
    rows: list[tuple[str, str | None, int, int]] = [(f"s{n}", None, 1, -1) for n in range(servers)]
    return applied(Cluster(state, name, rows, list(range(servers)), []))


def kinds(state: SharedState, since: int = 0) -> list[ChangeKind]:
    return [change.kind for change in state.changes(since)]


def test_life_of_a_failure_is_told_from_mark_to_return() -> None:
    state = SharedState(8, 2)
    chosen = make(state)
    before = datetime.now(UTC).timestamp() * 1000
    chosen.set_down(1, 3, NOW, errno.ECONNREFUSED, b"could not connect: refused", HEAD)
    assert chosen.take_server(1, 2, NOW + INTERVAL_MS) == 1
    chosen.set_down(1, 2, NOW + INTERVAL_MS + 9, errno.ETIMEDOUT, b"ConnectTimeout", HEAD)
    chosen.release_server(1, 2)
    assert chosen.take_server(1, 0, NOW + 3 * INTERVAL_MS) == 1
    chosen.set_up(1, 0, HEAD)
    changes = state.changes()
    after = datetime.now(UTC).timestamp() * 1000
    request = "GET /shop/cart"
    assert [change[2:9] for change in changes] == [
        (ChangeKind.MARKED_DOWN, "c", "s1", 3, 111, "could not connect: refused", request),
        (ChangeKind.PROBED, "c", "s1", 2, 0, "", ""),
        (ChangeKind.STILL_DOWN, "c", "s1", 2, 110, "ConnectTimeout", request),
        (ChangeKind.PROBED, "c", "s1", 0, 0, "", ""),
        (ChangeKind.UP, "c", "s1", 0, 0, "", request),
    ]
    assert [change.number for change in changes] == [1, 2, 3, 4, 5]
    times = [change.wall_ms for change in changes]
    assert times == sorted(times)
    assert before - 1 <= times[0] <= times[-1] <= after + 1


def test_why_down_is_the_last_failure_as_long_as_the_server_is_down() -> None:
    state = SharedState(8, 4)
    chosen, other = make(state), make(state, name="other")
    assert chosen.why_down(0) is None
    chosen.set_down(0, 1, NOW, 111, b"first")
    other.set_down(0, 2, NOW, 104, b"of another cluster")
    first = chosen.why_down(0)
    assert first is not None
    assert (first.detail, first.worker, first.cluster) == ("first", 1, "c")
    chosen.set_down(0, 1, NOW + INTERVAL_MS, 110, b"second")
    second = chosen.why_down(0)
    assert second is not None
    assert second.detail == "second"
    assert chosen.why_down(1) is None
    assert chosen.last_failure(1) is None
    chosen.set_up(0)
    assert chosen.why_down(0) is None
    assert chosen.last_failure(0) == second  # it is told of when the server is up again
    for turn in range(KEPT):
        drain(chosen, 1, on=turn % 2 == 0)
    assert other.last_failure(0) is None
    assert other.why_down(0) is None  # overwritten; server_state still has errno and time
    assert other.server_state(0)["down_errno"] == 104


def test_what_changes_nothing_is_not_recorded() -> None:
    """Answers of a server that is up, failures within the interval (a last chance), drains of a drained server."""
    state = SharedState(8, 2)
    chosen = make(state)
    chosen.set_up(0)
    drain(chosen, 0, on=False)
    assert state.changes() == []
    for turn in range(100):
        chosen.set_down(0, 0, NOW + turn)
    for _ in range(2):
        drain(chosen, 1)
    for _ in range(2):
        drain(chosen, 1, on=False)
    chosen.set_up(0)
    chosen.set_up(0)
    assert kinds(state) == [
        ChangeKind.MARKED_DOWN,
        ChangeKind.DRAIN_ON,
        ChangeKind.DRAIN_OFF,
        ChangeKind.UP,
    ]


def test_server_that_everybody_tries_while_it_is_down_does_not_fill_the_ring() -> None:
    """One record a RetryInterval, though each failure moves the end of the interval."""
    state = SharedState(8, 2)
    chosen = make(state, 1)
    for turn in range(3 * INTERVAL_MS // 100 + 1):
        now = NOW + turn * 100
        assert chosen.pick_server(0, now) == 0
        chosen.set_down(0, 0, now)
        chosen.release_server(0, 0)
    assert kinds(state) == [ChangeKind.MARKED_DOWN, *[ChangeKind.STILL_DOWN] * 3]


def test_probes_without_a_verdict_are_recorded_once_a_second() -> None:
    state = SharedState(8, 2)
    chosen = make(state)
    chosen.set_down(0, 0, NOW)
    for turn in range(30):
        assert chosen.take_server(0, 1, NOW + INTERVAL_MS + turn * 100) == 1
        chosen.release_server(0, 1)
    assert kinds(state) == [ChangeKind.MARKED_DOWN, *[ChangeKind.PROBED] * 3]


def test_oldest_changes_make_room() -> None:
    state = SharedState(8, 2)
    chosen = make(state)
    for turn in range(KEPT + 10):
        drain(chosen, 0, on=turn % 2 == 0)
    numbers = [change.number for change in state.changes()]
    assert numbers == list(range(11, KEPT + 11))
    assert [change.number for change in state.changes(KEPT + 7)] == [KEPT + 8, KEPT + 9, KEPT + 10]
    assert state.changes(KEPT + 10) == state.changes(2**64 - 2) == []


@pytest.mark.parametrize(
    ("head", "request_text"),
    [
        (b"", ""),
        (b"GET", ""),
        (b"GET /no-end", ""),
        (b"GET / HTTP/1.1\r\n", "GET /"),
        (b"OPTIONS * HTTP/1.1\r\n", "OPTIONS *"),
        (b"GET /\xff\x01 HTTP/1.1\r\n", "GET /\\xff\x01"),
        (b"GET /" + b"x" * 500 + b" HTTP/1.1\r\n", "GET /" + "x" * 152),
        (b"GET /a%3Bjsessionid=SECRET HTTP/1.1\r\n", "GET /a"),
    ],
)
def test_only_method_and_visible_path_of_a_request_are_kept(head: bytes, request_text: str) -> None:
    state = SharedState(8, 2)
    make(state).set_down(0, 0, NOW, 0, b"", head)
    assert state.changes()[0].request == request_text


def test_long_names_and_words_are_cut() -> None:
    state = SharedState(8, 2)
    chosen = applied(Cluster(state, "é" * 100, [("s" * 200, None, 1, -1)], [0], []))
    chosen.set_down(0, 0, NOW, 1, b"w" * 1000)
    change = state.changes()[0]
    assert change.cluster == "é" * 39 + "\ufffd"
    assert (change.server, change.detail) == ("s" * 79, "w" * 157)


def test_each_change_is_recorded_once_over_all_processes() -> None:
    """All see the same server fail and answer at the same moment."""
    state = SharedState(8, 2)
    chosen = make(state)
    rounds = 300
    together = fork.Barrier(WORKERS)

    def work(worker: int) -> None:
        for turn in range(rounds):
            together.wait(60)
            chosen.set_down(0, worker, NOW + turn)
            together.wait(60)
            chosen.set_up(0, worker)

    run_forked(work, WORKERS)
    assert kinds(state) == [ChangeKind.MARKED_DOWN, ChangeKind.UP] * rounds


def is_whole(change: Change) -> bool:
    """Whether the parts of a record were written by one process for one change."""
    return change.detail == f"w{change.worker} {change.error} " + "x" * (change.error % 90)


def test_records_are_whole_while_all_processes_write() -> None:
    state = SharedState(8, 8)
    clusters = [make(state, 1, f"c{worker}") for worker in range(WORKERS)]
    done = fork.RawArray("i", WORKERS)

    def write(worker: int) -> int:
        for turn in range(20_000):
            detail = b"w%d %d " % (worker, turn) + b"x" * (turn % 90)
            clusters[worker].set_down(0, worker, NOW + turn * INTERVAL_MS, turn, detail)
        done[worker] = 1
        return 0

    def read() -> int:
        since = seen = 0
        while sum(done) < WORKERS - 1:
            changes = state.changes(since)
            assert all(map(is_whole, changes))
            numbers = [change.number for change in changes]
            assert numbers == sorted(set(numbers))
            assert not numbers or numbers[0] > since
            since = numbers[-1] if numbers else since
            seen += len(changes)
        return seen

    def work(worker: int) -> int:
        return read() if worker == WORKERS - 1 else write(worker)

    assert run_forked(work, WORKERS)[-1] > 0
    assert state.changes()[-1].number == 20_000 * (WORKERS - 1)


@pytest.mark.parametrize("attempt", range(5))
def test_writer_killed_at_any_moment_leaves_the_ring_usable(attempt: int) -> None:
    state = SharedState(8, 2)
    chosen = make(state)
    written = fork.RawValue("i", 0)

    def write_for_ever() -> None:
        while True:
            drain(chosen, 0)
            drain(chosen, 0, on=False)
            written.value += 1

    victim = start_child(write_for_ever)
    while written.value < 100 + attempt:
        os.sched_yield()
    os.close(victim.answer)
    victim.kill()
    last = state.changes()[-1].number
    make(state).set_down(1, 0, NOW, 5)
    assert state.changes(last)[-1].error == 5
