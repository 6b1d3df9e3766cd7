"""What wakes a worker up."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import wire
from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from wsproxy._fast.net.poller import Poller
from wsproxy._fast.net.stream import Hub
from wsproxy._fast.net.ticker import Ticker

pytestmark = pytest.mark.asan


async def test_it_ticks_until_it_is_closed_whatever_a_call_raises() -> None:
    poller, ticks = Poller(Hub()), asyncio.Semaphore(0)

    def call() -> None:
        ticks.release()
        raise ValueError("a fault")

    ticker = Ticker(poller, 0.001, call)
    for _ in range(3):
        await ticks.acquire()
    assert ticker.fileno() >= 0
    ticker.close()
    ticker.close()
    assert ticker.fileno() == -1
    poller.close()


async def test_it_may_close_itself() -> None:
    poller, closed = Poller(Hub()), asyncio.Event()

    def call() -> None:
        ticker.close()
        closed.set()

    ticker = Ticker(poller, 0.001, call)
    await closed.wait()
    assert ticker.fileno() == -1
    poller.close()


@pytest.mark.parametrize("every_s", [0, -1, 1e9, float("nan")])
async def test_a_nonsense_pace_is_refused(every_s: float) -> None:
    poller = Poller(Hub())
    with pytest.raises(ValueError, match="allowed is every"):
        Ticker(poller, every_s, lambda: None)
    poller.close()


async def test_connections_that_end_at_a_tick_outlive_the_events_beside_it() -> None:
    """A sweep comes among events of one turn, also those of the connections that it ends: ASAN sees whether one is freed."""
    lasting = 40
    async with Bed(config_of(server("s", Origin().port))) as bed:
        clients = [await bed.client() for _ in range(lasting)]
        await bed.until(lambda: bed.engine.open_streams == lasting)

        def end_all() -> None:
            bed.engine.close_all()
            bed.engine.poller.tend()

        ticker = Ticker(bed.engine.poller, 0.001, end_all)
        for client in clients:
            await client.send(b"G")
        await bed.until(lambda: bed.engine.open_streams == 0)
        ticker.close()
    wire.close_all()
