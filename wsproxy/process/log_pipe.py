"""
Standard error of all our processes: a pipe that never blocks who writes, and a process of its own that empties it.

Made by ``cli.run``, kept alive by ``process.supervisor``. Whatever is behind standard error (a pipe that nobody reads, a terminal
that was stopped, a disk that stands still) keeps the log process waiting and nobody else: not a request, not the restart of a
worker, not SIGTERM. A thread would do for workers, but the supervisor forks and has none; O_NONBLOCK belongs to what is behind
the descriptor, which other programs share; and asking before each write (poll) is no answer where several processes write.

Descriptor 2 itself is replaced, so that what libraries and the interpreter print past our log never waits either.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import logging
import os
import select
import signal
import sys
import termios
import time
from types import TracebackType
from typing import Self

from wsproxy.process.fork import EXIT_FAILED, Backoff, describe_end, fork_child
from wsproxy.process.identity import Identity, become
from wsproxy.process.log_handler import STDERR
from wsproxy.process.logs import line_of
from wsproxy.process.system import set_process_name

logger = logging.getLogger(__name__)

STDIN, STDOUT = 0, 1

# What waits in the pipe before messages are dropped: some seconds of a flood. More the kernel gives to root only.
PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 16
# At the end, who reads nothing for so long does not read; for one that reads slowly it takes as long as it takes.
CLOSE_S = 2.0
# A log process that takes nothing out of the pipe for so long is stuck. It takes READ_BYTES at once, which a slow reader gets in parts.
STUCK_S = 5 * CLOSE_S
_ENDS = frozenset({signal.SIGCHLD})


class LogPipe:
    """From when it is entered until it is left, standard error of this process and its children does not block."""

    def __init__(self, identity: Identity | None = None) -> None:
        """Nothing is changed yet. ``identity``: of the log process."""
        self._identity = identity
        self.pid: int | None = None
        self.start_at: float | None = 0.0  # when to start the log process; None: it runs
        self._started_at = 0.0
        self._backoff = Backoff()
        self._read_fd = -1
        self._outlet_fd = -1

    def __enter__(self) -> Self:
        """Replaces descriptor 2 and starts the log process. Before it is entered nothing must be open that is to stay."""
        _hold_standard_input_and_output()
        self._outlet_fd = _real_stderr()
        self._read_fd, write_fd = os.pipe()
        with contextlib.suppress(OSError):  # this user has many pipes
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(write_fd, False)
        os.dup2(write_fd, STDERR)
        os.close(write_fd)
        self.start(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Gives descriptor 2 back when everything is written; not where nobody reads it.

        Raises: SystemExit for a fault of ours, which is told while there is somebody who writes it: workers outlive us by a while and
        hold the pipe, so that descriptor 2 leads nowhere when the interpreter would tell it.
        """
        is_fault = error is not None and isinstance(error, Exception)
        if is_fault:
            assert kind is not None
            assert error is not None
            sys.excepthook(kind, error, trace)
        self._end()
        if is_fault:
            raise SystemExit(EXIT_FAILED)

    def _end(self) -> None:
        logging.shutdown()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(
            null, STDERR
        )  # the last end that writes is gone: the process sees that no more comes
        os.close(null)
        if self.pid is None:
            self._empty()
        elif self._has_written_all():
            os.dup2(self._outlet_fd, STDERR)
        self.pid = None
        self.leave()

    def leave(self) -> None:
        """In a child: closes what only the supervisor needs. It goes on writing to descriptor 2."""
        os.close(self._read_fd)
        os.close(self._outlet_fd)

    @property
    def outlet(self) -> int:
        """Standard error as it was."""
        return self._outlet_fd

    def say(self, text: str) -> None:
        """Writes lines that are no messages, whole, before workers run; waits up to CLOSE_S for a log process that is stuck."""
        data = f"{text}\n".encode("utf-8", "backslashreplace")
        until = time.monotonic() + CLOSE_S
        room = select.poll()
        room.register(STDERR, select.POLLOUT)
        while data:
            try:
                data = data[os.write(STDERR, data[: select.PIPE_BUF]) :]
            except BlockingIOError:
                left_s = until - time.monotonic()
                if left_s <= 0 or not room.poll(left_s * 1000):
                    return

    def start(self, now: float) -> None:
        """Starts the log process; what was written meanwhile waits for it in the pipe."""
        gc.collect()
        gc.freeze()  # a collection in the parent would make every page its own, and this process three times as large
        self.pid = fork_child("log", self._run, orphan_s=None)
        self._started_at = now
        self.start_at = None if self.pid is not None else now + self._backoff.after(0.0)

    def note_end(self, exit_code: int, now: float) -> None:
        """It ended, which it should not: nothing is lost but what it was writing."""
        pid, self.pid = self.pid, None
        delay_s = self._backoff.after(now - self._started_at)
        self.start_at = now + delay_s
        logger.error("log process (pid %d) %s; started again in %g s", pid, describe_end(exit_code), delay_s)  # fmt: skip

    def _has_written_all(self) -> bool:
        """Waits for the end of the log process; ends one that is stuck, or waits for words of others that outlive us."""
        assert self.pid is not None
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        left, until = -1, time.monotonic() + CLOSE_S
        try:
            while True:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return status == 0
                if self._is_all_said() and left != (left := self._bytes_left()):
                    until = time.monotonic() + STUCK_S
                left_s = until - time.monotonic()
                if left_s <= 0:
                    os.kill(self.pid, signal.SIGKILL)
                    return os.waitpid(self.pid, 0)[1] == 0
                signal.sigtimedwait(_ENDS, min(left_s, CLOSE_S))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _is_all_said(self) -> bool:
        """Whether nobody has an end of the pipe that writes."""
        poll = select.poll()
        poll.register(self._read_fd, 0)
        return bool(poll.poll(0))

    def _bytes_left(self) -> int:
        """What the log process has not taken out of the pipe yet."""
        count = array.array("i", [0])
        fcntl.ioctl(self._read_fd, termios.FIONREAD, count)
        return count[0]

    # below: in the log process

    def _run(self) -> int:
        if os.geteuid() == 0:  # else whoever started it has become that user before
            become(self._identity)
        set_process_name("wsproxy-log")
        os.dup2(self._outlet_fd, STDERR)
        # Whatever else its parent has open: it must not keep a port, or a pipe that tells of somebody's end.
        kept = sorted((STDERR, self._read_fd, self._outlet_fd))
        for low, high in zip(kept, (*kept[1:], os.sysconf("SC_OPEN_MAX")), strict=True):
            os.closerange(low + 1, high)
        return 0 if self._empty() else EXIT_FAILED

    def _empty(self) -> bool:
        """Until nobody is left who writes; whether everything was written."""
        outlet = Outlet(self._outlet_fd, self._read_fd)
        while data := os.read(self._read_fd, READ_BYTES):
            if not outlet.write(data):
                return False
        return True


class Outlet:
    """What standard error was before; writing there may take as long as it likes."""

    def __init__(self, fd: int, read_fd: int) -> None:
        """``read_fd``: the pipe; when its last writer is gone, nobody waits any more."""
        self._fd = fd
        self._read_fd = read_fd
        self._until: float | None = None  # when to give up
        self._lost = 0  # lines, since one was written
        self._why = ""
        self._is_torn = False  # it ends within a line

    def write(self, data: bytes) -> bool:
        """Whether to go on: False when all who write are gone, and nobody reads."""
        while data:
            # Up to PIPE_BUF never blocks where poll said that there is room, and whole lines do not mix with others' lines.
            end = len(data)
            if end > select.PIPE_BUF:
                end = data.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
            block, data = data[:end], data[end:]
            while block:
                if not self._has_room():
                    return False
                block = self._try(block)
        return True

    def _try(self, block: bytes) -> bytes:
        """What is left of it."""
        try:
            if self._is_torn and self._lost:
                os.write(self._fd, b"\n")
                self._is_torn = False
            if self._lost:
                os.write(self._fd, line_of(logging.WARNING, f"{self._lost} lines are missing: {self._why}"))  # fmt: skip
                self._lost = 0
            written = os.write(self._fd, block)
        except BlockingIOError:
            return block
        except OSError as error:  # a full disk, a reader that is gone for good
            self._lost += max(1, block.count(b"\n"))
            self._why = error.strerror or str(error)
            return b""
        self._is_torn = block[written - 1 : written] != b"\n"
        if self._until is not None:
            self._until = time.monotonic() + CLOSE_S  # somebody reads
        return block[written:]

    def _has_room(self) -> bool:
        """Waits until something can be written, or an error be met. False: in vain."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if self._until is None:
            poll.register(self._read_fd, 0)  # tells only of the end
        while True:
            left_s = None if self._until is None else self._until - time.monotonic()
            ready = dict(poll.poll(None if left_s is None else max(0.0, left_s * 1000)))
            if self._fd in ready:
                return True
            if self._until is not None:
                return False
            poll.unregister(self._read_fd)
            self._until = time.monotonic() + CLOSE_S


def _hold_standard_input_and_output() -> None:
    """
    Where one of the two is closed (``>&-``), nothing else gets its number.

    A socket or shared memory would, and what is written to standard output, as the access log, would go there. Reading finds an
    end; writing fails, and who writes says so.
    """
    for fd in (STDIN, STDOUT):
        try:
            os.fstat(fd)
        except OSError:
            # It gets the lowest that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


def _real_stderr() -> int:
    """A copy of descriptor 2, or of /dev/null where it is closed."""
    try:
        return fcntl.fcntl(STDERR, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != STDERR:
            os.dup2(null, STDERR)  # taken, so that the pipe cannot come to lie there
            os.close(null)
        return _real_stderr()
