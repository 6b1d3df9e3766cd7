"""
The tries of a replayed request: which server each goes to, over which transport, and what a failure leads to.

Driven by ``replay``. Servers are chosen by ``_fast.replay`` and failures judged by ``routing.retry``: here what the log says
is put beside what they say.
"""

from __future__ import annotations

import re
from typing import Protocol

from wsproxy._fast.loglines import LogLine
from wsproxy._fast.replay import Rule, is_failure, set_inflight
from wsproxy._fast.select import Cluster
from wsproxy.pluginlog.messages import Code, read_fields
from wsproxy.pluginlog.outcome import DIFFERS, SAME, UNDECIDED, Result, What, text_of
from wsproxy.pluginlog.requests import Attempt, LoggedRequest
from wsproxy.pluginlog.world import Place, World
from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

_BUSY = 503
# A mark whose interval is over; not just now, because marks of one moment are moved apart.
_LONG_OVER_MS = 10_000
_LEAST_ERROR = 500
_HTTP_PORT, _HTTPS_PORT = 80, 443
# Of one server; what a log says beyond is nonsense, and must fit the slot's 32 bits.
_MOST_INFLIGHT = 1_000_000
_FAILURES = {
    Code.CONNECT_FAILED: Failure.CONNECT,
    Code.CONNECT_TIMEOUT: Failure.CONNECT,
    Code.NO_STREAM: Failure.CONNECT,
    Code.IO_TIMEOUT: Failure.IO_TIMEOUT,
    Code.BAD_RESPONSE: Failure.BAD_RESPONSE,
}
_NO_SERVER = {-1: "none can be reached", -2: "none: all are at MaxConnections"}
# Rules up to this are affinity; an int, as keys and comparisons below: a member of an IntEnum costs a call each time.
_LAST_AFFINITY = int(Rule.REMEMBERED)
_RULES: dict[int, str] = {
    Rule.AFFINITY: "by clone id",
    Rule.REMEMBERED: "the session moved there",
    Rule.BALANCED: "by regular balancing",
    Rule.ALLOWED: "regular balancing may choose it; where its turn began is not in a log",
    Rule.NONE: "",
}


class Checker(Protocol):
    """``Replay._check``."""

    def __call__(
        self,
        request: LoggedRequest,
        what: str,
        logged: str,
        ours: str,
        line: int,
        note: str = "",
        result: Result | None = None,
    ) -> None:
        """Notes a check."""


class Tries:
    """Everything about servers; one for a replay."""

    def __init__(self, world: World, check: Checker) -> None:
        """``check`` notes what came out."""
        self._world = world
        self._check = check
        self._most: dict[bytes, tuple[bytes, int, str]] = {}
        self._transports: dict[bytes, str] = {}

    # --- before a server is chosen --------------------------------------------------------------------------------------

    def name_server(self, request: LoggedRequest, server: bytes) -> None:
        """The log names the server of the present try, or of the next one where that has its server already."""
        if request.attempt.is_decided and request.attempt.server != server:
            self._leave_attempt(request)
        request.attempt.server = server

    def name_by_transport(self, request: LoggedRequest) -> bool:
        """Below Debug only host and port tell the server, up to the line of its counters."""
        if request.attempt.transport is None or request.replayed is None:
            return False
        request.attempt.server = self._find_address(request, request.attempt.transport[0])
        return bool(request.attempt.server)

    def knows_session(self, request: LoggedRequest) -> bool:
        """Whether all clone ids of the request are known by now: below Debug, they come with its Cookie lines."""
        return request.has_debug or bool(request.values) or bool(request.cookies)

    def on_max_connections(self, request: LoggedRequest, line: LogLine) -> None:
        """``serverHasReachedMaxConnections``: a candidate, and how many requests it has."""
        said = self._most.get(line.text)
        if said is None:
            found = read_fields(Code.MAX_CONNECTIONS, line.text, line.at)
            if found is None:
                return
            most = max(int(found["most"]), 0) or -1
            current = min(max(int(found["current"]), 0), _MOST_INFLIGHT)
            said = (found["server"], current, str(most))
            if len(self._most) > 4096:
                self._most.clear()
            self._most[line.text] = said
        server, current, logged = said
        self.name_server(request, server)
        place = request.process.find(server, request.cluster)
        if place is None:
            return
        ours = place.max_connections
        self._check(request, What.MAX_CONNECTIONS, logged, str(ours), line.number)
        if ours > 0:
            set_inflight(place.cluster, place.index, current)

    def note_state(
        self,
        request: LoggedRequest,
        server: bytes,
        now_ms: int,
        *,
        is_down: bool,
        left_s: int,
        retries: bool,
    ) -> None:
        """The log says whether the server is marked down: what we have may be older than the log."""
        place = request.process.find(server, request.cluster)
        if place is None:
            return
        state = place.cluster.server_state(place.index)
        until = state["down_until_ms"]
        if not is_down:
            if until:
                place.cluster.set_up(place.index)
        elif retries:
            if until == 0 or until > now_ms:
                self._set_down_until(place, now_ms - _LONG_OVER_MS)
        elif until <= now_ms or left_s == 0:  # 0: somebody else is trying it
            self._set_down_until(place, now_ms + max(left_s, 1) * 1000)

    def note_full(self, request: LoggedRequest, server: bytes, *, is_full: bool) -> None:
        """The log says whether the server is at MaxConnections."""
        place = request.process.find(server, request.cluster)
        if place is None or place.max_connections <= 0:
            return
        inflight = place.cluster.server_state(place.index)["inflight"]
        if is_full:
            set_inflight(place.cluster, place.index, max(inflight, place.max_connections))
        else:
            set_inflight(place.cluster, place.index, min(inflight, place.max_connections - 1))

    @staticmethod
    def _set_down_until(place: Place, until_ms: int) -> None:
        place.cluster.set_down(place.index, 0, until_ms - place.cluster.retry_interval_ms)

    # --- the choice -----------------------------------------------------------------------------------------------------

    def decide(self, request: LoggedRequest, now_ms: int, line: int) -> None:
        """Takes the choice of this try again."""
        attempt = request.attempt
        attempt.is_decided = True
        place = attempt.place = request.process.find(attempt.server, request.cluster)
        logged = request.server_name = text_of(attempt.server) if place is None else place.name
        replayed = request.replayed
        if replayed is None:
            self._check(
                request, What.SERVER, logged, "", line, "the log tells no host and URI", UNDECIDED
            )
            return
        if not request.failures:
            self._bring_session(request)
        is_ours = place is not None and place.cluster is self._cluster_of(request)
        if attempt.moved and place is not None and is_ours:
            replayed.remember(place.index, now_ms)
        server, rule = replayed.choose(now_ms, place.index if place and is_ours else -1)
        request.by_affinity = rule <= _LAST_AFFINITY
        request.knows_affinity = self.knows_session(request)
        ours = self._name(request, server)
        if place is not None and is_ours:
            if server != place.index:
                replayed.go_to(place.index)
            if not request.goes_on:
                ours = "nowhere: the client gets an error"
        result: Result = SAME if ours == logged else DIFFERS
        note = _RULES[rule]
        if result == DIFFERS and not request.knows_affinity:
            result, note = UNDECIDED, "the log tells no cookies"
        elif place is None:
            note = "no server of this name in the configuration"
        self._check(request, What.SERVER, logged, ours, line, note, result)

    def decide_access(self, request: LoggedRequest, address: bytes, now_ms: int, line: int) -> None:
        """The server of a request in an access log, where ``address`` says where it went."""
        text = text_of(address)
        if address:
            request.attempt.server = self._find_address(request, text)
        if request.attempt.server:
            self.decide(request, now_ms, line)
            request.knows_affinity = True
            return
        request.attempt.is_decided = True
        replayed = request.replayed
        assert replayed is not None
        self._bring_session(request)
        server, rule = replayed.choose(now_ms, -1)
        request.by_affinity = rule == Rule.AFFINITY
        ours = self._name(request, server)
        if address:
            note = "no server of the cluster has this Transport"
            self._check(request, What.SERVER, text, ours, line, note, DIFFERS)
        elif request.cluster < 0:
            note = "no route, and no WAS= in the line: not for an app server"
            self._check(request, What.GROUP, "none", "none", line, note)
        else:
            note = "no WAS= in the line: add WAS=%{WAS}e to the LogFormat"
            self._check(request, What.SERVER, "", ours, line, note, UNDECIDED)

    def _find_address(self, request: LoggedRequest, address: str) -> bytes:
        """Name of the server with this Transport, in the cluster of the request if there is one."""
        named = b""
        for name, places in request.process.places.items():
            for place in places:
                if address in place.addresses:
                    if place.cluster is self._cluster_of(request):
                        return name
                    named = named or name
        return named

    def _bring_session(self, request: LoggedRequest) -> None:
        """Clone ids come from the Cookie lines, else from the values that the log says it has parsed."""
        replayed = request.replayed
        assert replayed is not None
        cookies = request.cookies
        if not cookies and request.values:
            target, name = replayed.target, replayed.cookie
            cookies = [b"%b=%b" % (name, value) for value in request.values if value not in target]
        if cookies:
            replayed.bring(cookies)
            if request.values:
                request.clone_ids = b" ".join(replayed.clone_ids())

    def compare_clone_ids(self, request: LoggedRequest, line: int) -> None:
        """The Cookie line came after the choice: it must bring the ids that the choice was made with."""
        replayed = request.replayed
        if replayed is None or not request.attempt.is_decided or request.failures:
            return
        found = b" ".join(replayed.clone_ids_in(request.cookies))
        if found or request.clone_ids:
            ours = logged = text_of(found)
            if found != request.clone_ids:
                logged = text_of(request.clone_ids) if request.values else "none"
            note = "as parsed from the Cookie line"
            self._check(request, What.CLONES, logged, ours, line, note)

    def _cluster_of(self, request: LoggedRequest) -> Cluster | None:
        return request.process.clusters[request.cluster] if request.cluster >= 0 else None

    def _name(self, request: LoggedRequest, server: int) -> str:
        if request.cluster < 0:
            return "none: no route"
        cluster = request.process.clusters[request.cluster]
        if server < 0 or cluster is None:
            return _NO_SERVER.get(server, "none")
        return cluster.server_names[server]

    # --- the exchange ---------------------------------------------------------------------------------------------------

    def on_transport(self, request: LoggedRequest, line: LogLine) -> None:
        """``Setting the transport``: checked at the end of the try, when the scheme is known."""
        said = self._transports.get(line.text)
        if said is None:
            found = read_fields(Code.TRANSPORT, line.text, line.at)
            if found is None:
                return
            said = f"{text_of(found['host']).strip('[]')}:{int(found['port'])}"
            if len(self._transports) > 4096:
                self._transports.clear()
            self._transports[line.text] = said
        request.attempt.transport = (said, line.number)

    def _check_transport(self, request: LoggedRequest) -> None:
        attempt = request.attempt
        if attempt.transport is None:
            return
        logged, line = attempt.transport
        place = attempt.place
        if place is None:
            why = "the log does not name the server" if not attempt.server else "no such server"
            self._check(request, What.TRANSPORT, logged, "", line, why, UNDECIDED)
            return
        secure = request.is_secure
        if secure is None and request.port in (_HTTP_PORT, _HTTPS_PORT):
            secure = request.port == _HTTPS_PORT
        texts = place.addresses
        if texts[0] == texts[1] or secure is not None:
            ours = texts[0] if secure is not False else texts[1]
            if logged != ours and request.is_secure is None and logged in texts:
                note = "by the port it would be the other scheme; $WSSC is not in the log"
                self._check(request, What.TRANSPORT, logged, ours, line, note, UNDECIDED)
                return
            self._check(request, What.TRANSPORT, logged, ours, line)
        elif logged in texts:
            note = "one of http and https; which the request was is not in the log"
            self._check(request, What.TRANSPORT, logged, logged, line, note)
        else:
            self._check(request, What.TRANSPORT, logged, " or ".join(texts), line)

    def on_status(self, request: LoggedRequest, status: int, line: int) -> None:
        """The server answered: it lives, unless that status counts as a failure."""
        attempt = request.attempt
        attempt.status = status
        attempt.status_line = line
        request.status_seen = status
        place = attempt.place
        if place is not None and (
            status < _LEAST_ERROR or not is_failure(request.process.engine, status)
        ):
            place.cluster.set_up(place.index)

    def on_failure(self, request: LoggedRequest, line: LogLine) -> None:
        """Why the present try fails."""
        request.attempt.failure = _FAILURES[Code(line.code)]

    def end_failed(self, request: LoggedRequest, now_ms: int, line: int) -> None:
        """``will try another one``: what the live code would do with server and request."""
        attempt = request.attempt
        place = attempt.place
        ruling = request.ruling = self._rule(request, attempt, place)
        if attempt.is_marked:
            ours = "marked down" if ruling.mark_down else "not marked down"
            self._check(
                request,
                What.MARK_DOWN,
                "marked down",
                ours,
                attempt.is_marked,
                attempt.failure.value,
            )
        elif ruling.mark_down and place is not None:
            # LogLevel Error has no line for it (PLUGIN 5.1 says that it is)
            place.cluster.set_down(place.index, 0, now_ms)
        self._leave_attempt(request)

    def _rule(self, request: LoggedRequest, attempt: Attempt, place: Place | None) -> Ruling:
        failure = attempt.failure
        if attempt.status == _BUSY:
            failure = Failure.BUSY
        marks_down, most_kept, most_retries = False, -1, -1
        if place is not None:
            marks_down = place.pool(secure=False).io_timeout_marks_down
            most_retries = place.service.io_timeout_retry
            cluster = (
                self._world.config.server_clusters[request.cluster]
                if request.cluster >= 0
                else None
            )
            most_kept = -1 if cluster is None else cluster.post_buffer_size_kb * 1024
        ruling = decide_retry(
            Try(
                failure=failure,
                reused_connection=attempt.reused,
                replayable=most_kept < 0 or request.body <= most_kept,
                io_timeout_marks_down=marks_down,
                timeout_retries=request.timeouts,
                io_timeout_retry=most_retries,
            )
        )
        if failure is Failure.IO_TIMEOUT:
            request.timeouts += 1
        return ruling

    def _leave_attempt(self, request: LoggedRequest) -> None:
        """The next lines are of another try."""
        self._check_transport(request)
        if request.replayed is not None:
            request.replayed.fail()
        request.failures += 1
        request.attempt = Attempt()

    def find_none(self, request: LoggedRequest, now_ms: int, line: int) -> None:
        """``Failed to find an app server``: whether the live code finds none either."""
        if request.attempt.is_decided:
            self._leave_attempt(request)
        replayed = request.replayed
        if replayed is None:
            self._check(
                request, What.SERVER, "none", "", line, "the log tells no host and URI", UNDECIDED
            )
            return
        if not request.failures:
            self._bring_session(request)
        if not request.goes_on:
            self._check(request, What.SERVER, "none", "none", line, "the request is given up")
            return
        server, _ = replayed.choose(now_ms, -1)
        ours = "none" if server < 0 else self._name(request, server)
        note = _NO_SERVER.get(server, "")
        if server >= 0:
            replayed.fail()
            if not self.knows_session(request):
                note = "as far as the log tells"
        self._check(request, What.SERVER, "none", ours, line, note)

    # --- the end --------------------------------------------------------------------------------------------------------

    def on_counters(self, request: LoggedRequest, found: re.Match[bytes], line: int) -> None:
        """The STATS line: counters rise by what this request is, where no other one runs beside it."""
        server = found["server"]
        failed, affinity, total = map(int, found.group("failed", "affinity", "total"))
        process = request.process
        key = (request.key[0], server)
        before = process.counters.get(key)
        process.counters[key] = (failed, affinity, total)
        logged = f"{failed}/{affinity}/{total}"
        if before is None:
            self._check_first(request, logged, line, knows_start=process.knows_start)
        else:
            self._check_rise(request, before, (failed, affinity, total), line)
        if request.attempt.is_decided and request.attempt.server == server:
            if request.replayed is not None:
                request.replayed.finish()
            if not request.counted:
                request.counted = True
                process.running -= 1

    def _check_first(
        self, request: LoggedRequest, logged: str, line: int, *, knows_start: bool
    ) -> None:
        failed, affinity, total = (int(part) for part in logged.split("/"))
        is_first = request.by_affinity and request.knows_affinity
        ours = f"at least 0/{int(is_first)}/{int(not failed)}"
        possible = affinity >= int(is_first) and total >= int(not failed)
        note = "the first line of this server: what was before is not in the log"
        if knows_start and possible:
            note = "the first line of this server"
        self._check(request, What.COUNTERS, logged, ours, line, note, SAME if possible else DIFFERS)

    def _check_rise(
        self,
        request: LoggedRequest,
        before: tuple[int, int, int],
        now: tuple[int, int, int],
        line: int,
    ) -> None:
        logged = f"{now[0]}/{now[1]}/{now[2]}"
        note = "failed/affinity/total"
        failed, affinity, total = now[0] - before[0], now[1] - before[1], now[2] - before[2]
        is_failure_line = failed > 0
        expected = int(request.by_affinity)
        if not request.is_alone:
            # lines of requests that run beside each other need not be written in the order of their counting
            note = "other requests ran beside it"
        elif (
            failed > 1
            or failed < 0
            or total != (not is_failure_line)
            or (affinity != expected if request.knows_affinity else affinity not in (0, 1))
        ):
            ours = f"{before[0] + is_failure_line}/{before[1] + expected}/{before[2] + (not is_failure_line)}"
            result = DIFFERS
            if min(failed, affinity, total) >= 0 and (
                failed + affinity + total > 1 or not request.knows_affinity
            ):
                result, note = UNDECIDED, "other requests of this process are not in the log"
            self._check(request, What.COUNTERS, logged, ours, line, note, result)
            return
        self._check(request, What.COUNTERS, logged, logged, line, note)

    def end(self, request: LoggedRequest, now_ms: int) -> None:
        """The last try, and what the client got."""
        attempt = request.attempt
        self._check_transport(request)
        if attempt.status:
            self._check_status(request, attempt, now_ms)
        elif request.gave_up and request.replayed is not None:
            ruling = request.ruling
            ours = 503 if ruling is None else ruling.status or request.status_seen
            ours = decide_status(ours, self._world.settings.retry.error_status)
            note = "the log does not tell what the client got"
            self._check(request, What.STATUS, "", str(ours), 0, note, UNDECIDED)
        if request.replayed is not None:
            request.replayed.finish()

    def _check_status(self, request: LoggedRequest, attempt: Attempt, now_ms: int) -> None:
        """An answer goes to the client, unless it sends the request to another server."""
        logged = str(attempt.status)
        replayed = request.replayed
        if replayed is None or (
            attempt.status < _LEAST_ERROR or not is_failure(request.process.engine, attempt.status)
        ):
            self._check(request, What.STATUS, logged, logged, attempt.status_line)
            return
        place = attempt.place
        if attempt.status != _BUSY:
            attempt.failure = Failure.SERVER_ERROR
        ours = logged
        if self._rule(request, attempt, place).next is Next.OTHER_SERVER:
            replayed.fail()
            server, _ = replayed.choose(now_ms, -1)
            if server >= 0:
                ours = f"that of another server: {self._name(request, server)}"
        self._check(request, What.STATUS, logged, ours, attempt.status_line)
