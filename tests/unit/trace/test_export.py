"""What a collector answers is somebody else's word: numbers, statuses and sizes cost spans at most, and each is counted once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.process import WAIT_S
from wsproxy.trace.export import MOST_WHY, Exporter
from wsproxy.trace.spans import resource

SPANS = 3


def answer(body: bytes = b"", status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def rejecting(count: int, why: str = "") -> bytes:
    said = ExportTraceServiceResponse()
    said.partial_success.rejected_spans = count
    said.partial_success.error_message = why
    return answer(said.SerializeToString())


@dataclass(slots=True)
class Bed:
    """``answers``: of the requests that come, one each; None: it says nothing, and waits."""

    answers: list[bytes | None]
    exporter: Exporter | None = None
    counted: list[tuple[int, int]] = field(default_factory=list)
    bodies: list[ExportTraceServiceRequest] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.bodies.append(ExportTraceServiceRequest.FromString(await reader.readexactly(length)))
        self.came.set()
        said = self.answers.pop(0)
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()

    async def send(self, *, most_s: float = 10.0) -> tuple[int, int]:
        """What is counted for a batch of three spans: taken, lost."""
        assert self.exporter is not None
        before = len(self.counted)
        async with self.exporter._session() as session, asyncio.timeout(WAIT_S):
            await self.exporter._export(session, [Span(name="x")] * SPANS, most_s)
        counted = self.counted[before:]
        return sum(taken for taken, _ in counted), sum(lost for _, lost in counted)


@asynccontextmanager
async def facing(*answers: bytes | None) -> AsyncIterator[Bed]:
    bed = Bed(list(answers))
    server = await asyncio.start_server(bed.take, "127.0.0.1", 0)
    async with server:
        bed.exporter = Exporter(
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces",
            resource("wsproxy", "here"),
            dict,
            lambda taken, lost: bed.counted.append((taken, lost)),
        )
        yield bed


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (rejecting(0), (3, 0)),
        (rejecting(2), (1, 2)),
        (rejecting(-5), (3, 0)),
        (rejecting(1 << 62), (0, 3)),
        (answer(b"\xff garbage"), (3, 0)),
        (answer(status="999 x"), (0, 3)),
        (answer(status="302 x", more="Location: http://127.0.0.1:1/\r\n"), (0, 3)),
    ],
)
async def test_no_answer_makes_a_count_go_back(said: bytes, counted: tuple[int, int]) -> None:
    """Of what went each span is taken or lost, and none twice."""
    async with facing(said) as bed:
        assert await bed.send() == counted
        assert all(taken >= 0 and lost >= 0 for taken, lost in bed.counted)


async def test_spans_that_are_rejected_are_told_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In one line of the log, of a length that has an end."""
    async with facing(rejecting(2, "too\nold " + "x" * 9999)) as bed:
        await bed.send()
    (record,) = caplog.records
    assert "it rejected 2 of 3: too\\nold xxx" in record.getMessage()
    assert "; 2 are lost" in record.getMessage()
    assert len(record.getMessage()) < MOST_WHY + 300


async def test_a_collector_that_comes_and_goes_is_told_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with facing(*[answer(status="400 x"), answer()] * 3) as bed:
        for _ in range(3):
            assert await bed.send() == (0, 3)
            assert await bed.send() == (3, 0)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, told
    assert "does not take spans" in told[0]
    assert "takes spans again" in told[1]


async def test_what_is_on_its_way_when_the_tracer_ends_goes_again() -> None:
    async with facing(None, answer()) as bed:
        assert bed.exporter is not None
        sending = asyncio.ensure_future(bed.send())
        await asyncio.wait_for(bed.came.wait(), WAIT_S)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert bed.counted == []
        await bed.exporter.export_rest(WAIT_S)
        assert bed.counted == [(3, 0)]
        assert len(bed.bodies) == 2
        await bed.exporter.export_rest(WAIT_S)
        assert len(bed.bodies) == 2
