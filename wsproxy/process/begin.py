"""
What a child of the supervisor does first, behind the fork: it closes what is not its own, and takes its name.

Called by ``process.supervisor``. Must not touch what the parent still needs: all here are copies.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from wsproxy.process.child import Child
from wsproxy.process.listeners import ListenerSet
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import limit_messages
from wsproxy.process.on_demand import OnDemand
from wsproxy.process.parcels import Parcels
from wsproxy.process.resident import Resident
from wsproxy.process.succession import Succession
from wsproxy.process.system import set_process_name
from wsproxy.process.tracing import TraceWay
from wsproxy.process.workers import RunWorker, Worker, ready_writer


@dataclass(slots=True)
class Beginning:
    """What every child inherits; ``fds``: the supervisor's pipes."""

    listeners: ListenerSet
    parcels: Parcels
    log_pipe: LogPipe
    succession: Succession
    selector: selectors.BaseSelector
    admin: OnDemand | None
    children: Sequence[Child]
    fds: Sequence[int]
    run_worker: RunWorker
    way: TraceWay

    def be_worker(
        self, worker: Worker, box: socket.socket, read_fd: int, ready_fd: int, worker_id: int
    ) -> int:
        """Accepts connections; the exit code."""
        self._begin(worker, box)
        self.way.keep_only(self.way.workers)
        os.close(read_fd)
        self.listeners.keep_only(worker.row)
        if self.admin is not None:
            self.admin.leave()
        set_process_name(f"wsproxy-{worker_id}")
        listeners = self.listeners.by_worker[worker.row]
        return self.run_worker(worker.row, listeners, box, ready_writer(ready_fd))

    def be_admin(self, admin: OnDemand, box: socket.socket) -> int:
        """Answers questions; the exit code."""
        self._begin(admin, box, self.parcels.asks)
        self.way.keep_only(None)
        self.listeners.close()
        set_process_name(f"wsproxy-{admin.name}")
        return admin.run(box)

    def be_resident(self, resident: Resident, *mine: socket.socket) -> int:
        """Works beside the workers; the exit code."""
        self._begin(resident, *mine)
        self.way.keep_only(None if resident.hears else self.way.tracer)
        self.listeners.close()
        if self.admin is not None:
            self.admin.leave()
        set_process_name(f"wsproxy-{resident.name}")
        return resident.run(*mine[:1])

    def _begin(self, child: Child, *mine: socket.socket) -> None:
        """Closes what only the supervisor, or another child, needs; ``mine``: what is the child's of the parcels' ends."""
        self.parcels.leave(*mine)
        self.succession.begin_child(
            is_worker=isinstance(child, Worker), is_admin=isinstance(child, OnDemand)
        )
        for other in self.children:
            if other is not child:
                other.stacks.close()
        child.stacks.arm()
        limit_messages()
        self.log_pipe.leave()
        self.selector.close()
        ready_fds = (each.ready_fd for each in self.children if isinstance(each, Worker))
        for fd in (*self.fds, *ready_fds):
            if fd is not None:
                os.close(fd)
