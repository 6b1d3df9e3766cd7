"""Refused answers and held bodies on both loops: every server is given back, whoever ends it and when."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.operators import drain
from tests.support.wire import Origin
from wsproxy._fast.proxy.upstream import Upstream
from wsproxy._fast.state.segment import now_ms
from wsproxy.config.settings import RetrySettings, Settings

OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"


async def test_busy_answer_gives_its_server_back_before_the_next_one_answers() -> None:
    """While the body still comes: what follows goes to the server that has the request now, and once."""
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client = await bed.client()
        await client.send(POST + b"01234")
        wire, _ = await first.accept_request()
        assert await wire.read_exactly(5) == b"01234"
        await wire.send(BUSY)
        other, head = await second.accept_request()
        assert b"\r\n$WSFO: true\r\n" in head
        assert bed.inflight() == [0, 1]
        assert bed.server_state(0)["failed"] == 1
        await client.send(b"56789")
        assert await other.read_exactly(10) == b"0123456789"
        await other.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert await wire.is_ended()  # it still waited for the body


async def test_busy_answer_in_pieces_is_recognized_and_its_connection_kept() -> None:
    """The head comes in two reads, with the whole body in the second."""
    first, second = Origin(), Origin()
    async with Bed(config_of(server("a", first.port), server("b", second.port))) as bed:
        client = await bed.client()
        await client.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        wire, _ = await first.accept_request()
        await wire.send(BUSY[:20])
        await bed.pass_time(0.02)
        await wire.send(BUSY[20:])
        other, _ = await second.accept_request()
        await other.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert bed.streams(Upstream) == 2
        await client.send(b"GET /app/y HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"/app/y" in await wire.read_head()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")


async def test_busy_probe_changes_neither_mark_nor_interval() -> None:
    """And the next request probes again."""
    first, second = Origin(), Origin()
    config = config_of(server("a", first.port), server("b", second.port), retry_interval_s=60)
    async with Bed(config) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        cluster.set_down(0, 0, now_ms() - 60_000, 111)  # its interval is over
        until_ms = bed.server_state(0)["down_until_ms"]
        client = await bed.client()
        wire = other = None
        for _ in range(3):
            await client.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
            wire = wire or await first.accept()
            await wire.read_head()
            assert bed.server_state(0)["probe_by"] == 0
            await wire.send(BUSY)
            other = other or await second.accept()
            await other.read_head()
            assert bed.server_state(0)["probe_by"] == -1
            assert bed.server_state(0)["down_until_ms"] == until_ms
            await other.send(OK)
            assert await client.read_answer() == (200, b"ok")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_client_goes_while_its_body_is_held(how: str) -> None:
    """The request is cancelled at the server."""
    origin = Origin()
    async with Bed(config_of(server("a", origin.port, wait_for_continue=True))) as bed:
        client = await bed.client()
        await client.send(POST + b"01234")
        wire, head = await origin.accept_request()
        assert b"\r\nExpect: 100-continue\r\n" in head
        assert bed.inflight() == [1]
        # Nobody reads from the client: that it is gone is seen when the server wants the body.
        getattr(client, how)()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await wire.is_ended()
        await bed.until(lambda: bed.inflight() == [0])


async def test_held_body_that_is_refused_later_ends_in_its_error() -> None:
    """A chunked body that breaks after the 100."""
    origin = Origin()
    async with Bed(config_of(server("a", origin.port, wait_for_continue=True))) as bed:
        client = await bed.client()
        await client.send(
            b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await wire.read_exactly(8) == b"3\r\nabc\r\n"
        await client.send(b"x\r\n")
        assert (await client.read_answer())[0] == 400
        assert await wire.is_ended()


async def test_probe_that_marked_its_server_down_again_is_over() -> None:
    """Its answer still goes to the client; when that ends, the probe that runs by then is another request's."""
    origin, other = Origin(), Origin()
    config = config_of(
        server("a", origin.port), server("b", other.port), retry_interval_s=0
    )  # its interval is over at once
    settings = Settings(retry=RetrySettings(server_errors="mark_down"))
    async with Bed(config, settings) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        cluster.set_down(0, 0, now_ms() - 1, 111)
        drain(cluster, 1)
        first, second = await bed.client(), await bed.client()
        await first.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        slow, _ = await origin.accept_request()
        await slow.send(b"HTTP/1.1 500 x\r\nContent-Length: 2\r\n\r\nn")
        await first.read_until(b"\r\n\r\nn")
        await second.send(b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        probing, _ = await origin.accept_request()
        assert bed.server_state(0)["probe_by"] == 0
        await slow.send(b"o")
        await first.read_exactly(1)
        assert bed.server_state(0)["probe_by"] == 0
        await probing.send(OK)
        assert await second.read_answer() == (200, b"ok")
        assert bed.server_state(0)["probe_by"] == -1
