"""
Requests through the floating address, a fixed number a second, each on a connection of its own; and what became of each.

Driven by ``drill`` and by the acceptance test. A request is lost that has no 2xx within ``LIMIT_S``; none is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from wsproxy.dataplane.tasks import spawn

RATE = 100
LIMIT_S = 0.5
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when, by the loop's clock; how long it took; what came, empty: it is lost, and ``why``."""

    at: float
    took_s: float
    answer: str
    why: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether there was no good answer in time."""
        return bool(self.why)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a stretch of time."""

    sent: int
    lost: int
    outage_s: float  # the longest stretch of lost requests, to the good one behind it
    slowest_s: float
    whys: tuple[str, ...]


class Load:
    """``url``: of the address. Runs until ``stop``."""

    def __init__(self, url: str, rate: int = RATE) -> None:
        """Nothing is sent yet."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._every_s = 1 / rate
        path = parts.path or "/"
        self._head = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        ).encode()
        self._tls: ssl.SSLContext | None = None
        if self._is_tls:  # what is measured is who answers, not what it is called
            self._tls = ssl.create_default_context()
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        self._ended = asyncio.Event()
        self._open = 0
        self._idle = asyncio.Event()
        self.sent: list[Sent] = []

    def begin(self) -> None:
        """Requests are sent from now on."""
        spawn(self._run(), "ha drill load")

    async def stop(self) -> None:
        """None is sent any more, and none runs."""
        self._ended.set()
        async with asyncio.timeout(4 * LIMIT_S + 10):
            await self._idle.wait()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        while not self._ended.is_set():
            self._open += 1
            spawn(self._send(), "ha drill request")
            # Late on a busy machine: those that were missed are not sent at once, which would be another load.
            next_at = max(next_at + self._every_s, loop.time() - self._every_s)
            await asyncio.sleep(max(0.0, next_at - loop.time()))
        self._look()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        answer = why = ""
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._ask()
        except TimeoutError:
            why = "no answer in time"
        except (OSError, EOFError, ValueError) as error:
            # What asyncio says of a refused connection has addresses in it, and no word of the reason.
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number else str(error) or type(error).__name__
        self.sent.append(Sent(at, loop.time() - at, answer, why))
        self._open -= 1
        self._look()

    def _look(self) -> None:
        if self._ended.is_set() and not self._open:
            self._idle.set()

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            writer.write(self._head)
            data = await reader.read(_MOST_BYTES)
            while b"\r\n\r\n" not in data:
                more = await reader.read(_MOST_BYTES)
                if not more:
                    raise EOFError("the connection ended without an answer")
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            status = head.split(b" ", 2)[1]
            if not status.startswith(b"2"):
                raise ValueError(f"status {status.decode('ascii', 'replace')}")
            if not body:
                body = await reader.read(_MOST_BYTES)
            return body.decode("utf-8", "replace").strip()
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    def outcome(self, start: float, end: float) -> Outcome:
        """Of the requests that began within."""
        return outcome_of([each for each in self.sent if start <= each.at < end])


def outcome_of(sent: Sequence[Sent]) -> Outcome:
    """What became of them. Pure."""
    ordered = sorted(sent, key=lambda each: each.at)
    lost = [each for each in ordered if each.is_lost]
    outage_s = 0.0
    since: float | None = None
    for each in ordered:
        if since is not None:
            outage_s = max(outage_s, each.at - since)
        since = (each.at if since is None else since) if each.is_lost else None
    good = [each.took_s for each in ordered if not each.is_lost]
    whys = tuple(sorted({each.why for each in lost}))
    return Outcome(len(ordered), len(lost), outage_s, max(good, default=0.0), whys)
