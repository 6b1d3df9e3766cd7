"""
Batches of spans on their way to a collector: OTLP over HTTP, with time limits, repeats and an end to both.

Driven by ``trace.tracer``. A collector that is slow, full or gone costs spans, which are counted, and nothing else: what waits here is
bounded, and whoever sends records is told by a socket that takes no more. opentelemetry-proto has the messages, aiohttp sends them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from wsproxy.config.problems import printable
from wsproxy.trace.records import RecordError, read
from wsproxy.trace.spans import batch_of, spans_of

log = logging.getLogger("wsproxy.trace")

# The conventions' own numbers for a batch processor: 512 spans, a request each 5 s at least; a second, so that people see what they do.
MOST_RECORDS = 256
LINGER_S = 1.0
# Records that wait: some ten thousand.
MOST_WAITING_BYTES = 8 << 20
# Of one request to the collector (OTEL_EXPORTER_OTLP_TIMEOUT's default), and of all that are made for one batch.
TIMEOUT_S = 10.0
MOST_S = 60.0
FIRST_AGAIN_S = 1.0
LAST_AGAIN_S = 15.0
# What OTLP says may be tried again; all else says that it will not be taken later either.
RETRIED = frozenset((429, 502, 503, 504))
TOLD_S = 60.0
MOST_ANSWER = 65536
# Of what a collector says, in one line of the log.
MOST_WHY = 300

# So many spans went, so many were lost.
OnSpans = Callable[[int, int], None]


class _NotTakenError(Exception):
    """The collector did not take a batch; ``again_s``: it may later, None: it never will."""

    def __init__(self, why: str, again_s: float | None) -> None:
        super().__init__(why)
        self.again_s = again_s


@dataclass(slots=True)
class Exporter:
    """``headers``: asked for each export, so that a token can be replaced."""

    url: str
    whose: Resource
    headers: Callable[[], dict[str, str]]
    on_spans: OnSpans
    timeout_s: float = TIMEOUT_S
    most_s: float = MOST_S
    linger_s: float = LINGER_S
    _waiting: deque[bytes] = field(default_factory=deque)
    _bytes: int = 0
    _come: asyncio.Event = field(default_factory=asyncio.Event)
    _told_at: float = -TOLD_S
    _untold: int = 0
    _is_failing: bool = False  # and it was said
    _unsent: list[Span] = field(default_factory=list)  # what was on its way when the tracer ended

    @property
    def has_room(self) -> bool:
        """Whether more records may come."""
        return self._bytes < MOST_WAITING_BYTES

    def add(self, record: bytes) -> None:
        """One more."""
        self._waiting.append(record)
        self._bytes += len(record)
        self._come.set()

    async def export_all(self) -> None:
        """For ever."""
        async with self._session() as session:
            while True:
                await self._come.wait()
                if len(self._waiting) < MOST_RECORDS:
                    await asyncio.sleep(self.linger_s)
                await self._export(session, self._take(), self.most_s)

    async def export_rest(self, most_s: float) -> None:
        """What is here, within so many seconds; the rest is lost."""
        until = time.monotonic() + most_s
        async with self._session() as session:
            while spans := self._unsent or (self._take() if self._waiting else []):
                self._unsent = []
                await self._export(session, spans, max(until - time.monotonic(), 0.0))

    def _session(self) -> aiohttp.ClientSession:
        # A proxy of the environment is for this one's servers no more than for its collector: it says so in wsproxy.toml, or not at all.
        return aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())

    def _take(self) -> list[Span]:
        spans: list[Span] = []
        for _ in range(min(len(self._waiting), MOST_RECORDS)):
            record = self._waiting.popleft()
            self._bytes -= len(record)
            try:
                spans += spans_of(read(record))
            except (RecordError, ValueError):
                log.exception("internal error: a request has no spans")
                self.on_spans(0, 1)
        if not self._waiting:
            self._come.clear()
        return spans

    async def _export(
        self, session: aiohttp.ClientSession, spans: list[Span], most_s: float
    ) -> None:
        """Sends these, again and again where that may help, and for so long at most; cancelled, it leaves them to ``export_rest``."""
        if not spans:
            return
        try:
            await self._send(session, spans, most_s)
        except asyncio.CancelledError:
            # The collector may have them: it gets them twice rather than never, as with every repeat.
            self._unsent = spans
            raise

    async def _send(self, session: aiohttp.ClientSession, spans: list[Span], most_s: float) -> None:
        data = batch_of(self.whose, spans).SerializeToString()
        until = time.monotonic() + most_s
        again_s = FIRST_AGAIN_S
        while True:
            left_s = until - time.monotonic()
            try:
                if left_s <= 0:
                    raise _NotTakenError("there was no time left", None)
                rejected, why = await self._post(session, data, min(self.timeout_s, left_s))
            except _NotTakenError as error:
                wait_s = max(error.again_s or 0.0, again_s * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                if error.again_s is None or time.monotonic() + wait_s >= until:
                    self._lose(len(spans), str(error))
                    return
                self._fails(str(error))
                await asyncio.sleep(wait_s)
                again_s = min(2 * again_s, LAST_AGAIN_S)
            else:
                # A number like any other that came from elsewhere: a counter must not go back for it.
                rejected = min(max(rejected, 0), len(spans))
                self.on_spans(len(spans) - rejected, 0)
                if rejected:
                    self._lose(
                        rejected, f"it rejected {rejected} of {len(spans)}: {why}".rstrip(": ")
                    )
                else:
                    self._goes_on()
                return

    async def _post(
        self, session: aiohttp.ClientSession, data: bytes, timeout_s: float
    ) -> tuple[int, str]:
        """How many spans of these the collector says that it did not want, and why."""
        try:
            async with session.post(
                self.url,
                data=data,
                headers={"Content-Type": "application/x-protobuf", **self.headers()},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(MOST_ANSWER)
                if answer.status in RETRIED:
                    raise _NotTakenError(f"it answered {answer.status}", _seconds_of(answer))
                if not 200 <= answer.status < 300:
                    raise _NotTakenError(f"it answered {answer.status}", None)
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise _NotTakenError(why, 0.0) from error
        try:
            taken = ExportTraceServiceResponse.FromString(body)
            return int(taken.partial_success.rejected_spans), str(
                taken.partial_success.error_message
            )
        except DecodeError:
            return 0, ""  # it took them, whatever it says

    # --- what is told ------------------------------------------------------------------------------------------------

    def _lose(self, spans: int, why: str) -> None:
        self.on_spans(0, spans)
        self._untold += spans
        self._fails(why)

    def _fails(self, why: str) -> None:
        """Once, and then once a minute."""
        now = time.monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            self._is_failing = True
            lost, self._untold = self._untold, 0
            log.warning(
                "trace.endpoint: %s does not take spans: %s; %d are lost since it was last said; requests are served as always",
                self.url, printable(why[:MOST_WHY]), lost,
            )  # fmt: skip

    def _goes_on(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.warning("trace.endpoint: %s takes spans again; %d are lost", self.url, self._untold)
            self._untold = 0


def _seconds_of(answer: aiohttp.ClientResponse) -> float:
    """Retry-After, where it is a number."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LAST_AGAIN_S) if text.isascii() and text.isdigit() else 0.0
