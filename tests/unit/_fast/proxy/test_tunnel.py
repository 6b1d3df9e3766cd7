"""The end of a tunnel, and its place at the server."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.flow import push
from tests.support.wire import Origin
from wsproxy._fast.proxy.running import end_tunnels
from wsproxy.config.settings import Settings, TimeoutSettings

pytestmark = pytest.mark.asan

UPGRADE = b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def test_tunnel_keeps_its_place_until_the_server_has_what_was_sent() -> None:
    """A server that does not read sees the tunnel as long as bytes for it wait here."""
    origin = Origin(receive_buffer=4096)
    settings = Settings(timeouts=TimeoutSettings(body_s=30))
    async with Bed(config_of(server("a", origin.port)), settings) as bed:
        client = await bed.client()
        await client.send(UPGRADE)
        wire, _ = await origin.accept_request()
        await wire.send(SWITCHED)
        await client.read_head()
        # Until nobody takes more: then bytes wait in every buffer on the way, in ours, too.
        assert await push(client.sock, b"x" * 65536, 0, 64 << 20, stalled_s=0.3) < 64 << 20
        assert end_tunnels(bed.engine, 0) == 0
        assert bed.inflight() == [1]
        assert await wire.is_ended()
        await bed.until(lambda: bed.inflight() == [0])
