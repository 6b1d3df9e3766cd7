"""What is asked of the kernel about a connection that waits for its next request."""

from __future__ import annotations

import pytest

from tests.support import wire
from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"


async def ask(client: Wire, origin: Wire) -> None:
    """A request on connections that both exist."""
    await client.send(GET)
    await origin.read_head()
    await origin.send(OK)
    assert await client.read_answer() == (200, b"ok")


@pytest.mark.parametrize("how", ["nothing", "bytes", "end", "reset"])
async def test_only_a_connection_on_which_nothing_has_happened_is_used_again(how: str) -> None:
    """Looked at when the request is there, whatever the loop has not told yet."""
    origin = Origin()
    try:
        async with Bed(config_of(server("s", origin.port))) as bed:
            client = await bed.client()
            await client.send(GET)
            first, _ = await origin.accept_request()
            await first.send(OK)
            assert await client.read_answer() == (200, b"ok")
            if how == "bytes":
                first.send_now(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            elif how != "nothing":
                (first.close if how == "end" else first.reset)()
            if how == "nothing":
                await ask(client, first)
            else:
                await client.send(GET)
                second, _ = await origin.accept_request()
                await second.send(OK)
                assert await client.read_answer() == (200, b"ok")
    finally:
        wire.close_all()
