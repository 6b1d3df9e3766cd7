"""
A process that runs only when somebody wants something of it: the admin process, and when to start it.

Driven by ``process.supervisor``, which watches its socket. Until the first question it costs a descriptor: no memory, no CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wsproxy.admin.place import AdminSocket

# A process that lived this long was healthy: its end is an accident, and it is started again at once.
HEALTHY_AFTER_S = 5.0
# Between the starts of a process that keeps dying: doubles from the first to the last, so that a crash loop costs no CPU.
FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 5.0


@dataclass(slots=True)
class OnDemand:
    """The process that answers on ``socket``; ``run`` is it, in the child, and returns the exit code."""

    name: str
    socket: AdminSocket
    run: Callable[[], int]
    pid: int | None = None
    started_at: float = 0.0
    watch_at: float | None = (
        0.0  # when the socket is to be watched; None: it is, or the process does that
    )
    backoff_s: float = FIRST_BACKOFF_S

    def note_start(self, pid: int, now: float) -> None:
        """It runs."""
        self.pid = pid
        self.started_at = now

    def note_end(self, now: float) -> float:
        """It ended; seconds until it may be started again."""
        self.pid = None
        delay_s = 0.0
        if now - self.started_at < HEALTHY_AFTER_S:
            delay_s = self.backoff_s
            self.backoff_s = min(self.backoff_s * 2, LAST_BACKOFF_S)
        else:
            self.backoff_s = FIRST_BACKOFF_S
        self.watch_at = now + delay_s
        return delay_s
