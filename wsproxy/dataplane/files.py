"""
``[fallback] mode = "directory"``: static files where no route matches.

Called by ``dataplane.slowpath``. GET and HEAD, index.html for a folder, no listing. Must not leave the directory: neither by
``..`` nor by a link. For more (ranges, compression, rewriting) let ``[fallback] mode = "upstream"`` name a web server.
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import os
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from wsproxy._fast.downstream import Downstream
from wsproxy.dataplane import answers

log = logging.getLogger("wsproxy.request")

# Read and written at a time: what one loop turn may take, and what a slow client makes us hold.
BLOCK_BYTES = 65536


class FileFallback:
    """Answers from one directory."""

    def __init__(self, directory: Path) -> None:
        """``directory`` must exist."""
        self._root = directory.resolve(strict=True)
        self._waiting: dict[Downstream, asyncio.Event] = {}

    def find(self, target: bytes) -> Path | None:
        """The file that a request target names; None where there is none inside the directory."""
        path = unquote_to_bytes(target.partition(b"?")[0].partition(b";")[0])
        if b"\0" in path or not path.startswith(b"/"):
            return None
        try:
            found = (self._root / path.decode().lstrip("/")).resolve(strict=True)
            if found.is_dir():
                found = (found / "index.html").resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return None
        return found if found.is_relative_to(self._root) and found.is_file() else None

    def open(self, target: bytes) -> tuple[str, BinaryIO] | None:
        """Name and content of the file that a request target names; None also where we may not read it."""
        found = self.find(target)
        try:
            return None if found is None else (found.name, found.open("rb"))
        except OSError as error:
            log.warning("found a file of [fallback] that cannot be read: %s", error)
            return None

    async def answer(self, downstream: Downstream, method: bytes, target: bytes) -> None:
        """Writes the whole answer to one request."""
        facts = downstream.facts
        loop = asyncio.get_running_loop()
        opened = None
        status = 404
        if method in (b"GET", b"HEAD"):
            opened = await loop.run_in_executor(None, self.open, target)
        else:
            status = 405
        if opened is None:
            log.info("%s: %d: no route and no such file", facts["peer"], status)
            downstream.write(
                answers.answer(
                    status, keep_alive=facts["keep_alive"], head_only=facts["head_only"], http10=facts["http10"]
                )
            )
            downstream.answered()
            return
        await self._send(downstream, *opened)

    async def _send(self, downstream: Downstream, name: str, file: BinaryIO) -> None:
        facts = downstream.facts
        loop = asyncio.get_running_loop()
        with file:
            status = os.fstat(file.fileno())
            connection = ("Connection: keep-alive\r\n" if facts["http10"] else "") if facts["keep_alive"] else "Connection: close\r\n"
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {status.st_size}\r\n"
                f"Last-Modified: {formatdate(status.st_mtime, usegmt=True)}\r\n{connection}\r\n"
            )
            room = downstream.write(head.encode())
            left = 0 if facts["head_only"] else status.st_size
            while left and downstream.is_open:
                if not room:
                    await self._wait_for_room(downstream)
                try:
                    block = await loop.run_in_executor(None, file.read, min(BLOCK_BYTES, left))
                except OSError as error:
                    log.warning("found a file of [fallback] that cannot be read: %s", error)
                    block = b""
                if not block:
                    downstream.cut()  # the file was cut short meanwhile: the client must see that
                    return
                left -= len(block)
                room = downstream.write(block)
        downstream.answered()

    async def _wait_for_room(self, downstream: Downstream) -> None:
        event = self._waiting.setdefault(downstream, asyncio.Event())
        try:
            await event.wait()
        finally:
            self._waiting.pop(downstream, None)

    def has_room(self, downstream: Downstream) -> None:
        """The client reads again, or is gone."""
        if (event := self._waiting.get(downstream)) is not None:
            event.set()
