"""The queue of a cluster: first come first served over all workers, nothing lost, nothing given twice."""

from __future__ import annotations

import multiprocessing
import os
import select
from typing import Any

import pytest

from tests.support.applied import applied
from tests.support.forks import run_forked, start_child
from tests.support.operators import drain, take_down
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, now_ms

pytestmark = pytest.mark.asan

fork = multiprocessing.get_context("fork")
NONE_REACHABLE, ALL_FULL, WAITS = -1, -2, -3
USABLE, PROBE, FULL = 0, 1, 4
INTERVAL_MS = 60_000
WORKERS = 4


def make(state: SharedState, most: list[int], *, size: int = 100, **options: Any) -> Cluster:
    """Servers s0, s1, ... with these limits; weights are equal."""
    rows: list[tuple[str, str | None, int, int]] = [
        (f"s{n}", f"c{n}", 1, limit) for n, limit in enumerate(most)
    ]
    options.setdefault("primaries", list(range(len(most))))
    options.setdefault("backups", [])
    return applied(
        Cluster(
            state,
            "c",
            rows,
            options.pop("primaries"),
            options.pop("backups"),
            queue_size=size,
            **options,
        )
    )


def full(most: list[int], **options: Any) -> Cluster:
    """A cluster in which every place is taken, by worker 0."""
    chosen = make(SharedState(16, 2), most, **options)
    for server, limit in enumerate(most):
        for _ in range(max(limit, 0)):
            assert chosen.take_server(server, 0, now_ms()) == USABLE
    return chosen


def join(chosen: Cluster, worker: int, wanted: int = -1) -> int:
    """The place of a request that must wait."""
    server, place = chosen.join_queue(worker, now_ms(), wanted)
    assert server == WAITS
    assert place > 0
    return place


def turn(chosen: Cluster, place: int, worker: int) -> int:
    return chosen.take_queue_turn(place, worker)


def count(chosen: Cluster, key: str) -> list[int]:
    return [chosen.server_state(n)[key] for n in range(len(chosen.server_names))]


def test_who_waits_longest_is_next_whatever_its_worker() -> None:
    chosen = full([1])
    waiting = [(join(chosen, worker), worker) for worker in (2, 0, 3, 1, 2)]
    assert chosen.queue_length == 5
    holder = 0
    for at, (place, worker) in enumerate(waiting):
        assert all(turn(chosen, *other) == WAITS for other in waiting[at:])
        chosen.release_server(0, holder)
        assert [turn(chosen, *other) for other in waiting[at + 1 :]] == [WAITS] * (4 - at)
        assert turn(chosen, place, worker) == 0
        holder = worker
    assert (chosen.queue_length, count(chosen, "granted"), count(chosen, "inflight")) == (
        0,
        [0],
        [1],
    )


def test_granted_place_is_kept_until_it_is_taken_up() -> None:
    """Neither a new session nor one with affinity slips in between."""
    chosen = full([1])
    place = join(chosen, 1)
    chosen.release_server(0, 0)
    assert chosen.pick_server(2, now_ms()) == ALL_FULL
    assert chosen.take_server(0, 2, now_ms()) == FULL
    assert (count(chosen, "inflight"), count(chosen, "granted")) == ([0], [1])
    assert turn(chosen, place, 1) == 0
    assert (count(chosen, "inflight"), count(chosen, "granted")) == ([1], [0])


def test_newcomer_does_not_take_what_time_has_freed() -> None:
    """No request has ended and no bell rung: a RetryInterval is over, and the first who asks is not the first in line."""
    for by_affinity in (False, True):
        chosen = full([1, 1])
        chosen.set_down(1, 0, now_ms())
        chosen.release_server(1, 0)
        place = join(chosen, 1)
        later = now_ms() + INTERVAL_MS
        if by_affinity:
            assert chosen.take_server(1, 2, later) == FULL
        else:
            assert chosen.pick_server(2, later) == ALL_FULL
        assert turn(chosen, place, 1) == 1


def test_newcomer_takes_what_nobody_waits_for() -> None:
    """The queue is of those who wait for s0; s1 is free for everybody else."""
    chosen = full([1, 2])
    own = join(chosen, 1, wanted=0)
    chosen.release_server(1, 0)
    assert chosen.pick_server(2, now_ms()) == 1
    assert turn(chosen, own, 1) == WAITS
    chosen.release_server(0, 0)
    assert chosen.pick_server(2, now_ms()) == ALL_FULL
    assert turn(chosen, own, 1) == 0


def test_place_is_for_the_first_who_may_have_it() -> None:
    chosen = full([1, 1])
    first, second, third = join(chosen, 1, wanted=0), join(chosen, 1), join(chosen, 1, wanted=1)
    chosen.release_server(1, 0)
    assert [turn(chosen, place, 1) for place in (first, second, third)] == [WAITS, 1, WAITS]
    chosen.release_server(1, 1)
    assert [turn(chosen, place, 1) for place in (first, third)] == [WAITS, 1]


def test_queue_that_is_full_refuses_or_gives_what_is_free() -> None:
    chosen = full([1], size=2)
    join(chosen, 1)
    join(chosen, 2)
    assert chosen.join_queue(3, now_ms()) == (ALL_FULL, 0)
    other = full([1, 1], size=1)
    join(other, 1, wanted=0)
    other.release_server(1, 0)
    assert other.join_queue(2, now_ms(), 0) == (1, 0)


def test_place_that_came_free_before_the_waiter_is_its_own() -> None:
    """Between "full" and joining a request may end, and nobody was there yet to be told."""
    chosen = full([1])
    assert chosen.pick_server(1, now_ms()) == ALL_FULL
    chosen.release_server(0, 0)
    assert chosen.join_queue(1, now_ms()) == (0, 0)
    assert (chosen.queue_length, count(chosen, "inflight")) == (0, [1])


def test_without_a_queue_nobody_waits() -> None:
    """Size 0, or no server with a limit."""
    state = SharedState(16, 4)
    none = make(state, [1], size=0)
    assert not none.has_queue
    assert none.join_queue(0, now_ms()) == (ALL_FULL, 0)
    assert not make(SharedState(4, 2), [-1, 0]).has_queue


def test_own_server_that_goes_down_or_is_taken_down_sends_its_waiters_elsewhere() -> None:
    for leave in ("down", "out"):
        chosen = full([1, 1])
        place = join(chosen, 1, wanted=0)
        chosen.release_server(1, 0)
        assert turn(chosen, place, 1) == WAITS
        if leave == "down":
            chosen.set_down(0, 0, now_ms())
        else:
            take_down(chosen, 0)
        assert turn(chosen, place, 1) == 1


def test_nobody_waits_for_servers_that_are_gone() -> None:
    chosen = full([1], last_chance=False)
    places = [join(chosen, worker) for worker in (1, 2)]
    chosen.set_down(0, 0, now_ms())
    chosen.release_server(0, 0)
    assert [turn(chosen, place, 1 + at) for at, place in enumerate(places)] == [NONE_REACHABLE] * 2
    assert chosen.queue_length == 0


def test_server_that_returns_serves_the_queue() -> None:
    """By an answer, by the end of its drain, by the end of its RetryInterval."""
    chosen = full([1, 1])
    chosen.set_down(1, 0, now_ms() - INTERVAL_MS + 50)
    chosen.release_server(1, 0)
    first, second, third = (join(chosen, worker) for worker in (1, 2, 3))
    chosen.set_up(1)
    assert [turn(chosen, first, 1), turn(chosen, second, 2)] == [1, WAITS]
    drain(chosen, 1)
    chosen.release_server(1, 1)
    assert turn(chosen, second, 2) == WAITS
    drain(chosen, 1, on=False)
    assert turn(chosen, second, 2) == 1
    chosen.set_down(1, 2, now_ms())
    chosen.release_server(1, 2)
    chosen.serve_queue(now_ms())
    assert turn(chosen, third, 3) == WAITS
    chosen.serve_queue(now_ms() + INTERVAL_MS)
    assert chosen.server_state(1)["probe_by"] == 3  # a probe, and nobody else's
    assert turn(chosen, third, 3) == 1


def test_who_leaves_makes_room() -> None:
    """While it waits, and after its turn came."""
    chosen = full([1])
    first, second, third = (join(chosen, worker) for worker in (1, 2, 3))
    chosen.leave_queue(second, 2, now_ms())
    chosen.release_server(0, 0)
    chosen.leave_queue(first, 1, now_ms())
    assert turn(chosen, third, 3) == 0
    assert (chosen.queue_length, count(chosen, "granted"), count(chosen, "inflight")) == (
        0,
        [0],
        [1],
    )


def test_who_leaves_with_a_probe_lets_the_next_probe() -> None:
    chosen = full([1])
    first, second = join(chosen, 1), join(chosen, 2)
    chosen.set_down(0, 0, now_ms() - 2 * INTERVAL_MS)
    chosen.release_server(0, 0)
    assert chosen.server_state(0)["probe_by"] == 1
    chosen.leave_queue(first, 1, now_ms())
    assert chosen.server_state(0)["probe_by"] == 2
    assert turn(chosen, second, 2) == 0


def test_end_of_the_wait_gives_another_server_to_who_waited_for_its_own() -> None:
    chosen = full([1, 1])
    own, other = join(chosen, 1, wanted=0), join(chosen, 2)
    assert chosen.end_queue_wait(other, 2, now_ms()) == ALL_FULL
    chosen.release_server(1, 0)
    assert chosen.end_queue_wait(own, 1, now_ms()) == 1
    assert (chosen.queue_length, count(chosen, "inflight")) == (0, [1, 1])


def test_end_of_the_wait_takes_a_turn_that_has_just_come() -> None:
    chosen = full([1])
    place = join(chosen, 1)
    chosen.release_server(0, 0)
    assert chosen.end_queue_wait(place, 1, now_ms()) == 0
    assert (count(chosen, "granted"), count(chosen, "inflight")) == ([0], [1])


def test_failed_servers_are_not_granted_again() -> None:
    chosen = full([1, 1])
    server, place = chosen.join_queue(1, now_ms(), -1, [1])
    other = join(chosen, 2)
    assert server == WAITS
    chosen.release_server(1, 0)
    assert [turn(chosen, place, 1), turn(chosen, other, 2)] == [WAITS, 1]
    chosen.release_server(0, 0)
    assert turn(chosen, place, 1) == 0


def test_backups_serve_the_queue_too() -> None:
    chosen = full([1, 1], primaries=[0], backups=[1])
    place = join(chosen, 1)
    chosen.release_server(1, 0)
    assert turn(chosen, place, 1) == 1


def test_dead_worker_leaves_the_queue_and_gives_its_grants_back() -> None:
    state = SharedState(16, 2)
    state.open_bells(3)
    chosen = make(state, [1, 1])
    for server in (0, 1):
        assert chosen.take_server(server, 0, now_ms()) == USABLE
    granted, waiting, other = join(chosen, 1), join(chosen, 1), join(chosen, 2)
    chosen.release_server(0, 0)
    assert count(chosen, "granted") == [1, 0]
    os.eventfd_read(state.bell(1))
    assert state.worker_died(1) == 0
    assert (chosen.queue_length, count(chosen, "granted")) == (1, [0, 0])
    assert os.eventfd_read(state.bell(2)) == 1  # told to look
    chosen.serve_queue(now_ms())
    assert turn(chosen, other, 2) == 0
    for place in (granted, waiting):
        assert turn(chosen, place, 1) == -1  # nobody's


def test_death_of_a_worker_repairs_what_it_left_half_done() -> None:
    """All others keep their places, and what is granted to them stays counted."""
    state = SharedState(16, 2)
    chosen = make(state, [2])
    for worker in (0, 1):
        assert chosen.pick_server(worker, now_ms()) == 0
    first, second = join(chosen, 2), join(chosen, 3)
    chosen.release_server(0, 0)
    assert state.worker_died(1) == 1
    assert (chosen.queue_length, count(chosen, "granted")) == (1, [1])
    chosen.serve_queue(now_ms())
    assert [turn(chosen, first, 2), turn(chosen, second, 3)] == [0, 0]


def test_bell_rings_at_the_worker_whose_turn_has_come() -> None:
    state = SharedState(16, 2)
    assert state.bell(0) == -1
    state.open_bells(3)
    chosen = make(state, [1])
    assert chosen.pick_server(0, now_ms()) == 0
    join(chosen, 2)
    chosen.release_server(0, 0)
    assert os.eventfd_read(state.bell(2)) == 1
    for worker in (0, 1):
        with pytest.raises(BlockingIOError):
            os.eventfd_read(state.bell(worker))


def test_tickets_are_used_again_for_ever() -> None:
    """Three times as many waiters as there are tickets, most of them gone before those in front."""
    chosen = full([1])
    first = join(chosen, 1, wanted=0)
    for _ in range(25_000):
        chosen.leave_queue(join(chosen, 2), 2, now_ms())
    last = join(chosen, 3)
    chosen.release_server(0, 0)
    assert turn(chosen, first, 1) == 0
    chosen.release_server(0, 1)
    assert turn(chosen, last, 3) == 0


def test_largest_queue_holds_what_it_says() -> None:
    chosen = full([1], size=4096)
    places = [join(chosen, 1) for _ in range(4096)]
    assert len(set(places)) == 4096
    assert chosen.join_queue(1, now_ms()) == (ALL_FULL, 0)
    chosen.release_server(0, 0)
    assert turn(chosen, places[0], 1) == 0


@pytest.mark.parametrize("ticket", [0, -1, 8193])
def test_tickets_that_do_not_exist_are_refused(ticket: int) -> None:
    chosen = full([1])
    with pytest.raises(ValueError, match=f"found ticket {ticket}"):
        chosen.take_queue_turn(ticket, 0)


@pytest.mark.parametrize("most", [[1], [2, 1]])
def test_no_turn_is_lost_and_no_limit_broken_over_processes(most: list[int]) -> None:
    """
    Every process sleeps until its bell rings: a lost wakeup never ends.

    Who was served is counted between taking a server and giving it back, so the count is never above the true number.
    """
    state = SharedState(8, 2)
    state.open_bells(WORKERS)
    chosen = make(state, most)
    running = fork.RawArray("i", len(most))
    highest = fork.RawArray("i", len(most))
    lock = fork.Lock()

    def note(server: int, change: int) -> None:
        with lock:
            running[server] += change
            highest[server] = max(highest[server], running[server])

    def get(worker: int) -> int:
        server = chosen.pick_server(worker, now_ms())
        if server >= 0:
            return server
        server, place = chosen.join_queue(worker, now_ms())
        while server == WAITS:
            ready, _, _ = select.select([state.bell(worker)], [], [], 30)
            assert ready, "a wakeup was lost"
            os.eventfd_read(state.bell(worker))
            server = chosen.take_queue_turn(place, worker)
        return server

    def work(worker: int) -> int:
        for _ in range(5_000):
            server = get(worker)
            assert server >= 0
            note(server, 1)
            note(server, -1)
            chosen.release_server(server, worker)
        return worker

    run_forked(work, WORKERS)
    assert all(high <= limit for high, limit in zip(highest, most, strict=True))
    assert count(chosen, "inflight") == count(chosen, "granted") == [0] * len(most)
    assert chosen.queue_length == 0
    assert sum(count(chosen, "total")) == 5_000 * WORKERS


@pytest.mark.parametrize("attempt", range(5))
def test_worker_killed_anywhere_in_the_queue_stops_nobody(attempt: int) -> None:
    state = SharedState(8, 2)
    state.open_bells(2)
    chosen = make(state, [1])
    rounds = fork.RawValue("i", 0)

    def wait_and_leave() -> None:
        while True:
            taken = chosen.pick_server(0, now_ms())
            _, place = chosen.join_queue(0, now_ms())
            _, other = chosen.join_queue(0, now_ms())
            chosen.release_server(taken, 0)
            chosen.leave_queue(other, 0, now_ms())
            server = chosen.take_queue_turn(place, 0)
            chosen.release_server(server, 0)
            rounds.value += 1

    victim = start_child(wait_and_leave)
    while rounds.value < 100 + attempt:
        os.sched_yield()
    os.close(victim.answer)
    victim.kill()
    state.worker_died(0)
    assert count(chosen, "inflight") == count(chosen, "granted") == [0]
    assert chosen.queue_length == 0
    assert chosen.pick_server(1, now_ms()) == 0
    place = join(chosen, 1)
    chosen.release_server(0, 1)
    assert turn(chosen, place, 1) == 0
