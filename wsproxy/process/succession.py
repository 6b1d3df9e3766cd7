"""
Which of two programs is the proxy while one replaces the other: the part of both supervisors in that.

Driven by ``process.supervisor``, whose selector brings what is said. The old one's: ``upgrade`` is asked for, its loader ends (slots
of the shared state are taken by one process at a time), the new program is started, says that it accepts connections, and the
old one retires; in all other cases it goes on. The new one's: it is in charge when its workers accept connections and the old
one says so, or is gone. Both: when the last process of another program has ended, what it had in flight is given back.
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import time
from functools import partial
from typing import Protocol

from wsproxy.process.handover import GO, Inheritance, Kin, Said
from wsproxy.process.listeners import ListenerSet
from wsproxy.process.on_demand import OnDemand
from wsproxy.process.system import is_dying
from wsproxy.process.upgrade import LOADER_S, Upgrade
from wsproxy.process.workers import WorkerLedger

logger = logging.getLogger(__name__)

# The kernel closes what a killed process had open in an order of its own: so long after the last writing end of a program's pipe its
# sockets may still be open, and its requests run. What they hold is given back afterwards.
CLOSING_S = 0.5


class Host(Protocol):
    """What the supervisor is asked for, and what it is told."""

    @property
    def is_running(self) -> bool:
        """Whether it neither stops nor retires."""

    @property
    def outlet(self) -> int:
        """Standard error as it was given to us."""

    def end_loader(self, number: signal.Signals) -> bool:
        """Sends this to the loader; whether one runs."""

    def take_charge(self) -> None:
        """We are the proxy from now on."""

    def retire(self, pid: int, said: Said) -> None:
        """The new program is."""

    def finish(self, why: str) -> None:
        """It has ended, too."""


class Succession:
    """One a supervisor."""

    def __init__(self, upgrade: Upgrade, handed: Inheritance, ledger: WorkerLedger) -> None:
        """``handed`` by a program that is replaced: it is in charge as long as it lives and has not said otherwise."""
        self.upgrade = upgrade
        self._handed = handed
        self._ledger = ledger
        self.is_in_charge = handed.control is None
        self._may_take_charge = self.is_in_charge
        self._is_serving = False
        self._hears_predecessor = False
        self._ended: list[tuple[float, Kin]] = []  # when what they held is given back

    def watch(
        self,
        selector: selectors.BaseSelector,
        host: Host,
        listeners: ListenerSet,
        admin: OnDemand | None,
    ) -> None:
        """From now on."""
        self._selector, self._host, self._listeners, self._admin = selector, host, listeners, admin
        selector.register(self.upgrade.answers, selectors.EVENT_READ, self._on_question)
        for each in self.upgrade.kin:
            self._watch_kin(each)
        if self._handed.control is not None:
            self._hears_predecessor = True
            selector.register(self._handed.control, selectors.EVENT_READ, self._on_predecessor)

    @property
    def next_look(self) -> float | None:
        """When something is to be done whatever comes; None: never."""
        due = [at for at, _ in self._ended]
        attempt = self.upgrade.attempt
        if attempt is not None and not attempt.why:
            due.append(attempt.until if attempt.control is not None else attempt.began + LOADER_S)
        return min(due, default=None)

    @property
    def holds_loader(self) -> bool:
        """Whether none may be started, because a new program takes slots."""
        return self.upgrade.attempt is not None

    def began_to_serve(self) -> None:
        """All our workers accept connections."""
        self._is_serving = True
        if self._may_take_charge:
            self._take_charge()
        else:
            self._handed.say(self.upgrade.ready(self._listeners.unused))

    def go_on(self) -> None:
        """What is due."""
        attempt, now = self.upgrade.attempt, time.monotonic()
        while self._ended and self._ended[0][0] <= now:
            self._give_back(self._ended.pop(0)[1])
        if attempt is None or not self._host.is_running:
            return
        if attempt.control is not None:
            if now >= attempt.until and not attempt.why:
                attempt.why = (
                    f"it did not accept connections within {attempt.until - attempt.began:g} s"
                )
                self.upgrade.kill(signal.SIGKILL)
            return
        is_late = now >= attempt.began + LOADER_S
        if self._host.end_loader(signal.SIGKILL if is_late else signal.SIGCONT):
            return  # its end wakes us
        self.upgrade.start(self._listeners, self._admin, self._host.outlet)
        if attempt.pid is None:
            self._give_up()
        elif attempt.control is not None:
            self._selector.register(attempt.control, selectors.EVENT_READ, self._on_successor)

    def reap(self) -> None:
        """Looks whether the new program has ended, which it should not."""
        if self.upgrade.reap() and self.upgrade.attempt is not None:
            self._on_successor()  # what it said last
            if self.upgrade.attempt is not None:
                self._give_up()

    def stop(self) -> None:
        """We stop; a new program that has not taken over does, too."""
        self.upgrade.kill(signal.SIGTERM)

    def begin_child(self, *, is_worker: bool, is_admin: bool) -> None:
        """In a child: closes what is not its own."""
        self.upgrade.begin_child(is_worker=is_worker, is_admin=is_admin)
        if self._handed.control is not None:
            self._handed.control.close()

    # the old program

    def _on_question(self) -> None:
        may_begin = self._host.is_running and self.is_in_charge
        if self.upgrade.hear(time.monotonic(), may_begin=may_begin):
            self._host.end_loader(signal.SIGTERM)

    def _on_successor(self) -> None:
        attempt, control = self.upgrade.attempt, self.upgrade.control
        if (
            attempt is None
        ):  # it has taken over, and this is its end: nobody is left for whom we could take our time
            assert control is not None
            self._selector.unregister(control)
            self._host.finish("the program that had taken over has ended")
            return
        if attempt.control is None or attempt.control not in self._selector.get_map():
            return
        said = self.upgrade.read()
        if said is None:
            return
        if (
            self.upgrade.reap()
        ):  # killed behind its last word, which may be that it is ready: we must not retire for it
            self._give_up()
            return
        if said.what == "ready" and attempt.pid is not None and is_dying(attempt.pid):
            self._selector.unregister(
                attempt.control
            )  # killed as well; its end is about to be reaped
            return
        if said.what == "ready" and self._host.is_running and not attempt.why:
            self.is_in_charge = False
            self._host.retire(attempt.pid or 0, said)
            self.upgrade.succeeded(time.monotonic())
        else:  # it says no more, and its end is about to be reaped
            self._selector.unregister(attempt.control)

    def _give_up(self) -> None:
        attempt = self.upgrade.attempt
        assert attempt is not None
        if attempt.control is not None and attempt.control in self._selector.get_map():
            self._selector.unregister(attempt.control)
        self.upgrade.failed(time.monotonic(), is_stopping=not self._host.is_running)
        if attempt.kin is not None:
            self._watch_kin(attempt.kin)

    # the new program

    def _on_predecessor(self) -> None:
        if not self._hears_predecessor:
            return  # its end came in the same moment, and was heard first
        control = self._handed.control
        assert control is not None
        try:
            is_gone = control.recv(len(GO)) != GO
        except BlockingIOError:
            return
        except ConnectionError:
            is_gone = True
        self._on_last_word(control, is_gone=is_gone)

    def _on_last_word(self, control: socket.socket, *, is_gone: bool) -> None:
        # It is kept open: the old program takes its time as long as somebody holds that end.
        self._hears_predecessor = False
        self._selector.unregister(control)
        if is_gone:
            logger.warning("upgrade: the program that is replaced has ended before it could say so")
        self._may_take_charge = True
        if self._is_serving and self._host.is_running:
            self._take_charge()

    def _take_charge(self) -> None:
        self.is_in_charge = True
        self._host.take_charge()

    # both

    def _watch_kin(self, kin: Kin) -> None:
        self._selector.register(kin.alive, selectors.EVENT_READ, partial(self._on_kin, kin))

    def _on_kin(self, kin: Kin) -> None:
        """
        The last process of another program has ended.

        Of the one that we replace this may be seen before its last word: both wait for us where we have just begun to look.
        """
        if kin.control is not None and kin.control is self._handed.control:
            self._on_predecessor()
            if self._hears_predecessor:
                self._on_last_word(kin.control, is_gone=True)
        self._selector.unregister(kin.alive)
        self._ended.append((time.monotonic() + CLOSING_S, kin))

    def _give_back(self, kin: Kin) -> None:
        """Now nothing of it is open any more."""
        self.upgrade.kin.remove(kin)
        kin.close()
        for row in kin.rows:
            self._ledger.worker_left(row)
        logger.info("upgrade: the last process of the program with pid %d has ended", kin.pid)
