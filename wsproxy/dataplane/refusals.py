"""
What must not be done for each of thousands: lines about connections that a client may not have, costly reasons.

Driven by ``dataplane.slowpath``. Whoever opens thousands of connections (limits.client_connections) would fill the disk.
"""

from __future__ import annotations

import logging

log = logging.getLogger("wsproxy.connection")

# An operator who watches sees it soon, and a day of it is 8,640 lines a worker.
LINE_S = 10.0


class Allowance:
    """So much of something a second; one a worker."""

    def __init__(self, most: int) -> None:
        """``most``: in any second."""
        self._most = most
        self._second = -1
        self._used = 0

    def take(self, now: float) -> bool:
        """Whether once more is allowed; ``now`` is the loop's time."""
        if int(now) != self._second:
            self._second = int(now)
            self._used = 0
        self._used += 1
        return self._used <= self._most


class Refusals:
    """One a worker; ``now`` is the loop's time."""

    def __init__(self) -> None:
        """The first one is worth a line."""
        self._next_line = 0.0
        self._since = 0  # since the last line

    def note(self, peer: str, now: float) -> None:
        """One more was refused."""
        self._since += 1
        if now < self._next_line:
            return
        log.warning(
            "%s has as many connections as limits.client_connections allows; %d refused, of all clients, since the last line like this",
            peer,
            self._since,
        )
        self._next_line = now + LINE_S
        self._since = 0
