"""
What is rare in the tries of a replayed request: how failed ones go on, servers known by their address, first counters.

Driven by ``replay`` and ``_fast.logs.tries``, which has the common part. Servers are chosen by ``_fast.logs.replay`` and failures judged
by ``routing.retry``: here what the log says is put beside what they say.
"""

from __future__ import annotations

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.logs.heard import RareTries
from wsproxy._fast.logs.replay import Rule
from wsproxy._fast.logs.request import Attempt, LoggedRequest, Place
from wsproxy._fast.logs.tries import NO_SERVER, RACED, LogTries, text_of
from wsproxy.logs.messages import Code
from wsproxy.replay.outcome import DIFFERS, SAME, UNDECIDED, Result, What
from wsproxy.replay.summary import Summary
from wsproxy.replay.world import World
from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

_BUSY = 503
_LEAST_ERROR = 500
# Below Trace nothing tells how much of a body was sent; these have none, or hardly ever.
_WITHOUT_BODY = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"DELETE"))
FAILURES = {
    Code.CONNECT_FAILED: Failure.CONNECT,
    Code.CONNECT_TIMEOUT: Failure.CONNECT,
    Code.NO_STREAM: Failure.CONNECT,
    Code.IO_TIMEOUT: Failure.IO_TIMEOUT,
    Code.BAD_RESPONSE: Failure.BAD_RESPONSE,
    Code.CLOSED: Failure.CLOSED_EARLY,
}


class Tries(RareTries):
    """One for a replay."""

    def __init__(self, world: World, replay: LogTries, summary: Summary) -> None:
        """``replay`` takes the common decisions and notes what came out."""
        self._world = world
        self._summary = summary
        self._replay = replay
        self._check = replay.check
        # Whether a line of an access log has WAS=, JSESSIONID= (or a clone id in its path), and a host
        self.names_servers = self.names_sessions = self.names_hosts = False

    def name_by_transport(self, request: LoggedRequest) -> bool:
        """Below Debug only host and port tell the server, up to the line of its counters."""
        if request.attempt.transport is None or request.replayed is None:
            return False
        request.attempt.server = self._find_address(request, request.attempt.transport)
        return bool(request.attempt.server)

    def decide_access(
        self, request: LoggedRequest, address: bytes, line: int, *, tells_session: bool
    ) -> None:
        """The server of a request in an access log, where ``address`` says where it went."""
        text = text_of(address)
        replayed = request.replayed
        assert replayed is not None
        self.names_hosts = self.names_hosts or bool(request.host)
        if address:
            self.names_servers = True
            request.attempt.server = self._find_address(request, text)
        has_no_host = request.cluster < 0 and not request.host
        if request.attempt.server and not has_no_host:
            self._replay.decide(request, line)
            self._judge_session(request, line, tells_session=tells_session)
            request.knows_affinity = True
            return
        request.attempt.is_decided = True
        self._replay.bring_session(request)
        server, rule = replayed.choose(self._replay.now_ms(), -1)
        request.by_affinity = rule == Rule.AFFINITY
        ours = self._replay.name_of(request, server)
        if has_no_host:
            note = "the log does not tell the host: --host HOST:PORT"
            self._check(request, What.SERVER, text, "", line, note, UNDECIDED)
        elif address:
            note = "no server of the cluster has this Transport"
            self._check(request, What.SERVER, text, ours, line, note, DIFFERS)
        elif request.cluster < 0:
            note = "no route, and no WAS= in the line: not for an app server"
            result = SAME if self.names_servers else UNDECIDED  # the format may have no WAS= at all
            self._check(request, What.GROUP, "none", "none", line, note, result)
        else:
            note = "no WAS= in the line: add WAS=%{WAS}e to the LogFormat"
            self._check(request, What.SERVER, "", ours, line, note, UNDECIDED)

    def _judge_session(self, request: LoggedRequest, line: int, *, tells_session: bool) -> None:
        """Any server that is up may have a request whose session is not known: that says nothing of affinity."""
        assert request.replayed is not None
        if tells_session or request.replayed.clone_ids_brought():
            self.names_sessions = True
        elif request.cluster >= 0:
            note = "no JSESSIONID= in the line: add it to the LogFormat"
            self._check(request, What.AFFINITY, "", "", line, note, UNDECIDED)

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
        ruling = request.ruling = self._rule(request, request.attempt)
        request.goes_on = ruling.next is not Next.GIVE_UP
        request.is_ruled = True
        self._judge_mark(request, ruling)
        self._replay.leave_attempt(request)

    def _judge_mark(self, request: LoggedRequest, ruling: Ruling) -> None:
        """Whether the failure marks the server down."""
        attempt = request.attempt
        place = attempt.place
        if attempt.marked_line:
            ours = "marked down" if ruling.mark_down else "not marked down"
            why = self._failure_of(attempt).value
            self._check(request, What.MARK_DOWN, "marked down", ours, attempt.marked_line, why)
        elif ruling.mark_down and place is not None:
            # LogLevel Error has no line for it (PLUGIN 5.1 says that it is): the log's next word on the server tells
            place.cluster.set_down(place.index, 0, self._replay.now_ms())
            place.marked_ms = 0
            if (
                request.replayed is not None
            ):  # below Detail answers are not there, which clear a mark
                place.ruled_line = request.last

    def judge_going_on(self, request: LoggedRequest, line: int) -> None:
        """The log has another try: whether the live code would have made it. What follows is judged as if."""
        other = Next.OTHER_SERVER.value
        ruling: Ruling = request.ruling
        ours = other if request.goes_on else ruling.next.value
        request.goes_on, request.is_ruled = True, False
        self._check(request, What.RETRY, other, ours, line)

    def judge_timeout(self, request: LoggedRequest, seconds: int, most: int, line: int) -> None:
        """``ServerIOTimeout fired``: the limits that the log names, beside the configured ones."""
        place = request.attempt.place
        if place is None:
            return
        ours_s = int(abs(place.io_timeout_s))
        logged = f"{place.name}: {seconds} s, ServerIOTimeoutRetry {most}"
        ours = f"{place.name}: {ours_s} s, ServerIOTimeoutRetry {place.service.io_timeout_retry}"
        self._check(request, What.IO_TIMEOUT, logged, ours, line)

    def judge_size(self, request: LoggedRequest, line: int) -> None:
        """The log shows a body that PostSizeLimit forbids."""
        cluster = self._world.config.server_clusters[request.cluster]
        ours = f"413: PostSizeLimit is {cluster.post_size_limit_kb} KB"
        logged = f"{request.content_length} bytes were sent"
        self._check(request, What.POST_SIZE, logged, ours, line)

    def meet_stranger(self, request: LoggedRequest, line: int) -> None:
        """Clone ids that no server has, and the log does not tell whether one of them named the server."""
        assert request.replayed is not None
        clones = [text_of(each) for each in request.replayed.clone_ids_brought()]
        if not request.failures:
            cluster = self._world.config.server_clusters[request.cluster].name
            self._summary.count_stranger(cluster, clones[0], request.server_name)
        note = f"no server of the cluster has the clone id {' or '.join(dict.fromkeys(clones))}"
        self._check(request, What.AFFINITY, "", "by regular balancing", line, note, UNDECIDED)

    def explain_affinity(self, request: LoggedRequest, was_named: bool) -> str:
        """Why there is a clone match on one side only."""
        if not was_named:
            return "the log balances although a clone id names the server here"
        assert request.replayed is not None
        brought = request.replayed.clone_ids_brought()
        if not brought:
            return "no clone id is found in its cookie and path"
        return (
            f"its clone ids are {text_of(b' '.join(brought))}, of no server that can be used here"
        )

    def _failure_of(self, attempt: Attempt) -> Failure:
        """How the try failed: as its lines say, or by the status of its answer."""
        if attempt.status == _BUSY:
            return Failure.BUSY
        failure: Failure | None = attempt.failure
        marks = self._world.settings.retry.server_errors == "mark_down"
        if failure is None and attempt.status >= _LEAST_ERROR and marks:
            failure = Failure.SERVER_ERROR
        return failure or Failure.CLOSED_EARLY

    def _rule(self, request: LoggedRequest, attempt: Attempt) -> Ruling:
        place: Place | None = attempt.place
        failure = self._failure_of(attempt)
        once = self._world.settings.retry.strict_once
        ruling = decide_retry(
            Try(
                failure=failure,
                reused_connection=attempt.reused,
                replayable=place is None or request.body <= place.service.post_buffer_size,
                io_timeout_marks_down=place is not None and place.io_timeout_s < 0,
                timeout_retries=request.timeouts,
                io_timeout_retry=-1 if place is None else place.service.io_timeout_retry,
                may_not_repeat=once and failure is not Failure.CONNECT,
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
        note = NO_SERVER.get(server, "")
        result: Result | None = None
        if server >= 0:
            replayed.fail()
            if not request.knows_session():
                note = "as far as the log tells"
            elif self._replay.is_raced(request):
                note, result = RACED, UNDECIDED
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
        if request.attempt.failure is not None:
            self._judge_stop(request)
        ruling: Ruling | None = request.ruling
        ours = 503 if ruling is None else ruling.status or request.status_seen
        ours = decide_status(ours, self._world.settings.retry.error_status)
        note = "the log does not tell what the client got"
        self._check(request, What.STATUS, "", str(ours), 0, note, UNDECIDED)

    def _judge_stop(self, request: LoggedRequest) -> None:
        """The log's last try failed, and there it ends: whether the live code would have asked another server."""
        attempt, replayed = request.attempt, request.replayed
        assert replayed is not None
        ruling = request.ruling = self._rule(request, attempt)
        self._judge_mark(request, ruling)
        stop = Next.GIVE_UP.value
        if ruling.next is Next.SAME_SERVER:
            return  # how that try ended is not in the log
        note, result, ours = "", None, stop
        if ruling.next is Next.OTHER_SERVER:
            self._replay.restate(request)
            replayed.fail()
            server, _ = replayed.choose(self._replay.now_ms(), -1)
            if server >= 0:
                ours = f"another server: {self._replay.name_of(request, server)}"
                if self._replay.is_raced(request):
                    note, result = RACED, UNDECIDED
                elif (
                    request.body == 0
                    and request.content_length != 0
                    and request.method not in _WITHOUT_BODY
                ):
                    note, result = "how much of the body was sent is not in the log", UNDECIDED
        self._check(request, What.RETRY, stop, ours, request.last, note, result)

    def judge_error(self, request: LoggedRequest) -> None:
        """An answer that counts as a failure goes to the client, unless it sends the request to another server."""
        attempt, replayed = request.attempt, request.replayed
        assert replayed is not None
        ours = logged = str(attempt.status)
        if self._rule(request, attempt).next is Next.OTHER_SERVER:
            self._replay.restate(request)
            replayed.fail(answered=True)
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
                        RACED,
                        UNDECIDED,
                    )
                    return
        self._check(request, What.STATUS, logged, ours, attempt.status_line)
