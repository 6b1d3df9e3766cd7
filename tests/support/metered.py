"""What meters must say when nothing runs any more, whatever happened before."""

from __future__ import annotations

from wsproxy._fast.state.meters import (
    BUCKETS,
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
    for slot in clusters.values():
        words = meters.sums(BlockKind.CLUSTER_BLOCK, slot)
        own += sum(words[ClusterWord.CLUSTER_OWN : ClusterWord.CLUSTER_OWN + OWN_CODES])
        left += words[ClusterWord.LEFT_BEFORE]
        ends = words[ClusterWord.QUEUE_SERVED : ClusterWord.QUEUE_LEFT + 1]
        times = words[ClusterWord.QUEUE : ClusterWord.QUEUE + BUCKETS]
        assert words[ClusterWord.QUEUED] == sum(ends) == sum(times)
    for slot in servers.values():
        words = meters.sums(BlockKind.SERVER_BLOCK, slot)
        answers = sum(words[ServerWord.ANSWERED : ServerWord.ANSWERED + 5])
        assert sum(words[ServerWord.FIRST_BYTE : ServerWord.FIRST_BYTE + BUCKETS]) == answers
        for kind in range(4):  # of 2xx to 5xx: no class has more times than answers
            first = ServerWord.TOTAL + kind * HISTOGRAM
            assert sum(words[first : first + BUCKETS]) <= words[ServerWord.ANSWERED + 1 + kind]
        answered += answers
    # Fewer: one whose client had left before it was looked at, or whose connection we cut.
    assert answered + own + left <= worker[WorkerWord.REQUESTS]
    received = worker[WorkerWord.REQUEST : WorkerWord.REQUEST + BUCKETS]
    assert sum(received) <= worker[WorkerWord.REQUESTS]
