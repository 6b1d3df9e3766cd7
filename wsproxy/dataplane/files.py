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
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from wsproxy._fast.http.dates import date_line
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy.dataplane import answers

log = logging.getLogger("wsproxy.request")

# Read and written at a time: what one loop turn may take, and what a slow client makes us hold.
BLOCK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file as it was when it was opened."""

    file: BinaryIO
    kind: str  # media type
    size: int
    changed_s: float


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

    async def answer(
        self, downstream: Downstream, method: bytes, target: bytes, why: str = ""
    ) -> None:
        """Writes the whole answer to one request; ``why`` it comes here, for the log."""
        facts = downstream.facts
        if method not in (b"GET", b"HEAD"):
            log.info("%s: 405: files are only read; %s", facts.peer, why)
            answers.send(downstream, 405, "Allow: GET, HEAD\r\n")
            return
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(None, self.open, target)
        if opened is None:
            log.info("%s: 404: no such file; %s", facts.peer, why)
            answers.send(downstream, 404)
            return
        with opened.file:
            await self._send(downstream, opened)

    def open(self, target: bytes) -> OpenFile | None:
        """The file that a request target names, open; None where it is not there or not readable."""
        found = self.find(target)
        if found is None:
            return None
        try:
            file = found.open("rb")
        except OSError:  # unreadable, or gone since
            return None
        status = os.fstat(file.fileno())
        kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        return OpenFile(file, kind, status.st_size, status.st_mtime)

    async def _send(self, downstream: Downstream, opened: OpenFile) -> None:
        facts = downstream.facts
        loop = asyncio.get_running_loop()
        connection = answers.connection_line(keep_alive=facts.keep_alive, http10=facts.http10)
        head = (
            f"HTTP/1.1 200 OK\r\n{date_line()}"
            f"Content-Type: {opened.kind}\r\nContent-Length: {opened.size}\r\n"
            f"Last-Modified: {formatdate(opened.changed_s, usegmt=True)}\r\n{connection}\r\n"
        )
        room = downstream.write(answers.with_decision(downstream, head.encode()))
        left = 0 if facts.head_only else opened.size
        while left and downstream.is_open:
            if not room:
                await self._wait_for_room(downstream)
            block = await loop.run_in_executor(None, opened.file.read, min(BLOCK_BYTES, left))
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
