"""What meters must say when nothing runs any more, whatever happened before."""

from __future__ import annotations

from wsproxy._fast.state.meters import (
    BUCKETS,
    CLASSES,
    HISTOGRAM,
    OWN_CODES,
    BlockKind,
    ClusterWord,
    ServerWord,
    WorkerWord,
)
from wsproxy._fast.state.segment import SharedState


def check_meters(state: SharedState) -> None:
    """No request was counted twice, every wait has one end, every connection one."""
    meters = state.meters
    assert meters is not None
    servers, clusters = state.index()
    worker = meters.sums(BlockKind.WORKER_BLOCK)
    assert worker[WorkerWord.OPENED] == worker[WorkerWord.CLOSED_CLIENTS]
    own = sum(worker[WorkerWord.WORKER_OWN : WorkerWord.WORKER_OWN + OWN_CODES])
    answered = left = 0
    received = _count(worker, WorkerWord.WORKER_RECEIVE, CLASSES)
    own_times = _count(worker, WorkerWord.WORKER_TIME, 4)
    for slot in clusters.values():
        words = meters.sums(BlockKind.CLUSTER_BLOCK, slot)
        own += sum(words[ClusterWord.CLUSTER_OWN : ClusterWord.CLUSTER_OWN + OWN_CODES])
        left += words[ClusterWord.LEFT_BEFORE]
        ends = words[ClusterWord.QUEUE_SERVED : ClusterWord.QUEUE_LEFT + 1]
        assert words[ClusterWord.QUEUED] == sum(ends)
        # Fewer: a request that waited twice has one time.
        times = _count(words, ClusterWord.QUEUE, CLASSES)
        assert bool(sum(ends)) <= times <= sum(ends)
        received += _count(words, ClusterWord.CLUSTER_RECEIVE, CLASSES)
        own_times += _count(words, ClusterWord.CLUSTER_TIME, 4)
    for slot in servers.values():
        words = meters.sums(BlockKind.SERVER_BLOCK, slot)
        for kind in range(4):  # of 2xx to 5xx: no class has more times than answers
            answers = _count(words, ServerWord.FIRST_BYTE + (1 + kind) * HISTOGRAM, 1)
            assert _count(words, ServerWord.TOTAL + kind * HISTOGRAM, 1) <= answers
        answered += _count(words, ServerWord.FIRST_BYTE, 5)
    # Fewer: one whose client had left before it was looked at, or whose connection we cut.
    assert answered + own + left <= worker[WorkerWord.REQUESTS]
    assert own_times <= own
    assert received <= worker[WorkerWord.REQUESTS]


def _count(words: list[int], first: int, classes: int) -> int:
    """How many times so many histograms from ``first`` on have."""
    return sum(sum(words[first + at * HISTOGRAM :][:BUCKETS]) for at in range(classes))
