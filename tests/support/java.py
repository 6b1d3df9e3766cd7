"""
Java for the acceptance tests: the tools, the servlet that runs in every server, and servers as processes.

Driven by liberty.py, tomcat.py and embedded.py. Must not leave a process behind, and must not download anything itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import WAIT_S, Watch

PROJECT = Path(__file__).parents[2]
SOURCES = PROJECT / "tests" / "acceptance" / "app"
COMPILE_S = 60.0
# A server starts in 4 s on two idle CPUs; here three start at once beside other tests.
START_S = 120.0
# Small and quick to start: tests do not run long enough for the second compiler to pay.
JVM_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class NotHereError(Exception):
    """What these tests need is not on this machine and cannot be had: they are skipped with this text."""


def tool(name: str) -> str:
    """Path of a command; raises NotHereError."""
    found = shutil.which(name)
    if found is None:
        msg = f"no {name} on this machine"
        raise NotHereError(msg)
    return found


def compile_java(classes: Path, class_path: str | Path, *names: str) -> None:
    """These sources of tests/acceptance/app into a new folder. I/O."""
    classes.mkdir(parents=True)
    sources = [SOURCES / f"{name}.java" for name in names]
    subprocess.run(
        [tool("javac"), "-cp", class_path, "-d", classes, *sources], check=True, timeout=COMPILE_S
    )


def build_app(folder: Path, servlet_api: Path) -> Path:
    """The web application as an unpacked directory below ``folder``. I/O."""
    compile_java(folder / "app" / "WEB-INF" / "classes", servlet_api, "Probe")
    return folder / "app"


@dataclass(slots=True)
class Jvm:
    """A Java program in a session of its own; ``start`` returns when it said that it is ready."""

    command: Sequence[str | Path]
    environment: dict[str, str]
    ready: str  # pattern of the line that says so
    folder: Path
    _watch: Watch | None = None
    _transport: asyncio.SubprocessTransport | None = None

    @property
    def is_running(self) -> bool:
        return self._watch is not None and not self._watch.exited.is_set()

    async def start(self) -> None:
        assert not self.is_running
        # even where the tests are killed and can end nothing: a server takes 260 MiB
        guard = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
        transport, watch = await asyncio.get_running_loop().subprocess_exec(
            Watch,
            *(*guard, *map(str, self.command)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.environment},
            cwd=self.folder,
            start_new_session=True,  # so that everything it started can be killed with it
        )
        self._transport, self._watch = transport, watch
        await self.line(self.ready)

    async def line(self, pattern: str) -> str:
        """The line of its log that matches; waits for it."""
        assert self._watch is not None
        return (await self._watch.line(pattern, wait_s=START_S)).string

    def pause(self) -> None:
        """All of it stops; the kernel goes on accepting connections for it."""
        assert self._transport is not None
        os.killpg(self._transport.get_pid(), signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``pause``."""
        assert self._transport is not None
        os.killpg(self._transport.get_pid(), signal.SIGCONT)

    async def kill(self) -> None:
        """``kill -9``; returns when it is gone, and so are its sockets."""
        if self._watch is None or self._transport is None:
            return
        if self.is_running:
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
            await asyncio.wait_for(self._watch.exited.wait(), WAIT_S)
        self._transport.close()
