"""Tunnels over TLS: whoever ends one, and how, its place at the server is given back, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bed import config_of, server
from tests.support.wire import Origin
from tests.unit.dataplane.test_tls import Keys, read_until
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.proxy.running import end_tunnels

pytestmark = pytest.mark.usefixtures("tls_way")

UPGRADE = b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("who", ["client", "client, cut", "server", "server, cut", "we"])
async def test_place_of_a_tunnel_is_given_back(tmp_path: Path, who: str, reads: bool) -> None:
    """``reads``: whether the server takes what it is sent before its connection ends."""
    keys = Keys(tmp_path)
    origin = Origin(receive_buffer=4096)
    config = config_of(server("s", origin.port, protocol="https"))
    async with keys.bed(config, body_s=0.5) as bed:
        client = await keys.client_of(bed)
        await client.write(UPGRADE)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        await served.write(SWITCHED)
        await read_until(client, b"\r\n\r\n")
        assert bed.inflight() == [1]
        await client.write(b"hello")
        if reads:
            assert await read_until(served, b"hello") == b"hello"
        if who == "we":
            assert end_tunnels(bed.engine, 0) == 0
        else:
            side = client if who.startswith("client") else served
            if who.endswith("cut"):
                side.sock.close()
            else:
                await side.end()
        await bed.until(lambda: bed.inflight() == [0])
        await bed.until(lambda: bed.streams(Http1) == 0)
        assert bed.inflight() == [0]
