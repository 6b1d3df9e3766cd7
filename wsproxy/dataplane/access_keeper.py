"""
Who keeps a worker's access log: the interface, and the one that keeps none.

Called by ``dataplane.worker``; ``logs.access_writer`` has the one that writes. What a line says is ``_fast.tell.access_line``'s part.
"""

from __future__ import annotations

from wsproxy._fast.proxy.engine import Engine


class AccessKeeper:
    """Keeps no access log."""

    def attach_to(self, engine: Engine) -> None:
        """From now on each request of this engine leaves a line; before its first connection."""

    def sweep(self) -> None:
        """Some times a second: the lines that are there are written, and whoever wants another file gets it."""

    def close(self) -> None:
        """The worker ends: writes what is left."""
