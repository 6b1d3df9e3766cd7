"""Requests that wait for a place, in one worker on both loops: they are served or leave, and nothing stays behind."""

from __future__ import annotations

import logging

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from wsproxy._fast.downstream import Downstream
from wsproxy._fast.state import now_ms
from wsproxy.config.settings import QueueSettings, Settings

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n"


def bed(origin: Origin, wait_s: float = 600) -> Bed:
    settings = Settings(queue=QueueSettings(size=2, wait_s=wait_s))
    return Bed(config_of(server("s", origin.port, max_connections=1)), settings)


def waiting(bed: Bed) -> int:
    cluster = bed.plan.clusters[0]
    assert cluster is not None
    return cluster.queue_length


def hang_up(bed: Bed) -> None:
    """The end of what the waiting client sends, as the loop tells it; its connection is lost in the loop's next turn."""
    for each in bed.engine.streams():
        if isinstance(each, Downstream) and each.is_queued:
            each.eof_received()
            assert not each.is_open


async def park_one(bed: Bed) -> None:
    """A warm connection to the server."""
    for each in bed.engine.streams():
        if isinstance(each, Downstream) and each.pool is not None:
            (await bed.connect_upstream(each.pool)).park()


async def test_waiting_request_is_served_when_a_place_is_free() -> None:
    origin = Origin()
    async with bed(origin) as running:
        first, second = await running.client(), await running.client()
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await second.send(GET)
        await running.until(lambda: waiting(running) == 1)
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200
        await wire.read_until(b"\r\n\r\n")
        await wire.send(OK)
        assert (await second.read_answer())[0] == 200
        assert running.inflight() == [0]


async def test_waiting_request_is_refused_when_its_time_is_over() -> None:
    origin = Origin()
    async with bed(origin, wait_s=0.05) as running:
        first, second = await running.client(), await running.client()
        await first.send(GET)
        wire, _ = await origin.accept_request()
        for _ in range(2):  # the connection stays
            await second.send(GET)
            assert (await second.read_answer())[0] == 503
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200


async def test_client_that_leaves_gives_its_place_up() -> None:
    """Whether its end comes while it waits or together with its turn."""
    origin = Origin()
    async with bed(origin) as running:
        first, second, third = [await running.client() for _ in range(3)]
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await second.send(GET)
        await running.until(lambda: waiting(running) == 1)
        await third.send(GET)
        await running.until(lambda: waiting(running) == 2)
        second.reset()
        await running.until(lambda: waiting(running) == 1)
        await wire.send(OK)
        third.reset()
        assert (await first.read_answer())[0] == 200
        await running.until(lambda: waiting(running) == 0 and running.inflight() == [0])


async def test_client_that_hangs_up_with_its_turn_gets_nothing() -> None:
    """Its end is seen, its connection is being closed, and in between its turn comes and a connection is there."""
    origin = Origin()
    async with bed(origin) as running:
        cluster = running.plan.clusters[0]
        assert cluster is not None
        first, second = await running.client(), await running.client()
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await second.send(GET)
        await running.until(lambda: waiting(running) == 1)
        await park_one(running)
        hang_up(running)
        cluster.release_server(
            0, 0
        )  # a moment before its own release, so that the loop does not turn in between
        running.slow.room.look()
        await running.until(lambda: cluster.server_state(0)["granted"] == 0)
        assert cluster.take_server(0, 0, now_ms()) == 0
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200
        assert waiting(running) == 0


async def test_turn_that_fails_ends_its_exchange_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug must not keep a server taken, or end the sweeps."""
    origin = Origin()
    async with bed(origin) as running:
        clients = [await running.client() for _ in range(3)]
        for at, client in enumerate(clients):
            await client.send(GET)
            await running.until(lambda at=at: waiting(running) == at)  # type: ignore[misc]
        wire, _ = await origin.accept_request()
        room = running.slow.room
        serve = room._serve

        def forget_traceback(record: logging.LogRecord) -> bool:
            record.exc_info = None  # it would hold the exchange, and pytest the record
            return True

        def fail_once(_: Downstream) -> None:
            room._serve = serve
            raise RuntimeError

        room._serve = fail_once
        logging.getLogger("wsproxy.request").addFilter(forget_traceback)
        try:
            await wire.send(OK)
            assert await clients[1].is_ended()
        finally:
            logging.getLogger("wsproxy.request").removeFilter(forget_traceback)
        assert "internal error when a wait ended" in caplog.text
        await wire.read_until(b"\r\n\r\n")
        await wire.send(OK)
        assert (await clients[2].read_answer())[0] == 200


async def test_end_of_the_worker_empties_its_queue() -> None:
    """Bed closes everything while two wait; the shared state must not remember them."""
    origin = Origin()
    async with bed(origin) as running:
        clients = [await running.client() for _ in range(3)]
        for at, client in enumerate(clients):
            await client.send(GET)
            await running.until(lambda at=at: waiting(running) == at)  # type: ignore[misc]
        await origin.accept_request()
    assert waiting(running) == 0
