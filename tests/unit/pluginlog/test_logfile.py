"""The file of http_plugin.log on real files: order, rotation, and a disk that stands still."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from wsproxy.pluginlog import logfile
from wsproxy.pluginlog.logfile import LogFile, open_log
from wsproxy.pluginlog.writer import Stamp


def read_all(fd: int) -> bytes:
    """Everything up to the end of the writer."""
    data = b""
    while piece := os.read(fd, 1 << 20):
        data += piece
    return data


async def test_lines_are_written_in_their_order_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("there\n")
    file = LogFile(str(path))
    for number in range(1000):
        file.add(f"line {number}\n")
    file.add("not UTF-8: \udcff\n")
    file.close()
    lines = path.read_bytes().splitlines()
    assert lines == [
        b"there",
        *(f"line {number}".encode() for number in range(1000)),
        b"not UTF-8: \xff",
    ]
    assert file.missing == 0


async def test_a_disk_that_stands_still_costs_bounded_memory(tmp_path: Path) -> None:
    """A pipe that nobody reads: above the limit lines are dropped and counted, and adding never waits."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    line = "x" * 1023 + "\n"
    count = 3 * logfile.MOST_WAITING // len(line)
    for _ in range(count):
        file.add(line)
    missing = file.missing
    assert 0 < missing < count
    assert count - missing <= logfile.MOST_WAITING // len(line) + 1
    assert file.missing == 0  # told once
    os.set_blocking(reader, True)
    closing = asyncio.to_thread(file.close)
    data, _ = await asyncio.gather(asyncio.to_thread(read_all, reader), closing)
    os.close(reader)
    assert data == line.encode() * (count - missing)


async def test_a_line_that_was_written_in_part_is_ended_first(tmp_path: Path) -> None:
    """What follows a full disk begins on a line of its own."""
    path = tmp_path / "log"
    file = LogFile(str(path))
    file._fd = open_log(str(path))
    os.write(file._fd, b"half a li")
    file._is_torn = True
    file.add("whole\n")
    file.close()
    assert path.read_text() == "half a li\nwhole\n"


@pytest.mark.timeout(20)
def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    """It would never end, before the proxy has said a word; with a reader it is a file like others, which blocks."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        open_log(str(pipe))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = open_log(str(pipe))
    try:
        assert os.get_blocking(writer)
    finally:
        os.close(writer)
        os.close(reader)


def test_both_dates_with_five_digits_of_a_second() -> None:
    at = 1406633327.86034
    new, old = Stamp("new").at(at), Stamp("old").at(at)
    assert re.fullmatch(r"\[\d\d/Jul/2014:\d\d:\d\d:47\.86034\]", new)
    assert re.fullmatch(r"\[(Mon|Tue|Wed) Jul \d\d \d\d:\d\d:47 2014\]", old)
    stamp = Stamp("new")
    assert stamp.at(at) == new
    assert stamp.at(at + 0.1) == new.replace(".86034", ".96034")
    assert ":48.06034]" in stamp.at(at + 0.2)
