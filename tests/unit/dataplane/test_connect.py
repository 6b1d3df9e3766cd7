"""Connections that are given up while they are made."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.origin import Origin
from wsproxy._fast.engine import Pool
from wsproxy.dataplane.connect import open_upstream
from wsproxy.dataplane.resolve import Resolver


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_connection_given_up_while_it_is_made_is_not_kept(how: str) -> None:
    """Neither the socket nor the stream that was to have it stays."""
    origin = Origin()
    port = origin.port
    origin.close()
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
