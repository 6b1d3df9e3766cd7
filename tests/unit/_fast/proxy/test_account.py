"""What metrics are told of an exchange: each once, at the server and the cluster that had it, however it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.state.meters import (
    BUCKETS,
    CLASSES,
    CODES,
    HISTOGRAM,
    NO_CLASS,
    BlockKind,
    ClusterWord,
    ServerWord,
    TryFailure,
    WorkerWord,
)

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(backup=True, body_s=60)
    yield made
    made.end()


def by_class(words: list[int], first: int, classes: int) -> list[int]:
    """How many times there are of each class, from the histogram that begins with word ``first`` on."""
    return [
        sum(words[first + at * HISTOGRAM :][:BUCKETS]) for at in range(classes)
    ]  # fmt: skip


def some(counts: list[int]) -> dict[int, int]:
    return {kind: count for kind, count in enumerate(counts) if count}


class Told:
    """The sums of one server, of its cluster and of the worker, by name."""

    def __init__(self, stage: Stage, server: int = 0) -> None:
        cluster = stage.plan.clusters[0]
        meters = stage.state.meters
        assert cluster is not None
        assert meters is not None
        slot, servers = cluster.slots()
        self.server = meters.sums(BlockKind.SERVER_BLOCK, servers[server])
        self.cluster = meters.sums(BlockKind.CLUSTER_BLOCK, slot)
        self.worker = meters.sums(BlockKind.WORKER_BLOCK)

    def answers(self) -> list[int]:
        return by_class(self.server, ServerWord.FIRST_BYTE, 5)

    def times(self, word: int) -> int:
        """How many a histogram of the server has."""
        return sum(self.server[word : word + BUCKETS])

    def connected(self) -> dict[int, int]:
        return some(by_class(self.server, ServerWord.CONNECT, CLASSES))

    def received(self, *, cluster: bool) -> dict[int, int]:
        words = self.cluster if cluster else self.worker
        return some(by_class(words, ClusterWord.CLUSTER_RECEIVE, CLASSES))

    def waited(self) -> dict[int, int]:
        return some(by_class(self.cluster, ClusterWord.QUEUE, CLASSES))

    def own_times(self, *, cluster: bool) -> dict[int, int]:
        """From 2xx on."""
        words = self.cluster if cluster else self.worker
        found = by_class(words, ClusterWord.CLUSTER_TIME, 4)
        return {kind + 1: count for kind, count in some(found).items()}

    def failures(self) -> dict[str, int]:
        return {each.name: self.server[ServerWord.FAILED + each] for each in list(TryFailure)[:-1] if self.server[ServerWord.FAILED + each]}  # fmt: skip

    def own(self, *, cluster: bool) -> dict[int, int]:
        words = self.cluster if cluster else self.worker
        return {code: words[at] for at, code in enumerate(CODES) if words[at]}

    def left(self) -> tuple[int, int]:
        return self.cluster[ClusterWord.LEFT_BEFORE], self.cluster[ClusterWord.LEFT_WITHIN]


def test_answer_is_told_once_with_all_its_times(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    server = stage.server()
    server.deliver(OK + b"body")
    answer = client.drain()
    told = Told(stage)
    assert told.answers() == [0, 1, 0, 0, 0]
    assert told.times(ServerWord.TOTAL) == 1
    assert told.server[ServerWord.ANSWER_BYTES] == len(answer)
    assert told.server[ServerWord.REUSED] == 0
    assert told.worker[WorkerWord.REQUESTS] == told.worker[WorkerWord.OPENED] == 1
    assert told.worker[WorkerWord.CLOSED_CLIENTS] == 0
    assert told.received(cluster=True) == {1: 1}
    client.deliver(GET)  # on the warm connection
    server.deliver(OK + b"body")
    client.drain()
    told = Told(stage)
    assert told.answers() == [0, 2, 0, 0, 0]
    assert told.server[ServerWord.REUSED] == 1
    client.lose()
    assert Told(stage).worker[WorkerWord.CLOSED_CLIENTS] == 1
    assert Told(stage).left() == (0, 0)


def test_answer_in_pieces_is_told_once(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    server = stage.server()
    server.deliver(OK[:20])
    server.deliver(OK[20:] + b"bo")
    told = Told(stage)
    assert told.answers() == [0, 1, 0, 0, 0]
    assert told.times(ServerWord.TOTAL) == 0
    assert told.received(cluster=True) == {1: 1}  # it may go on for days
    server.deliver(b"dy")
    client.drain()
    told = Told(stage)
    assert told.answers() == [0, 1, 0, 0, 0]
    assert told.times(ServerWord.TOTAL) == 1


@pytest.mark.parametrize(("status", "kind"), [(301, 2), (404, 3), (500, 4), (503, 4), (999, 4)])
def test_class_of_status(stage: Stage, status: int, kind: int) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.server().deliver(b"HTTP/1.1 %d X\r\nDate: now\r\nContent-Length: 0\r\n\r\n" % status)
    if stage.slow.waiting:  # a 503 goes elsewhere; there it is the answer
        stage.server().deliver(b"HTTP/1.1 %d X\r\nDate: now\r\nContent-Length: 0\r\n\r\n" % status)
        assert Told(stage, 0).failures() == {"BUSY_FAILED": 1}
        assert Told(stage, 0).server[ServerWord.RETRIED_OTHER] == 1
        assert Told(stage, 0).answers() == [0] * 5
        told = Told(stage, 1)
        assert told.answers()[kind] == 1
    else:
        told = Told(stage)
        assert told.answers()[kind] == 1
        assert sum(told.answers()) == 1
    totals = by_class(told.server, ServerWord.TOTAL, 4)
    assert totals == [int(at == kind - 1) for at in range(4)]
    assert told.received(cluster=True) == {kind: 1}


def test_body_is_told_with_its_answer(stage: Stage) -> None:
    """Until then its class is not known."""
    client = stage.client()
    client.deliver(POST + b"ab")
    server = stage.server()
    client.deliver(b"cd")
    assert Told(stage).received(cluster=True) == {}
    server.deliver(OK + b"body")
    client.drain()
    told = Told(stage)
    assert told.received(cluster=True) == {1: 1}
    assert told.server[ServerWord.BODY_BYTES] == 4


def test_request_that_is_answered_before_its_end_was_never_received(stage: Stage) -> None:
    client = stage.client()
    client.deliver(POST + b"ab")
    stage.server().deliver(b"HTTP/1.1 403 X\r\nDate: now\r\nContent-Length: 0\r\n\r\n")
    told = Told(stage)
    assert told.answers() == [0, 0, 0, 1, 0]
    assert told.received(cluster=True) == {}


def test_client_that_leaves_before_the_answer(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.server()
    client.lose()
    assert Told(stage).left() == (1, 0)
    assert Told(stage).answers() == [0] * 5
    assert Told(stage).received(cluster=True) == {NO_CLASS: 1}


def test_client_that_leaves_within_the_answer(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.server().deliver(OK + b"b")
    client.lose()
    told = Told(stage)
    assert told.left() == (0, 1)
    assert told.answers() == [0, 1, 0, 0, 0]
    assert told.times(ServerWord.TOTAL) == 0


def test_client_that_leaves_between_requests_is_nobodys_loss(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.server().deliver(OK + b"body")
    client.drain()
    client.deliver(GET[:10])
    client.lose()
    assert Told(stage).left() == (0, 0)


def test_server_that_breaks_off_is_told_and_its_client_has_not_left(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    server = stage.server()
    server.deliver(OK + b"b")
    server.lose(ConnectionResetError(104, "reset"))
    if not client.is_lost:
        client.lose()
    told = Told(stage)
    assert told.failures() == {"CUT_FAILED": 1}
    assert told.left() == (0, 0)
    assert told.answers() == [0, 1, 0, 0, 0]
    assert told.received(cluster=True) == {1: 1}


def test_failure_and_retry_are_told_at_the_server_that_failed(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    stage.server().lose(ConnectionResetError(104, "reset"))
    stage.server().deliver(OK + b"body")
    client.drain()
    first, second = Told(stage, 0), Told(stage, 1)
    assert first.failures() == {"CLOSED_EARLY_FAILED": 1}
    assert first.server[ServerWord.RETRIED_OTHER] == 1
    assert first.answers() == [0] * 5
    assert second.failures() == {}
    assert second.answers() == [0, 1, 0, 0, 0]


def test_stale_warm_connection_is_retried_at_the_same_server(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    server = stage.server()
    server.deliver(OK + b"body")
    client.drain()
    client.deliver(GET)
    server.lose(ConnectionResetError(104, "reset"))
    stage.server().deliver(OK + b"body")
    client.drain()
    told = Told(stage)
    assert told.failures() == {"CLOSED_EARLY_FAILED": 1}
    assert told.server[ServerWord.RETRIED_SAME] == 1
    assert told.server[ServerWord.MARKED_DOWN] == 0
    assert told.answers() == [0, 2, 0, 0, 0]


def test_answer_that_is_none_is_not_told_as_one(stage: Stage) -> None:
    """Its head was good and its first chunk is not: nothing of it was sent."""
    client = stage.client()
    client.deliver(GET)
    stage.server().deliver(
        b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    )
    told = Told(stage)
    assert told.answers() == [0] * 5
    assert told.failures() == {"BAD_RESPONSE_FAILED": 1}
    assert told.own(cluster=True) == {502: 1}
    client.drain()


@pytest.mark.parametrize(
    ("request_", "code", "by_cluster"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 404, False),
        (b"nonsense\r\n\r\n", 400, False),
        (b"TRACE /app/x HTTP/1.1\r\nHost: h\r\n\r\n", 405, False),
    ],
)
def test_answer_of_our_own(stage: Stage, request_: bytes, code: int, by_cluster: bool) -> None:
    client = stage.client()
    client.deliver(request_)
    client.drain()
    told = Told(stage)
    assert told.own(cluster=by_cluster) == {code: 1}
    assert told.own(cluster=not by_cluster) == {}
    assert told.own_times(cluster=by_cluster) == {code // 100 - 1: 1}
    assert told.own_times(cluster=not by_cluster) == {}


def test_refusal_in_the_end_is_the_class_of_all_its_parts(stage: Stage) -> None:
    """Of the cluster's; at the servers nothing came over the connections."""
    client = stage.client()
    client.deliver(GET)
    for _ in range(2):
        [waiting] = stage.slow.waiting
        waiting.meter_connect(700)
        stage.server().lose(ConnectionResetError(104, "reset"))
    assert b"HTTP/1.1 502 " in client.drain() or b"HTTP/1.1 503 " in client.drain()
    for server in range(2):
        told = Told(stage, server)
        assert told.connected() == {NO_CLASS: 1}
        assert told.answers() == [0] * 5
    told = Told(stage)
    assert told.received(cluster=True) == told.own_times(cluster=True) == {4: 1}


def test_new_connection_is_told_with_the_first_answer_that_came_over_it(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    [waiting] = stage.slow.waiting
    waiting.meter_connect(700)
    server = stage.server()
    assert Told(stage).connected() == {}
    server.deliver(b"HTTP/1.1 404 X\r\nDate: now\r\nContent-Length: 0\r\n\r\n")
    client.drain()
    assert Told(stage).connected() == {3: 1}
    client.deliver(GET)  # on the warm connection
    server.deliver(OK + b"body")
    client.drain()
    assert Told(stage).connected() == {3: 1}
    client.deliver(GET)
    client.lose()
    assert Told(stage).connected() == {3: 1}


def test_warm_connections_are_counted(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    server = stage.server()
    server.deliver(OK + b"body")
    client.drain()
    stage.engine.note_idle()
    assert Told(stage).server[ServerWord.IDLE] == 1
    server.lose()
    stage.engine.note_idle()
    assert Told(stage).server[ServerWord.IDLE] == 0


def has_end(client: FakeTransport) -> bool:
    """Whether the client was told that nothing more comes."""
    return client.wrote_eof or client.is_closing_


def test_drained_proxy_ends_connections_with_their_answers(stage: Stage) -> None:
    """Those that wait for nothing at once; who has only connected may ask."""
    idle, busy, fresh = stage.client(), stage.client(), stage.client()
    idle.deliver(GET)
    server = stage.server()
    server.deliver(OK + b"body")
    idle.drain()
    busy.deliver(GET)
    stage.engine.take_leave(True)
    assert has_end(idle)
    assert not has_end(busy)
    server.deliver(OK + b"body")
    assert b"Connection: close\r\n" in busy.drain()
    assert has_end(busy)
    assert not has_end(fresh)
    fresh.deliver(GET)
    server.deliver(OK + b"body")
    assert b"Connection: close\r\n" in fresh.drain()
    stage.engine.take_leave(False)
    again = stage.client()
    again.deliver(GET)
    server.deliver(OK + b"body")
    assert b"Connection: close" not in again.drain()
    assert not has_end(again)
