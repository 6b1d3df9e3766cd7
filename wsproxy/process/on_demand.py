"""
A process that runs only when somebody wants something of it: the admin process, and when to start it.

Driven by ``process.supervisor``, which watches its socket. Until the first question it costs a descriptor: no memory, no CPU.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass

from wsproxy.admin.sockets import AdminSocket
from wsproxy.admin.tcp import TcpSocket
from wsproxy.process.child import Child


@dataclass(slots=True)
class OnDemand(Child):
    """
    The process that answers on ``unix`` and ``tcp``, as far as there are such, both of which wake it.

    ``run`` is it, in the child; it hears of parcels at its argument and returns the exit code.
    """

    unix: AdminSocket | None
    tcp: TcpSocket | None
    run: Callable[[socket.socket], int]
    watch_at: float | None = (
        0.0  # when the sockets are to be watched; None: they are, or the process does that
    )

    @property
    def sockets(self) -> tuple[AdminSocket | TcpSocket, ...]:
        """One or two."""
        return tuple(each for each in (self.unix, self.tcp) if each is not None)

    def watch_when_due(self, selector: selectors.BaseSelector, now: float) -> None:
        """Has the selector tell who wants to ask, where the time for that has come."""
        if self.watch_at is not None and self.watch_at <= now:
            self.watch_at = None
            for each in self.sockets:
                selector.register(each.sock, selectors.EVENT_READ, self)

    def unwatch(self, selector: selectors.BaseSelector) -> None:
        """Not any more."""
        for each in self.sockets:
            if each.sock.fileno() >= 0 and each.sock in selector.get_map():
                selector.unregister(each.sock)

    def close(self, *, keeps_file: bool = False) -> None:
        """Nobody can ask any more; ``keeps_file``: by us, but another program answers there."""
        if keeps_file:
            self.leave()
            return
        for each in self.sockets:
            each.close()

    def leave(self) -> None:
        """Closes this process's copies: another child needs none."""
        for each in self.sockets:
            each.sock.close()

    def note_start(self, pid: int, now: float) -> None:
        """It runs."""
        self.began(pid, now)

    def note_end(self, now: float) -> float:
        """It ended; seconds until it may be started again."""
        delay_s = self.ended(now)
        self.watch_at = now + delay_s
        return delay_s
