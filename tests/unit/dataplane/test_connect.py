"""Connections that are given up while they are made."""

from __future__ import annotations

import asyncio

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin
from wsproxy._fast.engine import Pool
from wsproxy._fast.upstream import Upstream
from wsproxy.dataplane.connect import open_upstream
from wsproxy.dataplane.resolve import Resolver


async def test_connection_given_up_in_the_moment_it_is_made_is_not_kept() -> None:
    """As ConnectTimeout does on a busy machine: uvloop reports the connection and never its end."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        pool = Pool("s", "127.0.0.1", origin.port)
        connecting = asyncio.ensure_future(open_upstream(bed.engine, Resolver(60.0), pool))
        await bed.until(lambda: bed.streams(Upstream) == 1)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert connecting.cancelled()
        del connecting  # its traceback holds the connection
        assert await (await origin.accept()).is_ended()
        await bed.until(lambda: bed.engine.open_streams == 0)
