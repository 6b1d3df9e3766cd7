"""Processes of the real proxy that make no turn: found, told, ended, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.admin import talk
from tests.support.client import Client, IncompleteError, get
from tests.support.debugger import held
from tests.support.origin import keep_answering
from tests.support.process import WAIT_S, WatchedProcess, watched_process
from tests.support.proxy import Lane, Proxy, lane, process_of, processes_of, running_proxy
from wsproxy.process.system import read_process

STATUS = b"GET /v1/status HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
# A connection lands on either worker by chance: with this many, all on one is as good as impossible.
MANY = 40
# Of the six seconds from the first warning to the end of a worker that hangs: all that wait for it cannot be answered so soon.
SOON_S = 2.0


@asynccontextmanager
async def hanging_proxy(
    farm: Lane, folder: Path, *, hang_s: float, workers: int = 1
) -> AsyncIterator[Proxy]:
    """One of whose log may say that somebody was killed."""
    settings = f'[process]\nhang_s = {hang_s}\n[admin]\nsocket = "{folder}/admin.sock"\n'
    async with running_proxy([farm], workers=workers, settings=settings) as proxy:
        proxy.expected = ["was killed by SIGABRT", "SIGKILL"]
        yield proxy


async def stop_running(pid: int) -> None:
    """It does not do a single thing more; SIGSTOP alone may take a moment."""
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(WAIT_S):
        while (state := read_process(pid)) is not None and state.letter != "T":  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0)


async def test_worker_that_hangs_is_replaced_and_others_serve_meanwhile(tmp_path: Path) -> None:
    """
    Its places at the server are given back, and who waited in its queue is answered by its successor.

    ``hang_s`` is long: on a busy machine the requests that others serve meanwhile take seconds.
    """
    farm = lane("farm", server='MaxConnections="1"')
    async with hanging_proxy(farm, tmp_path, hang_s=8.0, workers=2) as proxy, AsyncExitStack() as stack:  # fmt: skip
        stuck = await stack.enter_async_context(await Client.connect(proxy.port))
        await stuck.send(get("/farm/held"))
        held = await farm.origin.accept()
        await held.head()
        victim = next(pid for pid, count in proxy.clients_of_workers().items() if count)
        await stop_running(victim)
        waiting = []
        for _ in range(MANY):
            client = await stack.enter_async_context(await Client.connect(proxy.port))
            await client.send(get("/none"))
            waiting.append(client)
        await proxy.line(rf"WARNING .*worker \d \(pid {victim}\) makes no turn for 2\.\d s$")
        missed = 0
        for _ in range(MANY):
            async with await Client.connect(proxy.port) as client:
                try:
                    answer = await asyncio.wait_for(client.ask(get("/none")), SOON_S)
                except TimeoutError:  # it is told of a moment before others get its connections
                    missed += 1
                else:
                    assert answer.status == 404
        assert missed <= 1
        assert not [line for line in proxy.lines if "is killed" in line]
        await proxy.line(
            rf"pid {victim}\) makes no turn for [89]\.\d s .*it was stopped by a signal"
        )
        await proxy.line(rf"pid {victim}\): .*hread .* in run_worker\\n")
        await proxy.line(rf"pid {victim}\) was killed by SIGABRT after .*, 1 requests in flight")
        lost = 0
        for client in waiting:
            try:
                assert (await client.answer()).status == 404
            except IncompleteError:  # who is woken up to die may take one with it
                lost += 1
        assert lost <= 1
        assert victim not in proxy.workers()
        await held.end()
        async with farm.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
            assert (await client.ask(get("/farm/free"))).status == 200


@dataclass(slots=True)
class Managed:
    """A proxy whose service manager waits for WATCHDOG=1; ``hear`` is what it is told."""

    proxy: WatchedProcess
    manager: socket.socket

    async def hear(self, timeout_s: float = WAIT_S) -> bytes:
        receiving = asyncio.get_running_loop().sock_recv(self.manager, 64)
        return await asyncio.wait_for(receiving, timeout_s)

    def forget(self) -> None:
        """What was said so far."""
        with suppress(BlockingIOError):
            while self.manager.recv(64):
                pass


@asynccontextmanager
async def managed_proxy(folder: Path, *, workers: int, hang_s: float) -> AsyncIterator[Managed]:
    """Ready, and stopped by the test."""
    config, settings = folder / "plugin-cfg.xml", folder / "wsproxy.toml"
    farm = lane("farm")
    farm.origin.close()
    config.write_text(f"<Config>{farm.xml()}</Config>")
    settings.write_text(f"[process]\nhang_s = {hang_s}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.setblocking(False)
        async with watched_process(
            *("-m", "wsproxy", "run", str(config), "--settings", str(settings)),
            *("--listen", "127.0.0.1:0", "--workers", str(workers)),
            env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"},
        ) as proxy:
            managed = Managed(proxy, manager)
            assert await managed.hear() == b"READY=1"
            yield managed
            managed.forget()
            proxy.send(signal.SIGTERM)
            while (word := await managed.hear()) == b"WATCHDOG=1":
                pass
            assert word == b"STOPPING=1"
            assert await proxy.end() == 0


async def test_watchdog_of_the_service_is_not_fed_when_nobody_serves(tmp_path: Path) -> None:
    """With process.hang_s = 0 nobody is killed, but systemd hears nothing from when on the only worker is silent."""
    async with managed_proxy(tmp_path, workers=1, hang_s=0) as managed:
        for _ in range(3):
            assert await managed.hear() == b"WATCHDOG=1"
        (worker,) = processes_of(managed.proxy.pid, r"wsproxy-\d+")
        os.kill(worker, signal.SIGSTOP)
        await managed.proxy.line(rf"worker 0 \(pid {worker}\) makes no turn for 2\.\d s")
        managed.forget()
        with pytest.raises(TimeoutError):
            await managed.hear(1.0)
        os.kill(worker, signal.SIGCONT)
        await managed.proxy.line(rf"worker 0 \(pid {worker}\) makes turns again")
        assert await managed.hear() == b"WATCHDOG=1"


async def test_watchdog_of_the_service_is_fed_again_when_a_worker_is_replaced(
    tmp_path: Path,
) -> None:
    """Not while one hangs, though others serve; the manager, who waits longer than process.hang_s, does not act."""
    async with managed_proxy(tmp_path, workers=2, hang_s=2) as managed:
        await managed.proxy.line(r"systemd waits 0\.4 s .* let it wait 12 s at least")
        worker, _ = processes_of(managed.proxy.pid, r"wsproxy-\d+")
        os.kill(worker, signal.SIGSTOP)
        await managed.proxy.line(rf"worker \d \(pid {worker}\) makes no turn for 1")
        managed.forget()
        await managed.proxy.line(rf"worker \d \(pid {worker}\) makes no turn for 2.* is killed")
        with pytest.raises(BlockingIOError):
            managed.manager.recv(64)
        assert await managed.hear() == b"WATCHDOG=1"


async def test_admin_process_that_hangs_is_replaced_and_cannot_delay_a_stop(tmp_path: Path) -> None:
    """While the proxy runs it is killed like a worker; at the stop it is not waited for, and the exit code is 0."""
    farm = lane("farm")
    async with farm.origin.serving(keep_answering), hanging_proxy(farm, tmp_path, hang_s=1.0) as proxy:  # fmt: skip
        assert (await talk(tmp_path / "admin.sock", STATUS))[0] == 200
        admin = process_of(proxy.pid, "wsproxy-admin")
        os.kill(admin, signal.SIGSTOP)
        await proxy.line(rf"admin \(pid {admin}\) makes no turn for 1\.\d s .*is killed")
        await proxy.line(rf"admin process \(pid {admin}\) was killed by SIGABRT; started again")
        assert (await talk(tmp_path / "admin.sock", STATUS))[0] == 200
        again = process_of(proxy.pid, "wsproxy-admin")
        with held(again):  # SIGTERM does not reach it
            began = time.monotonic()
            proxy.stop()
            await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
            assert time.monotonic() - began < 10
