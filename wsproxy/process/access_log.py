"""
Where the access log goes, decided once at start.

Driven by ``process.start`` and ``process.check_start``. What is written is ``logs.access_writer``'s part.
"""

from __future__ import annotations

import os
import socket

from wsproxy._fast.tell.access_line import Only
from wsproxy.config.access_format import JSON, parse_format
from wsproxy.config.access_target import ACCESS_OFF, parse_target
from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.errors import Problem, StartError
from wsproxy.logs.access_writer import AccessPlan
from wsproxy.logs.file import open_log, why_unwritable
from wsproxy.logs.outlets import syslog_header
from wsproxy.routing.sessions import session_names

_ONLY = {"failed": Only.ONLY_FAILED, "slow": Only.ONLY_SLOW, "retried": Only.ONLY_RETRIED}


def doubt_access_log(loaded: LoadedSettings) -> Problem | None:
    """Why the access log cannot be written; None: it can, or is not wanted. # I/O."""
    text = loaded.settings.log.access
    if text == ACCESS_OFF:
        return None
    target = parse_target(text)
    if target.kind == "syslog" and target.path and not os.path.exists(target.path):
        # No error: a daemon may be started after us, or anew.
        found = f'log.access: found "{printable(text)}": nobody listens at {printable(target.path)} now; lines are dropped until somebody does'
        return loaded.problem("warning", "log-unwritable", ("log", "access"), found)
    reason = why_unwritable(target.path) if target.kind == "file" else ""
    if not reason:
        return None
    return loaded.problem("error", "log-unwritable", ("log", "access"), _found(text, reason))


def _found(path: str, reason: str | None) -> str:
    allowed = f'allowed is a file that can be written, or "{ACCESS_OFF}"'
    return f'log.access: found "{printable(path)}": {reason}; {allowed}'


def open_access_log(config: Config, settings: Settings) -> AccessPlan | None:
    """
    The access log that is to be written; its file is made where there is none. None: none is. # I/O.

    Raises:
        StartError: the file cannot be written.
    """
    log = settings.log
    if log.access == ACCESS_OFF:
        return None
    target = parse_target(log.access)
    items = parse_format(log.access_format)
    lock = -1
    if target.kind == "file":
        try:
            os.close(open_log(target.path))
        except OSError as error:
            raise StartError(_found(target.path, error.strerror)) from error
    elif target.kind == "stdout":
        lock = os.memfd_create("wsproxy-stdout-lock")
    else:
        items = syslog_header(log.access_facility, socket.gethostname()) + items
    return AccessPlan(
        log.access,
        target,
        items,
        session_names(config),
        not log.access_sessions,
        log.access_format == JSON,
        sum(_ONLY[each] for each in set(log.access_only)),
        int(log.access_slow_s * 1_000_000),
        lock,
    )
