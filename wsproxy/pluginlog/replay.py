"""
Replay of a plug-in log: each request is rebuilt from its lines, and each decision taken again by the live code.

Driven by ``cli.replay`` with the lists of lines that ``reader`` makes. Lines of one (pid, tid) belong to one request at a
time. What the log says of servers (down, full, requests in flight) is put into the state before the next decision. Must not
decide anything by itself: ``tries`` and ``routes`` ask ``_fast`` and ``routing.retry``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from wsproxy._fast.loglines import LogLevel, LogLine
from wsproxy.pluginlog.access import AccessRecord
from wsproxy.pluginlog.messages import Code, read_fields
from wsproxy.pluginlog.outcome import (
    DIFFERS,
    SAME,
    UNDECIDED,
    Check,
    RequestOutcome,
    Result,
    What,
    result_of,
    text_of,
)
from wsproxy.pluginlog.reader import Reading
from wsproxy.pluginlog.requests import LoggedRequest
from wsproxy.pluginlog.routes import UNKNOWN_PORT, RouteReader, split_host
from wsproxy.pluginlog.summary import Summary
from wsproxy.pluginlog.tries import Tries
from wsproxy.pluginlog.world import Process, World

# In a line ``Webserver:``, at the start of a log that wsproxy wrote: its workers share one state.
OWN_NAME = b"wsproxy"
# An int: comparing with an IntEnum member costs a call for each line.
_LEAST_DEBUG = int(LogLevel.DEBUG)
# What stands before the value of the two most common lines with one.
_PARSING = len("Parsing clone ids from '")
_COOKIE = len("Cookie:")
_SET_COOKIE = len("Set-Cookie:")
# So much earlier than the first line may another one be: ten years.
EARLIER_MS = 10 * 366 * 86_400_000
_INFORMATIONAL = 200  # statuses below are no answer yet

Listener = Callable[[RequestOutcome], None]


class Replay:
    """Takes lines, and keeps count in ``summary``."""

    def __init__(
        self,
        world: World,
        reading: Reading,
        listener: Listener | None = None,
        *,
        only_other: bool = True,
        shared: bool | None = None,
        on_foreign: Callable[[LogLine], None] | None = None,
        on_end: Callable[[LoggedRequest], None] | None = None,
    ) -> None:
        """
        Nothing read yet.

        ``listener`` gets each request when it is over: all of them, or with ``only_other`` those that are not the same.
        ``shared``: one state for all processes; None: as the log itself says. ``on_foreign`` gets lines that no plug-in writes,
        ``on_end`` each request as it was put together.
        """
        self.world = world
        self.summary = Summary()
        self._counts = self.summary.checks
        self._same = self.summary.same
        self._reading = reading
        self._listener = listener
        self._keeps_same = listener is not None and not only_other
        self._shared = shared
        self._on_foreign = on_foreign
        self._on_end_of = on_end
        self._processes: dict[int, Process] = {}
        self._open: dict[tuple[int, int], LoggedRequest] = {}
        self._routes = RouteReader(world)
        self._tries = Tries(world, self._check)
        self._has_start = False
        self._time_us = 1_000_000  # of the last line that has one
        self._base_ms = 0  # what down marks and sessions do not count: the memory of sessions has 40 bits for a time
        self._handlers: list[Callable[[LogLine], None] | None] = [None] * (max(Code) + 1)
        for code, handler in (
            (Code.LOADED, self._on_loaded),
            (Code.WEB_SERVER, self._on_web_server),
            (Code.RELOADED, self._on_reloaded),
            (Code.BEGIN, self._on_begin),
            (Code.REQUEST_IS, self._on_request_is),
            (Code.VHOST_MATCH, self._on_vhost),
            (Code.URI_MATCH, self._on_uri),
            (Code.NO_ROUTE, self._on_no_route),
            (Code.GROUP, self._on_group),
            (Code.PARSING, self._on_parsing),
            (Code.CHECKING, self._on_checking),
            (Code.IS_DOWN, self._on_is_down),
            (Code.MAX_CONNECTIONS, self._on_max_connections),
            (Code.MOVED, self._on_moved),
            (Code.PICKED, self._on_picked),
            (Code.TRANSPORT, self._on_transport),
            (Code.REUSED, self._on_reused),
            (Code.NEW_STREAM, self._on_new_stream),
            (Code.REQUEST_LINE, self._on_request_line),
            (Code.COOKIE, self._on_cookie),
            (Code.IS_SECURE, self._on_secure),
            (Code.SCHEME, self._on_secure),
            (Code.STATUS_LINE, self._on_status),
            (Code.SET_COOKIE, self._on_set_cookie),
            (Code.CONTENT, self._on_content),
            (Code.CONNECT_FAILED, self._on_failure),
            (Code.CONNECT_TIMEOUT, self._on_failure),
            (Code.NO_STREAM, self._on_failure),
            (Code.IO_TIMEOUT, self._on_failure),
            (Code.BAD_RESPONSE, self._on_failure),
            (Code.FAILED_TRY, self._on_failed_try),
            (Code.MARKING, self._on_marking),
            (Code.NO_SERVER, self._on_no_server),
            (Code.FAILED, self._on_failed),
            (Code.COUNTERS, self._on_counters),
            (Code.END, self._on_end),
        ):
            self._handlers[code] = handler
        if on_foreign is not None:
            self._handlers[0] = self._on_other

    # --- lines in -----------------------------------------------------------------------------------------------------

    def take(self, lines: list[LogLine]) -> None:
        """The next lines of the log."""
        handlers = self._handlers
        for line in lines:
            handler = handlers[line.code]
            if handler is not None:
                time_us = line.time_us
                if time_us > 0:
                    self._time_us = time_us
                handler(line)

    def end(self) -> None:
        """The log is over: requests without an end are judged by what is there."""
        for request in list(self._open.values()):
            self._finish(request)
        self._open.clear()
        self.summary.processes = len(self._processes)

    def take_access(self, record: AccessRecord, host: bytes, port: int) -> None:
        """A request of an access log: one line tells all there is; ``host`` and ``port`` where it has no vhost."""
        self._time_us = record.time_us
        request = LoggedRequest(
            self._process(0),
            (0, 0),
            self._reading.path,
            record.number,
            record.time_us,
            has_begun=True,
        )
        if record.vhost:
            host, port = split_host(record.vhost)
        request.host, request.port, request.uri = host, port, record.target
        request.method, request.status_seen = record.method, record.status
        request.end_us = record.time_us + record.duration_us if record.duration_us >= 0 else 0
        if self._rebuild(request, What.GROUP, "", record.number) is None:
            self._finish(request)
            return
        assert request.replayed is not None
        request.group = self._routes.name_of(request.cluster)
        if record.session:
            request.values.append(record.session)
        self._tries.decide_access(request, record.server, self._now_ms, record.number)
        self._finish(request)

    def _process(self, pid: int) -> Process:
        key = 0 if self._shared else pid
        process = self._processes.get(key)
        if process is None:
            process = self._processes[key] = self.world.new_process()
            process.knows_start = self._has_start
        return process

    def _new(self, line: LogLine, *, has_begun: bool) -> LoggedRequest:
        request = LoggedRequest(
            self._process(line.pid),
            line.key,
            self._reading.path,
            line.number,
            self._time_us,
            has_begun=has_begun,
        )
        self._open[line.key] = request
        return request

    def _request(self, line: LogLine) -> LoggedRequest:
        """The request that the line belongs to; one whose beginning is not in the log is begun here."""
        request = self._open.get(line.key)
        if request is None:
            return self._new(line, has_begun=False)
        request.last = line.number
        return request

    def _on_other(self, line: LogLine) -> None:
        if line.level == LogLevel.FOREIGN and self._on_foreign is not None:
            self._on_foreign(line)

    # --- the process --------------------------------------------------------------------------------------------------

    def _on_loaded(self, _line: LogLine) -> None:
        self._has_start = True

    def _on_web_server(self, line: LogLine) -> None:
        if self._shared is None and OWN_NAME in line.text.lower():
            self._shared = True

    def _on_reloaded(self, line: LogLine) -> None:
        """Dynamic state starts fresh (PLUGIN 5.9); counters go on."""
        old = self._process(line.pid)
        new = self.world.new_process()
        new.counters, new.knows_start = old.counters, old.knows_start
        self._processes[0 if self._shared else line.pid] = new

    # --- routing ------------------------------------------------------------------------------------------------------

    def _on_begin(self, line: LogLine) -> None:
        before = self._open.pop(line.key, None)
        if before is not None:
            self._finish(before)
        self._new(line, has_begun=True)

    def _on_request_is(self, line: LogLine) -> None:
        request = self._open.get(line.key)
        if request is None or request.uri is not None or not request.has_begun:
            if request is not None:
                del self._open[line.key]
                self._finish(request)
            request = self._new(line, has_begun=True)
        request.last = line.number
        found = read_fields(Code.REQUEST_IS, line.text, line.at)
        if found is not None:
            host, request.uri = found.group("host", "uri")
            request.host, request.port = split_host(host)

    def _on_vhost(self, line: LogLine) -> None:
        request = self._request(line)
        found = self._routes.vhost(line)
        if found is None:
            return
        if request.port == UNKNOWN_PORT and found.port >= 0:
            request.port = found.port
            request.host = request.host or found.host
        self._check(request, What.VHOST, found.logged, found.ours, line.number)

    def _on_uri(self, line: LogLine) -> None:
        request = self._request(line)
        request.has_debug = request.has_debug or line.level >= _LEAST_DEBUG
        found = self._routes.uri(line)
        if found is None:
            return
        if request.uri is None:
            request.uri = found.host
        self._check(request, What.URI, found.logged, found.ours, line.number)

    def _on_group(self, line: LogLine) -> None:
        request = self._request(line)
        said = self._routes.group(line)
        if said is None:
            return
        request.group = said.group
        note = self._rebuild(request, What.GROUP, said.group, line.number)
        if note is None:
            return
        match = request.replayed.match() if request.replayed else None
        ours = self._routes.name_of(request.cluster)
        self._check(request, What.GROUP, said.group, ours or "none", line.number, note)
        if match is None:
            return
        self._check(request, What.SCORE, said.score, f"{match[2]}/{match[3]}", line.number)
        names = self._routes.names_text(match[4], match[5])
        self._check(request, What.AFFINITY, said.names, names, line.number)

    def _on_no_route(self, line: LogLine) -> None:
        request = self._request(line)
        if request.declined:
            return
        request.declined = True
        note = self._rebuild(request, What.GROUP, "", line.number)
        if note is not None:
            ours = self._routes.name_of(request.cluster) or "none"
            self._check(request, What.GROUP, "none", ours, line.number, note)

    def _rebuild(self, request: LoggedRequest, what: str, group: str, line: int) -> str | None:
        """A note; None where the request cannot be routed again, which is noted then."""
        if request.uri is None:
            self._undecided(request, what, group, line, "the log tells no URI")
            return None
        try:
            return self._routes.rebuild(request, group)
        except ValueError as error:
            self._undecided(request, what, group, line, str(error))
            request.uri = None
            return None

    # --- affinity and servers -------------------------------------------------------------------------------------------

    def _on_parsing(self, line: LogLine) -> None:
        value = line.text[line.at + _PARSING :].rstrip()
        if value.endswith(b"'"):
            self._request(line).values.append(value[:-1])

    def _on_cookie(self, line: LogLine) -> None:
        request = self._request(line)
        request.cookies.append(line.text[line.at + _COOKIE :].strip())
        self._tries.compare_clone_ids(request, line.number)

    def _on_checking(self, line: LogLine) -> None:
        found = read_fields(Code.CHECKING, line.text, line.at)
        if found is not None:
            request = self._request(line)
            seconds = found.groupdict().get("seconds") or b""
            left_s = int(seconds) if seconds.lstrip(b"-").isdigit() else 0
            is_down = found["down"] != b"0"
            self._tries.note_state(
                request, found["server"], self._now_ms, is_down=is_down, left_s=left_s,
                retries=found["retry"] != b"0",
            )  # fmt: skip
            full = found.groupdict().get("full")
            if full is not None:
                self._tries.note_full(request, found["server"], is_full=full != b"0")

    def _on_is_down(self, line: LogLine) -> None:
        found = read_fields(Code.IS_DOWN, line.text, line.at)
        if found is not None:
            self._tries.note_state(
                self._request(line), found["server"], self._now_ms, is_down=True,
                left_s=int(found["seconds"]), retries=False,
            )  # fmt: skip

    def _on_max_connections(self, line: LogLine) -> None:
        self._tries.on_max_connections(self._request(line), line)

    def _on_moved(self, line: LogLine) -> None:
        self._request(line).attempt.moved = True

    def _on_picked(self, line: LogLine) -> None:
        found = read_fields(Code.PICKED, line.text, line.at)
        if found is not None:
            request = self._request(line)
            self._tries.name_server(request, found["server"])
            if self._tries.knows_session(request):
                self._decide(request, line)

    def _on_transport(self, line: LogLine) -> None:
        request = self._request(line)
        self._tries.on_transport(request, line)
        if request.attempt.server and self._tries.knows_session(request):
            self._decide(request, line)

    def _decide(self, request: LoggedRequest, line: LogLine) -> None:
        """The choice of the server of this try, unless it was made already."""
        if request.attempt.is_decided:
            return
        if request.replayed is None and request.uri is not None:
            self._rebuild(request, What.SERVER, request.group, line.number)
        if request.attempt.server or self._tries.name_by_transport(request):
            self._tries.decide(request, self._now_ms, line.number)

    def _on_reused(self, line: LogLine) -> None:
        self._request(line).attempt.reused = True

    def _on_new_stream(self, line: LogLine) -> None:
        self._request(line).attempt.reused = False

    def _on_request_line(self, line: LogLine) -> None:
        request = self._request(line)
        request.method = line.text[line.at :].split(b" ", 1)[0]
        request.cookies.clear()  # it may be sent again, with all its fields

    def _on_secure(self, line: LogLine) -> None:
        value = line.text.rpartition(b":")[2].strip().lower()
        self._request(line).is_secure = value in (b"true", b"https", b"wss")

    def _on_content(self, line: LogLine) -> None:
        found = read_fields(Code.CONTENT, line.text, line.at)
        if found is not None:
            self._request(line).body = int(found["length"])

    def _on_status(self, line: LogLine) -> None:
        status = line.text[line.at + 9 : line.at + 12]
        if not status.isdigit() or int(status) < _INFORMATIONAL:
            return
        request = self._request(line)
        request.end_us = self._time_us
        if not request.attempt.is_decided:
            self._decide(request, line)
        self._tries.on_status(request, int(status), line.number)

    def _on_set_cookie(self, line: LogLine) -> None:
        request = self._open.get(line.key)
        if request is not None:
            request.last = line.number
            request.set_cookies += (line.text[line.at + _SET_COOKIE :].strip(),)

    # --- failures -------------------------------------------------------------------------------------------------------

    def _on_failure(self, line: LogLine) -> None:
        self._tries.on_failure(self._request(line), line)

    def _on_failed_try(self, line: LogLine) -> None:
        found = read_fields(Code.FAILED_TRY, line.text, line.at)
        if found is not None:
            request = self._request(line)
            self._tries.name_server(request, found["server"])
            self._decide(request, line)
            self._tries.end_failed(request, self._now_ms, line.number)
            request.try_us = self._time_us
            request.failed_at += (text_of(found["server"]),)
            self.summary.count_failure(self._time_us, text_of(found["server"]))

    def _on_marking(self, line: LogLine) -> None:
        found = read_fields(Code.MARKING, line.text, line.at)
        if found is None:
            return
        request = self._open.get(line.key)
        process, cluster = self._process(line.pid), -1
        if request is not None:
            process, cluster = request.process, request.cluster
            request.last = line.number
            request.marked += (text_of(found["server"]),)
            if not request.attempt.server:
                self._tries.name_server(request, found["server"])
            if request.attempt.server == found["server"]:
                self._decide(request, line)  # it was chosen before this
                request.attempt.is_marked = line.number
        place = process.find(found["server"], cluster)
        if place is not None:
            place.cluster.set_down(place.index, 0, self._now_ms)
        self.summary.count_mark(self._time_us, text_of(found["server"]))

    def _on_no_server(self, line: LogLine) -> None:
        request = self._request(line)
        request.gave_up = True
        if request.replayed is None and request.uri is not None:
            self._rebuild(request, What.SERVER, request.group, line.number)
        self._tries.find_none(request, self._now_ms, line.number)

    def _on_failed(self, line: LogLine) -> None:
        request = self._request(line)
        request.gave_up = True
        self._close(request)

    # --- the end --------------------------------------------------------------------------------------------------------

    def _on_counters(self, line: LogLine) -> None:
        found = read_fields(Code.COUNTERS, line.text, line.at)
        if found is None:
            return
        request = self._request(line)
        request.end_us = self._time_us
        if not request.attempt.server and not request.attempt.is_decided:
            self._tries.name_server(request, found["server"])
        if not request.attempt.is_decided and request.attempt.server == found["server"]:
            self._decide(request, line)
        self._tries.on_counters(request, found, line.number)

    def _on_end(self, line: LogLine) -> None:
        request = self._open.get(line.key)
        if request is not None:
            request.last = line.number
            request.end_us = self._time_us
            self._close(request)

    def _close(self, request: LoggedRequest) -> None:
        del self._open[request.key]
        self._finish(request)

    def _finish(self, request: LoggedRequest) -> None:
        """Judges what could only be judged at the end, and hands the request over."""
        if not request.counted:
            request.process.running -= 1
        if request.attempt.server and not request.attempt.is_decided:
            if request.replayed is None and request.uri is not None:
                self._rebuild(request, What.SERVER, request.group, request.last)
            self._tries.decide(request, self._now_ms, request.last)
        self._tries.end(request, self._now_ms)
        if not request.checks and not self._had_checks(request):
            why = (
                "its beginning is not in the log"
                if not request.has_begun
                else "its lines are not in the log"
            )
            self._undecided(request, What.SERVER, "", 0, why)
        result = result_of(request.checks) if request.checks else SAME
        self.summary.count_request(
            request.time_us,
            request.server_name,
            request.by_affinity,
            request.status_seen,
            result,
        )
        if self._on_end_of is not None:
            self._on_end_of(request)
        if self._listener is not None and (self._keeps_same or result != SAME):
            self._listener(self._outcome(request, result))

    @staticmethod
    def _had_checks(request: LoggedRequest) -> bool:
        return request.same_count > 0

    def _outcome(self, request: LoggedRequest, result: Result) -> RequestOutcome:
        return RequestOutcome(
            file=request.file,
            lines=(request.first, request.last),
            time=time_text(request.time_us),
            pid=f"{request.key[0]:08x}",
            tid=f"{request.key[1]:08x}",
            host=text_of(request.host),
            port=max(request.port, 0),
            method=text_of(request.method),
            uri=text_of(request.uri or b""),
            group=request.group,
            server=request.server_name,
            by_affinity=request.by_affinity,
            status=request.status_seen,
            failures=request.failures,
            result=result,
            checks=request.checks,
        )

    @property
    def _now_ms(self) -> int:
        """Of the present line, for what keeps down marks."""
        now_ms = self._time_us // 1000
        if not self._base_ms:
            self._base_ms = max(now_ms - EARLIER_MS, 1)
        return now_ms - self._base_ms

    # --- what came of it ------------------------------------------------------------------------------------------------

    def _check(
        self,
        request: LoggedRequest,
        what: str,
        logged: str,
        ours: str,
        line: int,
        note: str = "",
        result: Result | None = None,
    ) -> None:
        """Notes a check; without ``result`` it is the same where both texts are."""
        if result is None:
            if logged == ours and not self._keeps_same:  # ten times a request
                self._same[what] += 1
                request.same_count += 1
                return
            result = SAME if logged == ours else DIFFERS
        if result is SAME:
            self._same[what] += 1
            request.same_count += 1
            if not self._keeps_same:
                return
        else:
            self._counts[what][result] += 1
        request.checks.append(Check(what, result, logged, ours, line, note))

    def _undecided(
        self, request: LoggedRequest, what: str, logged: str, line: int, note: str
    ) -> None:
        self._check(request, what, logged, "", line, note, UNDECIDED)


def time_text(time_us: int) -> str:
    """As the newer plug-in writes it, without its brackets."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}"
