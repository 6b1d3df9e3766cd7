"""Processes that a test starts, watches and is sure to end; it waits for lines and for ends, never for time."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

WAIT_S = 30.0  # for what must happen; generous, because two CPUs are shared
# For a whole command, from its start to its end. It does in a second what took half a minute beside eight busy processes and a build.
COMMAND_S = 120.0
# Who must not run into a limit does something this often within it: with two steps a busy machine makes it late.
STEPS = 6


@dataclass(slots=True)
class WatchedProcess:
    """A child process whose standard error is read line by line."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    at: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line that matches; fails with everything that was written if the process ends without it."""
        assert self.process.stderr is not None
        while True:
            while self.at < len(self.lines):
                self.at += 1
                if found := re.search(pattern, self.lines[self.at - 1]):
                    return found
            try:
                read = await asyncio.wait_for(self.process.stderr.readline(), WAIT_S)
            except TimeoutError:
                read = b""
            assert read, f"nothing more came, {pattern!r} did not; it wrote:\n" + "".join(
                self.lines
            )
            self.lines.append(read.decode())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """Exit code; the rest of standard error is in ``lines`` then."""
        assert self.process.stderr is not None
        rest = await asyncio.wait_for(self.process.stderr.read(), WAIT_S)
        self.lines += rest.decode().splitlines(keepends=True)
        return await asyncio.wait_for(self.process.wait(), WAIT_S)


@asynccontextmanager
async def watched_process(
    *arguments: str, env: dict[str, str] | None = None
) -> AsyncIterator[WatchedProcess]:
    """``python ARGUMENTS``, killed in the end if it still runs; its workers end with it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        start_new_session=True,  # so that the workers can be killed with it, whatever went wrong
    )
    watched = WatchedProcess(process)
    try:
        yield watched
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await watched.end()


class Watch(asyncio.SubprocessProtocol):
    """Reads what a process writes always, so that it never waits for its log; keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.exited = asyncio.Event()
        self.is_silent = False  # nobody is left who could write
        self.news = asyncio.Event()
        self._rest = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode(errors="backslashreplace") for line in whole]
        self.news.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.is_silent = True
        self.news.set()

    def process_exited(self) -> None:
        self.exited.set()
        self.news.set()

    async def line(self, pattern: str, start: int = 0, wait_s: float = WAIT_S) -> re.Match[str]:
        """The first line from ``start`` on that matches; waits so long for each next one."""
        at = start
        while True:
            while at < len(self.lines):
                at += 1
                if found := re.search(pattern, self.lines[at - 1]):
                    return found
            written = "\n".join(self.lines)
            is_over = self.exited.is_set() and self.is_silent
            assert not is_over, f"ended without {pattern!r}:\n{written}"
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), wait_s)
            except TimeoutError:
                raise AssertionError(f"{pattern!r} did not come:\n{written}") from None


async def first_of(*awaited: asyncio.Future[Any]) -> None:
    """Returns when one of them is done; what it became is for the caller to see."""
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)


def wait_for_end(pidfd: int) -> bool:
    """Whether the process of ``pidfd``, which need not be our child, ended within WAIT_S; ``pidfd`` stays the caller's."""
    readable, _, _ = select.select([pidfd], [], [], WAIT_S)
    if not readable:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # the test fails, and leaves nothing behind
    return bool(readable)


async def ask(port: int, question: str) -> str:
    """The line that a server on 127.0.0.1 answers to ``question``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{question}\n".encode())
        return (await asyncio.wait_for(reader.readline(), WAIT_S)).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()
