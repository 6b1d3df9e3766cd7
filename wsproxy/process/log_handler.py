"""
From a log record to lines on standard error, without ever waiting.

Set up by ``process.logs``, asked a few times a second by each process (``tick``). Standard error is a pipe that never blocks
(``process.log_pipe``): what it does not take is dropped and counted, and the count is told when it takes something again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time

from wsproxy.process.log_rate import MOST_A_SECOND, LogRate

STDERR = 2
# Behind time, level and process; what a message says begins here.
MARK = "wsproxy: "
# Longer ones are cut: a head of `limits.head_bytes`, or a traceback through a hundred functions.
MOST_PIECES = 16

_LEAD_BYTES = 200
_GOES_ON = b" ..."
_WENT_ON = b"... "
_CUT = b" (cut)"


def in_pieces(line: str) -> list[bytes]:
    """
    The line as writes that a pipe takes whole or not at all, so that those of several processes never mix (PIPE_BUF).

    A longer one goes on in further lines, which begin as it does.
    """
    data = line.encode("utf-8", "backslashreplace")
    if len(data) < select.PIPE_BUF:
        return [data + b"\n"]
    at = data.find(MARK.encode(), 0, _LEAD_BYTES) + len(MARK)
    lead, rest = (data[:at], data[at:]) if at >= len(MARK) else (b"", data)
    room = select.PIPE_BUF - len(lead) - len(_WENT_ON) - len(_CUT) - 1
    pieces: list[bytes] = []
    while rest and len(pieces) < MOST_PIECES:
        end = min(room, len(rest))
        while 0 < end < len(rest) and rest[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        part, rest = rest[: end or room], rest[end or room :]
        begins = _WENT_ON if pieces else b""
        is_last = len(pieces) == MOST_PIECES - 1
        ends = b"" if not rest else _CUT if is_last else _GOES_ON
        pieces.append(lead + begins + part + ends + b"\n")
    return pieces


class PipeHandler(logging.Handler):
    """Writes each record to ``fd``, which does not block."""

    def __init__(self, fd: int = STDERR) -> None:
        """Nothing is limited in rate before ``limit``."""
        super().__init__()
        self._fd = fd
        self.most_a_second = MOST_A_SECOND
        self._rate: LogRate | None = None
        self._dropped = 0
        self._unmade = 0

    def limit(self) -> None:
        """From now on, in this process: what clients can cause many of is told so often and no more."""
        self._rate = LogRate(self.most_a_second)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes it, or counts it; see ``logging.Handler``."""
        try:
            if self._rate is not None:
                now = time.monotonic()
                kind = (record.name, record.levelno, str(record.msg))
                if not self._rate.passes(kind, now):
                    if self._rate.hold(kind, now):
                        self._rate.give_example(kind, record.getMessage())
                    return
            self._write(self.format(record))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """A message that cannot be made; the standard library would print past the log. Without memory for that, it is counted."""
        try:
            self._say(logging.ERROR, f"internal error: no text for a message of {record.name}")
        except Exception:
            self._unmade += 1

    def tick(self) -> None:
        """Tells what was held back and what was dropped, where it is time."""
        with self.lock or contextlib.nullcontext():
            self._tell_held(is_end=False)
            self._tell_missing()

    def close(self) -> None:
        """Tells what is left to tell."""
        with self.lock or contextlib.nullcontext():
            self._tell_held(is_end=True)
            self._tell_missing()
            # Told or not: whoever closes it again must not write to what is there then.
            self._dropped = self._unmade = 0
        super().close()

    def _say(self, level: int, text: str) -> None:
        self._write(self._line(level, text))

    def _line(self, level: int, text: str) -> str:
        return self.format(logging.LogRecord("wsproxy.log", level, "", 0, text, None, None))

    def _write(self, line: str) -> None:
        for piece in in_pieces(line):
            if not self._try(piece):
                self._dropped += 1
                return

    def _tell_held(self, *, is_end: bool) -> None:
        if self._rate is None:
            return
        for each in self._rate.due(time.monotonic(), is_end=is_end):
            try:
                self._say(each.level, str(each))
            except Exception:
                self._unmade += each.count

    def _tell_missing(self) -> None:
        with contextlib.suppress(Exception):  # no memory for that either: the next tick tells
            if self._dropped:
                self._try(b"")
            if self._unmade:
                text = f"no memory for messages: of this process's {self._unmade} are missing"
                if self._try(in_pieces(self._line(logging.ERROR, text))[0]):
                    self._unmade = 0

    def _try(self, piece: bytes) -> bool:
        """One write, with the count of what is missing before it."""
        note = self._note() if self._dropped else b""
        if len(note) + len(piece) > select.PIPE_BUF:
            if not self._try(b""):
                return False
            note = b""
        try:
            is_written = os.write(self._fd, note + piece) == len(note) + len(piece)
        except OSError:  # it is full, or gone
            return False
        if note:
            self._dropped = 0
        return is_written

    def _note(self) -> bytes:
        text = f"standard error was not read in time: of this process's messages {self._dropped} are missing"
        return in_pieces(self._line(logging.WARNING, text))[0]
