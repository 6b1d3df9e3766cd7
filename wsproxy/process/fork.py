"""
Child processes: how they are forked, how they ended, and how long to wait before the next one.

Driven by ``process.supervisor``. Must not know what a child does.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

from wsproxy._fast.base.orphan import end_orphaned
from wsproxy.process.system import end_with_parent

logger = logging.getLogger(__name__)

# A process that lived this long was healthy: its end is an accident, and it is started again at once.
HEALTHY_AFTER_S = 5.0
# Between the starts of a process that keeps dying: doubles from the first to the last, so that a crash loop costs no CPU.
FIRST_BACKOFF_S = 0.1
LAST_BACKOFF_S = 5.0

EXIT_FAILED = 1

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOG_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
HANDLED_SIGNALS = (*STOP_SIGNALS, *LOG_SIGNALS, signal.SIGHUP, signal.SIGCHLD)
# A terminal sends these to the whole group, log rotation to all processes of a name; only the supervisor acts on them.
_IGNORED_IN_CHILDREN = (signal.SIGINT, signal.SIGHUP, *LOG_SIGNALS)
_IGNORED_IN_OUTLIVING = (*STOP_SIGNALS, signal.SIGHUP, *LOG_SIGNALS)


@dataclass(slots=True)
class Backoff:
    """How long to wait before a process is started again."""

    next_s: float = FIRST_BACKOFF_S

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a life of ``lived_s``: none after a long one, longer after each short one."""
        if lived_s >= HEALTHY_AFTER_S:
            self.next_s = FIRST_BACKOFF_S
            return 0.0
        delay_s = self.next_s
        self.next_s = min(delay_s * 2, LAST_BACKOFF_S)
        return delay_s


def fork_child(
    name: str, run: Callable[[], int], *, orphan_s: float | None, heeds_stop: bool = True
) -> int | None:
    """
    The pid of a child that does ``run`` and ends with what that returns; None: there is no room for one now, which was logged.

    ``run`` also closes what belongs to the parent. Signals wait meanwhile: one that came between fork and reset would run the
    parent's handler in the child. When its parent ends, it gets SIGTERM, and ``orphan_s`` later the kernel kills it, should it
    hang; None: no signal that is meant for the proxy as a whole ends it. Nor does SIGTERM where it does not ``heeds_stop``.
    """
    parent_pid = os.getpid()
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        pid = os.fork()
    except OSError as error:  # too many processes, no memory: may pass
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        logger.error(
            "%s cannot be forked: %s; tried again in %g s", name, error.strerror, LAST_BACKOFF_S
        )
        return None
    if pid == 0:
        ignored = (
            _IGNORED_IN_CHILDREN if orphan_s is not None and heeds_stop else _IGNORED_IN_OUTLIVING
        )
        _be_child(name, run, old_mask, parent_pid, orphan_s, ignored)
    signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
    return pid


def describe_end(exit_code: int, *, was_told: bool = False) -> str:
    """How a process ended, from ``os.waitstatus_to_exitcode``; ``was_told``: it had been sent SIGTERM."""
    if was_told and exit_code == -signal.SIGTERM:
        # Its own handler was not in place yet.
        return "ended as it was told to, before it was ready"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-exit_code}"


def _be_child(
    name: str,
    run: Callable[[], int],
    signal_mask: set[int | signal.Signals],
    parent_pid: int,
    orphan_s: float | None,
    ignored: Collection[signal.Signals],
) -> NoReturn:
    """
    Never returns: the parent's stack, with its ``finally`` blocks, is not the child's to unwind.

    Python's own streams are not flushed: what is in them is the parent's to write.
    """
    exit_code = EXIT_FAILED
    try:
        signal.set_wakeup_fd(-1)
        for number in HANDLED_SIGNALS:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
        if orphan_s is not None:
            end_orphaned(parent_pid, math.ceil(orphan_s))
        if orphan_s is None or end_with_parent(signal.SIGCONT, parent_pid):
            exit_code = run()
    except SystemExit as leaving:
        exit_code = leaving.code if isinstance(leaving.code, int) else EXIT_FAILED
    except BaseException:
        logger.exception("%s failed", name)
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()  # what was summed is told
        os._exit(exit_code)
