"""
Replaces the running program by a new one: starts it, hands on what it needs, and hears whether it came up.

Driven by ``process.supervisor`` of the old program, which does what follows from it. The new one is the command line of this one,
run anew: new code, new wsproxy.toml. Nothing of ours changes before it says that it accepts connections; if it never does, we
go on. Must not wait: whatever comes arrives at the supervisor's selector.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess  # the command line of this program
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.sockets import AdminSocket
from wsproxy.admin.tcp import TcpSocket
from wsproxy.admin.upgrades import UpgradeAnswer, UpgradeQuestion, UpgradeResult
from wsproxy.config.settings import MAX_WORKERS
from wsproxy.config.settings_process import UpgradeSettings
from wsproxy.dataplane.post import pair
from wsproxy.process.fork import describe_end
from wsproxy.process.given import LISTEN_VARIABLES
from wsproxy.process.handover import (
    GO,
    MESSAGE_BYTES,
    VARIABLE,
    Estate,
    Kin,
    PassedAdmin,
    PassedKin,
    PassedSocket,
    PassedTcp,
    Said,
)
from wsproxy.process.listeners import ListenerSet
from wsproxy.process.on_demand import OnDemand

logger = logging.getLogger(__name__)

# From the question to a new program that accepts connections: the largest files take seconds, a busy machine makes them many.
READY_S = 120.0
# What compiles configurations ends within a moment; the new program must be the only one that takes slots.
LOADER_S = 10.0
_QUESTION_BYTES = 4096


def command_line() -> list[str]:
    """
    What starts this program anew.

    A script is run as such where it can be: its first line names the interpreter of the version that is installed by now, and that
    need not be the one which runs.
    """
    interpreter, *rest = sys.orig_argv
    script = sys.argv[0]
    if rest[: len(sys.argv)] == sys.argv and os.access(script, os.X_OK):
        return [os.path.abspath(script), *sys.argv[1:]]
    return [sys.executable or interpreter, *rest]


@dataclass(slots=True)
class Attempt:
    """One upgrade that is under way."""

    question: UpgradeQuestion
    began: float
    until: float
    pid: int | None = None  # of the new program; None: it is not started yet
    control: socket.socket | None = None
    kin: Kin | None = None  # the new program, once it has rows of the shared state
    why: str = ""  # it does not come up
    ready: Said | None = None


@dataclass(slots=True)
class Upgrade:
    """
    ``rows`` of the shared state are ours, ``kin`` has those of others.

    ``alive``: the ends of a pipe that all our processes which work for clients hold; ``command`` starts the new program.
    """

    state: SharedState
    rows: range
    history: int
    settings: UpgradeSettings
    kin: list[Kin]
    command: Sequence[str] = field(default_factory=command_line)
    attempt: Attempt | None = None
    has_failed: bool = False  # once: what a new program has written of servers is written again
    control: socket.socket | None = None  # to the program that has taken over
    asks: socket.socket = field(init=False)  # the admin process's end, and ours
    answers: socket.socket = field(init=False)
    alive: tuple[int, int] = field(init=False)
    meters: int = -1  # what metrics are counted in
    heat: int = -1  # how servers were
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Nothing is under way."""
        self.asks, self.answers = pair()
        self.alive = os.pipe()

    def hear(self, now: float, *, may_begin: bool) -> bool:
        """Whether the admin process asks for an upgrade that can begin now; others are answered."""
        try:
            data = self.answers.recv(_QUESTION_BYTES)
        except BlockingIOError:
            return False
        question = msgspec.json.decode(data, type=UpgradeQuestion)
        if not may_begin:
            self._answer(question, "this program stops, or another one takes over from it", 0.0)
        elif self.attempt is not None:
            self._answer(question, "another upgrade is under way", 0.0)
        elif os.getpid() == 1:
            why = (
                "this program is process 1 of a container, which ends with it; allowed is another process 1 "
                "(docker run --init), or a new container"
            )
            self._answer(question, why, 0.0)
        elif self.state.file < 0:
            self._answer(
                question, "this proxy keeps its state where no other program can find it", 0.0
            )
        else:
            self.attempt = Attempt(question, now, now + READY_S)
            logger.info("upgrade: a new program is to take over, by %s", question.who)
            return True
        return False

    def start(self, listeners: ListenerSet, admin: OnDemand | None, outlet: int) -> None:
        """Starts the new program; its standard error is ``outlet``. Whether it comes up is heard at ``attempt.control``."""
        assert self.attempt is not None
        attempt = self.attempt
        attempt.control, theirs = pair()
        estate = self._estate(listeners, admin, theirs.fileno(), attempt.question.who)
        fd = os.memfd_create("wsproxy-handover")
        try:
            os.pwrite(fd, msgspec.json.encode(estate), 0)
            self._process = self._run(estate, fd, outlet)
            attempt.pid = self._process.pid
            logger.info("upgrade: the new program is pid %d", attempt.pid)
        except OSError as error:
            attempt.why = f"{self.command[0]} cannot be started: {error.strerror or error}"
        finally:
            os.close(fd)
            theirs.close()

    def _run(self, estate: Estate, fd: int, outlet: int) -> subprocess.Popen[bytes]:
        passed = [fd, estate.control, estate.state, *(bell for _, bell in estate.bells)]
        passed += [each.fd for each in estate.sockets]
        passed += [end for each in estate.kin for end in (each.alive, each.control)]
        passed += [estate.history, estate.meters, estate.heat]
        passed += [-1 if estate.admin is None else estate.admin.fd]
        passed += [-1 if estate.admin_tcp is None else estate.admin_tcp.fd]
        environment = {**os.environ, VARIABLE: str(fd)}
        for name in (*LISTEN_VARIABLES, *_if_ours("WATCHDOG_PID")):
            environment.pop(name, None)
        # Not waited for: it is reaped like every other child.
        return subprocess.Popen(  # noqa: S603  # our own command line
            self.command,
            env=environment,
            stderr=outlet,
            pass_fds=[each for each in passed if each >= 0],
        )

    def ready(self, unused: Sequence[int]) -> Said:
        """What the new program says when it accepts connections."""
        return Said(
            "ready",
            requests_s=self.settings.requests_s,
            tunnels_s=self.settings.tunnels_s,
            unused=list(unused),
        )

    def reap(self) -> bool:
        """Whether the new program has ended."""
        if self._process is None:
            return False
        pid, status = os.waitpid(self._process.pid, os.WNOHANG)
        if not pid:
            return False
        exit_code = self._process.returncode = os.waitstatus_to_exitcode(status)
        self._process = None
        if self.attempt is not None:
            self.attempt.why = (
                self.attempt.why or f"it {describe_end(exit_code)}; its messages are in the log"
            )
        return True

    def _estate(
        self, listeners: ListenerSet, admin: OnDemand | None, control: int, who: str
    ) -> Estate:
        """What is handed on. We are the first of the new program's kin, at the end that it will hear us by."""
        bells = ((row, self.state.bell(row)) for row in range(MAX_WORKERS))
        sockets = [
            PassedSocket(
                bound.sock.fileno(),
                place,
                bound.host,
                bound.port,
                bound.wanted_port,
                bound.can_grow,
            )
            for place, bound in enumerate(listeners.in_order())
        ]
        ourselves = PassedKin(self.rows.start, len(self.rows), os.getpid(), self.alive[0])
        return Estate(
            os.getpid(),
            who,
            control,
            self.state.file,
            [(row, fd) for row, fd in bells if fd >= 0],
            sockets,
            [ourselves, *(each.passed() for each in self.kin)],
            None if admin is None or admin.unix is None else _passed(admin.unix),
            self.history,
            None if admin is None or admin.tcp is None else _passed_tcp(admin.tcp),
            self.meters,
            0 if self.state.meters is None else self.state.meters.workers,
            self.heat,
        )

    def read(self) -> Said | None:
        """What the new program says that the supervisor must act on (``ready``), or that it says no more; None: nothing yet."""
        attempt = self.attempt
        assert attempt is not None
        assert attempt.control is not None
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(attempt.control, MESSAGE_BYTES, 1)
            except BlockingIOError:
                return None
            except ConnectionError:
                data, fds = b"", []
            said = msgspec.json.decode(data, type=Said) if data else Said("refused")
            if said.what == "rows" and fds:
                rows = range(said.first, said.first + said.count)
                attempt.kin = Kin(rows, attempt.pid or 0, fds[0])
                continue
            if said.what == "refused":
                attempt.why = said.text or attempt.why
            return said

    def failed(self, now: float, *, is_stopping: bool) -> None:
        """The new program did not come up: whoever asked is told, and we go on. Its workers, if any, finish by themselves."""
        attempt = self.attempt
        assert attempt is not None
        self._end_attempt()
        if attempt.kin is not None:
            self.kin.append(attempt.kin)
        why = attempt.why or "it ended without a word; its messages are in the log"
        self.has_failed = True
        if is_stopping:
            why = "this program was told to stop"
        else:
            logger.error("upgrade: the new program does not come up, this one goes on: %s", why)
        self._answer(attempt.question, why, now - attempt.began)

    def succeeded(self, now: float) -> None:
        """The new program has taken over: it and whoever asked are told."""
        attempt = self.attempt
        assert attempt is not None
        assert attempt.control is not None
        with suppress(OSError):  # it has just ended
            attempt.control.send(GO)
        self.control = attempt.control
        self.attempt = None
        if attempt.kin is not None:
            os.close(attempt.kin.alive)
        self._answer(attempt.question, "", now - attempt.began, attempt.pid or 0)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the new program, which has not taken over."""
        if self.attempt is not None and self.attempt.pid is not None:
            os.kill(self.attempt.pid, number)

    def _end_attempt(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None and attempt.control is not None:
            attempt.control.close()

    def _answer(self, question: UpgradeQuestion, why: str, seconds: float, pid: int = 0) -> None:
        became = UpgradeResult("in use", pid or os.getpid(), why, round(seconds, 3))
        if why:
            became.result = "failed"
        answer = UpgradeAnswer(question.number, became)
        with suppress(OSError):  # nobody who waits for it is there any more
            self.answers.send(msgspec.json.encode(answer))

    def begin_child(self, *, is_worker: bool, is_admin: bool) -> None:
        """In a child: closes what is not its own."""
        read_fd, write_fd = self.alive
        os.close(read_fd)
        if not is_worker:
            os.close(write_fd)
        self.answers.close()
        if not is_admin:
            self.asks.close()
        for each in self.kin:
            each.close()
        if self.control is not None:
            self.control.close()
        if self.attempt is not None:
            if self.attempt.control is not None:
                self.attempt.control.close()
            if self.attempt.kin is not None:
                self.attempt.kin.close()

    def close(self) -> None:
        """At the end."""
        self.begin_child(is_worker=False, is_admin=False)


def _passed(found: AdminSocket) -> PassedAdmin:
    return PassedAdmin(found.sock.fileno(), str(found.path), found.inode)


def _passed_tcp(found: TcpSocket) -> PassedTcp:
    return PassedTcp(found.sock.fileno(), found.address.host, found.address.port, found.wanted)


def _if_ours(name: str) -> list[str]:
    """A variable that names this process: its successor has another number."""
    return [name] if os.environ.get(name) == str(os.getpid()) else []
