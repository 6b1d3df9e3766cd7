"""
A worker's part in traces: what its tracer asks in words, and its records on their way to the process that exports them.

Made by ``dataplane.worker`` where that process is wanted. What a record has is ``_fast.tell.trace``'s part; spans are made by
``wsproxy.trace``. Must not wait: a socket that takes nothing is tried again at the next sweep.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.state.meters import WorkerWord
from wsproxy._fast.tell.trace import Tracer, TraceWords
from wsproxy.dataplane.served import ServedPlan

# Records that wait for the tracer: some thousand. What is more is dropped, and counted.
MOST_WAITING = 1 << 20
# In one message, which is whole or not at all; a sweep sends as many as the socket takes.
MOST_AT_ONCE = 32768
SEED_BYTES = 32


class Words(TraceWords):
    """The words of explain; made once a Route or server of a configuration."""

    def route(self, plan: object, route: int, uri_group: int, uri: int) -> bytes:
        """The Route, and behind a NUL the Uri."""
        assert isinstance(plan, ServedPlan)
        return plan.decisions.trace_route(route, uri_group, uri)

    def rule(
        self, plan: object, route: int, by: int, is_unmet: bool
    ) -> bytes:  # as Cython calls it
        """Why the server was chosen."""
        assert isinstance(plan, ServedPlan)
        return plan.decisions.trace_rule(route, by, is_unmet=bool(is_unmet))


class Tracing:
    """``sock``: the workers' end, shared by all; None: traces are off, and nothing is done."""

    def __init__(self, engine: Engine, sock: socket.socket | None) -> None:
        """Before the first connection of ``engine``."""
        self._engine = engine
        self._sock = sock
        self._told = (0, 0)
        if sock is not None:
            sock.setblocking(False)
            self._tracer = Tracer(Words(), seed=os.urandom(SEED_BYTES), most_bytes=MOST_WAITING)
            engine.trace(self._tracer)

    def sweep(self) -> None:
        """Some times a second: what is there goes, as far as it is taken."""
        if self._sock is None:
            return
        while data := self._tracer.waiting(MOST_AT_ONCE):
            try:
                self._sock.send(data)
            except OSError:  # it is full, or gone with the program
                break
            self._tracer.taken(len(data))
        found = self._tracer.sampled, self._tracer.lost
        if found != self._told:
            self._engine.count(WorkerWord.TRACED, found[0] - self._told[0])
            self._engine.count(WorkerWord.TRACES_LOST, found[1] - self._told[1])
            self._told = found

    def close(self) -> None:
        """The worker ends: the last ones."""
        with suppress(OSError):
            self.sweep()
