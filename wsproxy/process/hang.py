"""
Finds processes that make no turn, says so, and kills those that make none for ``process.hang_s``.

Driven by ``process.supervisor``, a few times a second. Only time in which the supervisor was awake counts: when the machine slept,
or all of us were stopped, nobody hung. Nor does one hang whom a debugger holds, or who waits for a CPU. Must not restart
anybody: a process that it kills is reaped like any other that died.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from wsproxy.process.child import Child
from wsproxy.process.system import ProcessState, read_process
from wsproxy.process.turns import Turns

logger = logging.getLogger(__name__)

# Between two looks. A worker makes four turns a second when it has nothing to do.
LOOK_S = 0.5
# From when on it is told, and new connections go to others: a collection or a slow disk may take so long, too.
SILENT_S = 2.0
# From SIGABRT to SIGKILL: writing the stacks takes milliseconds, a core dump is not waited for.
ABORT_GRACE_S = 3.0
# From process.hang_s until a successor makes turns.
REPLACED_S = 10.0
# Between two that are killed: the others may only have waited for a lock that the first one held.
ONE_BY_ONE_S = 1.0
# Ready to run, and less than this part of the time on a CPU: the machine has no time for it, and would have none for another.
STARVED = 0.1
# How often it is told why a process is not killed.
EXCUSE_S = 30.0

_STATES = {
    "R": "runs without end",
    "S": "waits in a system call",
    "D": "waits for a device",
    "T": "was stopped by a signal",
}


@dataclass(slots=True)
class _Row:
    """Of one process: its last turn, and the silence since."""

    turns: int = 0
    has_turned: bool = False
    is_new: bool = True  # since the last look
    silent_s: float = 0.0
    cpu_s: float = 0.0  # that it had used when the silence began
    is_told: bool = False
    is_excused: bool = False
    excused_at_s: float = -EXCUSE_S
    aborted_at_s: float | None = None
    is_killed: bool = False


class HangWatch:
    """One for all processes of a proxy; ``now`` is CLOCK_MONOTONIC."""

    def __init__(self, turns: Turns, hang_s: float) -> None:
        """``hang_s``: 0: nobody is killed."""
        self._turns = turns
        self._hang_s = hang_s
        self._silent_s = min(SILENT_S, hang_s / 2) if hang_s else SILENT_S
        self._look_s = min(LOOK_S, self._silent_s / 2)
        self._rows: dict[int, _Row] = {}
        self._last: float | None = None
        self._next_kill = 0.0

    def compare(self, patience_s: float) -> None:
        """Says so where the service manager (``patience_s``, 0: none) ends all before the one that hangs is replaced."""
        if patience_s and patience_s < self._hang_s + REPLACED_S:
            logger.warning(
                "systemd waits %g s for word that all is well (WatchdogSec), and a worker that hangs is replaced after %g s (process.hang_s): "
                "systemd would restart the whole proxy for it; let it wait %g s at least",
                patience_s, self._hang_s, self._hang_s + REPLACED_S,
            )  # fmt: skip

    def begin(self, row: int) -> None:
        """A new process is about to begin in this row; told before the fork, after which it may have made turns already."""
        self._rows[row] = _Row(self._turns.count(row))

    def next_look(self) -> float:
        """When to look again."""
        return 0.0 if self._last is None else self._last + self._look_s

    def look(self, children: Iterable[Child], now: float) -> None:
        """Takes note of turns, and acts on those that run and make none."""
        if now < self.next_look():
            return
        # Not more than two looks' worth, however long ago the last one was: nobody saw what happened meanwhile.
        passed_s = self._look_s if self._last is None else min(now - self._last, 2 * self._look_s)
        self._last = now
        running = [child for child in children if child.pid is not None]
        hanging = [child for child in running if self._look_at(child, passed_s)]
        if now >= self._next_kill and self._kill_first(hanging):
            self._next_kill = now + ONE_BY_ONE_S

    def is_silent(self, row: int) -> bool:
        """Whether its process made no turn for so long that others should have its work."""
        at = self._rows.get(row)
        return at is not None and at.silent_s >= self._silent_s

    def is_hanging(self, row: int) -> bool:
        """Whether its process makes no turn and nothing excuses it; one that is being ended for that still counts."""
        at = self._rows.get(row)
        return at is not None and at.silent_s >= self._silent_s and not at.is_excused

    def _look_at(self, child: Child, passed_s: float) -> bool:
        """Whether it is to be killed, unless it cannot be blamed."""
        pid, at, turns = child.pid, self._rows[child.row], self._turns.count(child.row)
        assert pid is not None
        if turns != at.turns:
            if at.is_told:
                logger.warning("%s (pid %d) makes turns again, after %.1f s", child.name, pid, at.silent_s)  # fmt: skip
            self._rows[child.row] = _Row(turns, has_turned=True, is_new=False)
            return False
        if at.is_new:
            at.is_new = False
            return False
        if not at.silent_s:
            state = read_process(pid)
            at.cpu_s = state.cpu_s if state else 0.0
        at.silent_s += passed_s
        if at.aborted_at_s is not None:
            if at.silent_s >= at.aborted_at_s + ABORT_GRACE_S and not at.is_killed:
                at.is_killed = True
                logger.error("%s (pid %d) did not end with SIGABRT; SIGKILL", child.name, pid)
                _send(pid, signal.SIGKILL)
            return False
        if self._hang_s and at.silent_s >= max(self._hang_s, child.patience_s):
            return True
        if not self._hang_s and at.silent_s >= EXCUSE_S:
            self._blame(child)  # nobody is killed, but the service manager wants to know
        if (
            at.has_turned
            and not at.is_told
            and at.silent_s >= max(self._silent_s, child.patience_s / 2)
        ):
            at.is_told = True
            logger.warning("%s (pid %d) makes no turn for %.1f s", child.name, pid, at.silent_s)
        return False

    def _kill_first(self, hanging: Iterable[Child]) -> bool:
        """Kills the one that hung first, and of several one that does not wait for a lock; whether there was one."""
        found = [
            (state.waits_in.startswith("futex"), -self._rows[child.row].silent_s, child.row, child, state)
            for child in hanging
            if (state := self._blame(child)) is not None
        ]  # fmt: skip
        if not found:
            return False
        *_, child, state = min(found)
        at = self._rows[child.row]
        at.aborted_at_s = at.silent_s
        does = _STATES.get(state.letter, f"is in state {state.letter}")
        logger.error(
            "%s (pid %d) makes no turn for %.1f s (process.hang_s): it %s%s, and is killed",
            child.name, child.pid, at.silent_s, does, f" ({state.waits_in})" if state.waits_in else "",
        )  # fmt: skip
        _send(child.pid, signal.SIGABRT)
        _send(child.pid, signal.SIGCONT)  # one that is stopped acts on nothing else
        return True

    def _blame(self, child: Child) -> ProcessState | None:
        """What it does; None: it cannot be blamed, which is told, or it has just ended."""
        at = self._rows[child.row]
        state = read_process(child.pid or 0)
        if state is None:
            return None
        if excuse := _excuse(state, at):
            at.is_excused = True
            if at.silent_s >= at.excused_at_s + EXCUSE_S:
                at.excused_at_s = at.silent_s
                logger.warning(
                    "%s (pid %d) makes no turn for %.0f s and is not killed: %s",
                    child.name, child.pid, at.silent_s, excuse,
                )  # fmt: skip
            return None
        at.is_excused = False
        return state


def _excuse(state: ProcessState, at: _Row) -> str:
    """Why it cannot be blamed; empty: it hangs."""
    if state.tracer_pid:
        return f"process {state.tracer_pid} traces it (a debugger, strace)"
    used_s = state.cpu_s - at.cpu_s
    if state.letter == "R" and used_s < STARVED * at.silent_s:
        return f"it is ready to run and got {used_s:.1f} s of CPU time meanwhile: the machine is too busy"
    return ""


def _send(pid: int | None, number: signal.Signals) -> None:
    assert pid is not None
    with suppress(ProcessLookupError):
        os.kill(pid, number)
