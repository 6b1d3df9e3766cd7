"""
What Python itself would print past the log (a failed thread, an exception where nobody can catch it, a warning): into the log.

Set up once, before any fork. What runs in an event loop and fails is ``dataplane.tasks``' part.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

log = logging.getLogger("wsproxy.process")

_SHOWN = 200


def hook_up() -> None:
    """From now on, in this process and those that it forks, each of these is one message."""
    sys.excepthook = _on_end
    sys.unraisablehook = _on_unraisable
    threading.excepthook = _on_thread_end
    logging.captureWarnings(capture=True)


def _on_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("internal error: the process ends", exc_info=(kind, error, trace))


def _on_unraisable(args: sys.UnraisableHookArgs) -> None:
    error = args.exc_value
    log.error(
        "internal error: %s %s",
        args.err_msg or "exception ignored in",
        _name(args.object),
        exc_info=None if error is None else (args.exc_type, error, args.exc_traceback),
    )


def _on_thread_end(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "that is gone"
    error = args.exc_value
    log.error(
        "internal error: thread %s ended",
        name,
        exc_info=None if error is None else (args.exc_type, error, args.exc_traceback),
    )


def _name(thing: object) -> str:
    """What it is, but never what a client sent: that may be a secret."""
    if callable(thing):
        return repr(thing)[:_SHOWN]
    return f"an object of {type(thing).__qualname__}"
