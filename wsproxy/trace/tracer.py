"""
The tracer: the one process that gets records of sampled requests from all workers, and has a collector take their spans.

Started by ``process.supervisor`` where ``trace.endpoint`` is set, and again should it end: records wait in the socket and in the workers
meanwhile, as far as there is room. Must not keep anybody waiting: where nothing goes on here, records are dropped, and counted, there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

from wsproxy._fast.state.meters import BlockKind, Meters, WorkerWord
from wsproxy.config.settings_told import TraceSettings
from wsproxy.dataplane.tasks import end_all, keep_turning, log_loop_error, run, spawn
from wsproxy.trace.export import Exporter
from wsproxy.trace.headers import HeadersFile
from wsproxy.trace.records import RecordError, split
from wsproxy.trace.spans import resource

log = logging.getLogger("wsproxy.trace")

# What a worker sends at once is less: ``dataplane.tracing.MOST_AT_ONCE`` and one record more.
MOST_MESSAGE = 131072
# How soon it is looked whether there is room again.
FULL_S = 0.1


@dataclass(slots=True)
class Intake:
    """Records from the workers' socket, as long as there is room for them; ``ended`` when no worker is left."""

    sock: socket.socket
    exporter: Exporter
    ended: asyncio.Event

    def listen(self) -> None:
        """From now on."""
        if not self.ended.is_set():
            asyncio.get_running_loop().add_reader(self.sock, self._take)

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = self.sock.recv(MOST_MESSAGE)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            loop.remove_reader(self.sock)
            self.ended.set()
            return
        try:
            for record in split(data):
                self.exporter.add(record)
        except RecordError as error:
            log.error("internal error: a worker sent what is no record: %s", error)
        if not self.exporter.has_room:
            loop.remove_reader(self.sock)
            loop.call_later(FULL_S, self._look_for_room)

    def _look_for_room(self) -> None:
        if self.exporter.has_room:
            self.listen()
        else:
            asyncio.get_running_loop().call_later(FULL_S, self._look_for_room)


def run_tracer(
    sock: socket.socket,
    settings: TraceSettings,
    instance: str,
    meters: Meters | None,
    on_turn: Callable[[], None],
) -> int:
    """
    Exports until nobody holds the other end of ``sock`` any more; the exit code. SIGTERM does not end it: workers may have more, the supervisor ends them first.

    ``instance``: service.instance.id. ``on_turn`` is called once a second.
    """
    run(serve(sock, settings, instance, meters, on_turn))
    return 0


async def serve(
    sock: socket.socket,
    settings: TraceSettings,
    instance: str,
    meters: Meters | None,
    on_turn: Callable[[], None],
) -> None:
    """See ``run_tracer``."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)

    def on_spans(sent: int, lost: int) -> None:
        if meters is not None:
            row = meters.workers, BlockKind.WORKER_BLOCK, 0
            meters.count(*row, WorkerWord.SPANS_SENT, sent)
            meters.count(*row, WorkerWord.SPANS_LOST, lost)

    headers = HeadersFile(settings.headers_file)
    exporter = Exporter(
        traces_url(settings.endpoint),
        resource(settings.service_name, instance),
        headers.read,
        on_spans,
    )
    ended = asyncio.Event()
    sock.setblocking(False)
    Intake(sock, exporter, ended).listen()
    keep_turning(on_turn)
    spawn(exporter.export_all(), "traces")
    await ended.wait()
    await end_all()
    await exporter.export_rest(settings.last_s)


def traces_url(endpoint: str) -> str:
    """Where spans go: what OTEL_EXPORTER_OTLP_ENDPOINT means, to which the path of the signal is added."""
    base = endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"
