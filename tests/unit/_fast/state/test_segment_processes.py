"""The promises of the shared state over real processes: exact weights, exact limits, one probe, survival of the killed."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from functools import partial

import pytest

from tests.support.applied import applied
from tests.support.forks import Child, run_forked, start_child, wait_for
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.state.takeover import TakeoverTable

pytestmark = pytest.mark.asan

fork = multiprocessing.get_context("fork")
WORKERS = 4
NOW = 1_000_000
INTERVAL_MS = 60_000
ALL_FULL = -2
PROBE = 1
NEWS_READ = 10_000


def make(state: SharedState, weights: list[int], most: int = -1) -> Cluster:
    rows: list[tuple[str, str | None, int, int]] = [
        (f"s{index}", None, weight, most) for index, weight in enumerate(weights)
    ]
    return applied(Cluster(state, "c", rows, list(range(len(rows))), []))


def totals(chosen: Cluster, key: str = "total") -> list[int]:
    return [chosen.server_state(index)[key] for index in range(len(chosen.server_names))]


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [100, 60, 40], [7, 1]])
def test_weights_hold_exactly_over_all_processes(weights: list[int]) -> None:
    """Per process there would be a rest of a turn in each; over all there is none."""
    state = SharedState(8, 2)
    chosen = make(state, weights)
    turn = sum(totals(chosen, "start_weight"))
    picks = 20_000 // turn * turn + 1  # no whole turns in any one process

    def work(worker: int) -> Counter[int]:
        picked: Counter[int] = Counter()
        for _ in range(picks):
            server = chosen.pick_server(worker, NOW)
            picked[server] += 1
            chosen.release_server(server, worker)
        return picked

    answers = run_forked(work, WORKERS)
    rest = turn - WORKERS * picks % turn
    for _ in range(rest % turn):
        chosen.release_server(chosen.pick_server(0, NOW), 0)
    whole_turns = sum(totals(chosen)) // turn
    assert totals(chosen) == [whole_turns * n for n in totals(chosen, "start_weight")]
    assert sum(totals(chosen)) == WORKERS * picks + rest % turn
    assert sum(sum(answer.values()) for answer in answers) == WORKERS * picks
    assert totals(chosen, "inflight") == [0] * len(weights)


@pytest.mark.parametrize(("servers", "most"), [(1, 1), (3, 2), (2, 5)])
def test_max_connections_is_never_exceeded_at_any_moment(servers: int, most: int) -> None:
    """
    A count of the test's own, raised after a pick and lowered before its release, is never above the true number.

    So wherever it passes the limit, the limit was broken. Each process wants more than there is.
    """
    state = SharedState(8, 2)
    chosen = make(state, [1] * servers, most)
    held_by_all = fork.RawArray("i", servers)
    highest = fork.RawArray("i", servers)
    lock = fork.Lock()
    together = fork.Barrier(WORKERS)

    def note(server: int, change: int) -> None:
        with lock:
            held_by_all[server] += change
            highest[server] = max(highest[server], held_by_all[server])

    def work(worker: int) -> None:
        held: list[int] = []

        def take_one() -> bool:
            server = chosen.pick_server(worker, NOW)
            if server < 0:
                assert server == ALL_FULL
                return False
            note(server, 1)
            held.append(server)
            return True

        def give_one() -> None:
            server = held.pop(0)
            note(server, -1)
            chosen.release_server(server, worker)

        while take_one():
            pass
        together.wait(60)  # full now: each was refused while the others held everything else
        for turn in range(3_000):
            if not take_one() or len(held) > turn % (most + 1):
                while held:
                    give_one()
        while held:
            give_one()

    run_forked(work, WORKERS)
    assert list(highest) == [most] * servers  # reached, never passed
    assert totals(chosen, "inflight") == [0] * servers


def test_full_is_never_taken_for_unreachable() -> None:
    """A request that ends while another is turned away once made that a 500 instead of a 503."""
    state = SharedState(8, 2)
    chosen = make(state, [1, 1], most=1)

    def work(worker: int) -> set[int]:
        answers = set()
        for _ in range(200_000):
            server = chosen.pick_server(worker, NOW)
            answers.add(server)
            if server >= 0:
                chosen.release_server(server, worker)
        return answers

    for answers in run_forked(work, WORKERS):
        assert answers <= {0, 1, ALL_FULL}


def test_down_server_is_probed_once_an_interval_over_all_processes() -> None:
    """Everybody asks at once; who probes fails, and nobody may slip in between the end of the probe and the new mark."""
    state = SharedState(8, 2)
    chosen = make(state, [1, 1])
    rounds = 300
    together = fork.Barrier(WORKERS)
    chosen.set_down(0, 0, NOW)

    def work(worker: int) -> list[int]:
        probes = []
        for turn in range(1, rounds + 1):
            now = NOW + turn * INTERVAL_MS
            together.wait(60)
            count = 0
            for _ in range(20):
                verdict = chosen.take_server(0, worker, now)
                if verdict == PROBE:
                    count += 1
                    chosen.set_down(0, worker, now, 111)
                    chosen.release_server(0, worker)
            probes.append(count)
        return probes

    answers = run_forked(work, WORKERS)
    assert [sum(counts) for counts in zip(*answers, strict=True)] == [1] * rounds


def end(child: Child) -> None:
    os.close(child.answer)
    child.kill()


@pytest.mark.parametrize("attempt", range(5))
def test_killed_worker_gives_back_exactly_its_requests(attempt: int) -> None:
    """Others go on while it dies; what they hold stays, what it held is free again."""
    state = SharedState(8, 2)
    chosen = make(state, [1, 1, 1])
    victim_row, kept = 3, 7 + attempt

    def hold_and_go_on() -> None:
        for _ in range(kept):
            chosen.pick_server(victim_row, NOW)
        os.write(ready_writer, b"!")
        while True:
            chosen.release_server(chosen.pick_server(victim_row, NOW), victim_row)

    def work(worker: int) -> int:
        for _ in range(3_000):
            chosen.release_server(chosen.pick_server(worker, NOW), worker)
        for _ in range(worker + 1):
            chosen.pick_server(worker, NOW)
        return worker + 1

    ready_reader, ready_writer = os.pipe()
    victim = start_child(hold_and_go_on)
    try:
        os.close(ready_writer)
        assert os.read(ready_reader, 1) == b"!"
        others = [start_child(partial(work, worker)) for worker in range(3)]
    finally:
        os.close(ready_reader)
        end(victim)
    assert wait_for(others) == [1, 2, 3]
    inflight = sum(totals(chosen, "inflight"))
    given_back = state.worker_died(victim_row)
    assert given_back in (kept, kept + 1)  # one more where it died between a pick and its release
    assert inflight == 6 + given_back
    assert sum(totals(chosen, "inflight")) == 6
    assert [state.worker_died(worker) for worker in range(3)] == [1, 2, 3]


def test_session_that_moved_is_seen_by_every_process() -> None:
    """Each remembers its own sessions and finds those of all others."""
    state = SharedState(8, 2)
    together = fork.Barrier(WORKERS)

    def work(worker: int) -> int:
        mine = [b"%d-%d" % (worker, number) for number in range(500)]
        assert all(state.takeovers.remember_session(1, each, worker, NOW, NOW + 9) for each in mine)
        together.wait(60)
        found = 0
        for other in range(WORKERS):
            for number in range(500):
                server = state.takeovers.find_session(1, b"%d-%d" % (other, number), NOW)
                assert server in (-1, other)
                found += server == other
        return found

    # Two that choose the same free place at the same moment lose one; 2000 sessions in 16384 buckets seldom meet.
    (found,) = set(run_forked(work, WORKERS))
    assert WORKERS * 500 - 10 < found <= WORKERS * 500
    for worker in range(WORKERS):
        assert state.takeovers.find_session(1, b"%d-7" % worker, NOW + 9) == -1


def test_no_process_ever_sees_another_sessions_server() -> None:
    """All write the same four places at once; halves of different writes must fit nobody."""
    table = TakeoverTable(1)
    sessions = [b"session %d" % number for number in range(40)]

    def work(worker: int) -> int:
        found = 0
        for turn in range(4_000):
            at = (turn * 7 + worker * 11) % len(sessions)
            table.remember_session(3, sessions[at], 1000 + at, NOW, NOW + 1 + turn)
            for each in range(at, at + 5):
                server = table.find_session(3, sessions[each % 40], NOW)
                assert server in (-1, 1000 + each % 40)
                found += server >= 0
        return found

    assert all(found > 0 for found in run_forked(work, WORKERS))


def test_all_processes_tell_and_one_reads() -> None:
    """What is read was told, whole, and once; what was overwritten is counted: none is missing."""
    table = TakeoverTable(4)
    table.share(bytes(16))
    done = fork.RawArray("i", WORKERS)
    each_tells = 30_000

    def work(worker: int) -> int:
        if worker == WORKERS:
            told: list[tuple[int, int, int]] = []
            # That found nothing after all had told all: the first may wait for half a news.
            looks = 0
            while looks < 2:
                has_ended = sum(done) == WORKERS
                news = table.take_news(5000)
                told += news
                looks = looks + 1 if has_ended and not news else 0
            assert len({until for _, _, until in told}) == len(told)
            for key, server, until in told:
                assert until // 1_000_000 == server + 1
                assert key == table.session_key(server, b"%d" % until)
            assert len(told) > NEWS_READ
            return WORKERS * each_tells - len(told) - table.news_counts()[1]
        for number in range(each_tells):
            until = (worker + 1) * 1_000_000 + number
            table.remember_session(worker, b"%d" % until, worker, 0, until)
        done[worker] = 1
        return 0

    assert run_forked(work, WORKERS + 1) == [0] * (WORKERS + 1)


@pytest.mark.parametrize("attempt", range(3))
def test_process_killed_while_it_remembers_stops_nobody(attempt: int) -> None:
    """There is no lock: whatever half a write it leaves, the next ones are whole."""
    table = TakeoverTable(1)
    turns = fork.RawValue("i", 0)

    def remember_for_ever() -> None:
        while True:
            turns.value += 1
            table.remember_session(3, b"%d" % (turns.value % 9), turns.value % 9, NOW, NOW + 9)

    victim = start_child(remember_for_ever)
    while turns.value < 100 + attempt:
        os.sched_yield()
    end(victim)
    for number in range(9):
        assert table.find_session(3, b"%d" % number, NOW) in (-1, number)
        table.remember_session(3, b"%d" % number, number, NOW, NOW + 9)
        assert table.find_session(3, b"%d" % number, NOW) == number
