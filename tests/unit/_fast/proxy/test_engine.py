"""What all requests of a worker share."""

from __future__ import annotations

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
SHORT_S = 0.05


async def test_walk_in_steps_goes_on_behind_a_connection_that_ended() -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        clients = [await bed.client() for _ in range(5)]
        bed.sweeper.cancel()
        assert [bed.engine.sweep(1) for _ in clients] == [True, True, True, True, False]
        assert bed.engine.sweep(2)  # the two that came last
        clients[2].close()
        await bed.until(lambda: bed.engine.open_streams == 4)
        assert bed.engine.sweep(1)
        assert not bed.engine.sweep(1)
        assert not bed.engine.sweep()


async def test_max_connections_refuses_the_request_that_is_too_many() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port, max_connections=1))) as bed:
        first, second = await bed.client(), await bed.client()
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await second.send(GET)
        assert (await second.read_answer())[0] == 503
        await wire.send(OK)
        await first.read_answer()
        await second.send(GET)
        await wire.read_head()
        await wire.send(OK)
        assert await second.read_answer() == (200, b"ok")
