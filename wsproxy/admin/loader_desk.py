"""
Passes questions on to the loader, and its answers back.

Driven by ``admin.server``. The two processes share a pair of sockets that outlives both, so an answer may come for a question of
a process that is gone: it is thrown away.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct

import msgspec
from aiohttp import web

from wsproxy.admin.reloads import (
    HISTORY_PATH,
    RELOAD_PATH,
    ROLLBACK_PATH,
    Entry,
    History,
    LoaderAnswer,
    LoaderQuestion,
    What,
)

# Reading, checking and compiling the largest files takes seconds, and the workers have half a minute to take them over.
ANSWER_S = 90.0

_WHAT: dict[str, What] = {RELOAD_PATH: "reload", ROLLBACK_PATH: "rollback", HISTORY_PATH: "history"}
_UCRED = struct.Struct("3i")  # pid, uid, gid


class LoaderEndedError(Exception):
    """The loader was ended before it answered, and has been started again."""


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a question."""

    is_dry: bool = False
    to: int = 0


class LoaderDesk:
    """One an admin process."""

    def __init__(self, loader: socket.socket) -> None:
        """``loader``: this process's end of the pair."""
        self._sock = loader
        # Of another process that was here before, answers may still come.
        self._number = os.getpid() << 20
        self._waiting: dict[int, asyncio.Future[LoaderAnswer]] = {}
        asyncio.get_running_loop().add_reader(loader, self._on_answer)

    async def ask(self, path: str, body: bytes, who: str) -> Entry | History:
        """
        The loader's answer to a question of this path.

        Raises:
            msgspec.DecodeError: the body is none of such a question.
            LookupError: the loader has no answer; the text says why.
            TimeoutError: it gives none.
            LoaderEndedError: it was ended before; what it was at may be done all the same.
        """
        wanted = msgspec.json.decode(body, type=_Wanted) if body else _Wanted()
        # Not wait_for: with Python 3.11 it loses a cancellation now and then.
        async with asyncio.timeout(ANSWER_S):
            answer = await self._ask(_WHAT[path], wanted, who)
        found = answer.entry or answer.history
        if found is None:
            raise LookupError(answer.error)
        return found

    async def _ask(self, what: What, wanted: _Wanted, who: str) -> LoaderAnswer:
        while True:
            try:
                return await self._ask_once(what, wanted, who)
            except LoaderEndedError:
                # It changes nothing, so it may be asked twice. A loader that begins says so to questions that it is still to read, too.
                if what != "history":
                    raise

    async def _ask_once(self, what: What, wanted: _Wanted, who: str) -> LoaderAnswer:
        self._number += 1
        number = self._number
        waiting: asyncio.Future[LoaderAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._sock.send(
                msgspec.json.encode(LoaderQuestion(number, what, who, wanted.is_dry, wanted.to))
            )
            return await waiting
        except BlockingIOError as error:
            raise TimeoutError from error
        finally:
            del self._waiting[number]

    def on_replaced(self) -> None:
        """Another program has taken over: our loader has ended, and answers nobody any more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    LookupError(
                        "another program has taken over meanwhile (wsproxy upgrade), with what the files said then; ask again"
                    )
                )

    def _on_new_loader(self) -> None:
        """What the one before was asked, nobody answers any more; what it had begun, the new one ends."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LoaderEndedError())

    def _on_answer(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, 64, 1)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._sock)
        for fd in fds:
            with open(fd, "rb") as file:
                answer = msgspec.json.decode(file.read(), type=LoaderAnswer)
            if not answer.number:
                self._on_new_loader()
            waiting = self._waiting.get(answer.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)


def comes_by_tcp(request: web.Request) -> bool:
    """Whether it does not come over the Unix socket; also where nobody knows any more, because the client is gone."""
    sock = request.get_extra_info("socket")
    return sock is None or sock.family != socket.AF_UNIX


def who_asks(request: web.Request) -> str:
    """The user at the other end of the Unix socket, as the kernel knows it: ``root (uid 0)``; by TCP his address."""
    sock = request.get_extra_info("socket")
    if sock is None:
        return "somebody"
    if sock.family != socket.AF_UNIX:
        return f"who has the token (from {request.remote})"
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # nobody of this machine, in a container
        return f"uid {uid}"
