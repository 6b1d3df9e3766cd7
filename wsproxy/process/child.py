"""
What the supervisor keeps of every child process, whatever kind it is.

A kind of its own adds when it is started and what becomes of the proxy when it ends: ``workers.Worker`` always runs,
``on_demand.OnDemand`` when somebody asks.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from dataclasses import dataclass, field

from wsproxy.process.fork import Backoff

# Of the stacks of a process with a hundred threads; more says nothing more.
_MOST_STACK_BYTES = 1 << 17


class Stacks:
    """
    Where a process leaves the stacks of its threads when it is killed by a fault or by SIGABRT.

    Memory that the supervisor holds too: writing there never blocks, needs no disk and cannot be lost, and what was written
    becomes messages like all others.
    """

    def __init__(self) -> None:
        """Nothing is kept where there is no such memory."""
        try:
            self._fd = os.memfd_create("wsproxy-stacks")
        except OSError:
            self._fd = -1

    def arm(self) -> None:
        """In the child: from now on."""
        if self._fd >= 0:
            faulthandler.enable(self._fd, all_threads=True)

    def take(self) -> list[str]:
        """After its end: the stack of each thread, and of what; nothing where it ended in another way. Then it is empty."""
        if self._fd < 0:
            return []
        with contextlib.suppress(OSError):
            text = os.pread(self._fd, _MOST_STACK_BYTES, 0).decode("ascii", "replace")
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            blocks = (block.strip() for block in text.split("\n\n"))
            return [block for block in blocks if block and not block.startswith("Extension mod")]
        return []

    def close(self) -> None:
        """It is no longer needed in this process."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(slots=True)
class Child:
    """One that runs, or will; ``name`` is for messages."""

    name: str
    row: int = field(kw_only=True)  # of its turns
    pid: int | None = field(default=None, kw_only=True)
    started_at: float = field(default=0.0, kw_only=True)
    patience_s: float = field(
        default=0.0, kw_only=True
    )  # it may be silent so long, whatever process.hang_s says
    backoff: Backoff = field(default_factory=Backoff, kw_only=True)
    stacks: Stacks = field(default_factory=Stacks, kw_only=True)

    def began(self, pid: int, now: float) -> None:
        """One runs."""
        self.pid = pid
        self.started_at = now

    def ended(self, now: float) -> float:
        """It does not run any more; seconds to wait for the next one."""
        self.pid = None
        return self.backoff.after(now - self.started_at)
