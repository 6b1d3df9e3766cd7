"""Requests that wait for a place, in one worker on both loops: they are served or leave, and nothing stays behind."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.state.meters import BUCKETS, CLASSES, HISTOGRAM, BlockKind, ClusterWord
from wsproxy._fast.state.segment import now_ms
from wsproxy.config.settings import QueueSettings, Settings

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\n\r\n"


def bed(origin: Origin, wait_s: float = 600, size: int = 2) -> Bed:
    settings = Settings(queue=QueueSettings(size=size, wait_s=wait_s))
    return Bed(config_of(server("s", origin.port, max_connections=1)), settings)


def waiting(bed: Bed) -> int:
    cluster = bed.plan.clusters[0]
    assert cluster is not None
    return cluster.queue_length


def hang_up(bed: Bed) -> None:
    """The end of what the waiting client sends, as the loop tells it; its connection is lost in the loop's next turn."""
    for each in bed.engine.streams():
        if isinstance(each, Http1) and each.exchange.is_queued:
            each.eof_received()
            assert not each.exchange.is_open


async def park_one(bed: Bed) -> None:
    """A warm connection to the server."""
    for each in bed.engine.streams():
        if isinstance(each, Http1) and each.exchange.pool is not None:
            (await bed.connect_upstream(each.exchange.pool)).park()


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


async def test_each_end_of_a_wait_is_metered() -> None:
    """Served, in vain, left; and who found no room."""
    origin = Origin()
    async with bed(origin, wait_s=600, size=1) as running:
        clients = [await running.client() for _ in range(4)]
        await clients[0].send(GET)
        wire, _ = await origin.accept_request()
        await clients[1].send(GET)
        await running.until(lambda: waiting(running) == 1)
        await clients[2].send(GET)
        assert (await clients[2].read_answer())[0] == 503
        clients[1].close()
        await running.until(lambda: waiting(running) == 0)
        await clients[3].send(GET)
        await running.until(lambda: waiting(running) == 1)
        await wire.send(OK)
        assert (await clients[0].read_answer())[0] == 200
        await wire.read_until(b"\r\n\r\n")
        await wire.send(OK)
        assert (await clients[3].read_answer())[0] == 200
        meters, cluster = running.state.meters, running.plan.clusters[0]
        assert meters is not None
        assert cluster is not None
        words = meters.sums(BlockKind.CLUSTER_BLOCK, cluster.slots()[0])
        told = {each.name: words[each] for each in ClusterWord if each.name.startswith("QUEUE")}
        del told["QUEUE"]  # times
        assert told == {"QUEUED": 2, "QUEUE_SERVED": 1, "QUEUE_VAIN": 0, "QUEUE_LEFT": 1, "QUEUE_FULL": 1}  # fmt: skip
        assert words[ClusterWord.LEFT_BEFORE] == 1
        times = [
            sum(words[ClusterWord.QUEUE + at * HISTOGRAM :][:BUCKETS]) for at in range(CLASSES)
        ]
        assert times == [0, 1, 0, 0, 0, 1]  # 2xx and none: by what its client got in the end


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


async def test_client_that_ended_while_its_last_request_ran_does_not_wait() -> None:
    """Who hangs up in the queue has left; so has who did it before."""
    origin = Origin()
    async with bed(origin) as running:
        gone, other = await running.client(), await running.client()
        await gone.send(GET + GET)
        wire, _ = await origin.accept_request()
        await other.send(GET)  # waits, and has the place before the second of the two
        await running.until(lambda: waiting(running) == 1)
        gone.end_sending()
        for _ in range(10):  # loopback: the loop sees it with its next turn
            await asyncio.sleep(0)
        await wire.send(OK)
        assert (await gone.read_answer())[0] == 200
        assert await gone.is_ended()
        await wire.read_until(b"\r\n\r\n")
        assert waiting(running) == 0
        await wire.send(OK)
        assert (await other.read_answer())[0] == 200
        await running.until(lambda: running.inflight() == [0])
        assert not wire.has_received()


@pytest.mark.parametrize("end", [Wire.close, Wire.reset], ids=["end", "reset"])
async def test_client_that_leaves_in_the_middle_of_its_body_gives_its_place_up(
    end: Callable[[Wire], None],
) -> None:
    """Nobody reads from it while it waits, so nobody is told."""
    origin = Origin()
    async with bed(origin) as running:
        first, second = await running.client(), await running.client()
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await second.send(POST + b"half")
        await running.until(lambda: waiting(running) == 1)
        end(second)
        await running.until(lambda: waiting(running) == 0)
        await wire.send(OK)
        assert (await first.read_answer())[0] == 200
        await running.until(lambda: running.inflight() == [0])


async def test_waits_that_are_over_together_end_over_several_turns() -> None:
    """Fifty pages in one turn of the loop are fifty that somebody else waits for."""
    origin = Origin()
    async with bed(origin, wait_s=0.05, size=50) as running:
        holder = await running.client()
        await holder.send(GET)
        wire, _ = await origin.accept_request()
        running.sweeper.cancel()
        clients = [await running.client() for _ in range(50)]
        for client in clients:
            await client.send(GET)
        await running.until(lambda: waiting(running) == 50)
        await asyncio.sleep(0.06)
        room = running.slow.room
        steps = [waiting(running)]
        while room.sweep():
            steps.append(waiting(running))
        steps.append(waiting(running))
        assert steps[-1] == 0
        assert max(before - after for before, after in itertools.pairwise(steps)) <= 16
        for client in clients:
            assert (await client.read_answer())[0] == 503
        await wire.send(OK)
        assert (await holder.read_answer())[0] == 200


async def test_turns_that_come_together_are_all_taken_up_after_one_bell() -> None:
    """A few in each turn of the loop, and the rest without another bell or sweep."""
    origin = Origin()
    config = config_of(server("s", origin.port, max_connections=40))
    async with Bed(config, Settings(queue=QueueSettings(size=50, wait_s=600))) as running:
        cluster = running.plan.clusters[0]
        assert cluster is not None
        for _ in range(40):
            assert cluster.take_server(0, 0, now_ms()) == 0
        clients = [await running.client() for _ in range(40)]
        for client in clients:
            await client.send(GET)
        await running.until(lambda: waiting(running) == 40)
        running.sweeper.cancel()
        for _ in range(40):
            cluster.release_server(0, 0)
        await running.until(lambda: waiting(running) == 0)
        for _ in clients:
            wire, _ = await origin.accept_request()
            await wire.send(OK)
        for client in clients:
            assert (await client.read_answer())[0] == 200


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
