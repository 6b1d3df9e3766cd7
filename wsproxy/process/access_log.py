"""
Where the access log goes, decided once at start.

Driven by ``process.start`` and ``process.check_start``. What is written is ``logs.access_writer``'s part.
"""

from __future__ import annotations

import os

from wsproxy.config.access_format import JSON, parse_format
from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.config.settings import ACCESS_OFF, Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.errors import Problem, StartError
from wsproxy.logs.access_writer import AccessPlan
from wsproxy.logs.file import open_log, why_unwritable
from wsproxy.routing.sessions import session_names


def doubt_access_log(loaded: LoadedSettings) -> Problem | None:
    """Why the access log cannot be written; None: it can, or is not wanted. # I/O."""
    path = loaded.settings.log.access
    reason = "" if path == ACCESS_OFF else why_unwritable(path)
    if not reason:
        return None
    return loaded.problem("error", "log-unwritable", ("log", "access"), _found(path, reason))


def _found(path: str, reason: str | None) -> str:
    allowed = f'allowed is a file that can be written, or "{ACCESS_OFF}"'
    return f'log.access: found "{printable(path)}": {reason}; {allowed}'


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
        raise StartError(_found(path, error.strerror)) from error
    return AccessPlan(
        path,
        parse_format(settings.log.access_format),
        session_names(config),
        not settings.log.access_sessions,
        settings.log.access_format == JSON,
    )
