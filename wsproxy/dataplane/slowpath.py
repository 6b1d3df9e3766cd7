"""
What is rare in the life of a request: a new connection, a failed server, an answer of our own.

Called by ``_fast.proxy`` on the event loop, through the methods of ``slow.Slow``; works on its objects and hands them back. Every
server that fails is logged with its evidence; whether the request goes on is ``routing.retry``'s decision alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import time
from collections.abc import Coroutine
from http import HTTPStatus

from wsproxy._fast.decide.balance import NoServer
from wsproxy._fast.decide.cluster import MarkDown
from wsproxy._fast.decide.edge import EdgeAct
from wsproxy._fast.decide.writers import Noticed
from wsproxy._fast.http.head import HEAD_ERRORS
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.exchange import FailureKind
from wsproxy._fast.proxy.slow import Slow
from wsproxy._fast.state.changes import visible_path
from wsproxy._fast.state.meters import EdgeAnswer, TryFailure
from wsproxy.config.settings import RetrySettings
from wsproxy.dataplane import answers
from wsproxy.dataplane.connect import open_upstream
from wsproxy.dataplane.explained import Decision, request_id
from wsproxy.dataplane.file_sender import FileSender
from wsproxy.dataplane.files import ASKED_FIELDS, FileSite
from wsproxy.dataplane.queue import WaitingRoom
from wsproxy.dataplane.refusals import Allowance, Refusals
from wsproxy.dataplane.served import ServedPlan
from wsproxy.dataplane.tasks import spawn
from wsproxy.dataplane.tls import private_tls_lines
from wsproxy.dataplane.witness import Witness
from wsproxy.errors import OWN_LACKS
from wsproxy.explain.noticed import level_of, words_of
from wsproxy.routing.ledger import Attempt, Ledger, describe
from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

log = logging.getLogger("wsproxy.request")
servers = logging.getLogger("wsproxy.servers")
# Requests that may have been executed and should not be twice: which they were nobody else says.
orders = logging.getLogger("wsproxy.orders")

# RFC 9110 9.2.1: executing one twice changes nothing.
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

_FAILURES = {
    FailureKind.CLOSED_EARLY: Failure.CLOSED_EARLY,
    FailureKind.IO_TIMEOUT: Failure.IO_TIMEOUT,
    FailureKind.BAD_RESPONSE: Failure.BAD_RESPONSE,
    # The same to everybody: the server takes too long. Only what is told of it differs.
    FailureKind.HEAD_TIMEOUT: Failure.IO_TIMEOUT,
}


_METERED = {
    Failure.CONNECT: TryFailure.CONNECT_FAILED,
    Failure.CLOSED_EARLY: TryFailure.CLOSED_EARLY_FAILED,
    Failure.IO_TIMEOUT: TryFailure.IO_TIMEOUT_FAILED,
    Failure.BAD_RESPONSE: TryFailure.BAD_RESPONSE_FAILED,
    Failure.BUSY: TryFailure.BUSY_FAILED,
    Failure.SERVER_ERROR: TryFailure.SERVER_ERROR_FAILED,
}

# Files have theirs where they are sent: no [[edge]] need say so.
_EDGE_ANSWERS: dict[int, EdgeAnswer] = {
    EdgeAct.EDGE_REDIRECTS: EdgeAnswer.REDIRECTED_ANSWER,
    EdgeAct.EDGE_MAINTENANCE: EdgeAnswer.MAINTENANCE_ANSWER,
    EdgeAct.EDGE_DENIES: EdgeAnswer.DENIED_ANSWER,
    EdgeAct.EDGE_NO_HOST: EdgeAnswer.NO_HOST_ANSWER,
}
# The mark is told of once; that a server still fails at each RetryInterval, and what else was on its way to it at the same time.
_MARK_LEVELS = {
    MarkDown.NEWLY_MARKED: logging.ERROR,
    MarkDown.STILL_FAILING: logging.WARNING,
    MarkDown.STILL_MARKED: logging.INFO,
}
# How often a second it is looked for what a request without Route may have meant: each costs up to some milliseconds.
FAR_LOOKS = 10

# Where connecting failed: nothing was sent, so the request always goes on (``decide_retry`` says the same of CONNECT).
_UNREACHED = Ruling(Next.OTHER_SERVER, mark_down=True, status=503)


def _visible_request(line: bytes) -> str:
    """Method and visible path of a request line; empty where it was not kept."""
    method, _, rest = line.partition(b" ")
    return (
        f"{method.decode('ascii', 'backslashreplace')} {visible_path(rest.rpartition(b' ')[0])}"
        if rest
        else ""
    )


def _plan_of(downstream: Downstream) -> ServedPlan:
    """Of the configuration that its request began with: the worker may go by another one by now."""
    plan = downstream.plan
    assert isinstance(plan, ServedPlan)
    return plan


def _retry_of(downstream: Downstream) -> RetrySettings:
    return _plan_of(downstream).settings.retry


def _id_of(downstream: Downstream) -> str:
    """As the access log has it."""
    return f"id={request_id(downstream.request_number)}"


def _detail(kind: FailureKind, error: int) -> str:
    """The failure and its evidence: the reason of ``head``, or the system's words."""
    failure = _FAILURES[kind]
    if kind is FailureKind.HEAD_TIMEOUT:
        return "timeouts.server_head_s: the head of the answer is not whole"
    if kind is FailureKind.BAD_RESPONSE:
        return f"{failure.value}: {HEAD_ERRORS.get(error, (0, 'malformed'))[1]}"
    return f"{failure.value}: {os.strerror(error)}" if error else failure.value


class SlowPath(Slow):
    """One a worker; ``engine`` is set right after both exist."""

    engine: Engine

    def __init__(self, witness: Witness | None = None) -> None:
        """``witness`` is told of each failure, and of what follows."""
        self._far_looks = Allowance(FAR_LOOKS)
        self._witness = witness or Witness()
        self.room = WaitingRoom(self._serve_waited, self._refuse)
        self._refusals = Refusals()
        self._files = FileSender()

    # called by Downstream -------------------------------------------------------------------------------------------

    def client_refused(self, peer: str) -> None:
        """A client wanted more connections than limits.client_connections allows."""
        self._refusals.note(peer, asyncio.get_running_loop().time())

    def noticed(self, noticed: Noticed, completes: bool, takes_back: bool) -> None:
        """Something about clone ids that was never said before of this cluster or server."""
        words = words_of(noticed, completes=completes, takes_back=takes_back)
        log.log(level_of(noticed), "cluster %s: %s", noticed.cluster, words)

    def begin_explained(self, downstream: Downstream) -> Decision | None:
        """A request asks for its decision: what keeps it; None where the client may not know."""
        return _plan_of(downstream).decisions.begin(downstream.sender)

    def connect(self, downstream: Downstream) -> None:
        """No warm connection to the server that was taken."""
        self._start(downstream, self._connect(downstream), "connect")

    def upstream_failed(self, downstream: Downstream, kind: int, error: int, reused: bool) -> None:
        """The server gave no answer to a request that was (partly) sent."""
        kind = FailureKind(kind)
        failure = _FAILURES[kind]
        detail = _detail(kind, error)
        ruling = self._judge(downstream, failure, detail, is_reused=reused)
        if ruling.mark_down:
            self._mark_down(downstream, error or errno.ETIMEDOUT, detail)
        self._witness.failed(downstream, failure, ruling, error=error)
        if failure is Failure.IO_TIMEOUT:
            downstream.count_timeout_retry()
        if ruling.next is Next.SAME_SERVER:
            downstream.pardon()
            self.connect(downstream)
        elif ruling.next is Next.OTHER_SERVER:
            chosen = downstream.next_server()
            self._witness.chosen(downstream)
            if chosen >= 0:
                self.send_kept(downstream)
            elif chosen != NoServer.ALL_FULL or not self._may_wait(downstream):
                self._fail(downstream, ruling.status, no_server=True)
        else:
            self._fail(downstream, ruling.status)

    def refused(self, downstream: Downstream, status: int) -> bool:
        """The server answered 503, or another status that counts as a failure: whether another server was taken instead."""
        failure = Failure.BUSY if status == HTTPStatus.SERVICE_UNAVAILABLE else Failure.SERVER_ERROR
        detail = f"answered {status}"
        downstream.count_failure()
        ruling = self._judge(downstream, failure, detail, status=status)
        if ruling.mark_down:
            self._mark_down(downstream, 0, detail)
        pool = downstream.pool
        assert pool is not None
        self._witness.refused(downstream, status, pool, ruling)
        if ruling.next is not Next.OTHER_SERVER:
            return False
        if downstream.next_server(keep=True) < 0:
            self._witness.kept(downstream)
            return False
        self._witness.moved_on(downstream, pool)
        self._witness.chosen(downstream)
        return True

    def send_kept(self, downstream: Downstream) -> None:
        """A server was taken for a request that is kept: on a warm connection if there is one."""
        if not downstream.try_warm():
            self.connect(downstream)

    def _serve_waited(self, downstream: Downstream) -> None:
        """A server was taken for a request that waited."""
        self._witness.chosen(downstream)
        self.send_kept(downstream)

    def answer_began(self, downstream: Downstream, status: int) -> None:
        """A server answers a request that failed elsewhere before."""
        self._note(downstream, "", status=status)

    def tries_over(self, downstream: Downstream, ledger: Ledger) -> None:
        """The exchange ends and none of our own answers was given; some tries had failed."""
        last = ledger.attempts[-1]
        if not last.failure:
            self._log_ledger(downstream, ledger, "served", logging.INFO)
        elif last.status:
            self._log_ledger(downstream, ledger, f"answered {last.status} by the server")
        else:
            self._log_ledger(downstream, ledger, "ended without an answer")

    def answer_cut(self, downstream: Downstream, kind: int, error: int) -> None:
        """The server failed within its answer: the client is cut off, so that it sees that something is missing."""
        detail = (
            "connection closed"
            if kind == FailureKind.CLOSED_EARLY
            else _detail(FailureKind(kind), error)
        )
        self._witness.cut(downstream)
        if downstream.tries is not None and not downstream.tries.attempts[-1].failure:
            downstream.tries.attempts.pop()  # its answer had begun: this is how it ended
        self._note(downstream, f"{detail}, within its answer")
        ledger, downstream.tries = downstream.tries, None
        self._log_ledger(downstream, ledger, "cut off within the answer")

    def server_up(self, downstream: Downstream, status: int, down_ms: int) -> None:
        """A server that was marked down answers."""
        pool = downstream.pool
        assert pool is not None
        failure = downstream.last_failure
        why = f"; it was down because of: {failure.detail}" if failure else ""
        request = _visible_request(downstream.request_line) or "a request"
        text = f"{pool.name} is up again after {down_ms / 1000:.1f} s: cluster {downstream.cluster_name}, {pool.host}:{pool.port}"
        servers.warning(
            "%s: it answered %s with %d%s; %s", text, request, status, why, _id_of(downstream)
        )

    def refuse(self, downstream: Downstream, error: int) -> None:
        """A request that cannot be trusted: answered and closed."""
        status, reason = HEAD_ERRORS[error]
        self._tell(downstream, logging.INFO, "%d: %s", status, reason)
        self._answer(downstream, status)

    def last_hop(self, downstream: Downstream, is_options: bool) -> None:
        """Max-Forwards is used up: the request ends here (RFC 9110 7.6.2)."""
        if is_options:
            answers.send_methods(downstream)
            return
        self._tell(downstream, logging.INFO, "405: TRACE ends here, and is not echoed")
        self._answer(downstream, 405)

    def health(self, downstream: Downstream, ok: bool) -> None:
        """A load balancer asks whether clients may come ([health] in wsproxy.toml)."""
        answers.send_health(downstream, ok=ok)

    def private_tls_lines(self, transport: asyncio.BaseTransport) -> bytes:
        """A client came over TLS: its private headers that plain clients do not have."""
        return private_tls_lines(transport)

    def no_route(
        self,
        downstream: Downstream,
        method: bytes,
        target: bytes,
        host: bytes,
        port: int,
        path: bytes,
    ) -> None:
        """The plug-in would decline and let the web server answer. ``host``, ``port``, ``path``: what Routes were compared with."""
        shown = visible_path(target)
        why = ""
        decision = downstream.decision
        plan = _plan_of(downstream)
        if decision is not None or log.isEnabledFor(logging.INFO):
            looks_far = self._far_looks.take(asyncio.get_running_loop().time())
            why = f": {plan.unmatched.why(host, port, path, shown, looks_far=looks_far)}"
            if decision is not None:
                decision.why_unmatched = why
        text = f"no route for {shown}{why}"
        if plan.files is not None:
            self._send_file(plan.files, downstream, method, target, text)
            return
        self._tell(downstream, logging.INFO, "404: %s", text)
        self._answer(downstream, 404)

    def edge(
        self, downstream: Downstream, act: int, table: int, method: bytes, target: bytes
    ) -> None:
        """
        An ``[[edge]]`` table answers: ``table`` is its number, -1: an operator's word alone does.

        ``target``: where a redirect leads, else what was asked for.
        """
        if act in _EDGE_ANSWERS:
            downstream.meter_edge_answer(_EDGE_ANSWERS[act])
        if act == EdgeAct.EDGE_REDIRECTS:
            status = downstream.edge(table).status
            self._tell(downstream, logging.INFO, "%d: redirected by [[edge]] %d", status, table + 1)
            answers.send_redirect(downstream, status, target)
        elif act == EdgeAct.EDGE_MAINTENANCE:
            cluster = downstream.cluster_name
            self._tell(downstream, logging.INFO, "503: maintenance%s", cluster and f" of {cluster}")
            page = downstream.edge(table).maintenance if table >= 0 else None
            left_ms = downstream.maintained_until - time.time_ns() // 1_000_000
            seconds = max(-(-left_ms // 1000), 1) if downstream.maintained_until else 0
            # Not counted as unserved: nothing failed, and reload.guard_s must not take it for that.
            answers.send(downstream, 503, own=page, retry_after_s=seconds)
        elif act == EdgeAct.EDGE_FILES:
            site = _plan_of(downstream).edge_files(table)
            self._send_file(site, downstream, method, target, f"[[edge]] {table + 1}")
        elif act == EdgeAct.EDGE_DENIES:
            self._tell(downstream, logging.INFO, "403: denied by [[edge]] %d", table + 1)
            self._answer(downstream, 403)
        else:
            self._tell(
                downstream,
                logging.INFO,
                "400: [[edge]] %d redirects, and no host is named",
                table + 1,
            )
            self._answer(downstream, 400)

    def page(self, downstream: Downstream, table: int, status: int) -> None:
        """An ``[[edge]]`` has a page instead of a server's error; that counts as the server's answer everywhere."""
        downstream.meter_edge_answer(EdgeAnswer.PAGE_ANSWER)
        self._tell(
            downstream,
            logging.INFO,
            "%d: of a server, with the page of [[edge]] %d",
            status,
            table + 1,
        )
        answers.send(downstream, status, own=downstream.edge(table).pages[status])

    def too_large(self, downstream: Downstream) -> None:
        """The body is over PostSizeLimit."""
        self._tell(downstream, logging.INFO, "413: body over PostSizeLimit")
        self._answer(downstream, 413)

    def no_server(self, downstream: Downstream, full: bool) -> None:
        """Every server of the cluster is down, or at MaxConnections: then the request may wait in the queue."""
        if not (full and self._may_wait(downstream)):
            self._refuse(downstream, NoServer.ALL_FULL if full else NoServer.NONE_REACHABLE)

    def _may_wait(self, downstream: Downstream) -> bool:
        """Whether a request for which all servers are full waits now, or was served after all."""
        return self.room.admit(downstream)

    def _refuse(self, downstream: Downstream, reason: int) -> None:
        full = reason == NoServer.ALL_FULL
        why = "all servers are at MaxConnections" if full else "no server can be reached"
        status = decide_status(503, _retry_of(downstream).error_status, full=full)
        if downstream.tries is None:
            values = status, downstream.cluster_name, why
            self._tell(downstream, logging.WARNING, "%d: cluster %s: %s", *values)
        self._witness.gave_up(downstream, no_server=True)
        if full:
            downstream.note_full()
        self._answer(downstream, status, why)

    def timed_out(self, downstream: Downstream) -> None:
        """Head or body did not arrive in time."""
        self._tell(downstream, logging.INFO, "408: the request did not arrive in time")
        self._answer(downstream, 408)

    def has_room(self, downstream: Downstream) -> None:
        """The client reads again; whoever writes an answer of our own may go on."""
        self._files.has_room(downstream)

    # ----------------------------------------------------------------------------------------------------------------

    def _send_file(
        self, site: FileSite, downstream: Downstream, method: bytes, target: bytes, why: str
    ) -> None:
        """While the request's head is there: of it only what these fields say is kept."""
        downstream.meter_edge_answer(EdgeAnswer.FILE_ANSWER)
        fields = downstream.asked_fields(ASKED_FIELDS)
        answered = self._files.answer(site, downstream, method, target, fields, why)
        self._start(downstream, answered, "file")

    def _start(self, downstream: Downstream, work: Coroutine[None, None, None], name: str) -> None:
        spawn(self._guard(downstream, work), name)

    async def _guard(self, downstream: Downstream, work: Coroutine[None, None, None]) -> None:
        """An exchange whose task fails would wait for ever: it is cut, and gives back what it holds."""
        try:
            await work
        except Exception:
            downstream.cut()
            raise

    def _fail(self, downstream: Downstream, status: int, *, no_server: bool = False) -> None:
        self._witness.gave_up(downstream, no_server=no_server)
        self._answer(downstream, decide_status(status, _retry_of(downstream).error_status))

    def _answer(self, downstream: Downstream, status: int, why: str = "") -> None:
        ledger, downstream.tries = downstream.tries, None
        if ledger is not None:
            if downstream.decision is not None:
                downstream.decision.attempts = ledger.attempts
            self._log_ledger(
                downstream, ledger, f"answered {status} by wsproxy{why and f', {why},'}"
            )
        _plan_of(downstream).state.count_answer(status)
        answers.send(downstream, status)

    def _judge(
        self,
        downstream: Downstream,
        failure: Failure,
        detail: str,
        *,
        is_reused: bool = False,
        status: int = 0,
    ) -> Ruling:
        """Notes the failed try; what to do next. ``is_reused``: the first failure, on a connection that was used before."""
        facts = downstream.facts
        pool = downstream.pool
        assert pool is not None
        downstream.meter_failure(_METERED[failure])
        self._note(downstream, detail, status=status)
        return decide_retry(
            Try(
                failure=failure,
                reused_connection=is_reused,
                replayable=facts.replayable,
                io_timeout_marks_down=pool.io_timeout_marks_down,
                timeout_retries=facts.timeout_retries,
                io_timeout_retry=facts.io_timeout_retry,
                may_not_repeat=_retry_of(downstream).strict_once and facts.bytes_sent > 0,
            )
        )

    def _note(
        self, downstream: Downstream, failure: str, *, status: int = 0, is_sent: bool = True
    ) -> None:
        """One more try in the ledger, which begins with the first."""
        facts = downstream.facts
        pool = downstream.pool
        assert pool is not None
        if failure:
            downstream.note_failure(failure, status)
        if downstream.tries is None:
            downstream.tries = Ledger(_visible_request(downstream.request_line))
        downstream.tries.attempts.append(
            Attempt(
                server=pool.name,
                address=f"{pool.host}:{pool.port}",
                since_ms=facts.age_ms,
                failure=failure,
                status=status,
                bytes_sent=facts.bytes_sent if is_sent else 0,
                reused_connection=is_sent and facts.reused,
            )
        )

    def _log_ledger(
        self, downstream: Downstream, ledger: Ledger, outcome: str, level: int = logging.WARNING
    ) -> None:
        is_repeatable = ledger.request.partition(" ")[0] in SAFE_METHODS
        may_have_run = any(each.may_have_run for each in ledger.attempts)
        (log if is_repeatable or not may_have_run else orders).log(
            level,
            "%s: %s%s after a failure in cluster %s: %s; %s",
            downstream.facts.peer, ledger.request and f"{ledger.request}: ", outcome,
            downstream.cluster_name, describe(ledger.attempts), _id_of(downstream),
        )  # fmt: skip

    @staticmethod
    def _tell(downstream: Downstream, level: int, form: str, *values: object) -> None:
        """
        A line about the request: whose, which as far as it is known, what became of it, its id in all logs.

        ``form`` and ``values`` as for ``logging``; each ``form`` is a kind of message of its own.
        """
        if log.isEnabledFor(level):
            request = _visible_request(downstream.request_line)
            line = f"%s: %s{form}; %s"
            which = request and f"{request}: "
            log.log(level, line, downstream.facts.peer, which, *values, _id_of(downstream))

    def _mark_down(self, downstream: Downstream, error: int, detail: str) -> None:
        pool = downstream.pool
        assert pool is not None
        mark = MarkDown(downstream.mark_down(error, detail))
        is_new = mark is MarkDown.NEWLY_MARKED
        # A server is marked once, so what is said of each is never summed with others.
        (servers if is_new else log).log(
            _MARK_LEVELS[mark],
            "%s: cluster %s, %s:%d: %s; %s",
            f"Marking {pool.name} down" if is_new else f"{pool.name} is still down",
            downstream.cluster_name, pool.host, pool.port, detail, _id_of(downstream),
        )  # fmt: skip

    async def _connect(self, downstream: Downstream) -> None:
        """Connects to the taken server, or to the next, until one has the request or none is left."""
        while downstream.is_waiting:
            pool = downstream.pool
            assert pool is not None
            try:
                resolver = _plan_of(downstream).resolver
                began_ns = time.monotonic_ns()  # the loop's own time goes in steps of 1 ms
                upstream = await open_upstream(
                    self.engine, resolver, pool, downstream.ends, downstream.try_until
                )
                if downstream.is_waiting:
                    downstream.meter_connect((time.monotonic_ns() - began_ns) // 1000)
            except (OSError, TimeoutError) as error:
                if not downstream.is_waiting:
                    return
                if self._move_on(downstream, error):
                    return
            else:
                if downstream.is_waiting:
                    downstream.attach(upstream)
                else:
                    upstream.park()
                return

    def _move_on(self, downstream: Downstream, error: Exception) -> bool:
        """After a failed connect: True where the exchange has a connection or an answer now."""
        downstream.count_failure()
        downstream.meter_failure(_METERED[Failure.CONNECT])
        number = getattr(error, "errno", None) or errno.EHOSTUNREACH
        if isinstance(error, ssl.SSLError):  # so does the TLS library
            number = errno.EPROTO
        if number < 0:  # socket.gaierror counts in numbers of its own
            number = errno.ENOMEM if number == socket.EAI_MEMORY else errno.EHOSTUNREACH
        if isinstance(error, TimeoutError):
            number = errno.ETIMEDOUT
        detail = f"{Failure.CONNECT.value}: {str(error) or os.strerror(number)}"
        downstream.note_unreached(not isinstance(error, TimeoutError), number in OWN_LACKS)
        self._note(downstream, detail, is_sent=False)
        if number not in OWN_LACKS:
            self._mark_down(downstream, number, detail)
        self._witness.failed(
            downstream, Failure.CONNECT, _UNREACHED, error=number,
            is_timeout=isinstance(error, TimeoutError),
        )  # fmt: skip
        chosen = downstream.next_server()
        self._witness.chosen(downstream)
        if chosen < 0:
            self.no_server(downstream, full=chosen == NoServer.ALL_FULL)
            return True
        return downstream.try_warm()
