"""
A worker's access log: its lines, from ``_fast.tell.access_line``, on their way to a file, standard output or syslog.

Planned by ``process.access_log``; driven by ``dataplane.worker``. Rotation, reopening and a disk that stands still are ``file``'s
part: the same for both logs; what is no file is ``outlets``'. Must not know what a line says.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.state.meters import WorkerWord
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.mask import SessionNames
from wsproxy.config.access_target import Target
from wsproxy.dataplane.access_keeper import AccessKeeper
from wsproxy.logs.file import LogFile
from wsproxy.logs.outlets import StdoutLog, SyslogLog

log = logging.getLogger("wsproxy.access")


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """Where the access log is written, and what."""

    name: str  # as messages name it
    target: Target
    items: list[tuple[int, bytes]]
    names: SessionNames
    masks: bool
    json: bool
    only: int  # Only
    slow_us: int
    lock: int = -1  # standard output: a descriptor whose lock a worker holds while it writes


def _open(plan: AccessPlan) -> LogFile:
    if plan.target.kind == "stdout":
        return StdoutLog(plan.lock)
    if plan.target.kind == "syslog":
        return SyslogLog(plan.target, plan.name)
    return LogFile(plan.target.path, "access-log")


class AccessWriter(AccessKeeper):
    """One worker's writer; made after the fork."""

    def __init__(self, plan: AccessPlan, state: SharedState) -> None:
        """``state`` says when all workers are to open their files anew."""
        self._engine: Engine | None = None
        self._name = plan.name
        self._file = _open(plan)
        self._state = state
        self._reopens = state.log_reopens
        self._lines = AccessLog(
            plan.items, self._file.hand_over, plan.names,
            masks=plan.masks, json=plan.json, only=plan.only, slow_us=plan.slow_us,
        )  # fmt: skip

    def attach_to(self, engine: Engine) -> None:
        """See ``AccessKeeper``."""
        self._engine = engine
        engine.log_access(self._lines)

    def sweep(self) -> None:
        """See ``AccessKeeper``."""
        if self._reopens != self._state.log_reopens:
            self._reopens = self._state.log_reopens
            self._file.reopen()
        if self._engine is not None:
            self._engine.look_at_lines()
        self._lines.flush()
        self._file.wake()
        if missing := self._file.missing:
            if self._engine is not None:
                self._engine.count(WorkerWord.ACCESS_LOST, missing)
            log.warning(
                "%s: %d lines are missing: they could not be written in time", self._name, missing
            )

    def close(self) -> None:
        """See ``AccessKeeper``."""
        self._lines.flush()
        self._file.close()
