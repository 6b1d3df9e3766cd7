"""
A process that runs only when somebody wants something of it: the admin process, and when to start it.

Driven by ``process.supervisor``, which watches its socket. Until the first question it costs a descriptor: no memory, no CPU.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable
from dataclasses import dataclass

from wsproxy.admin.sockets import AdminSocket
from wsproxy.process.child import Child


@dataclass(slots=True)
class OnDemand(Child):
    """The process that answers on ``socket``; ``run`` is it, in the child, hears of parcels at its argument and returns the exit code."""

    socket: AdminSocket
    run: Callable[[sockets.socket], int]
    watch_at: float | None = (
        0.0  # when the socket is to be watched; None: it is, or the process does that
    )

    def note_start(self, pid: int, now: float) -> None:
        """It runs."""
        self.began(pid, now)

    def note_end(self, now: float) -> float:
        """It ended; seconds until it may be started again."""
        delay_s = self.ended(now)
        self.watch_at = now + delay_s
        return delay_s
