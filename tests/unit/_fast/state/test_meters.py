"""Counters in shared memory: exact over rows, kept when a worker dies, and of nobody when a slot changes hands."""

from __future__ import annotations

import os
import signal

import pytest

from wsproxy._fast.state.meters import (
    BLOCK_WORDS,
    BOUNDS_US,
    BUCKETS,
    CLASSES,
    CODES,
    HISTOGRAM,
    OWN_CODES,
    BlockKind,
    ClusterWord,
    EdgeAnswer,
    Meters,
    ServerWord,
    TryFailure,
    WorkerWord,
)
from wsproxy._fast.state.segment import SharedState, cluster_key, server_key

pytestmark = pytest.mark.asan

SERVER, CLUSTER, WORKER = BlockKind.SERVER_BLOCK, BlockKind.CLUSTER_BLOCK, BlockKind.WORKER_BLOCK


def test_words_of_a_block_do_not_overlap() -> None:
    """Each name has its words to itself, and all are in the block."""
    widths: dict[str, int] = {
        "FAILED": TryFailure.TRY_FAILURES,
        "CLUSTER_OWN": OWN_CODES,
        "WORKER_OWN": OWN_CODES,
        "CLUSTER_EDGE": EdgeAnswer.EDGE_ANSWERS,
        "WORKER_EDGE": EdgeAnswer.EDGE_ANSWERS,
        "FIRST_BYTE": 5 * HISTOGRAM,
        **dict.fromkeys(("TOTAL", "CLUSTER_TIME", "WORKER_TIME"), 4 * HISTOGRAM),
        **dict.fromkeys(
            ("CONNECT", "QUEUE", "CLUSTER_RECEIVE", "WORKER_RECEIVE"), CLASSES * HISTOGRAM
        ),
    }
    for words in (ServerWord, ClusterWord, WorkerWord):
        taken = [word + at for word in words for at in range(widths.get(word.name, 1))]
        assert len(taken) == len(set(taken))
        assert max(taken) < BLOCK_WORDS
    assert len(CODES) == OWN_CODES
    assert HISTOGRAM == BUCKETS + 1
    assert int(ClusterWord.CLUSTER_OWN) == int(WorkerWord.WORKER_OWN)
    for name in ("EDGE", "TIME", "RECEIVE"):
        assert int(ClusterWord[f"CLUSTER_{name}"]) == int(WorkerWord[f"WORKER_{name}"])


def test_rows_are_added_up() -> None:
    meters = Meters(2, 4, 2)
    meters.count(0, SERVER, 3, ServerWord.REUSED)
    meters.count(1, SERVER, 3, ServerWord.REUSED, 5)
    meters.count(2, SERVER, 3, ServerWord.REUSED, 10)  # of no worker
    meters.count(0, CLUSTER, 1, ClusterWord.QUEUED)
    assert meters.sums(SERVER, 3)[ServerWord.REUSED] == 16
    assert sum(meters.sums(SERVER, 2)) == 0
    assert sum(meters.sums(CLUSTER, 1)) == 1
    assert sum(meters.sums(WORKER)) == 0


def test_number_is_put_and_put_again() -> None:
    meters = Meters(1, 1, 1)
    for number in (7, 3, 0, 9):
        meters.put(0, SERVER, 0, ServerWord.IDLE, number)
        assert meters.sums(SERVER, 0)[ServerWord.IDLE] == number


@pytest.mark.parametrize("at", range(len(BOUNDS_US)))
def test_bound_belongs_to_its_bucket(at: int) -> None:
    """As Prometheus has it: less or equal."""
    meters = Meters(1, 1, 1)
    meters.observe_time(0, SERVER, 0, ServerWord.TOTAL, BOUNDS_US[at])
    meters.observe_time(0, SERVER, 0, ServerWord.TOTAL, BOUNDS_US[at] + 1)
    words = meters.sums(SERVER, 0)[ServerWord.TOTAL : ServerWord.TOTAL + BUCKETS + 1]
    assert [bucket for bucket in range(BUCKETS) if words[bucket]] == [at, at + 1]
    assert words[BUCKETS] == 2 * BOUNDS_US[at] + 1


def test_clock_that_goes_back_counts_as_no_time() -> None:
    meters = Meters(1, 1, 1)
    meters.observe_time(0, SERVER, 0, ServerWord.CONNECT, -5)
    assert meters.sums(SERVER, 0)[ServerWord.CONNECT] == 1
    assert meters.sums(SERVER, 0)[ServerWord.CONNECT + BUCKETS] == 0


@pytest.mark.parametrize(
    ("worker", "kind", "slot", "word"),
    [
        (-1, SERVER, 0, 0), (3, SERVER, 0, 0), (0, SERVER, 4, 0), (0, SERVER, -1, 0), (0, CLUSTER, 2, 0),
        (0, WORKER, 1, 0), (0, 7, 0, 0), (0, SERVER, 0, BLOCK_WORDS), (0, SERVER, 0, -1),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(worker: int, kind: int, slot: int, word: int) -> None:
    meters = Meters(2, 4, 2)
    with pytest.raises(ValueError, match="allowed"):
        meters.count(worker, kind, slot, word)


def test_histogram_beyond_the_block_is_refused() -> None:
    meters = Meters(1, 1, 1)
    with pytest.raises(ValueError, match="allowed"):
        meters.observe_time(0, SERVER, 0, BLOCK_WORDS - 3, 1)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_meters_of_nobody_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="allowed is 1 worker or more"):
        Meters(*sizes)


def test_counters_outlive_a_worker_and_what_was_open_does_not() -> None:
    """Whatever kills it: what it counted is in memory that all share."""
    state = SharedState(8, 2)
    state.open_meters(2)
    meters = state.meters
    assert meters is not None
    pid = os.fork()
    if not pid:
        for _ in range(1000):
            meters.count(1, SERVER, 0, ServerWord.REUSED)
        meters.count(1, WORKER, 0, WorkerWord.OPENED, 7)
        meters.count(1, WORKER, 0, WorkerWord.CLOSED_CLIENTS, 4)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    state.worker_died(1)
    words = meters.sums(WORKER)
    assert meters.sums(SERVER, 0)[ServerWord.REUSED] == 1000
    assert words[WorkerWord.OPENED] == words[WorkerWord.CLOSED_CLIENTS] == 7
    assert words[WorkerWord.DEATHS] == 1
    meters.count(1, SERVER, 0, ServerWord.REUSED)  # the next one goes on
    assert meters.sums(SERVER, 0)[ServerWord.REUSED] == 1001


def test_slot_of_another_server_begins_anew() -> None:
    """A server that no configuration has any more takes its numbers with it."""
    state = SharedState(8, 2)
    state.open_meters(1)
    meters = state.meters
    assert meters is not None
    state.take_index(({server_key("c", "s"): 0}, {cluster_key("c"): 0}))
    meters.count(0, SERVER, 0, ServerWord.REUSED)
    meters.count(0, CLUSTER, 0, ClusterWord.QUEUED)
    state.keep_slots(set(), set(), 2)
    state.note_generations(0, 2, 2)
    assert state.free_slots(0) == 1
    assert sum(meters.sums(SERVER, 0)) == sum(meters.sums(CLUSTER, 0)) == 0


def test_counts_go_on_in_the_file_of_another_program() -> None:
    """The file stays its caller's; one of another size has other words, and is refused."""
    fd = os.memfd_create("test")
    try:
        first = Meters(2, 4, 2, fd)
        first.count(0, BlockKind.SERVER_BLOCK, 3, ServerWord.REUSED, 5)
        second = Meters(2, 4, 2, fd)
        second.count(1, BlockKind.SERVER_BLOCK, 3, ServerWord.REUSED)
        assert first.sums(BlockKind.SERVER_BLOCK, 3) == second.sums(BlockKind.SERVER_BLOCK, 3)
        assert first.sums(BlockKind.SERVER_BLOCK, 3)[ServerWord.REUSED] == 6
        with pytest.raises(ValueError, match=r"found meters of \d+ bytes; allowed are \d+"):
            Meters(3, 4, 2, fd)
    finally:
        os.close(fd)
