"""
A log's file: lines in, whole lines written behind the requests' back, rotation noticed, memory bounded.

Driven by ``plugin_writer`` and ``access_writer``, one for each worker and log; all workers write to the same file. Must not
know what a line says, and must never make the event loop wait: a thread of its own writes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections import deque
from contextlib import suppress
from threading import Thread

from wsproxy._fast.net.appends import Blocks, append_lines, is_file

log = logging.getLogger("wsproxy.logs")

# How long a line waits for others before it is written: short enough for `tail -f`, long enough for one write a few hundred lines.
FLUSH_S = 0.1
# Written earlier than that once so much has come together.
BLOCK = 1 << 18
# Lines above this are dropped and counted: a disk that stands still costs each worker so much memory, and no request.
MOST_WAITING = 8 << 20
# The owner writes, the group (of the tools that watch logs) reads: a log at Trace has session ids.
MODE = 0o640
# A stopping worker waits so long for a disk that stands still; for one that moves as long as it takes.
CLOSE_S = 2.0
# For the others' writes, which take a millisecond; a process that is stopped within one (SIGSTOP, a debugger) holds nobody up.
LOCK_MS = 500
_NO_MEMORY = os.strerror(errno.ENOMEM)


def open_log(path: str) -> int:
    """
    A descriptor that appends to ``path``; the file is made where there is none, its folder is not. # I/O.

    Raises:
        OSError: it cannot be; also where it is a pipe that nobody reads, which would be waited for without end.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, MODE)
    os.set_blocking(fd, True)
    return fd


def why_unwritable(path: str) -> str:
    """Why ``open_log`` would fail there, in the system's words; empty: it would not. Makes no file. # I/O."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK))
    except FileNotFoundError as error:
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            return error.strerror or "not there"
        may_make = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
        return "" if may_make else os.strerror(errno.EACCES)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        return getattr(error, "strerror", None) or str(error)
    return ""


class AppendedFile:
    """
    An open log, to whose end several processes write.

    O_APPEND keeps a write together, but a disk that fills up, a file size limit or a SIGKILL takes a part of it only, and whose
    half line stands there nobody else knows. So whoever writes locks the file (flock) and looks how it ends: a new line begins
    on a line of its own. Cutting the half line off instead would be one more thing: who follows the file (tail, Filebeat)
    takes a file that became shorter for another one and reads it all again.
    """

    def __init__(self, path: str, *, waits: bool = True) -> None:
        """
        Opens it. # I/O.

        ``waits``: for the reader of a pipe that is full; only a thread of its own may. Without, that is an error (EAGAIN).

        Raises:
            OSError: as ``open_log``.
        """
        self.fd = open_log(path)
        if not waits:
            os.set_blocking(self.fd, False)
        self.is_torn = False  # by us; where the file cannot be looked at
        self.reader = -1
        if stat.S_ISREG(os.fstat(self.fd).st_mode):
            with suppress(OSError):  # it may be written only, or there is no /proc
                self.reader = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Closes it."""
        os.close(self.fd)
        if self.reader >= 0:
            os.close(self.reader)

    def append(self, lines: bytes) -> tuple[bytes, OSError | None]:
        """What of these whole lines is not in the file, and why. # I/O."""
        done, error, self.is_torn = append_lines(self.fd, self.reader, lines, self.is_torn, LOCK_MS)
        return lines[done:], OSError(error, os.strerror(error)) if error else None


class LogFile:
    """One worker's way to the file; each write is a number of whole lines."""

    def __init__(self, path: str, name: str = "plugin-log") -> None:
        """Nothing is opened before the first line: make it after the fork."""
        self._begin_at(path)
        self._moves: deque[tuple[int, str]] = deque()  # behind how many bytes another file begins
        self._name = name
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._blocks = Blocks()
        self._thread: Thread | None = None
        self._handed = 0  # bytes given to the thread; only the loop counts here
        self._done_here = 0  # of these it is rid by way of Python; only the thread does here
        self._dropped = 0  # lines for which there was no room
        self._lost = 0  # lines that the disk did not take; only the thread counts here
        self._told = 0
        # of the thread
        self._file: AppendedFile | None = None
        self._wants_reopen = False
        self._is_failing = False

    def _begin_at(self, path: str) -> None:
        self._path = path
        self._name_there = os.fsencode(path)

    @property
    def missing(self) -> int:
        """Lines that are not in the file, since this was asked last."""
        count = self._dropped + self._lost - self._told
        self._told += count
        return count

    @property
    def _done(self) -> int:
        """Bytes of which the thread is rid."""
        return self._blocks.done + self._done_here

    def add(self, line: str) -> None:
        """Takes one line, with its end; it is written soon, or dropped where too much waits already."""
        if self._size + self._handed - self._done > MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BLOCK:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Gives what is there to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        data = "".join(self._lines).encode("utf-8", "surrogateescape")
        self._lines.clear()
        self._size = 0
        self._hand(data)

    def hand_over(self, lines: bytes, count: int) -> None:
        """Takes so many lines at once, or drops them where too much waits already; the thread may wait for more, until ``wake``."""
        if len(lines) + self._handed - self._done > MOST_WAITING:
            self._dropped += count
        else:
            self._hand(lines, wakes=False)

    def wake(self) -> None:
        """What was handed over is written now."""
        self._blocks.wake()

    def _hand(self, data: bytes, *, wakes: bool = True) -> None:
        self._handed += len(data)
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._blocks.put(data, wakes)

    def reopen(self) -> None:
        """The next write opens the file anew."""
        self._wants_reopen = True
        self._blocks.ask()

    def move(self, path: str) -> None:
        """What is added from now on goes there, and what came before to where it belongs. Where nobody can write there it stays where it was."""
        self.flush()
        if self._thread is None:
            self._begin_at(path)
        else:
            self._moves.append((self._handed, path))
            self._blocks.ask()

    def close(self) -> None:
        """Writes what is left, however long it takes; gives up on a disk that does not move, and says so."""
        self.flush()
        if self._thread is None:
            return
        self._blocks.end()
        done = -1
        while self._thread.is_alive() and self._done != done:
            done = self._done
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            left = self._handed - self._done
            log.error("%s: stands still for %g s; %d bytes are lost", self._path, CLOSE_S, left)

    # below: in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._waits_for_us():
            lines, taken = self._blocks.lines or b"", self._blocks.taken
            while self._moves and self._moves[0][0] <= self._done:
                self._begin_at(self._moves.popleft()[1])
            try:
                self._write(lines, taken, self._blocks.error)
            except MemoryError:  # these lines are lost, and not all that come after them
                self._lose(lines.count(b"\n", taken), _NO_MEMORY)
            self._done_here += len(lines)
        self._end()

    def _waits_for_us(self) -> bool:
        """Whether there are lines that cannot just be written to the file as it was; as long as they can, they are, here. # I/O."""
        file = None if self._is_failing else self._file
        if self._moves:
            self._blocks.ask()  # it was asked for the block before
        if file is None:
            return self._blocks.write(self._name_there, -1, -1, False, LOCK_MS)
        goes_on = self._blocks.write(self._name_there, file.fd, file.reader, file.is_torn, LOCK_MS)
        file.is_torn = self._blocks.is_torn
        return goes_on

    def _end(self) -> None:
        """No more lines come."""
        if self._file is not None:
            self._file.close()

    def _append(self, lines: bytes) -> tuple[bytes, OSError | None]:
        """What of these whole lines was not written, and why; also raises that. # I/O."""
        return self._find_file().append(lines)

    def _write(self, lines: bytes, taken: int, number: int) -> None:
        """``number``: errno, why no more of them were written than ``taken``."""
        try:
            rest, error = (
                (lines[taken:], OSError(number, os.strerror(number)))
                if number
                else self._append(lines)
            )
        except OSError as refused:
            rest, error = lines, refused
        if error is not None:
            self._lose(rest.count(b"\n"), error.strerror or str(error))
        elif self._is_failing:
            self._is_failing = False
            log.warning("%s: is written again", self._path)

    def _lose(self, count: int, why: str | None) -> None:
        self._lost += count
        if not self._is_failing:
            self._is_failing = True
            log.error("%s: %s; lines are dropped", self._path, why)

    def _find_file(self) -> AppendedFile:
        """The file that stands under the name now, opened where another one is open."""
        file = self._file
        if file is not None and not self._wants_reopen and is_file(self._name_there, file.fd):
            return file
        self._wants_reopen = False
        try:
            self._file = AppendedFile(self._path)
        except OSError:
            if file is None:
                raise
            return (
                file  # moved, and its folder lets nobody make a new one: better there than nowhere
            )
        if file is not None:
            file.close()
        return self._file
