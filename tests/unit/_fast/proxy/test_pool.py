"""Warm connections to a server: which is used first, and when one is closed."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from tests.unit._fast.proxy.test_engine_deadlines import warm
from wsproxy._fast.proxy.upstream import Upstream
from wsproxy.config.settings import Settings, UpstreamSettings

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
SHORT_S = 0.05


async def test_connection_used_last_is_used_first() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        wires = await warm(bed, origin, 3)
        client = await bed.client()
        for _ in range(3):
            await client.send(GET)
            await wires[-1].read_head()
            await wires[-1].send(OK)
            assert await client.read_answer() == (200, b"ok")


async def test_no_more_idle_connections_than_pool_size() -> None:
    origin = Origin()
    settings = Settings(upstream=UpstreamSettings(pool_size=2))
    async with Bed(config_of(server("s", origin.port)), settings) as bed:
        wires = await warm(bed, origin, 3)
        assert await wires[-1].is_ended()
        await bed.until(lambda: bed.streams(Upstream) == 2)


async def test_idle_connection_is_closed_after_pool_idle() -> None:
    origin = Origin()
    settings = Settings(upstream=UpstreamSettings(pool_idle_s=SHORT_S))
    async with Bed(config_of(server("s", origin.port)), settings) as bed:
        (wire,) = await warm(bed, origin, 1)
        assert await wire.read_to_end() == b""
        await bed.until(lambda: bed.streams(Upstream) == 0)
        await warm(bed, origin, 1)


@pytest.mark.parametrize("ttl", [0, -1])
async def test_connection_ttl_0_never_keeps_a_connection(ttl: int) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port, ttl=ttl))) as bed:
        (wire,) = await warm(bed, origin, 1)
        assert await wire.is_ended()


async def test_idle_connection_that_the_server_closed_is_forgotten() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        for wire in await warm(bed, origin, 2):
            wire.close()
        await bed.until(lambda: bed.streams(Upstream) == 0)
        await warm(bed, origin, 1)
        assert bed.server_state(0)["failed"] == 0


async def test_connection_that_the_server_announced_to_close_is_not_kept() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        status, _ = await client.read_answer()
        assert status == 200
        assert await wire.is_ended()
        await client.send(GET)  # the client's own connection goes on
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
