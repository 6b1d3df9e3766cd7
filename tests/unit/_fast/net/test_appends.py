"""Blocks of lines go to a file without Python, until there is something to decide."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsproxy._fast.net.appends import Blocks, append_lines, is_file

WAIT_MS = 1000


def opened(path: Path) -> tuple[int, int]:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return fd, os.open(path, os.O_RDONLY)


def test_a_file_is_the_one_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd, reader = opened(path)
    assert is_file(os.fsencode(path), fd)
    path.rename(tmp_path / "other")
    assert not is_file(os.fsencode(path), fd)
    path.touch()
    assert not is_file(os.fsencode(path), fd)
    os.close(fd)
    os.close(reader)


def test_blocks_are_written_in_their_order_until_the_file_is_another_one(tmp_path: Path) -> None:
    """The block that finds no file there is not lost: it comes back, with nothing of it written."""
    path = tmp_path / "log"
    fd, reader = opened(path)
    blocks = Blocks()
    with ThreadPoolExecutor(1) as thread:
        for number in range(50):
            blocks.put(b"line %d\n" % number)
        path.rename(tmp_path / "first")
        writing = thread.submit(blocks.write, os.fsencode(path), fd, reader, False, WAIT_MS)
        assert writing.result()
        assert (blocks.lines, blocks.taken, blocks.error) == (b"line 0\n", 0, 0)
        (tmp_path / "first").rename(path)
        blocks.ask()
        assert thread.submit(blocks.write, os.fsencode(path), fd, reader, False, WAIT_MS).result()
        assert (blocks.lines, blocks.taken, blocks.error) == (b"line 1\n", 0, 0)
        blocks.end()
        assert not thread.submit(
            blocks.write, os.fsencode(path), fd, reader, False, WAIT_MS
        ).result()
    assert blocks.lines is None
    text = b"".join(b"line %d\n" % number for number in range(2, 50))
    assert path.read_bytes() == text
    assert blocks.done == len(text)
    os.close(fd)
    os.close(reader)


def test_without_a_file_each_block_comes_back() -> None:
    blocks = Blocks()
    blocks.put(b"a\n")
    blocks.put(b"b\n")
    blocks.end()
    found = []
    while blocks.write(b"", -1, -1, False, WAIT_MS):
        found.append(blocks.lines)
    assert found == [b"a\n", b"b\n"]
    assert blocks.done == 0


@pytest.fixture
def small_files() -> object:
    """No file may have more than 10 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_what_a_full_disk_took_is_said_and_the_next_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd, reader = opened(path)
    blocks = Blocks()
    blocks.put(b"one\n")
    blocks.put(b"two three\n")
    blocks.put(b"four\n")
    assert blocks.write(os.fsencode(path), fd, reader, False, WAIT_MS)
    assert (blocks.lines, blocks.taken, blocks.error) == (b"two three\n", 6, errno.EFBIG)
    assert blocks.is_torn
    os.truncate(path, 7)
    assert append_lines(fd, reader, b"4\n", True, WAIT_MS) == (2, 0, False)
    assert path.read_bytes() == b"one\ntwo\n4\n"
    assert append_lines(fd, -1, b"5\n", True, WAIT_MS) == (0, errno.EFBIG, True)
    os.close(fd)
    os.close(reader)


@pytest.mark.timeout(30)
def test_who_keeps_the_lock_holds_up_one_block_and_no_more(tmp_path: Path) -> None:
    """Whoever may read the log can lock it: a tool that does so for hours must not cost each block half a second."""
    path = tmp_path / "log"
    fd, reader = opened(path)
    keeper = os.open(path, os.O_RDONLY)
    fcntl.flock(keeper, fcntl.LOCK_SH)
    blocks = Blocks()
    for number in range(200):
        blocks.put(b"line %d\n" % number)
    blocks.end()
    assert not blocks.write(os.fsencode(path), fd, reader, False, WAIT_MS)
    assert path.read_bytes() == b"".join(b"line %d\n" % number for number in range(200))
    for each in (keeper, reader, fd):
        os.close(each)
