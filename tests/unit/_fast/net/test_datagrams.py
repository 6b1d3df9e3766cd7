"""Each line in a datagram of its own, whole; where the other side takes none, how far it came is told."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from wsproxy._fast.net.datagrams import MOST_MESSAGE, send_lines

pytestmark = pytest.mark.asan


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_each_line_is_a_datagram(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    lines = b"first\nsecond line\n\nlast"
    assert send_lines(one.fileno(), lines, 0) == (len(lines), 0)
    assert [other.recv(99) for _ in range(4)] == [b"first", b"second line", b"", b"last"]
    assert send_lines(one.fileno(), lines, 6) == (len(lines), 0)
    assert other.recv(99) == b"second line"
    assert send_lines(one.fileno(), b"", 0) == (0, 0)


def test_a_line_that_no_datagram_takes_is_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    lines = b"x" * 100_000 + b"\nnext\n"
    assert send_lines(one.fileno(), lines, 0) == (len(lines), 0)
    assert [len(other.recv(1 << 20)) for _ in range(2)] == [MOST_MESSAGE, 4]


def test_where_it_stopped_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """At the first line that was not taken: whoever goes on there sends each once."""
    one, other = pair
    lines = b"%08d\n" * 10_000 % tuple(range(10_000))
    at, error = send_lines(one.fileno(), lines, 0)
    assert error == errno.EAGAIN
    assert 0 < at < len(lines)
    found = []
    while True:
        try:
            found.append(other.recv(99))
        except BlockingIOError:
            break
        if at < len(lines):
            at, error = send_lines(one.fileno(), lines, at)
    assert found == lines.split()
    other.close()
    assert send_lines(one.fileno(), b"a\n", 0) == (0, errno.ECONNREFUSED)
    with pytest.raises(ValueError, match=r"found start 3; allowed is 0\.\.2"):
        send_lines(one.fileno(), b"a\n", 3)
