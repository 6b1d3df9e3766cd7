"""How a pair's agent sees a real proxy: killed, stopped, replaced by another program, started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.process import COMMAND_S, WAIT_S
from tests.support.proxy import Proxy, lane, running_proxy
from wsproxy.ha.pair import watch
from wsproxy.ha.pair.conf import Pair
from wsproxy.ha.pair.rules import Health
from wsproxy.ha.pair.watch import ProxyWatch


class Watching:
    """``changes``: how it was, each time that something was new."""

    def __init__(self, socket: Path, check: str = "") -> None:
        pair = Pair(
            vip="10.0.0.1/24", address="10.0.0.2", peer="10.0.0.3", interface="lo", ca="", certificate="", key="",
            socket=str(socket), check=check,
        )  # fmt: skip
        self.changes: list[Health] = []
        self.stirred = asyncio.Event()
        self.watch = ProxyWatch(pair, self._changed)

    def _changed(self) -> None:
        self.changes.append(self.watch.health)
        self.stirred.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                self.stirred.clear()
                await self.stirred.wait()


@asynccontextmanager
async def watched(
    tmp_path: Path, *, is_checked: bool = False
) -> AsyncIterator[tuple[Proxy, Watching]]:
    socket = tmp_path / "admin.sock"
    settings = f'[health]\nready_path = "/readyz"\n[admin]\nsocket = "{socket}"\n'
    farm = lane("farm")
    try:
        async with running_proxy([farm], settings=settings, folder=tmp_path) as proxy:
            url = f"http://127.0.0.1:{proxy.port}/readyz" if is_checked else ""
            watching = Watching(socket, url)
            task = asyncio.ensure_future(watching.watch.run())
            try:
                await watching.until(lambda: watching.watch.status is not None)
                assert watching.watch.health is Health.WELL
                assert watching.watch.pid == proxy.pid
                yield proxy, watching
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    except AssertionError as error:
        if "exit code -9" not in str(error):  # the proxy was killed: that is the test
            raise


async def test_killed_proxy_is_gone(tmp_path: Path) -> None:
    """By the kernel's word, and it stays so."""
    async with watched(tmp_path) as (proxy, watching):
        os.kill(proxy.pid, signal.SIGKILL)
        await watching.until(lambda: watching.watch.health is Health.GONE)
        assert watching.watch.pid is None
        assert f"the proxy (pid {proxy.pid}) has ended" in watching.watch.why


@pytest.mark.parametrize("is_checked", [False, True], ids=["looked at", "asked"])
async def test_stopped_proxy_is_silent_until_it_goes_on(
    tmp_path: Path, *, is_checked: bool
) -> None:
    """Whether it is asked, or only its workers are looked at."""
    async with watched(tmp_path, is_checked=is_checked) as (proxy, watching):
        pids = [proxy.pid, *proxy.workers()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await watching.until(lambda: watching.watch.health is Health.SILENT)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        await watching.until(lambda: watching.watch.health is Health.WELL)
        assert watching.watch.pid == proxy.pid


async def test_drained_proxy_is_no_place_for_the_address(tmp_path: Path) -> None:
    """Its ready_path says 503: the address may go to the other node."""
    async with watched(tmp_path, is_checked=True) as (_, watching):
        words = ["-P", "-m", "wsproxy"]
        socket = ["--socket", str(tmp_path / "admin.sock")]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, "drain", "--all", *socket, stdout=subprocess.DEVNULL)  # fmt: skip
        assert await asyncio.wait_for(process.wait(), COMMAND_S) == 0
        await watching.until(lambda: watching.watch.health is Health.SILENT)
        process = await asyncio.create_subprocess_exec(sys.executable, *words, "resume", "--all", *socket, stdout=subprocess.DEVNULL)  # fmt: skip
        assert await asyncio.wait_for(process.wait(), COMMAND_S) == 0
        await watching.until(lambda: watching.watch.health is Health.WELL)


@pytest.mark.parametrize("is_looked_at", [True, False], ids=["looked at", "not yet"])
async def test_upgrade_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_looked_at: bool
) -> None:
    """The new program takes the place of the old one, which ends: the proxy was well all the time, also where nobody saw the new one begin."""
    if not is_looked_at:
        for each in ("LOOK_S", "ASK_S", "HEIR_S"):
            monkeypatch.setattr(watch, each, 60.0)
    async with watched(tmp_path) as (proxy, watching):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "wsproxy", "upgrade", "--socket", str(tmp_path / "admin.sock"), stdout=subprocess.DEVNULL
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), COMMAND_S) == 0
        await watching.until(lambda: watching.watch.pid not in (None, proxy.pid))
        new = watching.watch.pid
        assert new is not None
        assert Health.GONE not in watching.changes
        os.kill(new, signal.SIGTERM)
        await watching.until(lambda: watching.watch.health is Health.GONE)
