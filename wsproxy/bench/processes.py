"""
Processes that a run starts: pinned to cores, each leader of its own session, ended with everything that they started.

Driven by ``bed``. Ends only process groups that it made.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsproxy.bench.cputime import read_processes

START_S = 60.0  # nginx 1.22 sorts 20,000 locations for 15 s and more; a proxy that is broken ends by itself
STOP_S = 5.0
POLL_S = 0.02


class StartError(Exception):
    """A program ended, or did not listen in time; carries the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running program; ``process.pid`` is its session and group id too."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The first process; taskset became it by exec."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the first process is still there."""
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The end of what it printed, on one line."""
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-5:])


@contextmanager
def running(
    name: str,
    argv: list[str],
    cores: set[int],
    log: Path,
    ports: tuple[int, ...],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Service]:
    """
    The program, once it listens on all ``ports``; ended on the way out, whatever happened.

    ``environment`` is added to our own.

    Raises: StartError.
    """
    cpu_list = ",".join(str(core) for core in sorted(cores))
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", cpu_list, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(environment),
            start_new_session=True,  # httpd signals its whole group when it stops; also how we find all of it
        )
    service = Service(name, process, log)
    try:
        for port in ports:
            _wait_until_listening(service, port)
        yield service
    finally:
        stop(service)


def stop(service: Service) -> None:
    """Ends the group: SIGTERM, then SIGKILL for what is left after STOP_S."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        service.process.wait(STOP_S)
    # A child may outlive its parent. Looked up first: once the group is empty its number could be somebody else's.
    if service.process.returncode is not None and not _group_is_alive(service.pid):
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.process.wait(STOP_S)


def _group_is_alive(leader_pid: int) -> bool:
    return any(process.session_id == leader_pid for process in read_processes())


def _wait_until_listening(service: Service, port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if not service.is_running:
            msg = f"{service.name} ended with status {service.process.returncode}: {service.log_tail()}"
            raise StartError(msg)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    msg = (
        f"{service.name} does not listen on port {port} after {START_S:.0f} s: {service.log_tail()}"
    )
    raise StartError(msg)
