"""
Where the access log goes, decided once at start; and each worker's way to its file.

Driven by ``process.start`` and, in the worker, by ``dataplane.worker``. Lines are made by ``_fast.access_log``, the file is
``pluginlog.logfile``'s: rotation, reopening and a disk that stands still are the same for both logs.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from wsproxy._fast.access_log import AccessLog
from wsproxy._fast.engine import Engine
from wsproxy._fast.state import SharedState
from wsproxy.config.access_format import parse_format
from wsproxy.config.model import Config
from wsproxy.config.settings import ACCESS_OFF, Settings
from wsproxy.dataplane.access_log import AccessKeeper
from wsproxy.errors import StartError
from wsproxy.pluginlog.logfile import LogFile, open_log
from wsproxy.pluginlog.masking import affinity_cookies

log = logging.getLogger("wsproxy.access")


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """Where the access log is written, and what."""

    path: str
    items: list[tuple[int, bytes]]
    cookies: frozenset[bytes]
    masks: bool


def open_access_log(config: Config, settings: Settings) -> AccessPlan | None:
    """
    The access log that is to be written; its file is made where there is none. None: none is. # I/O.

    Raises:
        StartError: the file cannot be written.
    """
    path = settings.log.access
    if path == ACCESS_OFF:
        return None
    try:
        os.close(open_log(path))
    except OSError as error:
        raise StartError(
            f'log.access: found "{path}": {error.strerror}; allowed is a file that can be written, or "{ACCESS_OFF}"'
        ) from error
    return AccessPlan(
        path,
        parse_format(settings.log.access_format),
        affinity_cookies(config),
        not settings.log.access_sessions,
    )


class AccessWriter(AccessKeeper):
    """One worker's writer; made after the fork."""

    def __init__(self, plan: AccessPlan, state: SharedState) -> None:
        """``state`` says when all workers are to open their files anew."""
        self._path = plan.path
        self._file = LogFile(plan.path, "access-log")
        self._state = state
        self._reopens = state.log_reopens
        self._lines = AccessLog(
            plan.items, self._file.hand_over, cookies=plan.cookies, masks=plan.masks
        )

    def attach_to(self, engine: Engine) -> None:
        """See ``AccessKeeper``."""
        engine.log_access(self._lines)

    def sweep(self) -> None:
        """See ``AccessKeeper``."""
        if self._reopens != self._state.log_reopens:
            self._reopens = self._state.log_reopens
            self._file.reopen()
        self._lines.flush()
        if missing := self._file.missing:
            log.warning(
                "%s: %d lines are missing: they could not be written in time", self._path, missing
            )

    def close(self) -> None:
        """See ``AccessKeeper``."""
        self._lines.flush()
        self._file.close()
