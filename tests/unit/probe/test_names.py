"""Names are looked up once at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsproxy.probe.names import Names


class SlowLoop(asyncio.SelectorEventLoop):
    """Whose resolver answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []
        self.answers = asyncio.Event()
        self.fails = False

    async def getaddrinfo(  # type: ignore[override]  # nobody here asks for a family
        self, host: object, *_: object, **__: object
    ) -> Sequence[tuple[object, ...]]:
        self.asked.append(host)
        await self.answers.wait()
        if self.fails:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", ("192.0.2.7", 0))]


def run(fails: bool) -> tuple[list[object], list[object]]:
    """What it was asked, and what those who waited got; one of them gave up before."""
    loop = SlowLoop()
    loop.fails = fails

    async def ask() -> list[object]:
        names = Names(60.0)
        waiting = [asyncio.ensure_future(names.resolve("s.example")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        loop.answers.set()
        return await asyncio.gather(*waiting[1:], return_exceptions=True)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        found = runner.run(ask())
    return loop.asked, found


def test_all_wait_for_one_lookup() -> None:
    assert run(fails=False) == (["s.example"], [["192.0.2.7"]] * 2)


def test_a_failure_is_everybodys() -> None:
    asked, found = run(fails=True)
    assert asked == ["s.example"]
    assert [type(each) for each in found] == [socket.gaierror] * 2


async def test_addresses_are_their_own_names() -> None:
    """No thread is asked: here there is none to ask."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    asyncio.get_running_loop().set_default_executor(pool)
    names = Names(0.0)
    assert [await names.resolve(host) for host in ("127.0.0.1", "::1")] == [["127.0.0.1"], ["::1"]]
    with pytest.raises(RuntimeError):
        await names.resolve("s.example")
