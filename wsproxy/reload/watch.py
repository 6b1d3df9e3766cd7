"""
When a file has changed, and when it is whole: the kernel tells at once, and a look now and then finds what it does not tell.

Driven by ``reload.loader``. A file on a network file system changes without a word, so it is also looked at every
RefreshInterval. Files are replaced, written over, or copied slowly: nothing is read before nobody has touched it for a moment.
Must not read a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from watchfiles import awatch

from wsproxy.config.stamps import Stamp
from wsproxy.reload.sources import look

log = logging.getLogger("wsproxy.reload")
# It tells of every change in a folder. Where our own log stands in there, each line would bring about the next.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

# Nobody has touched the files for so long: an editor, or a copy, pauses less.
QUIET_S = 0.25
# What cannot be used may be half of something: it is told of when nothing has followed for so long.
SETTLED_S = 2.0
# For who keeps touching a file: it is read all the same.
MOST_WAIT_S = 30.0


class Watch:
    """Of these files."""

    def __init__(
        self, files: tuple[Path, ...], seen: Stamp, folders: tuple[Path, ...] = ()
    ) -> None:
        """``seen``: what stood there when the configuration in use was read, or refused. ``folders``: where other files may be followed later."""
        self._files = files
        self._folders = folders
        self.seen = seen
        self._touched = asyncio.Event()
        self._touched.set()

    def follow(self, files: tuple[Path, ...], seen: Stamp) -> None:
        """Other files from now on."""
        self._files, self.seen = files, seen

    def wake(self) -> None:
        """Has ``changed`` look now, and ask how often from now on."""
        self._touched.set()

    async def changed(self, every_s: Callable[[], float]) -> None:
        """
        Returns when the files are others than at the last return, and whole as far as can be seen.

        It looks when the kernel tells of a change, and ``every_s()`` seconds after it has looked last; 0: not at all.
        """
        while True:
            # Not wait_for: with Python 3.11 it loses a cancellation that meets a change, and the loader would not end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s() or None):
                    await self._touched.wait()
            self._touched.clear()
            if every_s() and look(self._files) != self.seen:
                self.seen = await self._quiet(QUIET_S)
                return

    async def stays(self) -> bool:
        """Whether nothing follows for a while; else it has, and the files are whole again as far as can be seen."""
        before = self.seen
        self.seen = await self._quiet(SETTLED_S)
        return self.seen == before

    async def _quiet(self, for_s: float) -> Stamp:
        loop = asyncio.get_running_loop()
        end = loop.time() + MOST_WAIT_S
        now = look(self._files)
        while loop.time() < end:
            await asyncio.sleep(for_s)
            before, now = now, look(self._files)
            if now == before:
                break
        return now

    async def listen(self) -> None:
        """Has the kernel tell, for ever; where it cannot, only looking is left."""
        # The folder: a file that is replaced is another file. And where a link leads to, which is replaced as a whole (Kubernetes).
        folders = {
            folder
            for each in self._files
            for folder in ([each] if each.is_dir() else [each.parent, each.resolve().parent])
        } | set(self._folders)
        # ``awatch`` has told the kernel when it waits for the first time; what changed before that is to be looked for.
        asyncio.get_running_loop().call_soon(self._touched.set)
        try:
            async for _ in awatch(
                *folders, recursive=False, debounce=50, step=20, watch_filter=None
            ):
                self._touched.set()
        except (OSError, RuntimeError) as error:
            log.warning(
                "files are only looked at every RefreshInterval: no change is told of: %s", error
            )
