"""
Where http_plugin.log goes, at the start and by a later plugin-cfg.xml; and what SIGUSR1 and SIGUSR2 do to the logs.

Driven by ``process.start``, ``process.check_start`` and ``reload.loader``. What is written is ``logs.plugin_writer``'s part.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.access_target import ACCESS_OFF, is_file
from wsproxy.config.model import Config, Log
from wsproxy.config.problems import printable, shown
from wsproxy.config.settings import PLUGIN_AUTO, PLUGIN_OFF, Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.values import is_windows_path
from wsproxy.errors import Problem, StartError
from wsproxy.logs.file import why_unwritable
from wsproxy.logs.plugin_writer import LEVELS, LogPlan

logger = logging.getLogger(__name__)

# Of a log that cannot be written.
CODE = "log-unwritable"


def plan_plugin_log(config: Config, settings: Settings) -> LogPlan | None:
    """The log that is wanted; None: none is, or none that a file can be."""
    wanted = settings.log.plugin
    log = config.log or Log()
    if wanted == PLUGIN_OFF or (wanted == PLUGIN_AUTO and not (log.name and _can_be_file(log))):
        return None
    path = _path_of(config, log) if wanted == PLUGIN_AUTO else str(Path(wanted))
    return _plan_at(path, log, settings)


def _can_be_file(log: Log) -> bool:
    """Not a program, nor a file of another system."""
    return not log.name.startswith("|") and not is_windows_path(log.name)


def _path_of(config: Config, log: Log) -> str:
    """Of what plugin-cfg.xml names: relative to its folder."""
    return str(Path(config.path).parent / log.name)


def _plan_at(path: str, log: Log, settings: Settings) -> LogPlan:
    follows = settings.log.plugin == PLUGIN_AUTO
    return LogPlan(path, int(LEVELS[log.log_level]), settings.log.plugin_dates, follows)


def move_plugin_log(
    config: Config, log_plan: LogPlan, *, is_dry: bool
) -> tuple[str, Problem | None]:
    """
    Where the log is by this plugin-cfg.xml, which follows another one, and begun there; ``log_plan``: as it is now. # I/O.

    With a problem it stays where it is. ``is_dry``: nothing is begun.
    """
    log = config.log or Log()
    if not log_plan.follows:
        return log_plan.path, None
    if not log.name:
        return "", None
    path = _path_of(config, log)
    if path == log_plan.path:
        return path, None
    if not _can_be_file(log):
        reason = "no file of this machine"
    elif not (reason := why_unwritable(path)) and not is_dry:
        try:
            replace(log_plan, path=path).begin()
        except OSError as error:
            reason = error.strerror or str(error)
    if not reason:
        return path, None
    stays = (
        f"{printable(log_plan.path)} goes on" if log_plan.path else "http_plugin.log is not written"
    )
    return log_plan.path, Problem(
        "error",
        CODE,
        config.path,
        log.line,
        f"{shown('Log Name', log.name)}: {reason}",
        f"a file that can be written: {stays}",
    )


def doubt_plugin_log(config: Config, loaded: LoadedSettings) -> Problem | None:
    """
    Why the log will not be written as wanted; None: it will. # I/O.

    A file that ``log.plugin`` names must be writable. One that only plugin-cfg.xml names need not: the file was generated
    for another machine, whose folders are often not here.
    """
    log = config.log or Log()
    is_ours = loaded.settings.log.plugin != PLUGIN_AUTO
    plan = plan_plugin_log(config, loaded.settings)
    if plan is None:
        if is_ours or not log.name.startswith("|"):
            return None
        allowed = "a file: wsproxy pipes to no program, http_plugin.log is not written"
        return Problem("warning", CODE, config.path, log.line, shown("Log Name", log.name), allowed)
    reason = why_unwritable(plan.path)
    if not reason:
        return None
    if is_ours:
        sentence = f'log.plugin: found "{printable(plan.path)}": {reason}; allowed is a file that can be written'
        return loaded.problem("error", CODE, ("log", "plugin"), sentence)
    return Problem(
        "warning",
        CODE,
        config.path,
        log.line,
        f"{shown('Log Name', log.name)}: {reason}",
        "a file that can be written: http_plugin.log is not written"
        ' (log.plugin in wsproxy.toml names another file, or "off")',
    )


def open_plugin_log(config: Config, settings: Settings) -> LogPlan | None:
    """
    The log that is to be written, begun; None: none ever is.

    Without a path where plugin-cfg.xml names none that can be written, of which ``doubt_plugin_log`` has said why: a later one may.

    Raises:
        StartError: the file of ``log.plugin`` cannot be written.
    """
    if settings.log.plugin == PLUGIN_OFF:
        return None
    nowhere = _plan_at("", config.log or Log(), settings)
    plan = plan_plugin_log(config, settings) or nowhere
    try:
        if plan.path:
            plan.begin()
    except OSError as error:
        if settings.log.plugin != PLUGIN_AUTO:
            raise StartError(
                f'log.plugin: found "{settings.log.plugin}": {error.strerror}; allowed is a file that can be written'
            ) from error
        return nowhere
    return plan


def on_log_signal(
    number: signal.Signals,
    state: SharedState,
    plan: LogPlan | None,
    access_path: str = ACCESS_OFF,
    path_now: Callable[[], str] | None = None,
) -> None:
    """
    SIGUSR1: the files are opened anew; SIGUSR2: LogLevel Trace, and the second time the configured one again.

    ``path_now``: of http_plugin.log by the configuration that holds; None: by that of the start.
    """
    path = "" if plan is None else plan.path if path_now is None else path_now()
    paths = [path] if path else []
    if is_file(access_path):
        paths.append(access_path)
    if number == signal.SIGUSR1 and paths:
        state.reopen_logs()
        logger.info("SIGUSR1: %s is opened anew", " and ".join(paths))
    elif plan is None or not path:
        logger.warning("%s: no http_plugin.log is written; nothing was done", number.name)
    else:
        state.log_level = 0 if state.log_level else LogLevel.TRACE
        level = state.log_level_now(plan.level)
        name = next(name for name, value in LEVELS.items() if value == level)
        logger.info("SIGUSR2: LogLevel of %s is %s now", path, name)
