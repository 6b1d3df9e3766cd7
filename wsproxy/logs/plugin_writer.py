"""
Writes http_plugin.log: what the data plane decided, in the plug-in's words, levels and order (PLUGIN.md 7).

Made by ``process.start``, told by the data plane (see ``dataplane.witness``). Each request has a tid of its own, its number
in the worker: (pid, tid) is its id in all logs. Must not decide: everything written was handed over as a result, and without
what no log may tell (``_fast.tell.mask``); here it is only made readable (``_fast.tell.readable``).
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.state.meters import WorkerWord
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.readable import escape
from wsproxy._fast.tell.witness import Asked, Chosen, LogLevel, Passed
from wsproxy.dataplane.plan import FALLBACK_CLUSTER, Plan
from wsproxy.dataplane.witness import Witness
from wsproxy.logs.file import AppendedFile, LogFile
from wsproxy.logs.messages import Code, Shape, shape_of
from wsproxy.routing.retry import Failure, Next, Ruling
from wsproxy.routing.table import CompiledRoutes

Dates = Literal["new", "old"]

LEVELS = {
    "Error": LogLevel.ERROR,
    "Warn": LogLevel.WARNING,
    "Stats": LogLevel.STATS,
    "Detail": LogLevel.DETAIL,
    "Debug": LogLevel.DEBUG,
    "Trace": LogLevel.TRACE,
}

# Plain numbers: comparing with an IntEnum member costs a call for each line.
_ERROR, _WARNING, _STATS = int(LogLevel.ERROR), int(LogLevel.WARNING), int(LogLevel.STATS)
_DETAIL, _DEBUG, _TRACE = int(LogLevel.DETAIL), int(LogLevel.DEBUG), int(LogLevel.TRACE)
_NAMES = {int(level): level.name for level in LogLevel}
# ctime's, whatever the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Of a process, as the tid field has room for: 8 hex digits.
_TIDS = 1 << 32
# Where the plug-in prints a return code that is known from one sample only.
_RC = 10
_HEADER_BLANKS = "   "  # behind the level's own one

_CHECKING = shape_of(Code.CHECKING)


class Stamp:
    """The time as a line begins with it; the part up to the second is made once a second."""

    def __init__(self, dates: Dates) -> None:
        """``new``: ``[29/Jul/2014:11:28:47.86034]``, since 8.5; ``old``: ``[Wed Oct 03 22:18:41 2012]``."""
        self._is_new = dates == "new"
        self._second = -1
        self._text = ""

    def at(self, now: float) -> str:
        """The local time ``now``, in brackets."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = self._make(time.localtime(second))
        if self._is_new:
            return f"{self._text}.{int((now - second) * 100_000):05d}]"
        return self._text

    def _make(self, at: time.struct_time) -> str:
        clock = f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
        month = _MONTHS[at.tm_mon - 1]
        if self._is_new:
            return f"[{at.tm_mday:02d}/{month}/{at.tm_year}:{clock}"
        return f"[{_DAYS[at.tm_wday]} {month} {at.tm_mday:02d} {clock} {at.tm_year}]"


class Lines:
    """Lines of one process, as they stand in the file."""

    def __init__(self, dates: Dates, state: SharedState) -> None:
        """Made in the process, after the fork."""
        self._state = state
        self._reopens = state.log_reopens
        self._stamp = Stamp(dates)
        self._pid = f"{os.getpid():08x}"

    def line(self, tid: int, level: int, text: str) -> str:
        """With its end."""
        stamp = self._stamp.at(time.time())
        return f"{stamp} {self._pid} {tid % _TIDS:08x} - {_NAMES[level]}: {escape(text)}\n"

    def tend(self, file: LogFile) -> int:
        """
        How many lines ``file`` could not write since this was called last, which it is told.

        It is opened anew where that was asked for.
        """
        if self._reopens != self._state.log_reopens:
            self._reopens = self._state.log_reopens
            file.reopen()
        if missing := file.missing:
            text = f"ws_common: log: {missing} lines are missing: they could not be written in time"
            file.add(self.line(0, _WARNING, text))
        return missing


@dataclass(frozen=True, slots=True)
class LogPlan:
    """Where http_plugin.log is written, and how much; ``follows``: it is where plugin-cfg.xml says, after a reload too."""

    path: str  # empty: nowhere, for the time being
    level: int
    dates: Dates
    follows: bool = False

    def begin(self) -> None:
        """
        Writes the lines of a start; the file is made where there is none. # I/O.

        Raises:
            OSError: it cannot be written.
        """
        stamp = Stamp(self.dates).at(time.time())
        lines = (
            "Plugins loaded.",
            "--------------------System Information-----------------------",
            f"Bld version: {version('wsproxy')}",
            f"Webserver: wsproxy/{version('wsproxy')}",
            f"OS : {platform.system()} {platform.machine()}",
            f"Hostname = {socket.gethostname()}",
            "--------------------------------------------------------------",
        )
        begin = f"{stamp} {os.getpid():08x} {0:08x} - PLUGIN: "
        data = "".join(f"{begin}{escape(line)}\n" for line in lines)
        file = AppendedFile(self.path, waits=False)
        try:
            _, error = file.append(data.encode("utf-8", "surrogateescape"))
        finally:
            file.close()
        if error is not None:
            raise error


# Below every LogLevel: of a log that is written nowhere.
NOWHERE = -1


@dataclass(slots=True)
class _Counts:
    """Of one server in this process, as the plug-in counts: a try that failed is not in ``total``."""

    failed: int = 0
    affinity: int = 0
    total: int = 0


class PluginLog(Witness):
    """One worker's writer; ``level`` is a ``LogLevel``."""

    def __init__(self, log_plan: LogPlan, plan: Plan) -> None:
        """Made in the worker, after the fork."""
        self._configured = log_plan.level
        self._level = log_plan.level
        self._path = log_plan.path
        self._file = LogFile(log_plan.path)
        self._lines = Lines(log_plan.dates, plan.state)
        self._line = self._lines.line
        self._state: SharedState = plan.state
        self._counts: dict[str, _Counts] = {}
        self._running: dict[str, int] = {}
        self._common: dict[tuple[str, bool], str] = {}
        self._engine: Engine | None = None

    # --- the worker ---------------------------------------------------------------------------------------------------

    def attach_to(self, engine: Engine) -> None:
        """See ``Witness``."""
        self._engine = engine
        engine.witness = self
        self._set_level(self._level_now())

    def take_plan(self, plan: Plan) -> None:
        """See ``Witness``."""
        if plan.log_path != self._path:
            self._path = plan.log_path
            self._file.move(self._path)
            self._set_level(self._level_now())

    def _level_now(self) -> int:
        return self._state.log_level_now(self._configured) if self._path else NOWHERE

    def sweep(self) -> None:
        """See ``Witness``."""
        level = self._level_now()
        if level != self._level:
            self._set_level(level)
        missing = self._lines.tend(self._file)
        if missing and self._engine is not None:
            self._engine.count(WorkerWord.PLUGIN_LOST, missing)

    def close(self) -> None:
        """See ``Witness``."""
        self._file.close()

    def _set_level(self, level: int) -> None:
        assert self._engine is not None
        self._level = level
        self._engine.log_level = level if level >= _STATS else 0

    # --- lines --------------------------------------------------------------------------------------------------------

    def _raw(self, downstream: Downstream, level: int, text: str) -> None:
        if level <= self._level:
            self._file.add(self._line(downstream.request_number, level, text))

    def _write(self, downstream: Downstream, shape: Shape, **fields: object) -> None:
        level = int(shape.level)
        if level <= self._level:
            self._file.add(self._line(downstream.request_number, level, shape.text(**fields)))

    # --- requests that go well, too -------------------------------------------------------------------------------------

    def picked(self, downstream: Downstream, number: int, server: str, by_affinity: bool) -> None:
        """See ``Witness``."""
        text = self._common.get((server, by_affinity))
        if text is None:
            seen = Passed(
                server, is_down=False, retries=False, left_s=0, full=False, drained=False, out=False
            )
            text = _checking(server, seen, ignores=by_affinity)
            self._common[server, by_affinity] = text
        self._file.add(self._line(number, _STATS, text))
        self._running[server] = self._running.get(server, 0) + 1

    def checked(self, downstream: Downstream, chosen: Chosen) -> None:
        """See ``Witness``."""
        self._write_choice(downstream, chosen)
        if chosen.server:
            self._running[chosen.server] = self._running.get(chosen.server, 0) + 1

    def decided(
        self, downstream: Downstream, asked: Asked, chosen: Chosen | None, head: bytes
    ) -> None:
        """See ``Witness``."""
        self._write(downstream, shape_of(Code.BEGIN))
        host = _text(asked.host)
        shown = f"[{host}]" if ":" in host else host
        vhost = f"{shown}:{asked.port}"
        uri = _text(asked.target)
        self._write(downstream, shape_of(Code.REQUEST_IS), host=vhost, uri=uri)
        self._raw(
            downstream, _TRACE,
            f"ws_common: websphereShouldHandleRequest: trying to match a route for: vhost='{vhost}'; uri='{uri}'",
        )  # fmt: skip
        if chosen is None:
            self._write(downstream, shape_of(Code.NO_ROUTE))
            self._write(downstream, shape_of(Code.END))
            return
        self._write_route(downstream, asked, vhost)
        self._write_session(downstream, asked)
        self._write_choice(downstream, chosen)
        if chosen.server:
            self._running[chosen.server] = self._running.get(chosen.server, 0) + 1
            self._write_transport(downstream)
        if head:
            self.sent(downstream, head, reused=True)

    def _write_route(self, downstream: Downstream, asked: Asked, vhost: str) -> None:
        routes: CompiledRoutes = downstream.plan.routes  # what `asked` has numbers of
        if asked.vhost >= 0:
            group = routes.virtual_host_groups[asked.vhost_group]
            self._write(
                downstream, shape_of(Code.VHOST_MATCH), pattern=group.virtual_hosts[asked.vhost].name,
                subject=vhost, group=group.name, score=asked.vhost_score, exact=asked.vhost_exact,
            )  # fmt: skip
        if asked.uri >= 0:
            self._write(
                downstream, shape_of(Code.URI_MATCH), pattern=routes.uri_name(asked.uri_group, asked.uri),
                subject=_text(asked.path), group=routes.uri_group_names[asked.uri_group],
                score=asked.score - asked.vhost_score, exact=asked.exact - asked.vhost_exact,
            )  # fmt: skip
        self._write(
            downstream, shape_of(Code.GROUP), group=routes.routes[asked.route].server_cluster,
            score=asked.score, exact=asked.exact, cookie=_text(asked.cookie), url=_text(asked.url_id),
        )  # fmt: skip

    def _write_session(self, downstream: Downstream, asked: Asked) -> None:
        cookie, url = _text(asked.cookie), _text(asked.url_id)
        where = "ws_common: websphereHandleSessionAffinity"
        self._raw(downstream, _TRACE, f"{where}: Checking for session affinity")
        self._raw(downstream, _TRACE, f"{where}: Checking the cookie affinity: {cookie}")
        self._raw(downstream, _TRACE, f"{where}: Checking the url rewrite affinity: {url}")
        for value in asked.values:
            self._write(downstream, shape_of(Code.PARSING), value=_text(value))
        for clone in asked.clone_ids:
            self._write(downstream, shape_of(Code.CLONE), clone=_text(clone))
        if not asked.values:
            self._raw(
                downstream, _TRACE,
                f"lib_htrequest: htrequestGetCookieValue: No cookie found for: '{cookie}'",
            )  # fmt: skip

    def _write_choice(self, downstream: Downstream, chosen: Chosen) -> None:
        """Who was passed over, then who was chosen."""
        self._write_passed(downstream, chosen)
        if chosen.server:
            self._write_chosen(downstream, chosen)

    def _write_passed(self, downstream: Downstream, chosen: Chosen) -> None:
        for passed in chosen.passed:
            text = _checking(
                passed.server,
                passed,
                ignores=False,
                full=passed.full,
                allows=not (passed.drained or passed.out),
            )
            self._raw(downstream, _STATS, text)
            if passed.is_down and not passed.retries:
                self._write(
                    downstream, shape_of(Code.IS_DOWN), server=passed.server, seconds=passed.left_s
                )

    def _write_chosen(self, downstream: Downstream, chosen: Chosen) -> None:
        self._write(
            downstream, shape_of(Code.MAX_CONNECTIONS), server=chosen.server, current=chosen.inflight,
            most=chosen.most,
        )  # fmt: skip
        self._raw(downstream, _STATS, _checking(chosen.server, chosen, ignores=chosen.by_affinity))
        if chosen.by_affinity:
            self._write(downstream, shape_of(Code.CLONE_MATCH), server=chosen.server)
        elif chosen.remembered:
            self._write(downstream, shape_of(Code.MOVED), server=chosen.server)
        self._write(downstream, shape_of(Code.PICKED), server=chosen.server, weight=chosen.weight)

    def _write_transport(self, downstream: Downstream) -> None:
        pool = downstream.pool
        if pool is None:
            return
        case = _CASES[downstream.is_secure, pool.tls is not None]
        self._write(downstream, shape_of(Code.TRANSPORT), case=case, host=pool.host, port=pool.port)

    def sent(self, downstream: Downstream, head: bytes, reused: bool) -> None:
        """See ``Witness``."""
        if downstream.cluster_name == FALLBACK_CLUSTER:
            return
        if reused:
            self._write(downstream, shape_of(Code.REUSED), socket=0)
        else:
            self._write(downstream, shape_of(Code.NEW_STREAM), socket=0, port=0)
        self._raw(
            downstream, _DEBUG,
            "lib_htrequest: htrequestWrite: Writing the request reqInfo is OK:",
        )  # fmt: skip
        self._write_head(downstream, head)

    def _write_head(self, downstream: Downstream, head: bytes) -> None:
        """First line and fields of a head, each a DETAIL line."""
        if self._level < _DETAIL:
            return
        for line in head.split(b"\r\n"):
            if line:
                self._raw(downstream, _DETAIL, _HEADER_BLANKS + _text(line))

    def answered(self, downstream: Downstream, head: bytes) -> None:
        """See ``Witness``."""
        if downstream.cluster_name == FALLBACK_CLUSTER:
            return
        self._raw(downstream, _TRACE, "lib_htresponse: htresponseRead: Reading the response")
        self._write_head(downstream, head)

    def over(self, downstream: Downstream, number: int, server: str, by_affinity: bool) -> None:
        """See ``Witness``."""
        if server:
            self._count(number, server, by_affinity=by_affinity, is_failed=False)
        if self._level >= _TRACE:
            self._write(downstream, shape_of(Code.END))

    def _count(self, number: int, server: str, *, by_affinity: bool, is_failed: bool) -> None:
        """How a try ended: this process's counters, and their line."""
        counts = self._counts.get(server)
        if counts is None:
            counts = self._counts[server] = _Counts()
        counts.affinity += by_affinity
        if is_failed:
            counts.failed += 1
        else:
            counts.total += 1
        running = self._running[server] = max(self._running.get(server, 1) - 1, 0)
        if self._level >= _STATS:
            text = (
                f"ws_server: serverSetFailoverStatus: Server {server} : pendingRequests {running} failedRequests {counts.failed}"
                f" affinityRequests {counts.affinity} totalRequests {counts.total}."
            )
            self._file.add(self._line(number, _STATS, text))

    # --- what the slow path knows ---------------------------------------------------------------------------------------

    def chosen(self, downstream: Downstream) -> None:
        """See ``Witness``."""
        if self._level < _STATS or downstream.cluster_name == FALLBACK_CLUSTER:
            return
        chosen = downstream.describe_choice()
        downstream.note_told(False)
        self._write_choice(downstream, chosen)
        if chosen.server:
            self._running[chosen.server] = self._running.get(chosen.server, 0) + 1
            self._write_transport(downstream)

    def kept(self, downstream: Downstream) -> None:
        """See ``Witness``."""
        if self._level >= _STATS and downstream.cluster_name != FALLBACK_CLUSTER:
            self._write_passed(downstream, downstream.describe_choice())

    def failed(
        self,
        downstream: Downstream,
        failure: Failure,
        ruling: Ruling,
        *,
        error: int = 0,
        is_timeout: bool = False,
    ) -> None:
        """See ``Witness``."""
        pool = downstream.pool
        if pool is None or downstream.cluster_name == FALLBACK_CLUSTER:
            return
        self._write_body(downstream)
        facts = downstream.facts
        if failure is Failure.CONNECT:
            if is_timeout:
                self._write(downstream, shape_of(Code.CONNECT_TIMEOUT))
            else:
                self._write(
                    downstream, shape_of(Code.CONNECT_FAILED), host=pool.host,
                    errno=error or errno.ECONNREFUSED, port=0,
                )  # fmt: skip
            self._write(downstream, shape_of(Code.NO_STREAM))
        elif failure is Failure.IO_TIMEOUT:
            self._write(
                downstream, shape_of(Code.IO_TIMEOUT), seconds=pool.io_timeout_ms // 1000,
                count=facts.timeout_retries, most=facts.io_timeout_retry,
                retry="NO" if ruling.next is Next.GIVE_UP else "YES", rc=_RC,
            )  # fmt: skip
        elif failure is Failure.BAD_RESPONSE:
            self._write(downstream, shape_of(Code.BAD_RESPONSE), status=0, number=error)
        elif ruling.next is Next.SAME_SERVER:
            self._raw(
                downstream, _DEBUG,
                "ws_common: websphereExecute: The app server has closed the reused stream; trying a new one",
            )  # fmt: skip
            return  # nothing is held against the server yet (PLUGIN 5.1)
        else:
            self._write(downstream, shape_of(Code.CLOSED))
        if ruling.mark_down:
            self._write(downstream, shape_of(Code.MARKING), server=pool.name)
        self._end_try(downstream, pool.name)
        if ruling.next is Next.OTHER_SERVER:
            self.moved_on(downstream, pool)

    def refused(self, downstream: Downstream, status: int, pool: Pool, ruling: Ruling) -> None:
        """See ``Witness``."""
        if downstream.cluster_name == FALLBACK_CLUSTER:
            return
        self._write_body(downstream)
        self._raw(downstream, _DETAIL, f"{_HEADER_BLANKS}HTTP/1.1 {status} refused")
        if ruling.mark_down:
            self._write(downstream, shape_of(Code.MARKING), server=pool.name)
        self._end_try(downstream, pool.name)

    def _write_body(self, downstream: Downstream) -> None:
        """How much of a body there was, if any was sent: whether the request may be sent again depends on it."""
        facts = downstream.facts
        if (length := facts.body_bytes) and facts.bytes_sent:
            self._write(downstream, shape_of(Code.CONTENT), length=length)

    def moved_on(self, downstream: Downstream, pool: Pool) -> None:
        """See ``Witness``."""
        if downstream.cluster_name != FALLBACK_CLUSTER:
            self._write(
                downstream,
                shape_of(Code.FAILED_TRY),
                server=pool.name,
                host=f"{pool.host}:{pool.port}",
            )

    def _end_try(self, downstream: Downstream, server: str) -> None:
        number, by_affinity = downstream.request_number, downstream.by_affinity
        self._count(number, server, by_affinity=by_affinity, is_failed=True)
        downstream.note_told(True)

    def cut(self, downstream: Downstream) -> None:
        """See ``Witness``."""
        pool = downstream.pool
        if pool is None or downstream.cluster_name == FALLBACK_CLUSTER:
            return
        self._write(downstream, shape_of(Code.BAD_RESPONSE), status=200, number=1)
        self._end_try(downstream, pool.name)

    def gave_up(self, downstream: Downstream, *, no_server: bool) -> None:
        """See ``Witness``."""
        if downstream.cluster_name == FALLBACK_CLUSTER:
            return
        if no_server:
            self._write(downstream, shape_of(Code.NO_SERVER))
        self._write(downstream, shape_of(Code.FAILED))


# How the transport was found, by (the client came over TLS, the server is spoken to over TLS). The plug-in's own numbers are
# known from two lines: 1 for https to https, 3 for https to http (PLUGIN 2.4).
_CASES = {(True, True): 1, (False, False): 2, (True, False): 3, (False, True): 4}


def _checking(
    server: str, seen: Chosen | Passed, *, ignores: bool, full: bool = False, allows: bool = True
) -> str:
    seconds = str(seen.left_s) if seen.is_down else "--"
    return _CHECKING.text(
        server=server, ignore=int(ignores), down=int(seen.is_down),
        retry=int(seen.is_down and seen.retries), seconds=seconds, allows=int(allows), full=int(full),
    )  # fmt: skip


def _text(value: bytes) -> str:
    """Bytes of the wire, such that ``_line`` can tell which are no text."""
    return value.decode("utf-8", "surrogateescape")


MakeWitness = Callable[[], Witness]
