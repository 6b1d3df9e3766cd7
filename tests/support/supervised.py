"""
The proxy's processes with a small line server as the worker, run as a process of its own by the supervisor's tests.

    python -m tests.support.supervised {serve|crash|deaf|spin|block|stubborn|stuck} WORKERS SHUTDOWN_S [HANG_S]

The worker answers ``pid`` and ``fds``; ``hold`` is a request that runs until ``release``. ``crash`` ends with exit code 3
before it listens, ``deaf`` ignores SIGTERM. ``spin`` and ``block`` make no turn from the beginning, ``stubborn`` blocks and
ignores SIGABRT, ``stuck`` spins in C, where no handler of Python runs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import os
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from wsproxy._fast.state.segment import SharedState
from wsproxy.config.address import Address
from wsproxy.config.model import Config
from wsproxy.config.settings import Settings, TimeoutSettings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.settings_process import ProcessSettings
from wsproxy.dataplane.context import BACKLOG, BoundListener, WorkerContext
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import set_up_logging
from wsproxy.process.start import run_proxy
from wsproxy.process.workers import OnReady


def say(text: str) -> None:
    """Writes a line to standard error in one piece: workers share the pipe, and print would write the line end apart."""
    os.write(2, f"{text}\n".encode())


class PrintingState(SharedState):
    """Also prints what the supervisor tells it, so that a test can read it."""

    def worker_started(self, worker_id: int) -> bool:
        say(f"state: started {worker_id}")
        return super().worker_started(worker_id)

    def worker_died(self, worker_id: int) -> int:
        say(f"state: died {worker_id}")
        return super().worker_died(worker_id)


def _count_fds() -> str:
    """Pipes besides the standard streams, and listening sockets, that this process holds."""
    pipes = listening = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            link = str(Path("/proc/self/fd", name).readlink())
            pipes += link.startswith("pipe:") and int(name) > 2
            if link.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    listening += sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return f"pipes={pipes} listening={listening}"


async def _serve(listeners: tuple[BoundListener, ...], on_ready: OnReady) -> None:
    running: set[asyncio.Task[None] | None] = set()
    stopping = asyncio.Event()

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        while line := (await reader.readline()).decode().strip():
            answer = {"pid": str(os.getpid()), "hold": "holding", "release": "done", "fds": ""}[
                line
            ]
            writer.write(f"{answer or _count_fds()}\n".encode())
            await writer.drain()
            if line != "hold":
                break
        writer.close()
        running.discard(asyncio.current_task())

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    servers = [
        await asyncio.start_server(on_client, sock=bound.sock, backlog=BACKLOG)
        for bound in listeners
    ]
    on_ready()
    await stopping.wait()
    for server in servers:
        server.close()
    say("worker closed its listeners")
    while running:
        await asyncio.wait([task for task in running if task])


def _spin() -> None:
    while True:
        pass


def _block() -> None:
    os.read(os.pipe()[0], 1)


def _spin_in_c() -> None:
    deque(itertools.repeat(None), maxlen=0)


def main() -> int:
    mode, workers, shutdown_s, *hang_s = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:])

    def run_worker(context: WorkerContext, on_ready: OnReady) -> int:
        if mode == "crash":
            return 3
        if mode == "stubborn":
            faulthandler.disable()
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
        if mode in ("spin", "block", "stubborn"):
            on_ready()
            _spin() if mode == "spin" else _block()
        if mode == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            on_ready()
            while True:
                signal.pause()
        if mode == "stuck":
            signal.signal(signal.SIGTERM, lambda _number, _frame: None)
            on_ready()
            _spin_in_c()
        asyncio.run(_serve(context.listeners, on_ready))
        return 0

    settings = Settings(
        workers=workers,
        timeouts=TimeoutSettings(shutdown_s=shutdown_s),
        process=ProcessSettings(hang_s=hang_s[0]) if hang_s else ProcessSettings(),
    )
    with LogPipe() as log_pipe:
        set_up_logging("debug")
        return run_proxy(
            Config(),
            LoadedSettings(settings),
            [Address("127.0.0.1", 0)],
            lambda _config: PrintingState(),
            run_worker,
            log_pipe,
        )


if __name__ == "__main__":
    sys.exit(main())
