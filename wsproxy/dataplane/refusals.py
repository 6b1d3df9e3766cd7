"""
What the log says of connections that a client may not have (limits.client_connections).

Driven by ``dataplane.slowpath``. Must not write a line for each: whoever opens thousands would fill the disk.
"""

from __future__ import annotations

import logging

log = logging.getLogger("wsproxy.connection")

# An operator who watches sees it soon, and a day of it is 8,640 lines a worker.
LINE_S = 10.0


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
