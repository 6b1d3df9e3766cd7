"""
Asks the supervisor for another program in its place.

Driven by ``admin.server``. The two share a pair of sockets that outlives this process, so an answer may come for a question of
another one: it is thrown away.
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
        # Another program is the proxy; called before whoever asked hears of it.
        self.on_replaced: Callable[[], None] = lambda: None
        self._number = os.getpid() << 20
        self._lock = asyncio.Lock()

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
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._sock.send(msgspec.json.encode(UpgradeQuestion(self._number, who)))
                    became = await self._answer()
            except (ConnectionError, EOFError) as error:
                raise StartError(
                    "the program that was asked has ended meanwhile; `wsproxy status` tells which one is the proxy now"
                ) from error
            except (TimeoutError, BlockingIOError) as error:
                msg = "the supervisor does not answer; the log of the proxy says why"
                raise StartError(msg) from error
        if became.result == "in use":
            self.on_replaced()
        return became

    async def _answer(self) -> UpgradeResult:
        loop = asyncio.get_running_loop()
        while True:
            if not (data := await loop.sock_recv(self._sock, _ANSWER_BYTES)):
                raise EOFError
            answer = msgspec.json.decode(data, type=UpgradeAnswer)
            if answer.number == self._number:
                return answer.became
