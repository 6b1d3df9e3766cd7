"""
Where http_plugin.log goes, decided once at start; and what SIGUSR1 and SIGUSR2 do to the logs.

Driven by ``process.start``. What is written is ``pluginlog.writer``'s part.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path

from wsproxy._fast.loglines import LogLevel
from wsproxy._fast.state import SharedState
from wsproxy.config.model import Config, Log
from wsproxy.config.settings import ACCESS_OFF, PLUGIN_AUTO, PLUGIN_OFF, Settings
from wsproxy.errors import StartError
from wsproxy.pluginlog.writer import LEVELS, LogPlan

logger = logging.getLogger(__name__)


def open_plugin_log(config: Config, settings: Settings) -> LogPlan | None:
    """
    The log that is to be written, begun; None: none is.

    A file that ``log.plugin`` names must be writable. One that only plugin-cfg.xml names need not: the file was generated
    for another machine, whose folders are often not here.

    Raises:
        StartError: the file of ``log.plugin`` cannot be written.
    """
    wanted = settings.log.plugin
    log = config.log or Log()
    if wanted == PLUGIN_OFF or (wanted == PLUGIN_AUTO and not log.name):
        return None
    if wanted == PLUGIN_AUTO and log.name.startswith("|"):
        logger.warning(
            '%s:%d: found Log Name="%s"; allowed is a file: wsproxy pipes to no program, http_plugin.log is not written',
            config.path, log.line, log.name,
        )  # fmt: skip
        return None
    path = Path(config.path).parent / log.name if wanted == PLUGIN_AUTO else Path(wanted)
    plan = LogPlan(str(path), int(LEVELS[log.log_level]), settings.log.plugin_dates)
    try:
        plan.begin()
    except OSError as error:
        if wanted != PLUGIN_AUTO:
            raise StartError(
                f'log.plugin: found "{path}": {error.strerror}; allowed is a file that can be written'
            ) from error
        logger.warning(
            '%s:%d: found Log Name="%s": %s; allowed is a file that can be written: http_plugin.log is not written'
            ' (log.plugin in wsproxy.toml names another file, or "off")',
            config.path, log.line, log.name, error.strerror,
        )  # fmt: skip
        return None
    return plan


def on_log_signal(
    number: signal.Signals, state: SharedState, plan: LogPlan | None, access_path: str = ACCESS_OFF
) -> None:
    """SIGUSR1: the files are opened anew; SIGUSR2: LogLevel Trace, and the second time the configured one again."""
    paths = [] if plan is None else [plan.path]
    if access_path != ACCESS_OFF:
        paths.append(access_path)
    if number == signal.SIGUSR1 and paths:
        state.reopen_logs()
        logger.info("SIGUSR1: %s is opened anew", " and ".join(paths))
    elif plan is None:
        logger.warning("%s: no http_plugin.log is written; nothing was done", number.name)
    else:
        state.log_level = 0 if state.log_level else LogLevel.TRACE
        level = state.log_level or plan.level
        name = next(name for name, value in LEVELS.items() if value == level)
        logger.info("SIGUSR2: LogLevel of %s is %s now", plan.path, name)
