"""
Where a process hears of later configurations: it takes them over one after the other, and of several that wait only the newest.

Used by workers (``dataplane.arrival``), the prober and the admin process. What is done with a parcel is theirs. Must not block.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import socket
from collections.abc import Awaitable, Callable

from wsproxy.dataplane.post import AGAIN_S, Retire, receive_parcel
from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import OWN_LACKS

log = logging.getLogger("wsproxy.reload")


class Inbox:
    """One a process."""

    def __init__(
        self,
        box: socket.socket,
        take: Callable[[int], Awaitable[None]],
        on_retire: Callable[[Retire], None] = lambda _word: None,
    ) -> None:
        """From now on; ``take`` goes over to the parcel with this descriptor, which is closed afterwards."""
        self._box = box
        self._take = take
        self._on_retire = on_retire
        self._waiting: tuple[int, int] | None = None
        self._is_taking = False
        asyncio.get_running_loop().add_reader(box, self._on_post)

    def _on_post(self) -> None:
        words: list[Retire] = []
        try:
            parcel = receive_parcel(self._box, words)
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._box)  # the supervisor is gone
            return
        for word in words:
            self._on_retire(word)
        if parcel is None:
            return
        if self._waiting is not None:
            os.close(self._waiting[1])
        self._waiting = parcel
        if not self._is_taking:
            self._is_taking = True
            spawn(self._take_all(), "configuration")

    async def _take_all(self) -> None:
        try:
            while self._waiting is not None:
                (generation, fd), self._waiting = self._waiting, None
                try:
                    await self._take_one(generation, fd)
                finally:
                    os.close(fd)
        finally:
            self._is_taking = False

    async def _take_one(self, generation: int, fd: int) -> None:
        """Goes over to it, again and again where only descriptors or memory lack, until a newer one waits."""
        while self._waiting is None:
            try:
                try:
                    await self._take(fd)
                finally:
                    give_back_lists()
            except Exception as error:  # the process goes on as before
                if not _is_lack(error):
                    log.exception(
                        "configuration %d is not taken over; the one before stays", generation
                    )
                    return
                log.error(
                    "configuration %d is not taken over yet: %s; tried again in %g s",
                    generation, getattr(error, "strerror", None) or os.strerror(errno.ENOMEM), AGAIN_S,
                )  # fmt: skip
                await asyncio.sleep(AGAIN_S)
            else:
                return


def give_back_lists() -> None:
    """
    Of memory that Python keeps for later: what reading a configuration leaves behind, some KiB each time, up to megabytes.

    Each object that is unpickled takes a tuple from ``dataclasses.fields``, which goes to a list of free ones and is not taken from
    there by the next. Only a full collection empties these lists. A worker has frozen all that it would look at.
    """
    gc.collect()


def _is_lack(error: Exception) -> bool:
    """Whether it says nothing of the configuration, and may pass."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in OWN_LACKS
    )
