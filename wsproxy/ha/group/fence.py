"""
Until when a member may act as one: before its lease can have ended for anybody else. Pure: the clock is given.

Driven by ``group.membership``, which has a timer wait for ``deadline`` and asks ``is_past`` before every act besides: a process
that was stopped finds its answers before its timer. The clock is one that a sleeping machine does not stop (CLOCK_BOOTTIME).
"""

from __future__ import annotations

from dataclasses import dataclass

from wsproxy.config.settings_ha import FENCE_MARGIN_S


@dataclass(slots=True)
class Fence:
    """
    ``deadline = time of the last good heartbeat, as it was sent + ttl_s - margin``.

    The store counts the ttl from when it received that heartbeat, so from later: whatever the way took, the margin is left at
    least. Counting from the answer, or looking only when a retry has failed, is up to 1.6 s too late (measured, HA.md 2.3).
    """

    ttl_s: float
    deadline: float = 0.0  # 0: no lease; always past

    def renewed(self, sent_at: float) -> None:
        """A heartbeat that was sent then was answered. Never moves back: answers may overtake each other."""
        self.deadline = max(self.deadline, sent_at + self.ttl_s - FENCE_MARGIN_S)

    def drop(self) -> None:
        """The lease is given up, or gone."""
        self.deadline = 0.0

    def is_past(self, now: float) -> bool:
        """Whether nothing may be done any more that only a member may do."""
        return now >= self.deadline
