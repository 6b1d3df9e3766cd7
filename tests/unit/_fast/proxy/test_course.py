"""Client or server goes away in every phase: the server's count is given back and nothing stays behind (see ``Bed``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import DeafOrigin, Origin, Wire, soon
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.proxy.slow import Slow
from wsproxy._fast.proxy.upstream import Upstream
from wsproxy.config.settings import FallbackSettings, Settings, TimeoutSettings
from wsproxy.dataplane import tasks
from wsproxy.dataplane.slowpath import SlowPath

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"

LINGER = Settings(timeouts=TimeoutSettings(linger_s=0.1))

ENDINGS = pytest.mark.parametrize("end", [Wire.close, Wire.reset], ids=["close", "reset"])


# --- the client goes --------------------------------------------------------------------------------------------


@ENDINGS
@pytest.mark.parametrize("sent", [b"", GET[:20]], ids=["nothing sent", "half a head"])
async def test_client_goes_while_idle(end: Callable[[Wire], None], sent: bytes) -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        client = await bed.client()
        await client.send(sent)
        await bed.until(lambda: bed.streams(Http1) == 1)
        end(client)
        await bed.until(lambda: bed.engine.open_streams == 0)


async def test_client_goes_while_connecting() -> None:
    deaf = DeafOrigin()
    async with Bed(config_of(server("s", deaf.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        await bed.until(lambda: bed.inflight() == [1])
        client.reset()
        await bed.until(lambda: bed.inflight() == [0])
        assert bed.server_state(0)["down_until_ms"] == 0


async def test_client_ends_its_side_while_connecting() -> None:
    """It may still read, so the request goes on; here to a server that cannot be reached."""
    deaf = DeafOrigin()
    async with Bed(config_of(server("s", deaf.port, connect_timeout_s=1))) as bed:
        client = await bed.client()
        await client.send(GET)
        client.end_sending()
        assert (await client.read_answer())[0] == 503
        assert bed.inflight() == [0]


class SlowResolver:
    """Knows an address only after ``known`` was set."""

    def __init__(self) -> None:
        self.known = asyncio.Event()

    async def resolve(self, host: str) -> list[str]:
        await self.known.wait()
        return [host]


async def test_connection_for_a_client_that_is_gone_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        resolver = SlowResolver()
        monkeypatch.setattr(bed.engine.view.plan, "resolver", resolver)
        gone, client = await bed.client(), await bed.client()
        await gone.send(GET)
        await bed.until(lambda: bed.inflight() == [1])
        gone.reset()
        await bed.until(lambda: bed.inflight() == [0])
        # The task that connects has started before: it must open the connection, see that nobody waits, and keep it.
        resolver.known.set()
        await bed.until(lambda: bed.streams(Upstream) == 1 or bed.server_state(0)["failed"] > 0)
        wire = await origin.accept()
        await client.send(GET)
        await wire.read_head()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")


@ENDINGS
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (GET, b""),
        (GET, OK[:10]),
        (GET, OK[:-1]),
        (POST + b"12345", b""),
        (POST + b"12345", OK[:-1]),
        (GET, b"HTTP/1.1 200 OK\r\n\r\nuntil close"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        (GET, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (GET + GET, b""),
    ],
    ids=["no answer", "in head", "in body", "uploading", "both", "until close", "chunk", "interim", "pipelined"],
)  # fmt: skip
async def test_client_goes_while_relaying(
    end: Callable[[Wire], None], request_: bytes, answer: bytes
) -> None:
    """A reset cancels the request. A mere end leaves a whole one running: the client may only have closed its side."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(request_)
        wire, _ = await origin.accept_request()
        await wire.send(answer)
        if b"\r\n\r\n" in answer:
            await client.read_head()
        assert bed.inflight() == [1]
        end(client)
        if end is Wire.close and request_.startswith(b"GET"):
            await wire.send(OK[len(answer) :] if OK.startswith(answer) else b"")
            wire.end_sending()
            if request_ == GET + GET:  # what was sent ahead is still answered
                wire, _ = await origin.accept_request()
                await wire.send(OK)
        else:
            assert await wire.is_ended()
        await bed.until(lambda: bed.inflight() == [0] and bed.streams(Http1) == 0)
        if end is Wire.reset:
            assert bed.server_state(0)["failed"] == 0


@ENDINGS
async def test_client_goes_while_it_does_not_read(end: Callable[[Wire], None]) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client(receive_buffer=4096)
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 100000000\r\n\r\n")
        sending = asyncio.ensure_future(wire.send(bytes(50_000_000)))
        await client.read_head()
        await bed.pass_time(0.1)
        assert not sending.done()  # held back all the way to the server
        end(client)
        with pytest.raises(ConnectionError):
            await sending
        await bed.until(lambda: bed.inflight() == [0] and bed.engine.open_streams == 0)


@ENDINGS
async def test_client_goes_while_a_file_is_sent(
    end: Callable[[Wire], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    with (folder / "big").open("wb") as file:
        file.truncate(50_000_000)
    settings = Settings(fallback=FallbackSettings(mode="directory", directory=str(folder)))
    async with Bed(config_of(server("s", 1)), settings) as bed:
        client = await bed.client(receive_buffer=4096)
        await client.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.read_head()
        await bed.pass_time(0.05)
        end(client)
        await bed.until(lambda: bed.engine.open_streams == 0)


@ENDINGS
async def test_client_goes_while_the_rest_of_its_request_is_thrown_away(
    end: Callable[[Wire], None],
) -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        client = await bed.client()
        await client.send(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        assert (await client.read_answer())[0] == 404
        assert bed.streams(Http1) == 1
        end(client)
        await bed.until(lambda: bed.engine.open_streams == 0)


async def test_lingering_ends_by_itself() -> None:
    async with Bed(config_of(server("s", 1)), LINGER) as bed:
        client = await bed.client()
        await client.send(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        assert (await client.read_answer())[0] == 404
        assert await client.receive() == b""  # no more will come, but it still listens
        await client.send(b"def")
        await soon(bed.until(lambda: bed.engine.open_streams == 0))


async def test_lingering_ends_when_too_much_is_sent() -> None:
    """It is not read any more, and has linger_s to see that it has its answer."""
    async with Bed(config_of(server("s", 1)), LINGER) as bed:
        client = await bed.client()
        await client.send(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        assert (await client.read_answer())[0] == 404
        with pytest.raises(ConnectionError):
            await client.send(bytes(50_000_000))
        await bed.until(lambda: bed.engine.open_streams == 0)


# --- the server goes --------------------------------------------------------------------------------------------


@ENDINGS
async def test_server_goes_before_its_answer_and_another_answers(
    end: Callable[[Wire], None],
) -> None:
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await first.accept_request()
        end(wire)
        wire, head = await second.accept_request()
        assert b"\r\n$WSFO: true\r\n" in head
        assert bed.inflight() == [0, 1]
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert bed.inflight() == [0, 0]
        assert bed.server_state(0)["failed"] == 1


@ENDINGS
async def test_body_is_sent_again_to_the_other_server(end: Callable[[Wire], None]) -> None:
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client = await bed.client()
        await client.send(POST + b"01234")
        wire, _ = await first.accept_request()
        await wire.read_exactly(5)
        end(wire)
        wire, _ = await second.accept_request()
        await client.send(b"56789")
        assert await wire.read_exactly(10) == b"0123456789"
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")


@ENDINGS
async def test_body_that_was_not_kept_is_not_sent_again(end: Callable[[Wire], None]) -> None:
    first, second = Origin(), Origin()
    config = config_of(server("a", first.port), server("b", second.port), post_buffer_size_kb=0)
    async with Bed(config) as bed:
        client = await bed.client()
        await client.send(POST + b"0123456789")
        wire, _ = await first.accept_request()
        end(wire)
        assert (await client.read_answer())[0] == 500
        assert not second.has_waiting()


async def test_body_that_was_not_kept_still_reaches_the_next_server_when_nothing_was_sent() -> None:
    """No connection to the first: whatever PostBufferSize says, nothing was sent yet."""
    gone, second = Origin(), Origin()
    gone.close()
    config = config_of(server("a", gone.port), server("b", second.port), post_buffer_size_kb=0)
    async with Bed(config) as bed:
        client = await bed.client()
        await client.send(POST + b"0123456789")
        wire, _ = await second.accept_request()
        assert await wire.read_exactly(10) == b"0123456789"
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert bed.server_state(0)["down_until_ms"] > 0


@ENDINGS
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
    ids=["length", "chunk", "trailer"],
)
async def test_server_goes_within_its_answer(end: Callable[[Wire], None], answer: bytes) -> None:
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await first.accept_request()
        await wire.send(answer)
        await client.read_until(b"abc")
        end(wire)
        assert await client.is_ended()
        await bed.until(lambda: bed.engine.open_streams == 0)
        assert not second.has_waiting()


@ENDINGS
async def test_server_goes_within_the_request(end: Callable[[Wire], None]) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(POST + b"01234")
        wire, _ = await origin.accept_request()
        end(wire)
        assert (await client.read_answer())[0] == 502
        assert bed.inflight() == [0]


@ENDINGS
async def test_reused_connection_that_was_closed_costs_one_more_try(
    end: Callable[[Wire], None],
) -> None:
    """The server closed it in between: the same server once more, on a new connection, and no mark."""
    origin, other = Origin(), Origin()
    async with Bed(config_of(server("s", origin.port), server("b", other.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        await client.read_answer()
        await client.send(GET)
        await wire.read_head()
        end(wire)
        wire, head = await origin.accept_request()
        assert b"$WSFO" not in head
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert not other.has_waiting()


async def test_server_that_accepts_and_closes_at_once_never_holds_a_request() -> None:
    """Its end may be known before the request was handed to the connection: that must not be waited for."""
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:

        async def slam() -> None:
            while True:
                (await first.accept()).reset()

        async def answer() -> None:
            while True:
                wire = await second.accept()
                await wire.read_head()
                await wire.send(OK + b"x")  # the byte too much ends the connection: none is reused

        serving = [asyncio.ensure_future(slam()), asyncio.ensure_future(answer())]
        for _ in range(50):
            client = await bed.client()
            await client.send(GET)
            assert await client.read_answer() == (200, b"ok")
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        assert bed.inflight() == [0, 0]


async def test_connection_lost_before_the_request_is_attached_is_a_failed_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        leave_first_connect(bed.slow, monkeypatch)
        client = await bed.client()
        await client.send(GET)
        await bed.until(lambda: bed.inflight() == [1, 0])
        (downstream,) = (each.exchange for each in bed.engine.streams() if isinstance(each, Http1))
        assert downstream.pool is not None
        upstream = await bed.connect_upstream(downstream.pool)
        (await first.accept()).reset()
        await bed.until(lambda: bed.streams(Upstream) == 0)
        downstream.attach(upstream)
        wire, _ = await second.accept_request()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        del downstream, upstream


def leave_first_connect(slow: SlowPath, patch: pytest.MonkeyPatch) -> None:
    """The first connection is left to the test."""
    real = slow.connect
    asked: list[bool] = []

    def connect(downstream: Downstream) -> None:
        if asked:
            real(downstream)
        asked.append(True)

    patch.setattr(slow, "connect", connect)


async def test_nonsense_from_the_server_is_a_bad_gateway() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        for answer in (b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"):
            client = await bed.client()
            await client.send(GET)
            wire, _ = await origin.accept_request()
            await wire.send(answer)
            assert (await client.read_answer())[0] == 502
            assert await wire.is_ended()


# --- all of it ends ---------------------------------------------------------------------------------------------


async def test_close_all_cuts_everything_at_once() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        clients = [await bed.client() for _ in range(3)]
        for client in clients[1:]:
            await client.send(GET)
            await origin.accept_request()
        await bed.until(lambda: bed.inflight() == [2])
        bed.engine.close_all()
        for client in clients:
            assert await client.is_ended()
        assert bed.inflight() == [0]


async def test_drain_ends_idle_clients_and_lets_running_requests_finish() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        idle, running = await bed.client(), await bed.client()
        await idle.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert await idle.read_answer() == (200, b"ok")
        await running.send(GET)
        await wire.read_head()
        assert (bed.engine.drain(), bed.engine.count_served()) == (2, 1)
        assert await idle.read_to_end() == b""
        idle.close()
        await bed.until(lambda: bed.engine.drain() == 1)
        await wire.send(OK)
        answer = await running.read_to_end()
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"ok")
        assert bed.engine.count_served() == 0
        running.close()
        await bed.until(lambda: bed.engine.drain() == 0)


async def test_request_that_came_before_the_drain_is_answered() -> None:
    """The client could not know; the loop has not read it yet."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert client.send_now(GET) == len(GET)
        assert bed.engine.drain() == 1
        await wire.read_head()
        await wire.send(OK)
        answer = await client.read_to_end()
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"ok")


# --- the slow path fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        GET,  # connect
        b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n",  # no_route
        b"nonsense\r\n\r\n",  # refuse
        POST.replace(b": 10", b": 10000"),  # too_large
    ],
    ids=["connect", "no_route", "refuse", "too_large"],
)
async def test_bug_in_the_slow_path_ends_the_exchange_and_is_logged(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(config_of(server("s", 1), post_size_limit_kb=1)) as bed:
        bed.engine.slow = Slow()  # a bug in every answer
        client = await bed.client()
        await client.send(request_)
        assert await client.is_ended()
        assert bed.inflight() == [0]
    assert "internal error" in caplog.text


async def test_bug_in_the_slow_path_after_a_failure_gives_the_server_back() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        bed.engine.slow = Slow()  # a bug in every answer
        wire.close()
        assert await client.is_ended()
        assert bed.inflight() == [0]


class Levels(logging.Handler):
    """Keeps the levels alone: records hold tracebacks, and these the connections."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.levelno)


async def test_task_that_fails_ends_its_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = Levels()
    monkeypatch.setattr(tasks.log, "handlers", [levels])
    monkeypatch.setattr(tasks.log, "propagate", False)
    async with Bed(config_of(server("s", 1))) as bed:
        monkeypatch.setattr(bed.engine.view.plan, "resolver", None)  # a bug, not an OSError
        client = await bed.client()
        await client.send(GET)
        assert await client.is_ended()
        assert bed.inflight() == [0]
    assert levels.seen == [logging.ERROR]


async def test_host_that_is_no_name_is_a_server_that_is_down() -> None:
    """A label over 63 characters makes the resolver raise something that is no OSError."""
    origin = Origin()
    config = config_of(server("a", 1), server("b", origin.port))
    broken = "a" * 70 + ".example"
    object.__setattr__(config.server_clusters[0].servers[0].transports[0], "hostname", broken)
    async with Bed(config) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert bed.server_state(0)["down_until_ms"] > 0


async def test_client_that_was_reset_unnoticed_is_just_gone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body waits for a connection, so nobody reads from it and sees the reset before the answer is sent."""
    gone = Origin()
    gone.close()
    async with Bed(config_of(server("s", gone.port))) as bed:
        resolver = SlowResolver()
        monkeypatch.setattr(bed.engine.view.plan, "resolver", resolver)
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nabc")
        await bed.until(lambda: bed.engine.requests == 1)
        client.reset()
        resolver.known.set()
        await bed.until(lambda: bed.engine.open_streams == 0)
        assert bed.inflight() == [0]
    assert "internal error" not in caplog.text
