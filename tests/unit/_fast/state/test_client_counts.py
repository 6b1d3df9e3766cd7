"""Connections counted for each client: who is one client, exact limits over processes, and what a dead worker leaves."""

from __future__ import annotations

import mmap
import struct

import pytest

from tests.support.forks import run_forked
from wsproxy._fast.state.client_counts import ClientCounts
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.state.takeover import TakeoverTable

pytestmark = pytest.mark.asan

COUNTED, UNCOUNTED, REFUSED = 1, 2, 3
WORKERS = 4
MANY = 1 << 40


def make(workers: int = 2) -> ClientCounts:
    return ClientCounts(TakeoverTable(1), workers)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"192.0.2.1", b"::ffff:192.0.2.1"),
        (b"192.0.2.1", b"::ffff:c000:201"),
        (b"2001:db8:1:2::1", b"2001:db8:1:2:ffff:ffff:ffff:ffff"),
        (b"fe80::1", b"fe80::1%eth0"),
        (b"2001:DB8::1", b"2001:0db8:0:0:0:0:0:1"),
    ],
)
def test_two_spellings_of_one_client(one: bytes, other: bytes) -> None:
    """An IPv6 client is its network of 64 bits."""
    counts = make()
    assert counts.admit(0, one, 2) == COUNTED
    assert counts.admit(1, other, 2) == COUNTED
    assert counts.admit(0, one, 2) == counts.admit(1, other, 2) == REFUSED
    assert counts.count(one) == counts.count(other) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"192.0.2.1", b"192.0.2.2"),
        (b"2001:db8:1:2::1", b"2001:db8:1:3::1"),
        (b"::ffff:192.0.2.1", b"::ffff:192.0.2.2"),
        (b"0.0.0.1", b"::1"),
    ],
)
def test_two_clients(one: bytes, other: bytes) -> None:
    counts = make()
    assert counts.admit(0, one, 1) == counts.admit(0, other, 1) == COUNTED


@pytest.mark.parametrize("peer", [b"", b"unknown", b"192.0.2", b"1" * 200, b"%eth0"])
def test_who_has_no_address_is_not_counted(peer: bytes) -> None:
    counts = make()
    assert [counts.admit(0, peer, 1) for _ in range(3)] == [UNCOUNTED] * 3
    counts.give_back(0, peer)
    assert counts.count(peer) == 0


def test_place_that_was_given_back_is_free_again() -> None:
    counts = make()
    for _ in range(3):
        assert [counts.admit(worker, b"192.0.2.1", 2) for worker in (0, 1, 0)] == [
            COUNTED,
            COUNTED,
            REFUSED,
        ]
        counts.give_back(0, b"192.0.2.1")
        counts.give_back(1, b"192.0.2.1")
        assert counts.count(b"192.0.2.1") == 0


def test_giving_back_what_nobody_has_changes_nothing() -> None:
    counts = make()
    counts.give_back(0, b"192.0.2.1")
    assert counts.admit(1, b"192.0.2.1", 1) == COUNTED
    counts.give_back(0, b"192.0.2.1")  # it is the other worker's
    assert counts.count(b"192.0.2.1") == 1


def test_more_clients_than_places_are_served_without_being_counted() -> None:
    """Whoever finds no place must not be locked out; what is counted stays right."""
    counts = make(1)
    peers = [b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255) for n in range(200_000)]
    admitted = [counts.admit(0, peer, 1) for peer in peers]
    assert set(admitted) == {COUNTED, UNCOUNTED}
    assert admitted.count(COUNTED) > 120_000
    assert admitted[:20_000].count(UNCOUNTED) == 0
    for peer, how in zip(peers, admitted, strict=True):
        assert counts.count(peer) == (how == COUNTED)
        if how == COUNTED:
            counts.give_back(0, peer)
    assert not any(counts.count(peer) for peer in peers)


def test_connections_of_a_dead_worker_are_given_back() -> None:
    state = SharedState(8, 2)
    assert state.client_counts is None
    state.worker_died(0)
    state.open_client_counts(2)
    counts = state.client_counts
    assert counts is not None
    for worker in (0, 0, 1):
        counts.admit(worker, b"192.0.2.1", MANY)
    state.worker_died(0)
    assert counts.count(b"192.0.2.1") == 1
    state.worker_started(1)
    assert counts.count(b"192.0.2.1") == 0
    state.worker_died(2)  # one that nobody counts for


def test_workers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="found 0 workers"):
        make(0)
    counts = make(2)
    for worker in (-1, 2):
        with pytest.raises(ValueError, match=f"found worker {worker}"):
            counts.admit(worker, b"192.0.2.1", 1)
        counts.forget(worker)


def test_limit_holds_exactly_over_all_processes() -> None:
    """Never more than allowed at once, whoever comes together; and what is refused leaves nothing behind."""
    counts = make(WORKERS)
    most = 3
    held = mmap.mmap(
        -1, 8 * WORKERS
    )  # what each is sure to have: noted after it was admitted, with the step's number

    def collect() -> tuple[int, ...]:
        return struct.unpack_from(f"{WORKERS}q", held)

    def work(worker: int) -> tuple[int, int]:
        mine = admitted = highest = 0
        for step in range(200_000):
            if step % 3 < 2 and counts.admit(worker, b"192.0.2.1", most) == COUNTED:
                admitted += 1
                mine += 1
                struct.pack_into("q", held, 8 * worker, step << 8 | mine)
                seen = collect()
                if seen == collect():  # nobody wrote meanwhile: so it was at one moment
                    highest = max(highest, sum(each & 255 for each in seen))
            elif mine:
                mine -= 1
                struct.pack_into("q", held, 8 * worker, step << 8 | mine)
                counts.give_back(worker, b"192.0.2.1")
        struct.pack_into("q", held, 8 * worker, 0)
        for _ in range(mine):
            counts.give_back(worker, b"192.0.2.1")
        return admitted, highest

    answers = run_forked(work, WORKERS)
    assert sum(admitted for admitted, _ in answers) > WORKERS
    assert max(highest for _, highest in answers) == most
    assert counts.count(b"192.0.2.1") == 0
    assert [counts.admit(0, b"192.0.2.1", most) for _ in range(4)] == [COUNTED] * 3 + [REFUSED]
