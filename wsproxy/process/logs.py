"""
The format of what wsproxy writes to standard error: one line an event.

Driven by ``cli`` and by the processes as they begin. Must not know what is logged.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

from wsproxy.config.problems import printable
from wsproxy.config.settings_told import LogLevel
from wsproxy.process.log_handler import MARK, PipeHandler, in_pieces
from wsproxy.process.log_hooks import hook_up
from wsproxy.process.log_rate import MOST_A_SECOND

_FORMAT = f"%(asctime)s.%(msecs)03d %(levelname)s [%(process)d] {MARK}%(message)s"
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_TIME = "%Y-%m-%dT%H:%M:%S"


class OneLineFormatter(logging.Formatter):
    """Keeps an event on one line: line breaks, and what else could drive a terminal, also in a client's data, are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The event, its traceback included."""
        return printable(super().format(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  # logging's name
        """
        As ever, but without the marks under each line of source.

        For those each line would be parsed anew. Of what fails most where memory is short, the parser of Python 3.11 is a part
        that ends the process with SIGSEGV.
        """
        told = traceback.TracebackException(*ei)
        left = [told]
        while left:
            each = left.pop()
            for frame in each.stack:
                frame.colno = frame.end_colno = None
            more = (each.__cause__, each.__context__, *(each.exceptions or ()))
            left += [error for error in more if error is not None]
        return "".join(told.format()).rstrip("\n")


_handler = PipeHandler()
_handler.setFormatter(OneLineFormatter(_FORMAT, _TIME))


def set_up_logging(level: LogLevel, most_a_second: int = MOST_A_SECOND) -> None:
    """
    Sends everything from ``level`` up to standard error, of this process and of those that it forks; nothing goes past it.

    ``most_a_second``: where ``limit_messages`` is called.
    """
    _handler.most_a_second = most_a_second
    root = logging.getLogger()
    root.handlers[:] = [_handler]
    root.setLevel(level.upper())
    hook_up()


def limit_messages() -> None:
    """In this process messages of one kind are written so many a second, and the rest are summed."""
    _handler.limit()


def tick_messages() -> None:
    """Tells what was held back or dropped, where it is time: called a few times a second."""
    _handler.tick()


def line_of(level: int, text: str) -> bytes:
    """A message as it is written, for who writes it himself."""
    record = logging.LogRecord("wsproxy.log", level, "", 0, text, None, None)
    return in_pieces(_handler.format(record))[0]
