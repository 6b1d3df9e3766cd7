"""
Sends files: reads in a thread, or at once what the kernel has in memory, and never more ahead than a client takes.

Driven by ``dataplane.slowpath``, one a worker. The event loop waits for no disk: ``preadv2(2)`` with RWF_NOWAIT reads only what is
there. Threads of its own: a file system that hangs must not hold up what else the loop's threads do, as looking up names.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from http import HTTPStatus

from wsproxy._fast.http.dates import date_line
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy.dataplane import answers
from wsproxy.dataplane.conditions import Fields
from wsproxy.dataplane.files import FileAnswer, FileSite
from wsproxy.errors import OWN_LACKS

log = logging.getLogger("wsproxy.request")

# Read and written at a time: what one turn of the loop may take, and what a slow client makes us hold.
BLOCK_BYTES = 65536
# Files that are opened or read at the same time; more wait. A disk does not get faster by more.
THREADS = 8
_NOT_NOW = frozenset((errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)


class FileSender:
    """Answers with files of any ``FileSite``."""

    def __init__(self) -> None:
        """No thread before the first file."""
        self._waiting: dict[Downstream, asyncio.Event] = {}

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, "files")

    async def answer(
        self, site: FileSite, downstream: Downstream, method: bytes, target: bytes, fields: Fields, why: str
    ) -> None:  # fmt: skip
        """Writes the whole answer to one request; ``why`` it comes here, for the log."""
        facts = downstream.facts
        if method not in (b"GET", b"HEAD"):
            log.info("%s: 405: files are only read; %s", facts.peer, why)
            answers.send(downstream, 405, "Allow: GET, HEAD\r\n")
            return
        work = partial(
            site.answer, target, fields, is_head=facts.head_only, now_s=time.time_ns() / 1e9
        )
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:  # we have no descriptors left, or the disk does not answer
            status = 503 if error.errno in OWN_LACKS else 500
            log.warning("%s: %d: %s; %s", facts.peer, status, error.strerror or error, why)
            answers.send(downstream, status)
            return
        try:
            if found.page:
                log.info(
                    "%s: %d: %s; %s",
                    facts.peer, found.status, found.why or HTTPStatus(found.status).phrase, why,
                )  # fmt: skip
                answers.send(downstream, found.status, found.lines)
            else:
                await self._send(downstream, found)
        finally:
            if found.file >= 0:
                os.close(found.file)

    async def _send(self, downstream: Downstream, found: FileAnswer) -> None:
        facts = downstream.facts
        connection = answers.connection_line(keep_alive=facts.keep_alive, http10=facts.http10)
        phrase = HTTPStatus(found.status).phrase
        head = f"HTTP/1.1 {found.status} {phrase}\r\n{date_line()}{found.lines}{connection}\r\n"
        room = downstream.write(answers.with_decision(downstream, head.encode()) + found.first)
        at = found.at + len(found.first)
        end = found.at + found.length
        while at < end and downstream.is_open:
            if not room:
                await self._wait_for_room(downstream)
                if not downstream.is_open:
                    return
            block = await self._read(found.file, min(BLOCK_BYTES, end - at), at)
            if not block:
                downstream.cut()  # the file was cut short meanwhile: the client must see that
                return
            at += len(block)
            room = downstream.write(block)
        downstream.answered()

    async def _read(self, file: int, length: int, at: int) -> bytes:
        """The next bytes; none: the file ends here. Others have their turn in any case."""
        if _NO_WAIT:
            block = bytearray(length)
            try:
                count = os.preadv(file, (block,), at, _NO_WAIT)
            except OSError as error:
                if error.errno not in _NOT_NOW:
                    raise
            else:
                if count:
                    await asyncio.sleep(0)
                    return bytes(memoryview(block)[:count])
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, os.pread, file, length, at
        )

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
