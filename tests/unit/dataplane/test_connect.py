"""Connections that are given up while they are made."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.origin import Origin
from wsproxy._fast.proxy.pool import Pool
from wsproxy.dataplane.connect import open_upstream
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.served import ServedPlan


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_connection_given_up_while_it_is_made_is_not_kept(how: str) -> None:
    """Neither the socket nor the stream that was to have it stays."""
    origin = Origin()
    port = origin.port
    origin.refuse()
    async with Bed(config_of(server("s", port))) as bed:
        with Origin.full(port):
            pool = Pool("s", "127.0.0.1", port, connect_timeout_s=0.2)
            before = descriptors()
            connecting = asyncio.ensure_future(open_upstream(bed.engine, Resolver(60.0), pool))
            await bed.until(lambda: descriptors() > before)
            if how == "cancelled":
                connecting.cancel()
            [result] = await asyncio.gather(connecting, return_exceptions=True)
            assert isinstance(
                result, asyncio.CancelledError if how == "cancelled" else TimeoutError
            )
            del connecting, result  # their traceback holds what was made
            assert descriptors() == before
            assert bed.engine.open_streams == 0
    origin.close()


class Lost(asyncio.Future[list[str]]):
    """Who waits for it is not woken, by no time limit either: as where there was no memory for the waking."""

    def cancel(self, msg: object = None) -> bool:
        return True


class Forgetful(Resolver):
    """Its answer does not reach who asked, until the test says so."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lost = Lost()

    async def resolve(self, host: str) -> list[str]:
        return await self.lost


async def test_try_whose_wake_up_is_lost_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Soon after ConnectTimeout, by the sweep; and a worker's end does not wait for such a task."""
    async with Bed(config_of(server("s", 1, connect_timeout_s=1))) as bed:
        plan = bed.engine.view.plan
        assert isinstance(plan, ServedPlan)
        resolver = plan.resolver = Forgetful()
        client = await bed.client()
        await client.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        await bed.until(lambda: bed.inflight() == [1])
        assert await client.is_ended()
        assert bed.inflight() == [0]
        assert "nobody goes on with a request" in caplog.text
        resolver.lost.set_result(["127.0.0.1"])  # woken after all: it finds that nobody waits
