"""
A proxy that is replaced while it runs, and clients that count every request which fails meanwhile.

Driven by the tests of ``wsproxy upgrade``. Ends whatever program is the proxy at the end.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.support.admin import talk, talk_raw
from tests.support.client import Client, get
from tests.support.process import WAIT_S, wait_for_end
from tests.support.proxy import Lane, Proxy, running_proxy

T = TypeVar("T")

UPGRADE_S = 120.0
STARTED = r"upgrade: the new program is pid (\d+)"
GONE = "upgrade: the last process of the program with pid {} has ended"


@dataclass(slots=True)
class Upgrading:
    """A proxy and its files; ``proxy.pid`` is that of the first program, ``pid`` that of the present one."""

    proxy: Proxy
    folder: Path
    pid: int
    pids: list[int] = field(default_factory=list)  # of all that were started

    @property
    def settings(self) -> Path:
        return self.folder / "wsproxy.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        return await asyncio.wait_for(talk(self.socket, head.encode() + body), UPGRADE_S)

    async def metrics(self) -> bytes:
        """The page."""
        head = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        return (await asyncio.wait_for(talk_raw(self.socket, head), UPGRADE_S))[1]

    async def upgrade(self) -> int:
        """Replaces the program; the pid of the old one."""
        status, answer = await self.ask("POST", "/v1/upgrade")
        assert (status, answer.get("result")) == (200, "in use"), answer
        old, self.pid = self.pid, answer["pid"]
        self.pids.append(self.pid)
        return old

    async def refused(self) -> str:
        """Tries to replace the program, in vain; why."""
        status, answer = await self.ask("POST", "/v1/upgrade")
        assert (status, answer.get("result"), answer.get("pid")) == (200, "failed", self.pid), (
            answer
        )
        return str(answer["why"])

    async def gone(self, pid: int) -> None:
        """The last process of the program with this pid has ended."""
        await self.proxy.line(GONE.format(pid))

    async def started(self, start: int = 0) -> int:
        """The pid of a new program, as soon as there is one; among the lines from ``start`` on."""
        found = int((await self.proxy.line(STARTED, start))[1])
        self.pids.append(found)
        return found

    async def in_flight(self) -> dict[str, int]:
        _, answer = await self.ask("GET", "/v1/servers")
        return {f"{row['cluster']}/{row['server']}": row["in_flight"] for row in answer["servers"]}


@asynccontextmanager
async def upgrading(
    folder: Path,
    lanes: Sequence[Lane],
    *,
    workers: int | None = 2,
    settings: str = "",
    admin: str = "",
    listen: str | None = "127.0.0.1:0",
    prefix: Sequence[str] = (),
    env: dict[str, str] | None = None,
) -> AsyncIterator[Upgrading]:
    """A ``running_proxy`` before ``lanes``, with its admin socket in ``folder``; ``admin``: more lines of that table."""
    settings += f'\n[admin]\nsocket = "{folder}/admin.sock"\n{admin}'
    async with running_proxy(
        lanes,
        workers=workers,
        settings=settings,
        folder=folder,
        listen=listen,
        prefix=prefix,
        env=env,
    ) as proxy:
        made = Upgrading(proxy, folder, proxy.pid, [proxy.pid])
        try:
            yield made
            if made.pid != proxy.pid:
                await end(made.pid)
                # The first one ends by itself: nobody is left for whom it could take its time.
                await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
        finally:
            for pid in made.pids:
                if pid != proxy.pid:
                    kill_left(pid)


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Goes on beside the test, which awaits it in the end."""
    return asyncio.get_running_loop().create_task(work)


async def end(pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Ends a program that is not our child, and waits for that."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        assert await asyncio.to_thread(wait_for_end, pidfd), f"pid {pid} did not end"
    finally:
        os.close(pidfd)


def kill_left(pid: int) -> None:
    """What a failed test left of a program that we know."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if not select.select([pidfd], [], [], 0)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


@dataclass(slots=True)
class Load:
    """Clients that ask without a pause, each as strict as ``Client`` is: no answer is repeated."""

    connect: Callable[[], Awaitable[Client]]
    path: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self, kept: int = 4, fresh: int = 2) -> AsyncIterator[None]:
        """``kept`` clients that keep their connection as long as the proxy does, ``fresh`` with one for each request."""
        async with asyncio.TaskGroup() as group:
            for at in range(kept + fresh):
                group.create_task(self._ask(is_kept=at < kept))
            await self.progress()
            yield
            await self.progress()
            self._stop.set()

    async def progress(self, count: int = 40) -> None:
        """Until so many more were answered."""
        until = self.answered + count
        async with asyncio.timeout(WAIT_S):
            while self.answered < until and not self.failed:  # noqa: ASYNC110  # they count, and tell nobody
                await asyncio.sleep(0.01)

    async def _ask(self, *, is_kept: bool) -> None:
        client: Client | None = None
        fields = "" if is_kept else "Connection: close"
        while not self._stop.is_set():
            try:
                if client is None:
                    client = await self.connect()
                answer = await client.ask(get(self.path, *([fields] if fields else [])))
                if answer.status != 200:
                    self.failed.append(str(answer.head))
                self.answered += 1
                if answer.closes or not is_kept:
                    client.sock.close()
                    client = None
            except Exception as error:  # whatever it is, a client saw it
                self.failed.append(repr(error))
                if client is not None:
                    client.sock.close()
                client = None
        if client is not None:
            client.sock.close()


def status_of(pid: int) -> str:
    """The state of a process in one letter; empty: there is none."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    found = re.search(r"^State:\s+(\S)", text, re.MULTILINE)
    return found[1] if found else ""
