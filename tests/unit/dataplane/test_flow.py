"""Writes and pauses step by step, on transports whose pace the test decides."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.bed import config_of, server
from tests.support.fake_transport import HIGH, FakeTransport
from wsproxy._fast.downstream import Downstream, DownstreamProtocol
from wsproxy._fast.engine import Engine
from wsproxy._fast.state import SharedState, now_ms
from wsproxy._fast.upstream import UpstreamProtocol
from wsproxy.config.settings import QueueSettings, RetrySettings, Settings, TimeoutSettings
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.slowpath import SlowPath
from wsproxy.dataplane.worker import build_engine

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
SENT = b"GET /app/x HTTP/1.1\r\n"
SHORT_S = 0.05
LONG_S = 10.0


def payload(count: int) -> bytes:
    return random.Random(count).randbytes(count)


class Connecting(SlowPath):
    """The slow path, except that the test does the connecting."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(Resolver(0), None, RetrySettings(), (), QueueSettings())
        self.engine = engine
        self.waiting: list[Downstream] = []
        engine.slow = self

    def connect(self, downstream: Downstream) -> None:
        self.waiting.append(downstream)


class Stage:
    """One engine, fake transports, no loop."""

    def __init__(self, *, backup: bool = False, body_s: float = SHORT_S) -> None:
        """``body_s``: long for a test of another deadline, whose steps a busy machine may stretch."""
        self.state = SharedState(16, 4)
        # Deadlines that strike within a test, except the one that the test is not about.
        timeouts = TimeoutSettings(head_s=SHORT_S, keepalive_s=SHORT_S, body_s=body_s)
        servers = [server("s", 1, server_io_timeout_s=1), server("b", 2)]
        config = config_of(*servers[: 1 + backup])
        self.plan = build_plan(config, Settings(timeouts=timeouts), self.state)
        self.engine, _ = build_engine(self.plan, 0)
        self.slow = Connecting(self.engine)
        self.transports: list[FakeTransport] = []

    def client(self, **more: int) -> FakeTransport:
        made = FakeTransport(DownstreamProtocol(self.engine), **more)
        self.transports.append(made)
        return made

    def server(self, **more: int) -> FakeTransport:
        """A fresh connection, given to the exchange that waits."""
        downstream = self.slow.waiting.pop()
        pool = downstream.pool
        assert pool is not None
        upstream = UpstreamProtocol(self.engine, pool)
        made = FakeTransport(upstream, **more)
        self.transports.append(made)
        downstream.attach(upstream)
        return made

    @property
    def inflight(self) -> int:
        cluster = self.plan.clusters[0]
        assert cluster is not None
        return cluster.server_state(0)["inflight"]

    def wait(self, seconds: float = SHORT_S) -> None:
        """So much time passes, and the deadlines in it strike."""
        end = now_ms() + seconds * 1000 + 8  # two steps of the coarse clock
        while now_ms() <= end:
            pass
        self.engine.sweep()

    def end(self) -> None:
        for transport in self.transports:
            if not transport.is_lost:
                transport.lose()
        assert self.inflight == 0
        assert self.engine.open_streams == 0


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.end()


def answer_of(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % size


def test_what_the_kernel_does_not_take_follows_in_order(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    assert upstream.drain().startswith(SENT)
    body = payload(300_000)
    upstream.deliver(answer_of(len(body)) + body[:100])
    assert client.calls == []  # taken by the kernel at once
    read = b""
    for at in range(100, len(body), 20_000):
        if not upstream.is_reading_:
            read += client.drain()
        upstream.deliver(body[at : at + 20_000])
        read += client.pump()
    read += client.drain()
    assert read == answer_of(len(body)) + body
    assert any(call.startswith("write") for call in client.calls)


def test_direct_sends_begin_again_when_the_transport_is_empty(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(60_000) + bytes(30_000))
    client.drain()
    client.calls.clear()
    upstream.deliver(bytes(100))
    assert client.calls == []
    assert client.taken() == bytes(100)
    assert client.held == b""
    upstream.deliver(bytes(29_900))
    client.drain()


def test_client_that_does_not_read_pauses_the_server_until_it_does(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    assert client.is_paused
    assert not upstream.is_reading_
    client.drain()
    assert upstream.is_reading_
    upstream.deliver(bytes(300_000))
    client.drain()
    assert stage.inflight == 0


def test_server_that_does_not_read_pauses_the_client_until_it_does(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
    assert not client.is_reading_  # nobody takes the body yet
    upstream = stage.server()
    assert client.is_reading_
    body = payload(600_000)
    client.deliver(body[:200_000])
    assert upstream.is_paused
    assert not client.is_reading_
    read = upstream.drain()
    assert client.is_reading_
    client.deliver(body[200_000:])
    read += upstream.drain()
    assert read.endswith(b"\r\n\r\n" + body)
    upstream.deliver(OK)
    assert client.drain() == OK


def test_body_that_waited_pauses_the_client_when_it_is_attached(stage: Stage) -> None:
    """All of it is handed to the new connection at once; the client goes on only when that is through."""
    client = stage.client()
    body = payload(400_000)
    client.deliver(
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n" + body[:200_000]
    )
    upstream = stage.server()
    assert upstream.is_paused
    assert not client.is_reading_
    read = upstream.drain()
    assert client.is_reading_
    client.deliver(body[200_000:])
    read += upstream.drain()
    assert read.endswith(b"\r\n\r\n" + body)
    upstream.deliver(OK)
    client.drain()


INTERIM = b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 30_000 + b"\r\n\r\n"


def test_own_answer_follows_what_the_server_said_before_it_died(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    first = stage.server()
    first.deliver(INTERIM * 4)
    assert client.is_paused
    assert not first.is_reading_
    first.lose()
    assert stage.inflight == 0
    assert client.drain().startswith(INTERIM * 4 + b"HTTP/1.1 502 ")


def test_pause_reaches_a_connection_that_is_attached_later() -> None:
    """The first server's interim answers were not read yet when it died: the second must not be read either."""
    stage = Stage(backup=True)
    client = stage.client()
    client.deliver(GET)
    first = stage.server()
    first.deliver(INTERIM * 4)
    first.lose()
    assert client.is_paused
    second = stage.server()
    assert not second.is_reading_
    assert client.drain() == INTERIM * 4
    assert second.is_reading_
    second.deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_direct_send_never_overtakes_what_the_transport_holds(stage: Stage) -> None:
    """The kernel has room again, but the transport has not noticed yet."""
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    body = payload(60_000)
    upstream.deliver(answer_of(60_000) + body[:40_000])
    read = client.taken()
    assert client.held
    upstream.deliver(body[40_000:])
    read += client.drain()
    assert read == answer_of(60_000) + body


def test_next_request_waits_until_the_client_has_read_the_last_answer(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET + GET)
    upstream = stage.server()
    upstream.drain()
    upstream.deliver(answer_of(200_000) + bytes(200_000))
    assert client.is_paused
    assert stage.inflight == 0
    assert upstream.is_reading_  # idle, its exchange is over
    assert client.drain() == answer_of(200_000) + bytes(200_000)
    assert stage.inflight == 1
    assert upstream.drain().startswith(SENT)
    upstream.deliver(OK)
    assert client.drain() == OK
    assert stage.inflight == 0


def test_requests_of_a_client_that_never_reads_do_not_pile_up(stage: Stage) -> None:
    """Each answer is larger than its request: without a limit, a stream of requests fills the memory."""
    client = stage.client()
    for _ in range(2000):
        if not client.is_reading_:
            break
        client.deliver(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
    assert not client.is_reading_
    assert len(client.held) < 4 * HIGH
    answers = client.drain()
    assert client.is_reading_
    while (more := client.drain()) or client.held:
        answers += more
    assert answers.count(b"HTTP/1.1 404 ") >= 2000


def test_closed_connection_is_ended_when_the_rest_is_never_read(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    upstream = stage.server()
    upstream.deliver(answer_of(200_000) + bytes(200_000))
    assert stage.inflight == 0
    assert client.calls[-1] == "close"
    stage.wait()
    assert client.calls[-1] == "abort"


def test_closed_connection_lives_as_long_as_the_rest_is_read(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    upstream = stage.server()
    upstream.deliver(answer_of(50_000) + bytes(50_000))
    read = client.pump()
    stage.wait()
    read += client.pump()
    stage.wait()
    assert client.calls[-1] == "close"
    read += client.drain()
    assert read.endswith(b"\r\nConnection: close\r\n\r\n" + bytes(50_000))


def test_idle_client_that_still_reads_its_answer_is_not_ended(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(60_000) + bytes(60_000))
    assert not client.is_paused  # below the mark: nothing but the deadline knows
    read = client.pump()
    stage.wait()
    assert not client.is_closing_
    read += client.drain()
    assert len(read) == len(answer_of(60_000)) + 60_000
    stage.wait()  # it read: so it was there, and gets time for its next request
    assert not client.is_closing_
    stage.wait()
    assert client.calls[-1] == "close"


def test_client_that_stops_reading_is_cut_and_its_server_given_back(stage: Stage) -> None:
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    client.pump()
    stage.wait()
    assert not client.is_closing_  # it read something
    stage.wait()
    assert client.calls[-1] == "abort"
    client.lose()
    assert upstream.calls[-1] == "abort"
    assert stage.inflight == 0


def test_upload_that_ends_while_the_client_does_not_read_keeps_its_deadline(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(200_000))
    assert client.is_paused
    client.deliver(b"defghij")
    stage.wait()
    assert client.calls[-1] == "abort"


def test_slow_upload_is_the_clients_fault_and_ends_with_408(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    upstream = stage.server()
    stage.wait()
    assert client.drain().startswith(b"HTTP/1.1 408 ")
    assert upstream.calls[-1] == "abort"
    assert stage.inflight == 0


def test_upload_that_the_server_does_not_take_is_not_the_clients_fault(stage: Stage) -> None:
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
    upstream = stage.server()
    client.deliver(bytes(200_000))
    assert not client.is_reading_
    stage.wait()
    stage.wait()
    assert client.taken() == b""
    assert stage.inflight == 1
    upstream.drain()
    assert client.is_reading_
    client.deliver(bytes(400_000))
    upstream.drain()
    upstream.deliver(OK)
    assert client.drain() == OK


def test_server_io_timeout_does_not_count_while_the_client_sends_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
    upstream = stage.server()
    for _ in range(50):  # over a second, in steps shorter than body_s
        client.deliver(b"a")
        stage.wait(0.02)
    assert not upstream.is_closing_
    client.deliver(b"a" * 50)
    upstream.deliver(OK)
    assert client.drain() == OK
    stage.end()


def test_server_io_timeout_does_not_count_while_the_client_reads_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    upstream.deliver(answer_of(500_000) + bytes(250_000))
    for _ in range(30):
        client.pump()
        stage.wait(0.04)
    assert not upstream.is_closing_
    client.drain()
    upstream.deliver(bytes(250_000))
    client.drain()
    assert stage.inflight == 0
    stage.end()


def test_server_io_timeout_does_not_count_while_the_server_reads_slowly() -> None:
    stage = Stage(body_s=LONG_S)
    client = stage.client()
    client.deliver(
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
    )
    upstream = stage.server()
    assert upstream.held
    for _ in range(2):
        upstream.pump()
        stage.wait(1)
        assert not upstream.is_closing_
    assert upstream.held
    stage.wait(1)  # no byte more: now it hangs
    assert upstream.calls[-1] == "abort"
    assert client.drain().startswith(b"HTTP/1.1 504 ")
    stage.end()


def test_drain_waits_for_the_last_byte_of_an_answer(stage: Stage) -> None:
    """The exchange is over when the server is done; the client is not before it has read."""
    client = stage.client()
    client.deliver(GET)
    upstream = stage.server()
    assert stage.engine.drain() == 1
    upstream.deliver(answer_of(50_000) + bytes(50_000))
    assert stage.inflight == 0
    assert client.calls[-1] == "close"
    assert stage.engine.drain() == 1
    assert b"\r\nConnection: close\r\n" in client.drain()
    assert stage.engine.drain() == 0


def test_large_upload_leaves_the_connection_usable(stage: Stage) -> None:
    """The transport had to hold some of it back; when that is sent, the connection is as good as any."""
    client = stage.client()
    client.deliver(
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
    )
    upstream = stage.server()
    upstream.drain()
    upstream.deliver(OK)
    client.drain()
    client.deliver(GET)
    assert stage.slow.waiting == []
    assert upstream.drain().startswith(SENT)
    upstream.deliver(OK)
    client.drain()


def test_connection_with_an_unsent_request_is_not_used_again(stage: Stage) -> None:
    """The server answered before it read all: what is held back would be the head of the next request to it."""
    client = stage.client()
    client.deliver(
        b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
    )
    upstream = stage.server()
    assert upstream.held
    upstream.deliver(OK)
    assert upstream.calls[-1] == "abort"
    assert client.drain() == OK
    client.deliver(GET)
    assert len(stage.slow.waiting) == 1


def test_client_without_a_name_is_never_trusted() -> None:
    """It was gone before it was accepted; its private headers must not pass for those of a trusted proxy."""
    stage = Stage()

    class Nameless(FakeTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return None if name == "peername" else super().get_extra_info(name, default)

    client = Nameless(DownstreamProtocol(stage.engine))
    stage.transports.append(client)
    client.deliver(GET)
    assert stage.slow.waiting[0].facts.peer == "unknown"
    stage.end()


def test_exchange_without_a_server_refuses_what_needs_one(stage: Stage) -> None:
    """These take an index of the exchange; -1 would be memory before the first server."""
    client = stage.client()
    client.deliver(b"GET")
    downstream = client.protocol
    assert isinstance(downstream, Downstream)
    for call in (
        downstream.try_warm,
        downstream.next_server,
        downstream.count_failure,
        lambda: downstream.mark_down(1, ""),
    ):
        with pytest.raises(RuntimeError, match="has no server"):
            call()
    assert downstream.pool is None
