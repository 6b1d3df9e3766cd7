"""
A log's file: lines in, whole lines written behind the requests' back, rotation noticed, memory bounded.

Driven by ``writer`` and ``process.access_log``, one for each worker and log; all workers write to the same file. Must not know what a line says, and must never
make the event loop wait: a thread of its own writes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

log = logging.getLogger("wsproxy.pluginlog")

# How long a line waits for others before it is written: short enough for `tail -f`, long enough for one write a few hundred lines.
FLUSH_S = 0.1
# Written earlier than that once so much has come together.
BLOCK = 1 << 18
# Lines above this are dropped and counted: a disk that stands still costs each worker so much memory, and no request.
MOST_WAITING = 8 << 20
# The owner writes, the group (of the tools that watch logs) reads: a log at Trace has session ids.
MODE = 0o640
# A stopping worker waits so long for a disk that stands still.
CLOSE_S = 2.0


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


class LogFile:
    """
    One worker's way to the file.

    Each write is a number of whole lines and appends (O_APPEND), so the lines of several workers do not mix.
    """

    def __init__(self, path: str, name: str = "plugin-log") -> None:
        """Nothing is opened before the first line: make it after the fork."""
        self._path = path
        self._name = name
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._queue: SimpleQueue[str | bytes | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._handed = 0  # characters, or bytes, given to the thread; only the loop counts here
        self._done = 0  # of these it is rid; only the thread does here
        self._dropped = 0  # lines for which there was no room
        self._lost = 0  # lines that the disk did not take; only the thread counts here
        self._told = 0
        # of the thread
        self._fd = -1
        self._wants_reopen = False
        self._is_torn = False  # the file ends within a line
        self._is_failing = False

    @property
    def missing(self) -> int:
        """Lines that are not in the file, since this was asked last."""
        count = self._dropped + self._lost - self._told
        self._told += count
        return count

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
        data = "".join(self._lines)
        self._lines.clear()
        self._size = 0
        self._hand(data)

    def hand_over(self, lines: bytes, count: int) -> None:
        """Takes so many lines at once for the thread to write, or drops them where too much waits already."""
        if len(lines) + self._handed - self._done > MOST_WAITING:
            self._dropped += count
        else:
            self._hand(lines)

    def _hand(self, data: str | bytes) -> None:
        self._handed += len(data)
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put(data)

    def reopen(self) -> None:
        """The next write opens the file anew."""
        self._wants_reopen = True

    def close(self) -> None:
        """Writes what is left; gives up on a disk that does not move."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(CLOSE_S)

    # below: in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            self._write(
                data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
            )
            self._done += len(data)
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        rest = data
        try:
            self._find_file()
            if self._is_torn:
                os.write(self._fd, b"\n")
                self._is_torn = False
            while rest:
                written = os.write(self._fd, rest)
                self._is_torn = rest[written - 1 : written] != b"\n"
                rest = rest[written:]
        except OSError as error:
            self._lost += rest.count(b"\n")
            if not self._is_failing:
                self._is_failing = True
                log.error("%s: %s; lines are dropped", self._path, error.strerror)
            return
        if self._is_failing:
            self._is_failing = False
            log.warning("%s: is written again", self._path)

    def _find_file(self) -> None:
        """Opens the file unless the one that is open still stands under its name."""
        if self._fd >= 0 and not self._wants_reopen and self._is_same():
            return
        self._wants_reopen = False
        try:
            fd = open_log(self._path)
        except OSError:
            if self._fd < 0:
                raise
            return  # moved, and its folder lets nobody make a new one: better there than nowhere
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._is_torn = False

    def _is_same(self) -> bool:
        with suppress(OSError):
            there = os.stat(self._path)
            ours = os.fstat(self._fd)
            return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        return False
