"""The file of http_plugin.log on real files: order, rotation, and a disk that stands still."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import resource
import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.process import WAIT_S
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.logs import file as logfile
from wsproxy.logs.file import AppendedFile, LogFile, open_log
from wsproxy.logs.plugin_writer import LogPlan, Stamp
from wsproxy.logs.probe_writer import tell_awaited


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


class Starved(LogFile):
    """Finds no memory the first time."""

    is_fed = False

    def _write(self, lines: bytes, taken: int, number: int) -> None:
        if not self.is_fed:
            self.is_fed = True
            raise MemoryError
        super()._write(lines, taken, number)


async def test_thread_that_finds_no_memory_loses_these_lines_and_writes_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    file = Starved(str(path))
    file.add("one\ntwo\n")
    file.flush()
    file.add("three\n")
    file.close()
    assert path.read_text() == "three\n"
    assert file.missing == 2
    assert "Cannot allocate memory; lines are dropped" in caplog.text


def until_size(path: Path, size: int) -> None:
    """It has so many bytes, or more."""
    deadline = time.monotonic() + WAIT_S
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_handed_over_is_written_for_a_wake_for_a_mebibyte_and_at_the_end(
    tmp_path: Path,
) -> None:
    """Blocks of 64 KiB, in their order, also where the file was moved away behind the first."""
    path = tmp_path / "log"
    file = LogFile(str(path))
    file.hand_over(b"first\n", 1)
    file.wake()
    until_size(path, 6)
    path.rename(moved := tmp_path / "moved")
    blocks = [bytes([0x61 + number]) * 65535 + b"\n" for number in range(20)]
    for block in blocks:
        file.hand_over(block, 1)
    until_size(path, 1 << 20)
    file.hand_over(b"last\n", 1)
    file.close()
    assert path.read_bytes() == b"".join(blocks) + b"last\n"
    assert moved.read_bytes() == b"first\n"
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
    # Before the thread has opened it, a pipe has no writer, and reads as one that ended.
    readable, _, _ = await asyncio.to_thread(select.select, [reader], [], [], WAIT_S)
    assert readable
    os.set_blocking(reader, True)
    closing = asyncio.to_thread(file.close)
    data, _ = await asyncio.gather(asyncio.to_thread(read_all, reader), closing)
    os.close(reader)
    assert data == line.encode() * (count - missing)


async def test_a_slow_disk_gets_everything_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long all of it takes: as long as it moves, nothing is given up."""
    monkeypatch.setattr(logfile, "CLOSE_S", 0.5)
    monkeypatch.setattr(
        logfile, "BLOCK", 1 << 16
    )  # each read below moves it, however seldom they come
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    line = "x" * 1023 + "\n"
    count = 6 * 1024
    for _ in range(count):
        file.add(line)
    closing = asyncio.ensure_future(asyncio.to_thread(file.close))
    data = b""
    while not closing.done():
        with suppress(BlockingIOError):
            data += os.read(reader, 65536)
        await asyncio.sleep(0.01)  # some 6 MB/s
    await closing
    # What is in the pipe now is all that ever comes: the process would be gone.
    with suppress(BlockingIOError):
        data += os.read(reader, 1 << 20)
    os.close(reader)
    assert len(data) == count * len(line)


async def test_a_disk_that_stands_still_is_given_up_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop does not wait for it; how much it cost is said."""
    monkeypatch.setattr(logfile, "CLOSE_S", 0.1)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    size = 3 * logfile.BLOCK
    file.add("x" * (size - 1) + "\n")
    await asyncio.to_thread(file.close)
    assert f"stands still for 0.1 s; {size} bytes are lost" in caplog.text
    os.close(reader)  # and ends the thread


@contextmanager
def most_file_size(size: int) -> Iterator[None]:
    """No file of this process grows above ``size``: as on a full disk, a write takes what fits and the next one nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_half_line_of_one_worker_is_ended_by_the_other(tmp_path: Path) -> None:
    """Who did not write it cannot know of it, and looks."""
    path = str(tmp_path / "log")
    torn, other = AppendedFile(path), AppendedFile(path)
    with most_file_size(20):
        rest, error = torn.append(b"first line\nsecond line\n")
    assert rest == b"ne\n"
    assert error is not None
    assert error.errno == errno.EFBIG
    assert other.append(b"third line\n") == (b"", None)
    assert torn.append(b"fourth line\n") == (b"", None)
    assert Path(path).read_bytes() == b"first line\nsecond li\nthird line\nfourth line\n"
    torn.close()
    other.close()


async def test_the_half_line_of_a_process_that_is_gone_is_ended_first(tmp_path: Path) -> None:
    """What follows a full disk, a SIGKILL or a crash begins on a line of its own; the lost line is counted."""
    path = tmp_path / "log"
    path.write_text("half a li")
    file = LogFile(str(path))
    file.add("whole\n")
    file.close()
    assert path.read_text() == "half a li\nwhole\n"
    assert file.missing == 0


async def test_where_a_file_cannot_be_looked_at_the_own_half_line_is_known(tmp_path: Path) -> None:
    """A file that may only be written, or a place without /proc."""
    path = tmp_path / "log"
    file = AppendedFile(str(path))
    os.close(file.reader)
    file.reader = -1
    with most_file_size(4):
        file.append(b"a line\n")
    file.append(b"another\n")
    file.close()
    assert path.read_bytes() == b"a li\nanother\n"


def test_writers_wait_for_each_other_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is amid its write, what the file ends with says nothing; one that is stopped there holds nobody up."""
    path = str(tmp_path / "log")
    monkeypatch.setattr(logfile, "LOCK_MS", 60_000)
    writing, other = AppendedFile(path), AppendedFile(path)
    fcntl.flock(writing.fd, fcntl.LOCK_EX)
    os.write(writing.fd, b"begun ")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.append, b"other\n")
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        os.write(writing.fd, b"and ended\n")
        fcntl.flock(writing.fd, fcntl.LOCK_UN)
        assert waiting.result() == (b"", None)
    fcntl.flock(writing.fd, fcntl.LOCK_EX)
    monkeypatch.setattr(logfile, "LOCK_MS", 50)
    assert other.append(b"at last\n") == (b"", None)
    writing.close()
    other.close()
    assert Path(path).read_bytes() == b"begun and ended\nother\nat last\n"


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


@pytest.mark.timeout(20)
def test_a_start_does_not_wait_for_the_reader_of_a_full_pipe(tmp_path: Path) -> None:
    """Nor does a reload, nor whoever tells of servers that a probe is awaited for: none of them has a thread for it."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    try:
        plan = LogPlan(pipe, int(LogLevel.TRACE), "new")
        with pytest.raises(BlockingIOError):
            plan.begin()
        tell_awaited(plan, SharedState(1, 1), [("cluster", "server")])
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
