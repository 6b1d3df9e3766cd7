"""
A process that always runs beside the workers, and whose end harms nobody's request: the loader of configurations, the prober.

Driven by ``process.supervisor``. A worker (``workers``) accepts connections and counts what it serves; this one need not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wsproxy.process.child import Child


@dataclass(slots=True)
class Resident(Child):
    """
    ``run`` is it, in the child, and returns the exit code; it is given the socket at which it hears of configurations, or nothing where it does not (``hears``).

    ``is_wanted``: whether one is to run now. It ends by itself when it is not any more.
    """

    run: Callable[..., int]
    is_wanted: Callable[[], bool] = lambda: True
    hears: bool = True  # of configurations
    heeds_stop: bool = (
        True  # SIGTERM ends it; else only what it reads does, from its first moment on
    )
    is_awaited: bool = False  # at a stop: others hear of its end from itself, or much later
    last_s: float = 0.0  # what it may take for that
    start_at: float | None = 0.0  # the same, if one is wanted

    @property
    def next_start(self) -> float | None:
        """When to start the next process; None: one is running, or none is wanted."""
        return self.start_at if self.is_wanted() else None

    def note_start(self, pid: int, now: float) -> None:
        """It runs."""
        self.began(pid, now)
        self.start_at = None

    def note_end(self, now: float) -> float:
        """It ended; seconds until the next start."""
        delay_s = self.ended(now)
        self.start_at = now + delay_s
        return delay_s
