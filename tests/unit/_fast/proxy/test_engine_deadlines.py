"""Deadlines as sweeps find them, and what the pools keep."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire
from wsproxy.config.settings import Settings, TimeoutSettings

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
SHORT_S = 0.05
HEAD = Settings(timeouts=TimeoutSettings(head_s=SHORT_S))
KEEPALIVE = Settings(timeouts=TimeoutSettings(keepalive_s=SHORT_S))
BODY = Settings(timeouts=TimeoutSettings(body_s=SHORT_S))
HALF_CLOSED = Settings(timeouts=TimeoutSettings(half_closed_s=SHORT_S))


async def test_client_that_sends_nothing_is_closed_without_a_word() -> None:
    async with Bed(config_of(server("s", 1)), HEAD) as bed:
        client = await bed.client()
        assert await client.read_to_end() == b""


async def test_head_that_is_not_whole_in_time_is_answered_408() -> None:
    async with Bed(config_of(server("s", 1)), HEAD) as bed:
        client = await bed.client()
        await client.send(GET[:20])
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 408 ")


async def test_dripping_does_not_put_off_the_heads_deadline() -> None:
    async with Bed(config_of(server("s", 1)), HEAD) as bed:
        client = await bed.client()
        await client.send(b"GET /app/x HTTP/1.1\r\n")
        while not client.has_received():
            client.send_now(b"X: y\r\n")
            await bed.pass_time(0.01)
        assert (await client.receive()).startswith(b"HTTP/1.1 408 ")


async def test_408_to_a_second_request_has_a_page_though_the_first_was_head() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), HEAD) as bed:
        client = await bed.client()
        await client.send(b"HEAD /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await client.read_head()
        await client.send(b"GET /app")
        status, body = await client.read_answer()
        assert status == 408
        assert body.startswith(b"<!DOCTYPE html>")


async def test_idle_client_is_closed_after_keepalive() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), KEEPALIVE) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await bed.pass_time(2 * SHORT_S)  # not while it waits for its answer
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert await client.read_to_end() == b""


async def test_body_that_stalls_is_answered_408_and_the_server_given_back() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), BODY) as bed:
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        wire, _ = await origin.accept_request()
        assert (await client.read_answer())[0] == 408
        assert await wire.is_ended()
        assert bed.inflight() == [0]
        assert bed.server_state(0)["failed"] == 0


async def test_body_that_stalls_after_the_answer_began_is_cut() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), BODY) as bed:
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 9\r\n\r\nabc")
        await client.read_until(b"abc")
        assert await client.is_ended()
        assert await wire.is_ended()
        assert bed.inflight() == [0]


@pytest.mark.parametrize(("timeout_s", "is_down"), [(1, False), (-1, True)])
async def test_silent_server_is_left_after_server_io_timeout(timeout_s: int, is_down: bool) -> None:
    first, second = Origin(), Origin()
    config = config_of(
        server("a", first.port, server_io_timeout_s=timeout_s), server("b", second.port)
    )
    async with Bed(config) as bed:
        client = await bed.client()
        await client.send(GET)
        silent, _ = await first.accept_request()
        wire, _ = await second.accept_request()
        assert await silent.is_ended()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        assert (bed.server_state(0)["down_until_ms"] > 0) is is_down


async def test_server_io_timeout_retry_0_gives_up_with_504() -> None:
    first, second = Origin(), Origin()
    servers = (server("a", first.port, server_io_timeout_s=1), server("b", second.port))
    async with Bed(config_of(*servers, server_io_timeout_retry=0)) as bed:
        client = await bed.client()
        await client.send(GET)
        await first.accept_request()
        assert (await client.read_answer())[0] == 504
        assert not second.has_waiting()
        assert bed.inflight() == [0, 0]


async def test_page_that_dribbles_never_times_out() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port, server_io_timeout_s=1))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await bed.pass_time(0.2)
            await wire.send(b"x")
        assert await client.read_answer() == (200, b"xxxxxxxx")


# --- pools ------------------------------------------------------------------------------------------------------


async def warm(bed: Bed, origin: Origin, count: int) -> list[Wire]:
    """So many idle connections, the one used last at the end."""
    clients = [await bed.client() for _ in range(count)]
    wires = []
    for client in clients:
        await client.send(GET)
        wires.append((await origin.accept_request())[0])
    for client, wire in zip(clients, wires, strict=True):
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
    return wires


@pytest.mark.parametrize("half_closed_s", [0.0, SHORT_S])
async def test_request_of_a_client_that_ended_its_sending_is_cancelled(
    half_closed_s: float,
) -> None:
    origin = Origin()
    settings = Settings(timeouts=TimeoutSettings(half_closed_s=half_closed_s))
    async with Bed(config_of(server("s", origin.port)), settings) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        client.end_sending()
        assert await wire.is_ended()
        assert await client.read_to_end() == b""
        assert bed.inflight() == [0]
        assert bed.server_state(0)["failed"] == 0


async def test_answer_that_began_is_not_cancelled_with_the_client_half_closed() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), HALF_CLOSED) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        client.end_sending()
        await wire.send(OK[:-1])
        await client.read_head()
        await bed.pass_time(3 * SHORT_S)
        await wire.send(OK[-1:])
        assert await client.read_to_end() == b"ok"


async def test_each_request_sent_ahead_has_its_own_time_half_closed() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), HALF_CLOSED) as bed:
        client = await bed.client()
        await client.send(GET + GET)
        wire, _ = await origin.accept_request()
        client.end_sending()
        await wire.send(OK)
        assert await client.read_answer() == (200, b"ok")
        await wire.read_head()  # the second one came
        assert await wire.is_ended()
        assert await client.read_to_end() == b""
