"""
What is rare in the tries of a replayed request: how failed ones go on, servers known by their address, first counters.

Driven by ``replay`` and ``_fast.logtries``, which has the common part. Servers are chosen by ``_fast.replay`` and failures judged
by ``routing.retry``: here what the log says is put beside what they say.
"""

from __future__ import annotations

from typing import ClassVar

from wsproxy._fast.logged import Attempt, LoggedRequest, Place
from wsproxy._fast.logtries import LogTries, text_of
from wsproxy._fast.replay import Rule
from wsproxy._fast.select import Cluster
from wsproxy.pluginlog.messages import Code
from wsproxy.pluginlog.outcome import DIFFERS, SAME, UNDECIDED, Result, What
from wsproxy.pluginlog.world import World
from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

_BUSY = 503
FAILURES = {
    Code.CONNECT_FAILED: Failure.CONNECT,
    Code.CONNECT_TIMEOUT: Failure.CONNECT,
    Code.NO_STREAM: Failure.CONNECT,
    Code.IO_TIMEOUT: Failure.IO_TIMEOUT,
    Code.BAD_RESPONSE: Failure.BAD_RESPONSE,
}


class Tries:
    """One for a replay."""

    raced = "another worker changed the state of servers at the same moment"
    # Of ``choose``, where it finds none.
    no_server: ClassVar = {-1: "none can be reached", -2: "none: all are at MaxConnections"}

    def __init__(self, world: World, replay: LogTries) -> None:
        """``replay`` takes the common decisions and notes what came out."""
        self._world = world
        self._replay = replay
        self._check = replay.check

    def name_by_transport(self, request: LoggedRequest) -> bool:
        """Below Debug only host and port tell the server, up to the line of its counters."""
        if request.attempt.transport is None or request.replayed is None:
            return False
        request.attempt.server = self._find_address(request, request.attempt.transport)
        return bool(request.attempt.server)

    def decide_access(self, request: LoggedRequest, address: bytes, line: int) -> None:
        """The server of a request in an access log, where ``address`` says where it went."""
        text = text_of(address)
        if address:
            request.attempt.server = self._find_address(request, text)
        if request.attempt.server:
            self._replay.decide(request, line)
            request.knows_affinity = True
            return
        request.attempt.is_decided = True
        replayed = request.replayed
        assert replayed is not None
        self._replay.bring_session(request)
        server, rule = replayed.choose(self._replay.now_ms(), -1)
        request.by_affinity = rule == Rule.AFFINITY
        ours = self._replay.name_of(request, server)
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

    def _cluster_of(self, request: LoggedRequest) -> Cluster | None:
        return request.process.clusters[request.cluster] if request.cluster >= 0 else None

    def end_failed(self, request: LoggedRequest) -> None:
        """``will try another one``: what the live code would do with server and request."""
        attempt = request.attempt
        place = attempt.place
        ruling = request.ruling = self._rule(request, attempt, place)
        request.goes_on = ruling.next is not Next.GIVE_UP
        if attempt.marked_line:
            ours = "marked down" if ruling.mark_down else "not marked down"
            why = (attempt.failure or Failure.CLOSED_EARLY).value
            self._check(request, What.MARK_DOWN, "marked down", ours, attempt.marked_line, why)
        elif ruling.mark_down and place is not None:
            # LogLevel Error has no line for it (PLUGIN 5.1 says that it is)
            place.cluster.set_down(place.index, 0, self._replay.now_ms())
        self._replay.leave_attempt(request)

    def _rule(self, request: LoggedRequest, attempt: Attempt, place: Place | None) -> Ruling:
        failure: Failure = attempt.failure or Failure.CLOSED_EARLY
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

    def find_none(self, request: LoggedRequest, line: int) -> None:
        """``Failed to find an app server``: whether the live code finds none either."""
        if request.attempt.is_decided:
            self._replay.leave_attempt(request)
        replayed = request.replayed
        if replayed is None:
            self._check(
                request, What.SERVER, "none", "", line, "the log tells no host and URI", UNDECIDED
            )
            return
        if not request.failures:
            self._replay.bring_session(request)
        if not request.goes_on:
            self._check(request, What.SERVER, "none", "none", line, "the request is given up")
            return
        self._replay.restate(request)
        server, _ = replayed.choose(self._replay.now_ms(), -1)
        ours = "none" if server < 0 else self._replay.name_of(request, server)
        note = self.no_server.get(server, "")
        result: Result | None = None
        if server >= 0:
            replayed.fail()
            if not request.knows_session():
                note = "as far as the log tells"
            elif self._replay.is_raced(request):
                note, result = self.raced, UNDECIDED
        self._check(request, What.SERVER, "none", ours, line, note, result)

    def check_first(self, request: LoggedRequest, now: tuple[int, int, int], line: int) -> None:
        """The first counters of a server, (failed, affinity, total): what they must be at least."""
        failed, affinity, total = now
        is_first = request.by_affinity and request.knows_affinity
        ours = f"at least 0/{int(is_first)}/{int(not failed)}"
        possible = affinity >= int(is_first) and total >= int(not failed)
        note = "the first line of this server: what was before is not in the log"
        if request.process.knows_start and possible:
            note = "the first line of this server"
        logged, result = f"{failed}/{affinity}/{total}", SAME if possible else DIFFERS
        self._check(request, What.COUNTERS, logged, ours, line, note, result)

    def judge_giving_up(self, request: LoggedRequest) -> None:
        """The client got no answer of a server."""
        ruling: Ruling | None = request.ruling
        ours = 503 if ruling is None else ruling.status or request.status_seen
        ours = decide_status(ours, self._world.settings.retry.error_status)
        note = "the log does not tell what the client got"
        self._check(request, What.STATUS, "", str(ours), 0, note, UNDECIDED)

    def judge_error(self, request: LoggedRequest) -> None:
        """An answer that counts as a failure goes to the client, unless it sends the request to another server."""
        attempt, replayed = request.attempt, request.replayed
        assert replayed is not None
        if attempt.status != _BUSY:
            attempt.failure = Failure.SERVER_ERROR
        ours = logged = str(attempt.status)
        if self._rule(request, attempt, attempt.place).next is Next.OTHER_SERVER:
            self._replay.restate(request)
            replayed.fail()
            server, _ = replayed.choose(self._replay.now_ms(), -1)
            if server >= 0:
                ours = f"that of another server: {self._replay.name_of(request, server)}"
                if self._replay.is_raced(request):
                    self._check(
                        request,
                        What.STATUS,
                        logged,
                        ours,
                        attempt.status_line,
                        self.raced,
                        UNDECIDED,
                    )
                    return
        self._check(request, What.STATUS, logged, ours, attempt.status_line)
