"""
The format of what wsproxy writes to standard error: one line an event.

Driven by ``cli``. Must not know what is logged.
"""

from __future__ import annotations

import logging
import sys

from wsproxy.config.settings import LogLevel

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s [%(process)d] wsproxy: %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S"


class OneLineFormatter(logging.Formatter):
    """Keeps an event on one line: line breaks, also those in a client's data, are written as ``\\n`` and ``\\r``."""

    def format(self, record: logging.LogRecord) -> str:
        """The event, its traceback included."""
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


def set_up_logging(level: LogLevel) -> None:
    """Sends everything from ``level`` up to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter(_FORMAT, _TIME))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
