"""
What is rare in the life of a request: a new connection, a failed server, an answer of our own.

Called by ``_fast.downstream`` on the event loop, works on its objects and hands them back. Every server that fails is logged
with its evidence; whether the request goes on is ``routing.retry``'s decision alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import Coroutine, Sequence
from http import HTTPStatus

from wsproxy._fast.balance import NoServer
from wsproxy._fast.changes import visible_path
from wsproxy._fast.downstream import Downstream
from wsproxy._fast.engine import Engine
from wsproxy._fast.exchange import FailureKind
from wsproxy._fast.head import HEAD_ERRORS
from wsproxy._fast.select import Cluster
from wsproxy.config.settings import QueueSettings, RetrySettings
from wsproxy.dataplane import answers
from wsproxy.dataplane.connect import open_upstream
from wsproxy.dataplane.explained import Decision, Decisions
from wsproxy.dataplane.files import FileFallback
from wsproxy.dataplane.queue import WaitingRoom
from wsproxy.dataplane.refusals import Refusals
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.tasks import spawn
from wsproxy.dataplane.tls import private_tls_lines
from wsproxy.dataplane.witness import Witness
from wsproxy.routing.ledger import Attempt, Ledger, describe
from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

log = logging.getLogger("wsproxy.request")

# A connection that failed for want of something of ours says nothing about the server: one worker without descriptors would
# take every server from all workers.
OWN_LACKS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

_FAILURES = {
    FailureKind.CLOSED_EARLY: Failure.CLOSED_EARLY,
    FailureKind.IO_TIMEOUT: Failure.IO_TIMEOUT,
    FailureKind.BAD_RESPONSE: Failure.BAD_RESPONSE,
}


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


def _detail(failure: Failure, error: int) -> str:
    """The failure and its evidence: the reason of ``head``, or the system's words."""
    if failure is Failure.BAD_RESPONSE:
        return f"{failure.value}: {HEAD_ERRORS.get(error, (0, 'malformed'))[1]}"
    return f"{failure.value}: {os.strerror(error)}" if error else failure.value


class SlowPath:
    """One a worker; ``engine`` is set right after both exist."""

    engine: Engine

    def __init__(
        self,
        resolver: Resolver,
        files: FileFallback | None,
        retry: RetrySettings,
        clusters: Sequence[Cluster | None],
        queue: QueueSettings,
        witness: Witness | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        """
        ``files`` answers where no route matches (None: 404); ``clusters`` may have queues, as ``queue`` says.

        ``witness`` is told of each failure, and of what follows. ``decisions`` tells clients who may know what was decided.
        """
        self._decisions = decisions
        self._resolver = resolver
        self._files = files
        self._retry = retry
        self._witness = witness or Witness()
        self.room = WaitingRoom(clusters, queue.wait_s, self._serve_waited, self._refuse)

        self._refusals = Refusals()

    # called by Downstream -------------------------------------------------------------------------------------------

    def client_refused(self, peer: str) -> None:
        """A client wanted more connections than limits.client_connections allows."""
        self._refusals.note(peer, asyncio.get_running_loop().time())

    def begin_explained(self, downstream: Downstream) -> Decision | None:
        """A request asks for its decision: what keeps it; None where the client may not know."""
        return None if self._decisions is None else self._decisions.begin(downstream.facts.peer)

    def connect(self, downstream: Downstream) -> None:
        """No warm connection to the server that was taken."""
        self._start(downstream, self._connect(downstream), "connect")

    def upstream_failed(self, downstream: Downstream, kind: int, error: int, reused: bool) -> None:
        """The server gave no answer to a request that was (partly) sent."""
        failure = _FAILURES[FailureKind(kind)]
        detail = _detail(failure, error)
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
        pool = downstream.pool
        assert pool is not None
        failure = _FAILURES[FailureKind(kind)]
        detail = "connection closed" if failure is Failure.CLOSED_EARLY else _detail(failure, error)
        self._witness.cut(downstream)
        ledger, downstream.tries = downstream.tries, None
        if ledger is not None:
            self._log_ledger(downstream, ledger, f"cut off within the answer, {detail},")
            return
        log.warning(
            "%s: server %s of cluster %s: %s within an answer; the client is cut off",
            downstream.facts.peer, pool.name, downstream.cluster_name, detail,
        )  # fmt: skip

    def refuse(self, downstream: Downstream, error: int) -> None:
        """A request that cannot be trusted: answered and closed."""
        status, reason = HEAD_ERRORS[error]
        log.info("%s: %d: %s", downstream.facts.peer, status, reason)
        self._answer(downstream, status)

    def last_hop(self, downstream: Downstream, is_options: bool) -> None:
        """Max-Forwards is used up: the request ends here (RFC 9110 7.6.2)."""
        if is_options:
            answers.send_methods(downstream)
            return
        log.info("%s: 405: TRACE ends here, and is not echoed", downstream.facts.peer)
        self._answer(downstream, 405)

    def private_tls_lines(self, transport: asyncio.BaseTransport) -> bytes:
        """A client came over TLS: its private headers that plain clients do not have."""
        return private_tls_lines(transport)

    def no_route(self, downstream: Downstream, method: bytes, target: bytes) -> None:
        """The plug-in would decline and let the web server answer."""
        if self._files is not None:
            self._start(downstream, self._files.answer(downstream, method, target), "file")
            return
        log.info("%s: 404: no route for %s", downstream.facts.peer, visible_path(target))
        self._answer(downstream, 404)

    def too_large(self, downstream: Downstream) -> None:
        """The body is over PostSizeLimit."""
        log.info("%s: 413: body over PostSizeLimit", downstream.facts.peer)
        self._answer(downstream, 413)

    def no_server(self, downstream: Downstream, full: bool) -> None:
        """Every server of the cluster is down, or at MaxConnections: then the request may wait in the queue."""
        if not (full and self._may_wait(downstream)):
            self._refuse(downstream, NoServer.ALL_FULL if full else NoServer.NONE_REACHABLE)

    def _may_wait(self, downstream: Downstream) -> bool:
        """Whether a request for which all servers are full waits now, or was served after all."""
        return self.room.is_needed and self.room.admit(downstream)

    def _refuse(self, downstream: Downstream, reason: int) -> None:
        full = reason == NoServer.ALL_FULL
        why = "all servers are at MaxConnections" if full else "no server can be reached"
        status = decide_status(503, self._retry.error_status, full=full)
        if downstream.tries is None:
            log.warning(
                "%s: %d: cluster %s: %s",
                downstream.facts.peer,
                status,
                downstream.cluster_name,
                why,
            )
        self._witness.gave_up(downstream, no_server=True)
        self._answer(downstream, status, why)

    def timed_out(self, downstream: Downstream) -> None:
        """Head or body did not arrive in time."""
        log.info("%s: 408: the request did not arrive in time", downstream.facts.peer)
        self._answer(downstream, 408)

    def has_room(self, downstream: Downstream) -> None:
        """The client reads again; whoever writes an answer of our own may go on."""
        if self._files is not None:
            self._files.has_room(downstream)

    # ----------------------------------------------------------------------------------------------------------------

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
        self._answer(downstream, decide_status(status, self._retry.error_status))

    def _answer(self, downstream: Downstream, status: int, why: str = "") -> None:
        ledger, downstream.tries = downstream.tries, None
        if ledger is not None:
            if downstream.decision is not None:
                downstream.decision.attempts = ledger.attempts
            self._log_ledger(
                downstream, ledger, f"answered {status} by wsproxy{why and f', {why},'}"
            )
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
        self._note(downstream, detail, status=status)
        return decide_retry(
            Try(
                failure=failure,
                reused_connection=is_reused,
                replayable=facts.replayable,
                io_timeout_marks_down=pool.io_timeout_marks_down,
                timeout_retries=facts.timeout_retries,
                io_timeout_retry=facts.io_timeout_retry,
                may_not_repeat=self._retry.strict_once and facts.bytes_sent > 0,
            )
        )

    def _note(
        self, downstream: Downstream, failure: str, *, status: int = 0, is_sent: bool = True
    ) -> None:
        """One more try in the ledger, which begins with the first."""
        facts = downstream.facts
        pool = downstream.pool
        assert pool is not None
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
        log.log(
            level,
            "%s: %s%s after a failure in cluster %s: %s",
            downstream.facts.peer, ledger.request and f"{ledger.request}: ", outcome,
            downstream.cluster_name, describe(ledger.attempts),
        )  # fmt: skip

    def _mark_down(self, downstream: Downstream, error: int, detail: str) -> None:
        pool = downstream.pool
        assert pool is not None
        is_news = downstream.mark_down(error, detail)
        log.log(
            logging.ERROR if is_news else logging.INFO,
            "%s: cluster %s, %s:%d: %s",
            f"Marking {pool.name} down" if is_news else f"{pool.name} is still down", downstream.cluster_name, pool.host, pool.port, detail,
        )  # fmt: skip

    async def _connect(self, downstream: Downstream) -> None:
        """Connects to the taken server, or to the next, until one has the request or none is left."""
        while downstream.is_waiting:
            pool = downstream.pool
            assert pool is not None
            try:
                upstream = await open_upstream(self.engine, self._resolver, pool, downstream.ends)
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
        number = getattr(error, "errno", None) or errno.EHOSTUNREACH
        if isinstance(error, ssl.SSLError):  # so does the TLS library
            number = errno.EPROTO
        if number < 0:  # socket.gaierror counts in numbers of its own
            number = errno.EHOSTUNREACH
        if isinstance(error, TimeoutError):
            number = errno.ETIMEDOUT
        detail = f"{Failure.CONNECT.value}: {str(error) or os.strerror(number)}"
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
