"""
The requests of one worker that wait for a place at a server, because all are at MaxConnections.

Driven by ``dataplane.slowpath``, which brings them and serves them, and by ``dataplane.worker``: its loop listens to the worker's
bell, and sweeps. Who is next is decided in shared memory, over all workers (``_fast.select``); must not decide it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence

from wsproxy._fast.balance import NoServer
from wsproxy._fast.downstream import Downstream
from wsproxy._fast.select import Cluster
from wsproxy._fast.state import now_ms

log = logging.getLogger("wsproxy.request")

Serve = Callable[[Downstream], None]
Refuse = Callable[[Downstream, int], None]


class WaitingRoom:
    """One a worker. ``serve`` gets an exchange whose turn has come, with its server; ``refuse`` one that waited in vain."""

    def __init__(
        self, clusters: Sequence[Cluster | None], wait_s: float, serve: Serve, refuse: Refuse
    ) -> None:
        """``clusters``: those of the plan; ``wait_s``: how long each request may wait."""
        self._clusters = [each for each in clusters if each is not None and each.has_queue]
        self._wait_s = wait_s
        self._serve = serve
        self._refuse = refuse
        self._until: dict[
            Downstream, float
        ] = {}  # all wait equally long, so the first is over first

    @property
    def is_needed(self) -> bool:
        """Whether any request may ever wait."""
        return bool(self._clusters)

    def admit(self, downstream: Downstream) -> bool:
        """Whether the exchange waits now, or was served after all."""
        server = downstream.join_queue()
        if server == NoServer.WAITS:
            self._until[downstream] = asyncio.get_running_loop().time() + self._wait_s
            log.debug(
                "%s: waits for a place in cluster %s",
                downstream.facts.peer,
                downstream.cluster_name,
            )
        elif server >= 0:
            self._serve(downstream)
        return server == NoServer.WAITS or server >= 0

    def listen(self, bell: int) -> None:
        """Wakes up whenever the turn of one of this worker's waiters has come; ``bell`` is its eventfd."""
        asyncio.get_running_loop().add_reader(bell, self._on_bell, bell)

    def _on_bell(self, bell: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(bell)
        self.look()

    def look(self) -> None:
        """Lets everybody go on who can: after a bell, and some times a second for what no bell tells (time, a dead worker)."""
        now = now_ms()
        for cluster in self._clusters:
            cluster.serve_queue(now)
        for downstream in [each for each in self._until if each.has_turn or _has_left(each)]:
            self._end(downstream, downstream.take_turn)

    def sweep(self) -> None:
        """Also ends the waits that are over."""
        self.look()
        now = asyncio.get_running_loop().time()
        for downstream in [each for each, until in self._until.items() if until <= now]:
            self._end(downstream, downstream.end_wait)

    def _end(self, downstream: Downstream, how: Callable[[], int]) -> None:
        """An exchange whose turn fails would wait for ever, and keep its server: it is cut."""
        del self._until[downstream]
        try:
            if _has_left(downstream):
                log.debug(
                    "%s: left the queue of cluster %s",
                    downstream.facts.peer,
                    downstream.cluster_name,
                )
            elif (server := how()) >= 0:
                self._serve(downstream)
            else:
                self._refuse(downstream, server)
        except Exception:
            log.exception("internal error when a wait ended; the connection is dropped")
            downstream.cut()


def _has_left(downstream: Downstream) -> bool:
    """Whether the client is gone: its place is given up with its connection, now or in a moment."""
    return not (downstream.is_queued and downstream.is_open)
