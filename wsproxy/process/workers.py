"""
One row of workers: the process that runs now, whether it accepts connections, and how its predecessors fared.

Driven by ``process.supervisor``. What a worker does is ``dataplane.worker``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from wsproxy.dataplane.context import BoundListener
from wsproxy.process.child import Child

# Starts in a row that end before the worker accepts connections, for every worker: then the cause is not an accident.
MAX_FAILED_STARTS = 5

OnReady = Callable[[], None]
# Row, listeners, where it hears of later configurations, whom it tells that it accepts connections.
RunWorker = Callable[[int, tuple[BoundListener, ...], socket.socket, OnReady], int]


class WorkerLedger(Protocol):
    """What the supervisor tells about workers: ``_fast.state.segment.SharedState`` keeps their requests in flight."""

    def worker_started(self, worker_id: int) -> bool:
        """Called before the worker is forked; False: it cannot be yet."""

    def worker_died(self, worker_id: int) -> object:
        """Called after the worker was reaped; a number returned is the requests given back."""

    def worker_left(self, worker_id: int) -> object:
        """The same for one whose end is none to count: it was told to, or is of another program, which this one has replaced."""


@dataclass(slots=True)
class Worker(Child):
    """One row; its number is also the worker's."""

    start_at: float | None = 0.0  # when to start the next process; None: one is running
    failed_starts: int = 0
    ready_fd: int | None = None
    is_ready: bool = False

    @property
    def is_serving(self) -> bool:
        """Whether there is one that accepts connections."""
        return self.pid is not None and self.is_ready

    def note_start(self, pid: int, ready_fd: int, now: float) -> None:
        """It runs; whether it gets ready is heard through ``ready_fd``."""
        self.began(pid, now)
        self.start_at = None
        self.is_ready = False
        self.ready_fd = ready_fd

    def note_ready(self) -> None:
        """It accepts connections."""
        self.is_ready = True
        self.failed_starts = 0

    def note_end(self, now: float) -> float:
        """It ended; seconds until the next start."""
        if not self.is_ready:
            self.failed_starts += 1
        delay_s = self.ended(now)
        self.start_at = now + delay_s
        return delay_s

    @property
    def is_hopeless(self) -> bool:
        """Whether it never gets as far as accepting connections."""
        return self.failed_starts >= MAX_FAILED_STARTS


def ready_writer(ready_fd: int) -> OnReady:
    """Tells the supervisor, once, that this worker accepts connections."""
    is_open = True

    def on_ready() -> None:
        nonlocal is_open
        if is_open:
            is_open = False
            with suppress(BrokenPipeError):  # it has just been killed, which the kernel tells us
                os.write(ready_fd, b"r")
            os.close(ready_fd)

    return on_ready
