"""
Traces, before the first fork: whether they can be made, and the way of records from the workers to the tracer.

Driven by ``process.start`` and ``process.check_start``. The supervisor keeps both ends open, so that neither a worker's death nor the
tracer's loses what is on the way; what each child does not need it closes.
"""

from __future__ import annotations

import importlib.util
import socket
from contextlib import suppress
from dataclasses import dataclass

from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.errors import Problem, StartError
from wsproxy.trace.headers import HeadersFile

EXTRA = "otel"
# The kernel gives less where net.core.wmem_max says so.
WAY_BYTES = 1 << 20


def doubt_traces(loaded: LoadedSettings) -> Problem | None:
    """Why there can be no traces; None: there can, or none are wanted. # I/O."""
    try:
        check_traces(loaded.settings)
    except StartError as error:
        name = "headers_file" if "header" in str(error) else "endpoint"
        return loaded.problem("error", "setting-value", ("trace", name), str(error))
    return None


def check_traces(settings: Settings) -> None:
    """
    Whether what ``[trace]`` wants is there. # I/O.

    Raises:
        StartError: it is not.
    """
    if not settings.trace.endpoint:
        return
    if not _has_proto():
        raise StartError(
            f'trace.endpoint: found "{settings.trace.endpoint}", and OpenTelemetry is not installed; '
            f"allowed is this with the extra {EXTRA}: pip install 'wsproxy[{EXTRA}]'"
        )
    HeadersFile(settings.trace.headers_file).check()


def _has_proto() -> bool:
    with suppress(ModuleNotFoundError):  # of the package around it
        return importlib.util.find_spec("opentelemetry.proto.trace.v1.trace_pb2") is not None
    return False


@dataclass(slots=True)
class TraceWay:
    """The workers' end and the tracer's; both None where there are no traces."""

    workers: socket.socket | None = None
    tracer: socket.socket | None = None
    last_s: float = 0.0  # that a stop waits for the tracer

    @classmethod
    def open(cls, *, is_wanted: bool, last_s: float = 0.0) -> TraceWay:
        """Messages stay whole, whoever sends them."""
        if not is_wanted:
            return cls()
        tracer, workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        workers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAY_BYTES)
        return cls(workers, tracer, last_s)

    @property
    def is_open(self) -> bool:
        """Whether there are traces."""
        return self.tracer is not None

    def keep_only(self, mine: socket.socket | None) -> None:
        """In a child: closes the ends that are not its own."""
        for end in (self.workers, self.tracer):
            if end is not None and end is not mine:
                end.close()

    def end(self) -> None:
        """No worker is left: the tracer hears of it once it has read everything."""
        if self.workers is not None:
            self.workers.close()

    def close(self) -> None:
        """At the end."""
        self.keep_only(None)
