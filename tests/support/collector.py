"""
A collector of traces that takes OTLP over HTTP, and decodes it with OpenTelemetry's own messages.

Driven by the tests of traces. ``answer`` says what it does with each request: 200, another status, or None: it says nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.process import WAIT_S

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
Value = str | int | float | bool


def said(span: Span | Span.Event) -> dict[str, Value]:
    """Its attributes."""
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in span.attributes
    }


@dataclass(slots=True)
class Collector:
    """``port`` it listens on; ``spans`` that it took, ``asked``: how often somebody came."""

    port: int = 0
    answer: int | None = 200
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, Value] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settings(self) -> str:
        """Lines of wsproxy.toml that have spans sent here."""
        return f'[trace]\nendpoint = "http://127.0.0.1:{self.port}"\n'

    def free(self) -> None:
        """Whoever waits for an answer gets one."""
        self._freed.set()

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        status = self.answer
        self._changed.set()
        if status is None:
            await self._freed.wait()
            status = 503
        if status == 200:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resource = {
                    pair.key: pair.value.string_value for pair in each.resource.attributes
                }
                for scope in each.scope_spans:
                    self.spans += scope.spans
        self._changed.set()
        return web.Response(status=status, body=ExportTraceServiceResponse().SerializeToString())

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Waits for something to come after which this holds."""
        async with asyncio.timeout(WAIT_S):
            while not wanted():
                self._changed.clear()
                await self._changed.wait()

    async def traces(self, count: int) -> list[list[Span]]:
        """The spans of so many requests: the server's first, then each try, in their order."""
        await self.until(lambda: len(self.of_kind(SERVER)) >= count)
        found = []
        for server in self.of_kind(SERVER):
            tries = [each for each in self.spans if each.parent_span_id == server.span_id]
            found.append([server, *sorted(tries, key=lambda each: each.start_time_unix_nano)])
        assert len(found) == count
        return found

    def of_kind(self, kind: int) -> list[Span]:
        return [each for each in self.spans if each.kind == kind]


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    """One on 127.0.0.1, for the time of the block."""
    collector = Collector()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        collector.free()
        await runner.cleanup()
