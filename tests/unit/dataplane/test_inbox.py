"""Where a process hears of configurations: what lacks passes, what is wrong does not, and the newest counts."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.support.process import WAIT_S
from wsproxy.dataplane.inbox import Inbox
from wsproxy.dataplane.post import pair, send_parcel


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def send(sock: socket.socket, generation: int) -> None:
    fd = os.memfd_create("parcel")
    os.pwrite(fd, str(generation).encode(), 0)
    send_parcel(sock, generation, fd)
    os.close(fd)


class Taker:
    """Fails with these, one after the other, and then takes."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tried: list[int] = []
        self.taken = asyncio.Event()

    async def __call__(self, fd: int) -> None:
        self.tried.append(int(os.pread(fd, 10, 0)))
        if self.errors:
            raise self.errors.pop(0)
        self.taken.set()


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
async def test_what_lacks_is_waited_for(
    ends: tuple[socket.socket, socket.socket], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    take = Taker(error)
    Inbox(ends[1], take)
    send(ends[0], 7)
    await asyncio.wait_for(take.taken.wait(), WAIT_S)
    assert take.tried == [7, 7]
    assert "configuration 7 is not taken over yet" in caplog.text
    asyncio.get_running_loop().remove_reader(ends[1])


async def test_newer_one_is_not_kept_waiting_by_what_is_wrong(
    ends: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    take = Taker(ValueError("wrong"))
    Inbox(ends[1], take)
    send(ends[0], 7)
    async with asyncio.timeout(WAIT_S):
        while not take.tried:  # noqa: ASYNC110
            await asyncio.sleep(0)
    send(ends[0], 8)
    await asyncio.wait_for(take.taken.wait(), WAIT_S)
    assert take.tried == [7, 8]
    assert "configuration 7 is not taken over; the one before stays" in caplog.text
    asyncio.get_running_loop().remove_reader(ends[1])
