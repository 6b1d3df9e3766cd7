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
from collections.abc import Coroutine, Sequence
from functools import partial

from wsproxy._fast.changes import visible_path
from wsproxy._fast.downstream import Downstream
from wsproxy._fast.engine import Engine, Pool
from wsproxy._fast.exchange import FailureKind
from wsproxy._fast.head import HEAD_ERRORS
from wsproxy._fast.select import Cluster
from wsproxy._fast.upstream import Upstream, UpstreamProtocol
from wsproxy.config.settings import QueueSettings
from wsproxy.dataplane import answers
from wsproxy.dataplane.files import FileFallback
from wsproxy.dataplane.queue import ALL_FULL, WaitingRoom
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.tasks import spawn
from wsproxy.routing.retry import Failure, Next, Try, decide_retry

log = logging.getLogger("wsproxy.request")

NONE_REACHABLE = -1  # as ``queue.ALL_FULL``: why there is no server

_FAILURES = {
    FailureKind.CLOSED_EARLY: Failure.CLOSED_EARLY,
    FailureKind.IO_TIMEOUT: Failure.IO_TIMEOUT,
    FailureKind.BAD_RESPONSE: Failure.BAD_RESPONSE,
}


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
        clusters: Sequence[Cluster | None] = (),
        queue: QueueSettings | None = None,
    ) -> None:
        """``files`` answers where no route matches (None: 404); ``clusters`` may have queues, as ``queue`` says."""
        self._resolver = resolver
        self._files = files
        queue = queue or QueueSettings()
        self.room = WaitingRoom(clusters, queue.wait_s, self._serve, self._refuse)

    # called by Downstream -------------------------------------------------------------------------------------------

    def connect(self, downstream: Downstream) -> None:
        """No warm connection to the server that was taken."""
        self._start(downstream, self._connect(downstream), "connect")

    def upstream_failed(self, downstream: Downstream, kind: int, error: int, reused: bool) -> None:
        """The server gave no answer to a request that was (partly) sent."""
        failure = _FAILURES[FailureKind(kind)]
        facts = downstream.facts
        pool = downstream.pool
        assert pool is not None
        ruling = decide_retry(
            Try(
                failure=failure,
                reused_connection=reused,
                replayable=facts.replayable,
                io_timeout_marks_down=pool.io_timeout_marks_down,
                timeout_retries=facts.timeout_retries,
                io_timeout_retry=facts.io_timeout_retry,
            )
        )
        detail = _detail(failure, error)
        level = logging.DEBUG if ruling.next is Next.SAME_SERVER else logging.WARNING
        log.log(
            level,
            "%s: server %s of cluster %s: %s; next: %s",
            facts.peer, pool.name, downstream.cluster_name, detail, ruling.next.value,
        )  # fmt: skip
        if ruling.mark_down:
            self._mark_down(downstream, error or errno.ETIMEDOUT, detail)
        if failure is Failure.IO_TIMEOUT:
            downstream.count_timeout_retry()
        if ruling.next is Next.SAME_SERVER:
            downstream.pardon()
            self.connect(downstream)
        elif ruling.next is Next.OTHER_SERVER and downstream.next_server() >= 0:
            if not downstream.try_warm():
                self.connect(downstream)
        else:
            self._answer(downstream, ruling.status)

    def answer_cut(self, downstream: Downstream, kind: int, error: int) -> None:
        """The server failed within its answer: the client is cut off, so that it sees that something is missing."""
        pool = downstream.pool
        assert pool is not None
        failure = _FAILURES[FailureKind(kind)]
        detail = "connection closed" if failure is Failure.CLOSED_EARLY else _detail(failure, error)
        log.warning(
            "%s: server %s of cluster %s: %s within an answer; the client is cut off",
            downstream.facts.peer, pool.name, downstream.cluster_name, detail,
        )  # fmt: skip

    def refuse(self, downstream: Downstream, error: int) -> None:
        """A request that cannot be trusted: answered and closed."""
        status, reason = HEAD_ERRORS[error]
        log.info("%s: %d: %s", downstream.facts.peer, status, reason)
        self._answer(downstream, status)

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
        if not (full and self.room.is_needed and self.room.admit(downstream)):
            self._refuse(downstream, ALL_FULL if full else NONE_REACHABLE)

    def _serve(self, downstream: Downstream) -> None:
        """A request that waited, or is about to, has its server."""
        if not downstream.try_warm():
            self.connect(downstream)

    def _refuse(self, downstream: Downstream, reason: int) -> None:
        full = reason == ALL_FULL
        why = "all servers are at MaxConnections" if full else "no server can be reached"
        log.warning("%s: 503: cluster %s: %s", downstream.facts.peer, downstream.cluster_name, why)
        self._answer(downstream, 503)

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

    def _answer(self, downstream: Downstream, status: int) -> None:
        answers.send(downstream, status)

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
                upstream = await self._open(pool)
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
        if number < 0:  # socket.gaierror counts in numbers of its own
            number = errno.EHOSTUNREACH
        if isinstance(error, TimeoutError):
            number = errno.ETIMEDOUT
        detail = f"{Failure.CONNECT.value}: {str(error) or os.strerror(number)}"
        self._mark_down(downstream, number, detail)
        chosen = downstream.next_server()
        if chosen < 0:
            self.no_server(downstream, full=chosen == -2)
            return True
        return downstream.try_warm()

    async def _open(self, pool: Pool) -> Upstream:
        """A new connection; each address of the host is tried, each for ConnectTimeout."""
        if not pool.host:
            raise OSError(errno.EPROTONOSUPPORT, "no http Transport")
        loop = asyncio.get_running_loop()
        failed: Exception = OSError(f"{pool.host} has no address")
        async with asyncio.timeout(pool.connect_timeout_s):
            addresses = await self._resolver.resolve(pool.host)
        for address in addresses:
            try:
                async with asyncio.timeout(pool.connect_timeout_s):
                    _, upstream = await loop.create_connection(
                        partial(UpstreamProtocol, self.engine, pool), address, pool.port
                    )
            except TimeoutError:
                failed = TimeoutError(
                    errno.ETIMEDOUT, f"no connection within {pool.connect_timeout_s:g} s"
                )
            except OSError as error:
                failed = error
            else:
                return upstream
        raise failed
