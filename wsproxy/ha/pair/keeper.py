"""
Starts the agent, and again should it die; ends with it when it ends as it was told to.

Started by ``ask`` for ``wsproxy ha start``; a service manager that restarts what died needs none. Does nothing else, so that nothing can
be wrong with it. What an agent has started becomes its child where the agent dies, and is reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from wsproxy.ha.own_process import become_reaper, call_process

FIRST_S, LAST_S = 0.1, 5.0
HEALTHY_S = 5.0
# EX_TEMPFAIL of sysexits: somebody else is the agent already. One that were started again and again would be one the day that one ends.
NOT_NEEDED = 75


def keep(run: Callable[[], int]) -> int:
    """``run`` in a child, again and again until it returns 0 or NOT_NEEDED, or this process is told to end; its exit code."""
    call_process("wsproxy-keeper")
    with contextlib.suppress(OSError):  # then what a dead agent leaves is reaped by somebody else
        become_reaper()
    delay_s = FIRST_S
    pid = code = 0
    is_told = False

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal is_told
        is_told = True
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of a terminal that is closed
    while True:
        began = time.monotonic()
        # It waits meanwhile: one that came before the pid is known would be passed on to nobody, and one in the child be this handler's.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if is_told:  # in the pause behind the last one
            return code
        pid = os.fork()
        if not pid:
            _be_agent(run, old)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        code = _await(pid)
        pid = 0
        if code in (0, NOT_NEEDED) or is_told:
            return code
        if time.monotonic() - began > HEALTHY_S:
            delay_s = FIRST_S
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, LAST_S)


def _be_agent(run: Callable[[], int], signal_mask: Iterable[int]) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
        call_process("wsproxy-pair")
        code = run()
    finally:
        os._exit(code)


def _await(wanted: int) -> int:
    """Its exit code; others that end meanwhile are reaped."""
    while True:
        pid, status = os.wait()
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)
