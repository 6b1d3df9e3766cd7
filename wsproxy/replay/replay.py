"""
Replay of a plug-in log: each request is rebuilt from its lines, and each decision taken again by the live code.

Driven by ``cli.replay`` with the lists of lines that ``logs.plugin_reader`` makes. Lines of one (pid, tid) belong to one request at a
time. What the log says of servers (down, full, requests in flight) is put into the state before the next decision. Lines that
every request has are handled in ``_fast.logs.follow``; here are the others, and what becomes of a request at its end. Must not
decide anything by itself: ``tries`` and ``routes`` ask ``_fast`` and ``routing.retry``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter

from wsproxy._fast.logs.follow import LogFollower
from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.logs.request import LoggedRequest, Process, split_host
from wsproxy._fast.logs.tries import text_of
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.logs.access_reader import AccessRecord
from wsproxy.logs.messages import READERS, Code, Fields, read_fields, read_tolerantly
from wsproxy.logs.plugin_reader import Reading
from wsproxy.logs.words import time_text
from wsproxy.replay.outcome import (
    DIFFERS,
    SAME,
    Check,
    RequestOutcome,
    Result,
    What,
    result_of,
)
from wsproxy.replay.routes import RouteReader
from wsproxy.replay.summary import Summary
from wsproxy.replay.tries import FAILURES, Tries
from wsproxy.replay.world import World

# In a line ``Webserver:``, at the start of a log that wsproxy wrote: its workers share one state.
OWN_NAME = b"wsproxy"

# Workers write their lines in blocks, each of a tenth of a second, and a busy machine is late with them.
WORKERS_APART_US = 500_000

# Lines that wait for others to be put in order. No second has as many, unless the clock of a log stands still.
MOST_WAITING = 1_000_000
# Of one request: failed tries that are told apart (no cluster has as many servers), and checks that are kept.
MOST_TRIES = 256
MOST_CHECKS = 1024

_TIME = attrgetter("time_us")

Listener = Callable[[RequestOutcome], None]


class Replay(LogFollower):
    """Takes lines, and keeps count in ``summary``."""

    routes: RouteReader
    tries: Tries

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
        self.summary = Summary()
        super().__init__(RouteReader(world), Tries(world, self, self.summary), READERS)
        self._world = world
        self.path = reading.path
        self._reading = reading
        self._waiting: list[
            LogLine
        ] = []  # of workers that share a state, up to where others may still come before them
        self.same = self.summary.same
        self.keeps_same = listener is not None and not only_other
        self.shared = shared
        self._on_foreign = on_foreign
        self.hears_foreign = on_foreign is not None
        self._told = world.told
        # Servers and their groups of whose failed probe a process has told, and not yet what follows from it.
        self._probed: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._listener = listener
        self._on_end = on_end
        self._rare = {
            int(code): handler
            for code, handler in (
                (Code.LOADED, self._on_loaded),
                (Code.WEB_SERVER, self._on_web_server),
                (Code.RELOADED, self._on_reloaded),
                (Code.NO_ROUTE, self._on_no_route),
                (Code.CONTENT, self._on_content),
                *((code, self._on_failure) for code in FAILURES),
                (Code.FAILED_TRY, self._on_failed_try),
                (Code.MARKING, self._on_marking),
                (Code.PROBE_FAILED, self._on_probe_failed),
                (Code.PROBE_BACK, self._on_probe_back),
                (Code.PROBE_AWAITED, self._on_probe_awaited),
                (Code.NO_SERVER, self._on_no_server),
                (Code.FAILED, self._on_failed),
            )
        }

    def take(self, lines: list[LogLine]) -> None:
        """The next lines of the log; those of workers that share a state are put in the order of their times."""
        if self._reading.path != self.path:
            self._take_waiting()
            self.path = self._reading.path
            self._look_for_web_server(lines)
        if not self.shared or min(map(_TIME, lines), default=0) <= 0:  # or some have none
            self._take_waiting()
            super().take(lines)
            return
        self._waiting += lines
        if len(self._waiting) > MOST_WAITING:
            self._take_waiting()
            return
        if 0 <= lines[-1].time_us - self._waiting[0].time_us < 2 * WORKERS_APART_US:
            return  # so that a line is sorted twice at most
        waiting = sorted(self._waiting, key=_TIME)
        until = bisect_right(waiting, waiting[-1].time_us - WORKERS_APART_US, key=_TIME)
        self._waiting = waiting[until:]
        super().take(waiting[:until])

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        super().take(sorted(waiting, key=_TIME))

    def _look_for_web_server(self, lines: list[LogLine]) -> None:
        """At the start of a file: the lines there are to be in order, too."""
        for line in lines:
            if line.code == Code.WEB_SERVER:
                self._on_web_server(line)

    def end(self) -> None:
        """The log is over: requests without an end are judged by what is there."""
        self._take_waiting()
        for request in list(self.open.values()):
            self.finish(request)
        self.open.clear()
        self.summary.processes = len(self.processes) + self.forgotten

    def take_access(self, record: AccessRecord, host: bytes, port: int) -> None:
        """A request of an access log: one line tells all there is; ``host`` and ``port`` where it has no vhost."""
        self.time_us = record.time_us
        request = LoggedRequest(
            self.process_of(0),
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
        if self.rebuild(request, What.GROUP, "", record.number) is None:
            self.finish(request)
            return
        assert request.replayed is not None
        request.group = self.routes.name_of(request.cluster)
        if record.session:
            request.values.append(record.session)
        self.tries.decide_access(
            request, record.server, record.number, tells_session=record.session is not None
        )
        self.finish(request)

    # --- the process --------------------------------------------------------------------------------------------------

    def new_process(self) -> Process:
        """See ``World.new_process``."""
        return self._world.new_process()

    def read_tolerantly(self, code: int, text: bytes, at: int) -> Fields | None:
        """See ``logs.messages``."""
        return read_tolerantly(code, text, at)

    def on_rare(self, line: LogLine) -> None:
        """A message that ``_fast.logs.follow`` leaves to this one."""
        self._rare[line.code](line)

    def on_foreign(self, line: LogLine) -> None:
        """A line that no plug-in writes."""
        if self._on_foreign is not None:
            self._on_foreign(line)

    def _on_loaded(self, line: LogLine) -> None:
        self.has_start = self.has_start or line.level == LogLevel.PLUGIN

    def _on_web_server(self, line: LogLine) -> None:
        # a client may send a header field of this name, which is logged at another level
        if line.level == LogLevel.PLUGIN:
            self.reads_escapes = OWN_NAME in line.text.lower()
            if self.shared is None and self.reads_escapes:
                self.shared = True

    def _on_reloaded(self, line: LogLine) -> None:
        """Dynamic state starts fresh (PLUGIN 5.9); counters go on."""
        old = self.process_of(line.pid)
        new = self.new_process()
        new.counters, new.knows_start, new.used = old.counters, old.knows_start, old.used
        self.processes[0 if self.shared else line.pid] = new

    # --- routing ------------------------------------------------------------------------------------------------------

    def _on_no_route(self, line: LogLine) -> None:
        request = self.request_of(line)
        if request.declined:
            return
        request.declined = True
        note = self.rebuild(request, What.GROUP, "", line.number)
        if note is not None:
            ours = self.routes.name_of(request.cluster) or "none"
            self.check(request, What.GROUP, "none", ours, line.number, note)

    def _on_content(self, line: LogLine) -> None:
        found = read_fields(Code.CONTENT, line.text, line.at)
        if found is not None:
            self.request_of(line).body = found[0]

    # --- failures -------------------------------------------------------------------------------------------------------

    def _on_failure(self, line: LogLine) -> None:
        request = self.request_of(line)
        request.attempt.failure = FAILURES[Code(line.code)]
        if line.code == Code.IO_TIMEOUT:
            found = read_fields(Code.IO_TIMEOUT, line.text, line.at)
            if found is not None:
                self.decide_try(request, line.number)
                self.tries.judge_timeout(request, found[0], found[2], line.number)

    def _on_failed_try(self, line: LogLine) -> None:
        found = read_fields(Code.FAILED_TRY, line.text, line.at)
        if found is not None:
            request = self.request_of(line)
            self.name_server(request, found[0])
            self.decide_try(request, line.number)
            self.tries.end_failed(request)
            server = text_of(found[0])
            request.try_us = self.time_us
            if len(request.failed_at) < MOST_TRIES:
                request.failed_at += (server,)
            self.summary.count_failure(self.time_us, server)

    def _on_marking(self, line: LogLine) -> None:
        found = read_fields(Code.MARKING, line.text, line.at)
        if found is None:
            return
        probed = self._probed.pop(line.key, None)
        if probed is not None and probed[0] == found[0]:
            self._mark_probed(line, *probed, is_down=True)
            self.summary.count_mark(self.time_us, text_of(found[0]))
            return
        request = self.open.get(line.key)
        process, cluster = self.process_of(line.pid), -1
        if request is not None:
            process, cluster = request.process, request.cluster
            request.last = line.number
            if len(request.marked) < MOST_TRIES:
                request.marked += (text_of(found[0]),)
            if not request.attempt.server:
                self.name_server(request, found[0])
            if request.attempt.server == found[0]:
                self.decide_try(request, line.number)  # it was chosen before this
                request.attempt.marked_line = line.number
        place = process.find(found[0], cluster)
        if place is not None:
            place.cluster.set_down(place.index, 0, self.now_ms())
            place.marked_ms, place.ruled_line = self.now_ms(), 0
        self.summary.count_mark(self.time_us, text_of(found[0]))

    def _on_probe_failed(self, line: LogLine) -> None:
        """The next line of its process marks the server down: until when is not RetryInterval's part, but that of probes."""
        found = read_fields(Code.PROBE_FAILED, line.text, line.at)
        if found is not None:
            self._probed[line.key] = found[0], found[1]

    def _on_probe_back(self, line: LogLine) -> None:
        found = read_fields(Code.PROBE_BACK, line.text, line.at)
        if found is not None:
            self._mark_probed(line, found[0], found[1], is_down=False)

    def _on_probe_awaited(self, line: LogLine) -> None:
        """A new server; what marks it down is the configuration, and no failure of it."""
        found = read_fields(Code.PROBE_AWAITED, line.text, line.at)
        if found is not None:
            self._mark_probed(line, found[0], found[1], is_down=True)

    def _mark_probed(self, line: LogLine, server: bytes, group: bytes, *, is_down: bool) -> None:
        """No request has met it, and no ruling of ours is to be compared with it."""
        process = self.process_of(line.pid)
        place = process.find(server, self.routes.number_of(text_of(group)))
        if place is None:
            return
        place.marked_ms = place.ruled_line = 0
        if is_down:
            place.cluster.set_down(place.index, 0, self.now_ms())
        else:
            place.cluster.set_up(place.index)

    def _on_no_server(self, line: LogLine) -> None:
        request = self.request_of(line)
        request.gave_up = True
        if request.replayed is None and request.uri is not None:
            self.rebuild(request, What.SERVER, request.group, line.number)
        self.tries.find_none(request, line.number)

    def _on_failed(self, line: LogLine) -> None:
        request = self.request_of(line)
        request.gave_up = True
        self._close(request)

    def _close(self, request: LoggedRequest) -> None:
        del self.open[request.key]
        self.finish(request)

    def hand_over(self, request: LoggedRequest) -> None:
        """The request is over and judged: counts it, and gives it to who wants it. Called by ``finish``."""
        result = result_of(request.checks) if request.checks else SAME
        self.summary.count_request(
            request.time_us,
            request.server_name,
            request.by_affinity,
            request.status_seen,
            result,
        )
        if self._on_end is not None:
            self._on_end(request)
        if self._listener is not None and (self.keeps_same or result != SAME):
            self._listener(self._outcome(request, result))

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
            uri=self._told(request.uri or b""),
            group=request.group,
            server=request.server_name,
            by_affinity=request.by_affinity,
            status=request.status_seen,
            failures=request.failures,
            result=result,
            checks=request.checks,
        )

    def keep_check(
        self,
        request: LoggedRequest,
        what: str,
        result: Result,
        logged: str,
        ours: str,
        line: int,
        note: str,
    ) -> None:
        """Keeps a check with its request, and counts it unless it is the same, which is counted. Called by ``check``."""
        if result != SAME:
            self.summary.checks[what][result] += 1
        check = Check(what, result, logged, ours, line, note)
        if len(request.checks) < MOST_CHECKS:
            request.checks.append(check)
        elif result == DIFFERS:
            request.checks[-1] = check  # that it differs must not be lost
