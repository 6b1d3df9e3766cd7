"""
The requests of one worker that wait for a place at a server, because all are at MaxConnections.

Driven by ``dataplane.slowpath``, which brings them and serves them, and by ``dataplane.worker``: its loop listens to the worker's
bell, and sweeps. Who is next is decided in shared memory, over all workers (``_fast.decide.cluster``); must not decide it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

from wsproxy._fast.decide.balance import NoServer
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.state.segment import now_ms

log = logging.getLogger("wsproxy.request")

# Waits that end in one turn of the loop: each means a request to send or a page to write, some 0.1 ms in which nobody else
# is served, and those that came together are over together.
MOST_AT_ONCE = 16

Serve = Callable[[Downstream], None]
Refuse = Callable[[Downstream, int], None]


class WaitingRoom:
    """One a worker. ``serve`` gets an exchange whose turn has come, with its server; ``refuse`` one that waited in vain."""

    def __init__(self, serve: Serve, refuse: Refuse) -> None:
        """Nobody waits yet."""
        self._serve = serve
        self._refuse = refuse
        self._until: dict[Downstream, float] = {}  # in the order in which they came
        # Those that somebody waits for here, of whichever configuration: each worker looks after its own.
        self._clusters: Counter[Cluster] = Counter()
        self._goes_on = False  # `_go_on` is on the loop's list

    def admit(self, downstream: Downstream) -> bool:
        """Whether the exchange waits now, or was served after all."""
        cluster = downstream.cluster
        if cluster is None or not cluster.has_queue:
            return False
        server = downstream.join_queue()
        if server == NoServer.WAITS:
            wait_s = downstream.plan.settings.queue.wait_s
            self._until[downstream] = asyncio.get_running_loop().time() + wait_s
            self._clusters[cluster] += 1
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
        if not self._goes_on:
            self._go_on()

    def _go_on(self) -> None:
        self._goes_on = self.look()
        if self._goes_on:
            asyncio.get_running_loop().call_soon(self._go_on)

    def look(self) -> bool:
        """
        Lets go on who can: after a bell, and some times a second for what no bell tells (time, a dead worker).

        A few of them; True where others are left, for the loop's next turn.
        """
        now = now_ms()
        for cluster in self._clusters:
            cluster.serve_queue(now)
        ready = (each for each in self._until if each.has_turn or _has_left(each))
        return self._end_some(ready, Downstream.take_turn)

    def sweep(self) -> bool:
        """Also ends the waits that are over, and looks who has left; True as ``look`` says it."""
        for downstream in list(self._until):
            downstream.look_for_end()
        is_more = self.look()
        now = asyncio.get_running_loop().time()
        over = (each for each, until in self._until.items() if until <= now)
        return self._end_some(over, Downstream.end_wait) or is_more

    def _end_some(self, those: Iterable[Downstream], how: Callable[[Downstream], int]) -> bool:
        """Ends so many waits as one turn may; whether others are left."""
        found = list(islice(those, MOST_AT_ONCE + 1))
        for downstream in found[:MOST_AT_ONCE]:
            self._end(downstream, how)
        return len(found) > MOST_AT_ONCE

    def _end(self, downstream: Downstream, how: Callable[[Downstream], int]) -> None:
        """An exchange whose turn fails would wait for ever, and keep its server: it is cut."""
        del self._until[downstream]
        self._leave(downstream.cluster)
        try:
            downstream.look_for_end()
            if _has_left(downstream):
                log.debug(
                    "%s: left the queue of cluster %s",
                    downstream.facts.peer,
                    downstream.cluster_name,
                )
            elif (server := how(downstream)) >= 0:
                self._serve(downstream)
            else:
                self._refuse(downstream, server)
        except Exception:
            log.exception("internal error when a wait ended; the connection is dropped")
            downstream.cut()

    def _leave(self, cluster: Cluster | None) -> None:
        assert cluster is not None
        self._clusters[cluster] -= 1
        if not self._clusters[cluster]:
            del self._clusters[cluster]


def _has_left(downstream: Downstream) -> bool:
    """Whether the client is gone: its place is given up with its connection, now or in a moment."""
    return not (downstream.is_queued and downstream.is_open)
