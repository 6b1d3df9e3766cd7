"""
Requests that fail leave nothing behind that only a collection would find.

A worker freezes what is there whenever it takes over a configuration (``dataplane.arrival``): a circle of that moment is never found
any more, and with it an exchange, its configuration and the parcel that this was mapped from.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.client import ask, get
from tests.support.origin import Origin, OriginConnection, answering, keep_answering

REQUESTS = 3


async def reset(connection: OriginConnection) -> None:
    await connection.request()
    connection.reset()


async def say_nothing(connection: OriginConnection) -> None:
    await connection.request()
    await connection.end()


@asynccontextmanager
async def failing(how: str) -> AsyncIterator[Origin]:
    """A server at which every request fails, in this way."""
    scripts = {
        "reset": reset,
        "silent": say_nothing,
        "garbage": answering(b"garbage\r\n\r\n"),
        "503": answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        "no TLS": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    }
    origin = Origin()
    async with AsyncExitStack() as stack:
        stack.callback(origin.close)
        if how == "refused":
            origin.refuse()
        elif how == "connect timeout":
            origin.refuse()
            stack.enter_context(Origin.full(origin.port))
        elif how == "no TLS":
            stack.callback(origin.close)
            await stack.enter_async_context(origin.serving(say_bytes))
        else:
            await stack.enter_async_context(origin.serving(scripts[how]))
        yield origin


async def say_bytes(connection: OriginConnection) -> None:
    """No handshake, whatever comes."""
    await connection.exactly(1)
    await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@contextmanager
def no_circles() -> Iterator[None]:
    """Within, no circle comes to be that nobody refers to."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [repr(each)[:120] for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


@pytest.mark.parametrize("has_other", [True, False], ids=["another answers", "none answers"])
@pytest.mark.parametrize(
    "how", ["refused", "connect timeout", "reset", "silent", "garbage", "503", "no TLS"]
)
async def test_failed_request_leaves_no_circle(how: str, has_other: bool) -> None:
    if how == "no TLS" and "uvloop" not in type(asyncio.get_running_loop()).__module__:
        pytest.skip("TLS of asyncio leaves circles of its own; workers run on uvloop")
    async with failing(how) as bad, AsyncExitStack() as stack:
        more = {"protocol": "https"} if how == "no TLS" else {}
        servers = [server("bad", bad.port, connect_timeout_s=1, server_io_timeout_s=1, **more)]
        if has_other:
            good = Origin()
            stack.callback(good.close)
            await stack.enter_async_context(good.serving(keep_answering))
            servers.append(server("good", good.port))
        async with Bed(config_of(*servers, retry_interval_s=0)) as bed:
            await ask(bed.port, get("/app/x"))  # what is made once
            with no_circles():
                for _ in range(REQUESTS):
                    await ask(bed.port, get("/app/x"))
                await asyncio.sleep(0.1)
