"""
Writes into http_plugin.log what active probes do to servers: awaited, marked down, brought back.

Driven by ``probe.prober``, whose process has a way of its own into the file, as each worker has (``logs.plugin_writer``), and by
whoever puts a configuration in use, for servers that begin as down. The mark is
told in the plug-in's words; who made it, and why, is not: the plug-in has no probes. Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from wsproxy._fast.state.segment import SharedState
from wsproxy.logs.file import AppendedFile, LogFile
from wsproxy.logs.messages import Code, shape_of
from wsproxy.logs.plugin_writer import Lines, LogPlan

# Of no request.
_TID = 0


def tell_awaited(log_plan: LogPlan, state: SharedState, servers: Iterable[tuple[str, str]]) -> None:
    """
    Lines of servers that are new, and down until a probe says otherwise: cluster and name. # I/O.

    Told by who has put the configuration in use, before anybody's request goes by it. What cannot be written is missing: the
    log's own writers say so soon enough.
    """
    shape = shape_of(Code.PROBE_AWAITED)
    if not log_plan.path or shape.level > state.log_level_now(log_plan.level):
        return
    lines = Lines(log_plan.dates, state)
    texts = [shape.text(server=server, group=group) for group, server in servers]
    data = "".join(lines.line(_TID, int(shape.level), text) for text in texts)
    with suppress(OSError):
        file = AppendedFile(log_plan.path, waits=False)
        try:
            file.append(data.encode("utf-8", "surrogateescape"))
        finally:
            file.close()


class ProbeLog:
    """The prober's writer."""

    def __init__(self, log_plan: LogPlan, state: SharedState) -> None:
        """Made in the process, after the fork."""
        self._at_start = log_plan.level
        self._state = state
        self._path = log_plan.path
        self._file = LogFile(log_plan.path)
        self._lines = Lines(log_plan.dates, state)

    def take_path(self, path: str) -> None:
        """Another configuration holds: it may name another file; empty: none."""
        if path != self._path:
            self._path = path
            self._file.move(path)

    def marked(self, server: str, group: str, why: str) -> None:
        """A probe has marked the server down, or keeps it down that a request has marked."""
        self._write(Code.PROBE_FAILED, server=server, group=group, why=why)
        self._write(Code.MARKING, server=server)

    def brought_back(self, server: str, group: str) -> None:
        """The mark is gone."""
        self._write(Code.PROBE_BACK, server=server, group=group)

    def _write(self, code: Code, **fields: object) -> None:
        shape = shape_of(code)
        if self._path and shape.level <= self._state.log_level_now(self._at_start):
            self._file.add(self._lines.line(_TID, int(shape.level), shape.text(**fields)))

    def sweep(self) -> None:
        """Once a second: whether the file is to be opened anew, and what is missing in it."""
        self._lines.tend(self._file)

    def close(self) -> None:
        """What is left is written."""
        self._file.close()
