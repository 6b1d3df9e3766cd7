"""
Reads http_plugin.log: files, gzip (told by their content) and standard input, as a stream of lines.

Driven by ``cli.reading``. Lines are found by ``_fast.logs.lines``; here records that a page or a mail has broken
over several lines are put together again. Must not interpret messages, and must not lose a line: what belongs to no record
comes out as FOREIGN.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wsproxy._fast.logs.lines import LineScanner, LogLine, are_records
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.errors import LogRefusedError
from wsproxy.logs.messages import read_fields, wanted

STANDARD_INPUT = "-"
# What is read at once; more gains nothing once a block holds thousands of lines.
BLOCK = 1 << 20
# A line of an access log without end is cut here, as `_fast.logs.lines` does with one of a plug-in log.
MOST_LINE = 1 << 20
GZIP = b"\x1f\x8b"
# Of a gzip member, what is unpacked at once: twice as much each time.
FIRST_PIECE = 256
MOST_PIECE = 1 << 18
_ZEROS = re.compile(rb"\0*")
# Lines of a page that may belong to the record before them: a Cookie of 4 KiB broken at 72 columns has 57.
MOST_CONTINUED = 64
# A record's stamp, pid and tid may be broken over so many lines.
MOST_BROKEN = 4
# Longest beginning of a record that a page breaks before its level: stamp, IBM i job, pid and tid.
LONGEST_BEGIN = 96
_MAY_BEGIN = re.compile(rb"\[(?:[A-Z][a-z]{2}\b|\d\d/[A-Z])")
_ELLIPSIS = re.compile(rb"\s*(?:\.{2,}|\xe2\x80\xa6)\s*")
_GOES_ON = (b":", b";", b",")


@dataclass(slots=True)
class Reading:
    """How far a reading is and what it met; ``size`` is 0 where it cannot be known."""

    path: str = ""
    bytes_read: int = 0
    size: int = 0
    lines: int = 0
    records: int = 0
    continued: int = 0  # lines that were put to the record before them
    foreign: int = 0
    blank: int = 0
    glued: int = 0


def read_logs(
    paths: Iterable[str], reading: Reading, *, wanted_only: bool = False
) -> Iterator[list[LogLine]]:
    """
    The lines of these files, one after the other, in lists of some thousands; ``reading`` is kept up to date.

    ``wanted_only``: without blank lines and records that ``messages`` does not know. # I/O

    Raises:
        LogRefusedError: a file cannot be read, or is damaged gzip.
    """
    for path in paths:
        reading.path = path
        scanner = LineScanner(wanted(), wanted_only=wanted_only)
        unwrapper = Unwrapper(scanner)
        before = (reading.lines, reading.records, reading.foreign, reading.blank, reading.glued)
        continued = reading.continued

        def note(
            scanner: LineScanner = scanner,
            unwrapper: Unwrapper = unwrapper,
            before: tuple[int, ...] = before,
            continued: int = continued,
        ) -> None:
            reading.lines = before[0] + scanner.lines
            reading.records = before[1] + scanner.records + unwrapper.mended
            reading.continued = continued + unwrapper.continued
            reading.foreign = before[2] + scanner.foreign - unwrapper.continued - unwrapper.mended
            reading.blank = before[3] + scanner.blank
            reading.glued = before[4] + scanner.glued

        for block in _blocks(path, reading):
            found = unwrapper.feed(scanner.feed(block))
            note()
            yield found
        found = unwrapper.feed(scanner.end()) + unwrapper.end()
        note()
        yield found


def read_plain(paths: Iterable[str], reading: Reading) -> Iterator[list[tuple[int, bytes]]]:
    """
    (number, text) of each line of files that are no plug-in logs.

    Raises:
        LogRefusedError: as ``read_logs``. # I/O
    """
    for path in paths:
        reading.path = path
        number, rest = 0, b""
        for block in _blocks(path, reading):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if len(rest) > MOST_LINE:
                lines.append(rest)
                rest = b""
            yield [(number + at, line) for at, line in enumerate(lines, 1)]
            number += len(lines)
            reading.lines += len(lines)
        if rest:
            reading.lines += 1
            yield [(number + 1, rest)]


def _blocks(path: str, reading: Reading) -> Iterator[bytes]:
    try:
        if path == STANDARD_INPUT:
            yield from _plain_blocks(sys.stdin.buffer, reading)
            return
        with Path(path).open("rb", buffering=0) as file:
            reading.size += Path(path).stat().st_size
            yield from _plain_blocks(file, reading)
    except OSError as error:
        raise LogRefusedError(f"{path}: {error.strerror or error}") from error
    except zlib.error as error:
        raise LogRefusedError(f"{path}: damaged gzip: {error}") from error


def _plain_blocks(file: BinaryIO, reading: Reading) -> Iterator[bytes]:
    """The content, unpacked where it is gzip; of a gzip that ends too early, all that is there."""
    unpack: Callable[[bytes], Iterator[bytes]] | None = None
    first = True
    while block := file.read(BLOCK):
        reading.bytes_read += len(block)
        if first:
            first = False
            if len(block) == 1:
                block += file.read(BLOCK)
            if block.startswith(GZIP):
                unpack = _Unpacker().unpack
        if unpack is None:
            yield block
        else:
            yield from unpack(block)


class _Unpacker:
    """
    gzip members one after the other, as rotating tools append them.

    Time and memory grow with what goes in and comes out, however many members it is cut into: each is offered a small piece
    first, because zlib copies what a member leaves over.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._piece = FIRST_PIECE
        self._rest = b""  # the first byte of what may be a member
        self._is_over = False  # what follows is no gzip
        self._out: list[bytes] = []
        self._size = 0

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What comes out of ``data``, in blocks of about ``BLOCK``."""
        data = self._rest + data
        self._rest = b""
        at = 0
        while at < len(data) and not self._is_over:
            if self._member.eof:
                at = self._begin_member(data, at)
                continue
            piece = data[at : at + self._piece]
            self._piece = min(self._piece * 2, MOST_PIECE)
            # in parts: a few kilobytes of zeros must not become a gigabyte at once
            yield from self._gather(self._member.decompress(piece, BLOCK))
            # at the end of a member the tail stays as it was
            while (rest := self._member.unconsumed_tail) and not self._member.eof:
                yield from self._gather(self._member.decompress(rest, BLOCK))
            at += len(piece) - len(self._member.unused_data)
        if self._size:
            yield self._gathered()

    def _begin_member(self, data: bytes, at: int) -> int:
        """Where the next member begins in ``data``, behind zeros that fill a tape block; its end where none does."""
        found = _ZEROS.match(data, at)
        assert found is not None
        at = found.end()
        if data.startswith(GZIP, at):
            self._member = zlib.decompressobj(wbits=31)
            self._piece = FIRST_PIECE
            return at
        if data[at:] == GZIP[:1]:
            self._rest = data[at:]
        else:
            self._is_over = at < len(data)
        return len(data)

    def _gather(self, part: bytes) -> Iterator[bytes]:
        """Small parts are put together: whoever splits them into lines looks at what has no end yet again with each."""
        if part:
            self._out.append(part)
            self._size += len(part)
        if self._size >= BLOCK:
            yield self._gathered()

    def _gathered(self) -> bytes:
        whole = b"".join(self._out)
        self._out.clear()
        self._size = 0
        return whole


class Unwrapper:
    """Puts together what a page has broken: stamps over two lines, and messages that need what follows."""

    def __init__(self, scanner: LineScanner) -> None:
        """``scanner`` reads what was put together."""
        self._scanner = scanner
        self._record: LogLine | None = None  # the last one, which the next line may continue
        self._parts: list[LogLine] = []  # foreign lines right behind it
        self._broken: list[LogLine] = []  # a record's first lines, up to what makes it one
        self.continued = 0
        self.mended = 0  # records that were put together from foreign lines

    def feed(self, lines: list[LogLine]) -> list[LogLine]:
        """``lines`` with what belongs together as one; the last record is held back."""
        out: list[LogLine] = []
        if lines and not self._broken and are_records(lines):  # any log that no page has broken
            self._settle(out)
            self._record = lines[-1]
            return out + lines[:-1]
        for line in lines:
            if line.level > 1 and not self._broken:
                if self._parts:
                    self._settle(out)
                elif self._record is not None:
                    out.append(self._record)
                self._record = line
            else:
                self._take(line, out)
        return out

    def end(self) -> list[LogLine]:
        """What was held back."""
        out: list[LogLine] = []
        self._give_up(out)
        self._settle(out)
        return out

    def _take(self, line: LogLine, out: list[LogLine]) -> None:
        if self._broken:
            if line.level == LogLevel.FOREIGN and self._mend(line, out):
                return
            self._give_up(out)
            self.feed_one(line, out)
            return
        self.feed_one(line, out)

    def feed_one(self, line: LogLine, out: list[LogLine]) -> None:
        """A line while no broken stamp waits for more."""
        if line.level > LogLevel.BLANK:
            self._settle(out)
            self._record = line
        elif line.level == LogLevel.BLANK or _ELLIPSIS.fullmatch(line.text):
            self._settle(out)
            out.append(line)
        elif len(line.text) < LONGEST_BEGIN and _MAY_BEGIN.match(line.text):
            self._broken = [line]
        elif self._follows(line):
            self._parts.append(line)
        else:
            self._settle(out)
            out.append(line)

    def _follows(self, line: LogLine) -> bool:
        """Whether the line stands right behind the record, with nothing between."""
        if self._record is None or len(self._parts) >= MOST_CONTINUED:
            return False
        last = self._parts[-1] if self._parts else self._record
        lines_of_last = 1 if self._parts else self._lines_of_record
        return line.number == last.number + lines_of_last

    _lines_of_record = 1

    def _mend(self, line: LogLine, out: list[LogLine]) -> bool:
        """Whether the broken lines and this one are a record now, or may become one."""
        first = self._broken[0]
        more = b" ".join([part.text for part in self._broken[1:]] + [line.text])
        joined = self._scanner.join(first, more)
        if joined.level == LogLevel.FOREIGN:
            self._broken.append(line)
            return len(self._broken) < MOST_BROKEN
        count = len(self._broken)
        self._broken = []
        self._settle(out)
        self._record = joined
        self._lines_of_record = count + 1
        self.continued += count
        self.mended += 1
        return True

    def _give_up(self, out: list[LogLine]) -> None:
        """What looked like the beginning of a record is none."""
        broken, self._broken = self._broken, []
        for line in broken:
            if self._follows(line):
                self._parts.append(line)
            else:
                self._settle(out)
                out.append(line)

    def _settle(self, out: list[LogLine]) -> None:
        """Decides how much of the lines behind the record is its own."""
        if self._record is None:
            return
        record, parts = self._record, self._parts
        self._record, self._parts, self._lines_of_record = None, [], 1
        taken = _count_own(self._scanner, record, parts) if parts else 0
        if taken:
            record = self._scanner.join(record, b" ".join(part.text for part in parts[:taken]))
            self.continued += taken
        out.append(record)
        out.extend(parts[taken:])


def _count_own(scanner: LineScanner, record: LogLine, parts: list[LogLine]) -> int:
    """
    How many of ``parts`` belong to the record.

    As many as make it a message that is known; or, where it has no known end (a header line, a message of another release),
    as many as follow a line that ends with a colon, a semicolon or a comma.
    """
    if _is_whole(record):
        return _count_open(record, parts)
    for count in range(1, min(len(parts), MOST_BROKEN) + 1):
        joined = scanner.join(record, b" ".join(part.text for part in parts[:count]))
        if _is_whole(joined):
            return count + _count_open(parts[count - 1], parts[count:])
    return _count_open(record, parts)


def _is_whole(record: LogLine) -> bool:
    """Whether it is a known message with all its fields."""
    return bool(record.code) and read_fields(record.code, record.text, record.at) is not None


def _count_open(last: LogLine, parts: list[LogLine]) -> int:
    taken = 0
    for part in parts:
        if not last.text.rstrip().endswith(_GOES_ON):
            break
        last = part
        taken += 1
    return taken
