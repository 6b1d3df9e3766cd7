"""Lines into a pipe that does not block: whole or not at all, and what is missing is told."""

from __future__ import annotations

import fcntl
import logging
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from wsproxy.process.log_handler import MARK, MOST_PIECES, PipeHandler, in_pieces

LEAD = f"2026-11-29T12:00:00.000 ERROR [77] {MARK}"


@dataclass(slots=True)
class End:
    """The pipe's end where lines come out."""

    fd: int
    handler: PipeHandler
    logger: logging.Logger

    def lines(self) -> list[str]:
        """What is in it now."""
        data = b""
        while select.select([self.fd], [], [], 0)[0]:
            data += os.read(self.fd, 65536)
        return data.decode().splitlines()


@pytest.fixture
def end() -> Iterator[End]:
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, 8192)
    os.set_blocking(write_fd, False)
    handler = PipeHandler(write_fd)
    logger = logging.Logger("wsproxy.test")  # noqa: LOG001  # pytest listens to all others
    logger.addHandler(handler)
    yield End(read_fd, handler, logger)
    handler.close()
    os.close(read_fd)
    os.close(write_fd)


NOTE = "standard error was not read in time: of this process's messages {} are missing"


def test_what_does_not_fit_is_dropped_and_counted(end: End) -> None:
    """Nothing waits; the count comes with the next line for which there is room, and no line is cut."""
    for number in range(30):
        end.logger.info("%d %s", number, "x" * 1000)
    passed = end.lines()
    assert [line.split()[0] for line in passed] == [str(number) for number in range(len(passed))]
    assert 0 < len(passed) < 10
    end.logger.info("next")
    end.logger.info("again")
    assert end.lines() == [NOTE.format(30 - len(passed)), "next", "again"]


def test_count_is_told_where_nothing_more_is_said(end: End) -> None:
    """A tick is enough; each count is told once."""
    for _ in range(12):
        end.logger.info("%s", "x" * 1000)
    passed = end.lines()
    end.handler.tick()
    end.handler.tick()
    assert end.lines() == [NOTE.format(12 - len(passed))]


def test_dead_reader_is_no_error(end: End) -> None:
    """Whoever logs never hears of it."""
    os.close(end.fd)
    end.logger.info("to nobody")
    end.fd = os.open(os.devnull, os.O_RDONLY)


def test_message_that_cannot_be_made_is_one_line(end: End) -> None:
    """The standard library would print a traceback past the log."""
    end.logger.info("%d", "no number")
    assert end.lines() == ["internal error: no text for a message of wsproxy.test"]


class Starved(logging.Formatter):
    """As long as ``is_starved`` there is no memory for a line, or for those that begin so."""

    is_starved = True

    def __init__(self, begins: str = "") -> None:
        super().__init__()
        self._begins = begins

    def format(self, record: logging.LogRecord) -> str:
        if self.is_starved and record.getMessage().startswith(self._begins):
            raise MemoryError
        return super().format(record)


def test_messages_for_which_there_is_no_memory_are_counted(end: End) -> None:
    """The count is told once there is memory, and as long as the pipe is full it is kept."""
    formatter = Starved()
    end.handler.setFormatter(formatter)
    end.logger.info("one")
    end.logger.info("two")
    end.handler.tick()
    assert end.lines() == []
    formatter.is_starved = False
    for _ in range(20):
        end.logger.info("x" * 1000)
    end.handler.tick()
    assert not any("no memory" in line for line in end.lines())
    end.handler.tick()
    end.handler.tick()
    assert [line for line in end.lines() if "no memory" in line] == [
        "no memory for messages: of this process's 2 are missing"
    ]


def test_sum_for_which_there_is_no_memory_is_counted(end: End) -> None:
    """With as many as it stands for."""
    end.handler.limit()
    for _ in range(25):
        end.logger.info("again")
    assert len(end.lines()) == 10
    end.handler.setFormatter(Starved("again"))
    end.handler.close()
    assert end.lines() == ["no memory for messages: of this process's 15 are missing"]


def test_tick_without_memory_keeps_what_is_to_be_told(end: End) -> None:
    """Whoever ticks has more to do."""
    for _ in range(10):
        end.logger.info("x" * 1000)
    dropped = 10 - len(end.lines())
    formatter = Starved()
    end.handler.setFormatter(formatter)
    end.handler.tick()
    formatter.is_starved = False
    end.handler.tick()
    assert end.lines() == [NOTE.format(dropped)]


def test_what_is_closed_says_nothing_more(end: End) -> None:
    """Its descriptor may be somebody else's by then."""
    formatter = Starved()
    end.handler.setFormatter(formatter)
    end.logger.info("one")
    end.handler.close()
    formatter.is_starved = False
    end.handler.close()
    assert end.lines() == []


def test_sums_are_told_by_ticks_and_at_the_end(end: End) -> None:
    """Of 25 at once ten are written; the rest are one line before the process ends."""
    end.handler.limit()
    for number in range(25):
        end.logger.info("client %d", number)
    end.handler.tick()
    assert len(end.lines()) == 10
    end.handler.close()
    assert end.lines() == ["client 10 ... and 14 more like this in the last 1 s"]


@pytest.mark.parametrize("size", [10, select.PIPE_BUF - 1, select.PIPE_BUF, 10_000])
@pytest.mark.parametrize("text", ["x", "é", "\N{SNOWMAN}", "\U0001f600"])
def test_long_line_goes_on_in_lines_that_a_pipe_takes_whole(size: int, text: str) -> None:
    """Each is at most PIPE_BUF bytes, begins as the first one does, and no character is cut."""
    said = text * size
    pieces = [piece.decode() for piece in in_pieces(LEAD + said)]
    assert all(len(piece.encode()) <= select.PIPE_BUF and piece.endswith("\n") for piece in pieces)
    assert all(piece.startswith(LEAD) for piece in pieces)
    parts = [piece.removeprefix(LEAD).removesuffix("\n") for piece in pieces]
    assert all(part.startswith("... ") for part in parts[1:])
    assert all(part.endswith(" ...") for part in parts[:-1])
    whole = "".join(part.removeprefix("... ").removesuffix(" ...") for part in parts)
    assert whole == said


def test_endless_line_is_cut() -> None:
    """And says so."""
    pieces = in_pieces(LEAD + "x" * 1_000_000)
    assert len(pieces) == MOST_PIECES
    assert pieces[-1].endswith(b" (cut)\n")
    assert len(pieces[-1]) <= select.PIPE_BUF


def test_line_without_a_lead_is_split_too() -> None:
    assert b"".join(in_pieces("x" * 9000)).count(b"x") == 9000
