"""What whoever asks hears where one loader follows another."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
import pytest
import pytest_asyncio

from tests.support.process import WAIT_S
from wsproxy.admin.loader_desk import LoaderDesk, LoaderEndedError
from wsproxy.admin.reloads import (
    HISTORY_PATH,
    RELOAD_PATH,
    History,
    LoaderAnswer,
    LoaderQuestion,
)

NONE = History(7, [], [])


@dataclass(slots=True)
class Loader:
    """The other end of the pair."""

    desk: LoaderDesk
    sock: socket.socket

    async def question(self) -> LoaderQuestion:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 4096), WAIT_S)
        return msgspec.json.decode(data, type=LoaderQuestion)

    def say(self, answer: LoaderAnswer) -> None:
        fd = os.memfd_create("answer")
        try:
            os.pwrite(fd, msgspec.json.encode(answer), 0)
            socket.send_fds(self.sock, [b"."], [fd])
        finally:
            os.close(fd)


@pytest_asyncio.fixture
async def loader() -> AsyncIterator[Loader]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    with ours, theirs:
        yield Loader(LoaderDesk(ours), theirs)
        asyncio.get_running_loop().remove_reader(ours)


async def test_history_is_asked_again_where_a_loader_begins(loader: Loader) -> None:
    """It changes nothing; and the one that begins may not have read the first question yet."""
    asking = asyncio.ensure_future(loader.desk.ask(HISTORY_PATH, b"", "who"))
    first = await loader.question()
    loader.say(LoaderAnswer(0))
    loader.say(LoaderAnswer(first.number, history=History(6, [], [])))
    second = await loader.question()
    assert (second.what, second.number > first.number) == ("history", True)
    loader.say(LoaderAnswer(second.number, history=NONE))
    assert await asyncio.wait_for(asking, WAIT_S) == NONE


async def test_reload_is_asked_once(loader: Loader) -> None:
    """What the one before had begun, the next one ends by itself."""
    asking = asyncio.ensure_future(loader.desk.ask(RELOAD_PATH, b"", "who"))
    assert (await loader.question()).what == "reload"
    loader.say(LoaderAnswer(0))
    with pytest.raises(LoaderEndedError):
        await asyncio.wait_for(asking, WAIT_S)
