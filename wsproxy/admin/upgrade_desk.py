"""
Asks the supervisor for another program in its place.

Driven by ``admin.server``. The two share a pair of sockets that outlives this process, so an answer may come for a question of
another one: it says who is the proxy all the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import msgspec

from wsproxy.admin.upgrades import UpgradeAnswer, UpgradeQuestion, UpgradeResult
from wsproxy.errors import StartError

# Longer than the supervisor waits for the new program.
ANSWER_S = 150.0
_ANSWER_BYTES = 1 << 16


class UpgradeDesk:
    """One an admin process."""

    def __init__(self, supervisor: socket.socket) -> None:
        """``supervisor``: this process's end of the pair."""
        self._sock = supervisor
        self._number = os.getpid() << 20
        self._lock = asyncio.Lock()
        self._waiting: asyncio.Future[UpgradeResult] | None = None

    def listen(self, on_replaced: Callable[[], None]) -> None:
        """
        From now on; ``on_replaced`` when another program is the proxy, before whoever asked hears of it.

        Also where a process before this one was asked: it may have been killed meanwhile, and the socket that both listen at is the
        other program's by then.
        """
        self._on_replaced = on_replaced
        asyncio.get_running_loop().add_reader(self._sock, self._on_answer)

    async def ask(self, who: str) -> UpgradeResult:
        """
        What became of it.

        Raises:
            StartError: the supervisor is at it already, does not answer, or has ended.
        """
        if self._lock.locked():
            raise StartError("another upgrade is under way; allowed is one at a time")
        async with self._lock:
            self._number += 1
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._sock.send(msgspec.json.encode(UpgradeQuestion(self._number, who)))
                    return await self._waiting
            except ConnectionError as error:
                raise StartError(
                    "the program that was asked has ended meanwhile; `wsproxy status` tells which one is the proxy now"
                ) from error
            except (TimeoutError, BlockingIOError) as error:
                msg = "the supervisor does not answer; the log of the proxy says why"
                raise StartError(msg) from error
            finally:
                self._waiting = None

    def _on_answer(self) -> None:
        try:
            data = self._sock.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        waiting = self._waiting if self._waiting and not self._waiting.done() else None
        if not data:
            asyncio.get_running_loop().remove_reader(self._sock)
            if waiting is not None:
                waiting.set_exception(ConnectionResetError())
            return
        answer = msgspec.json.decode(data, type=UpgradeAnswer)
        if answer.became.result == "in use":
            self._on_replaced()
        if waiting is not None and answer.number == self._number:
            waiting.set_result(answer.became)
