"""Streams too large to keep: pushed into a socket and pulled out of one, with a stall as a result and not an error."""

from __future__ import annotations

import asyncio
import socket

from tests.support.process import WAIT_S


async def push(
    sock: socket.socket, block: bytes, start: int, stop: int, stalled_s: float | None = None
) -> int:
    """
    Sends bytes ``start`` to ``stop`` of ``block`` repeated for ever; how far it got.

    Ends early where nobody takes a byte for ``stalled_s``; without it that is an error after a while.
    """
    view = memoryview(block)
    at = start
    while at < stop:
        offset = at % len(block)
        try:
            at += sock.send(view[offset : offset + stop - at])
        except BlockingIOError:
            if not await _is_writable(sock, stalled_s or WAIT_S):
                assert stalled_s, f"stalled at {at} of {stop}"
                break
    return at


async def _is_writable(sock: socket.socket, most_s: float) -> bool:
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, _done, writable)
    try:
        async with asyncio.timeout(most_s):
            await writable
    except TimeoutError:
        return False
    finally:
        loop.remove_writer(sock)
    return True


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def pull(sock: socket.socket, count: int) -> None:
    """Reads exactly ``count`` bytes and throws them away."""
    loop = asyncio.get_running_loop()
    while count:
        data = await asyncio.wait_for(loop.sock_recv(sock, min(count, 262144)), WAIT_S)
        assert data, f"ended {count} bytes early"
        count -= len(data)
