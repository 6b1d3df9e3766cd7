"""
A client's connection as the slow path sees it: what ``dataplane`` may ask of an exchange, and do with it.

Driven by ``dataplane.slowpath``, on the event loop, between two steps of the fast half in ``intake``. Whoever takes an
exchange up (``is_waiting``) must end it: ``attach`` a connection, or ``write`` an answer and say ``answered``, or ``cut``.
"""

import asyncio
import logging

from libc.string cimport memset
from wsproxy._fast.affinity cimport collect_clone_ids
from wsproxy._fast.changes cimport Evidence
from wsproxy._fast.decide cimport decide_again, decide_waited
from wsproxy._fast.engine cimport Engine, Pool
from wsproxy._fast.exchange cimport CLOSED_EARLY
from wsproxy._fast.fields cimport PARTITION_TABLE, PARTITION_VERSION, Fields
from wsproxy._fast.head cimport RequestHead, parse_request
from wsproxy._fast.intake cimport ANSWERING, CONNECTING, Intake
from wsproxy._fast.select cimport WAITS, Cluster, set_tried
from wsproxy._fast.state cimport ws_count, ws_now_ms
from wsproxy._fast.stream cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.upstream cimport Upstream

from wsproxy._fast.exchange import Facts

log = logging.getLogger("wsproxy.connection")


cdef class Downstream(Intake):
    """A client's connection and the exchange that runs on it."""

    @property
    def is_waiting(self) -> bool:
        """Whether the exchange still wants a connection: the client is there and none was given."""
        return self.phase == CONNECTING and not self.closing

    @property
    def is_open(self) -> bool:
        """Whether the client is still there."""
        return not self.closing

    @property
    def pool(self) -> Pool | None:
        """The pool of the server that was taken."""
        return None if self.choice.server < 0 else self.service.pools[self.choice.server]

    @property
    def cluster_name(self) -> str:
        """Of the route's cluster; empty before routing."""
        return "" if self.service is None else self.service.cluster.name

    @property
    def facts(self) -> Facts:
        """What retry rules and local answers need to know of the exchange, as it is now."""
        return Facts(
            peer=self.peer.decode(),
            keep_alive=bool(self.keep_alive) and bool(self.request_done) and not self.engine.draining,
            http10=bool(self.http10),
            head_only=bool(self.head_only),
            replayable=self.sent.length > 0,  # whatever is kept is all of it
            timeout_retries=self.timeout_retries,
            io_timeout_retry=-1 if self.service is None else self.service.io_timeout_retry,
        )

    def attach(self, Upstream upstream not None) -> None:
        """Sends the waiting request on this connection; one that is lost already counts as closed early."""
        if not self.is_waiting:
            raise RuntimeError("the exchange does not wait for a connection")
        if upstream.downstream is not None:
            raise RuntimeError("the connection serves another exchange")
        if upstream.closing:
            # The server closed it between accepting it and now: nothing will ever come from it.
            self.upstream_failed(upstream, CLOSED_EARLY, 0)
            return
        self.hand_over(upstream)
        upstream.send(self.sent.data, self.sent.length, NULL, 0)
        if not self.replayable:
            buffer_clear(&self.sent)
        if not upstream.write_paused:
            self.resume_reading()

    def try_warm(self) -> bool:
        """Sends the waiting request on a pooled connection to the taken server, if there is one."""
        cdef Upstream upstream
        self.check_taken()
        upstream = <Upstream>(<Pool>self.service.pools[self.choice.server]).take(ws_now_ms())
        if upstream is None:
            return False
        self.attach(upstream)
        return True

    def mark_down(self, int error, str detail not None) -> bool:
        """
        Takes the server out of service for all workers; whether that is news.

        ``error`` (an errno or 0), ``detail`` (in words) and the request are recorded as evidence.
        """
        cdef Evidence evidence
        cdef bytes words = detail.encode("utf-8", "backslashreplace")
        self.check_taken()
        evidence.worker = self.engine.worker_id
        evidence.error = error
        evidence.detail = words
        evidence.detail_len = len(words)
        evidence.head = self.sent.data
        evidence.head_len = self.sent_head if self.sent.length else 0
        return self.service.cluster.mark_down(self.choice.server, ws_now_ms(), &evidence)

    def count_failure(self) -> None:
        """One more failed try at the server."""
        self.check_taken()
        ws_count(&self.service.cluster.servers[self.choice.server].failed)

    def join_queue(self) -> int:
        """
        A server for the waiting request, because there is one now; or WAITS (-3): it stands in the cluster's queue.

        Other negative numbers: the queue is full, or there is none.
        """
        cdef Cluster cluster
        cdef int wanted = -1
        if not self.is_waiting or self.choice.server >= 0 or self.choice.place:
            raise RuntimeError("the exchange has a server or waits for one already")
        cluster = self.service.cluster
        if cluster.line == NULL or not self.sent.length:
            return self.choice.server
        if cluster.affinity_waits and self.choice.wanted:
            wanted = self.choice.wanted - 1
        self.choice.server = cluster.join(
            self.engine.worker_id, ws_now_ms(), wanted, &self.choice.tried, &self.choice.probe, &self.choice.place
        )
        return self.after_wait()

    @property
    def is_queued(self) -> bool:
        """Whether the request stands in its cluster's queue, or its turn there was not taken up yet."""
        return self.choice.place != 0

    @property
    def has_turn(self) -> bool:
        """Whether the wait in the queue is over."""
        return self.choice.place != 0 and self.service.cluster.has_turn(self.choice.place)

    def take_turn(self) -> int:
        """The server that was granted; WAITS (-3), or why there will be none."""
        if self.choice.place:
            self.choice.server = self.service.cluster.take_turn(
                self.choice.place, self.engine.worker_id, &self.choice.tried, &self.choice.probe
            )
        return self.after_wait()

    def end_wait(self) -> int:
        """The time is over: a server that is free all the same, or why there is none."""
        if self.choice.place:
            self.choice.server = self.service.cluster.end_wait(
                self.choice.place, self.engine.worker_id, ws_now_ms(), &self.choice.tried, &self.choice.probe
            )
        return self.after_wait()

    cdef int after_wait(self) except? -1:
        if self.choice.server == WAITS:
            return WAITS
        self.choice.place = 0
        if self.choice.server >= 0:
            self.reread_session()
            decide_waited(self.engine, self.service, &self.choice)
            if self.choice.by_affinity:
                buffer_clear(&self.session)
            elif self.engine.ids.value_len and not self.session.length:
                self.keep_session()
        return self.choice.server

    def next_server(self) -> int:
        """Gives the server back and takes another one; negative: none is left (-1 down or tried, -2 full)."""
        self.check_taken()
        self.reread_session()
        set_tried(&self.choice.tried, self.choice.server)
        self.service.cluster.release(self.choice.server, self.engine.worker_id, self.choice.probe)
        decide_again(self.engine, self.service, &self.choice)
        if self.choice.by_affinity:
            buffer_clear(&self.session)
        elif self.engine.ids.value_len and not self.session.length:
            self.keep_session()
        if self.choice.server >= 0:
            self.mark_failover()
        return self.choice.server

    cdef int reread_session(self) except -1:
        """The clone ids of the request into ``engine.ids``; the head that was sent still has them."""
        cdef Engine engine = self.engine
        cdef RequestHead* head = &engine.request
        engine.ids.count = 0
        engine.ids.value_len = 0
        if not self.cookie_len or not self.sent_head or self.sent.length < self.sent_head:
            return 0
        if parse_request(self.sent.data, self.sent_head, &engine.limits, head) <= 0:
            return 0  # what we add took it over a limit; the session is balanced anew
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params,
            self.cookie, self.cookie_len, self.url_id, self.url_id_len, self.service.cluster.separator, &engine.ids,
        )
        return 0

    cdef int note_partitions(self, Fields* fields) except -1:
        """
        Keeps the partition table of memory-to-memory sessions for all workers, and tells of a new one.

        What would read it is ``routing.partition``; as long as that cannot, partition ids are unknown clone ids.
        """
        cdef Buffer table
        cdef const char* version = ""
        cdef Py_ssize_t version_len = 0
        cdef int i
        memset(&table, 0, sizeof(Buffer))
        try:
            for i in range(fields.count):
                if fields.at[i].private_bit == PARTITION_VERSION:
                    version = fields.at[i].value
                    version_len = fields.at[i].value_len
                elif fields.at[i].private_bit == PARTITION_TABLE:
                    if table.length:
                        buffer_append(&table, "\n", 1)
                    buffer_append(&table, fields.at[i].value, fields.at[i].value_len)
            if self.service.cluster.note_partitions(version, version_len, table.data, table.length):
                log.info(
                    "cluster %s: partition table version %r, %d bytes, from server %s; found a format that is not known: "
                    "partition ids are treated as unknown clone ids",
                    self.service.cluster.name, (version[:version_len]).decode("ascii", "backslashreplace"), table.length,
                    self.service.cluster.server_names[self.choice.server],
                )
        finally:
            buffer_clear(&table)
        return 0

    cdef int check_taken(self) except -1:
        """Raises where the exchange has no server: its number would be an index before the first."""
        if self.choice.server < 0:
            raise RuntimeError("the exchange has no server")
        return 0

    def mark_failover(self) -> None:
        """Puts ``$WSFO: true`` into the request that is sent again (PLUGIN 5.4)."""
        cdef Buffer marked
        cdef const char* line = "$WSFO: true\r\n\r\n"
        if self.failover_marked or self.sent.length < self.sent_head:
            return
        memset(&marked, 0, sizeof(Buffer))
        buffer_append(&marked, self.sent.data, self.sent_head - 2)
        buffer_append(&marked, line, 15)
        buffer_append(&marked, self.sent.data + self.sent_head, self.sent.length - self.sent_head)
        buffer_clear(&self.sent)
        self.sent = marked
        self.sent_head += 13
        self.failover_marked = True

    def pardon(self) -> None:
        """The failed connection was a reused one and does not count; that is believed once a request."""
        self.pardoned = True

    def count_timeout_retry(self) -> None:
        """One retry because of ServerIOTimeout; ServerIOTimeoutRetry limits them."""
        self.timeout_retries += 1

    def write(self, bytes data not None) -> bool:
        """Part of a local answer; False: wait for the client to read (see ``on_room``)."""
        if self.phase == CONNECTING:
            self.release()
            self.phase = ANSWERING
        self.response_started = True
        self.send(<const char*>data, len(data), NULL, 0)
        return not self.write_paused

    def answered(self) -> None:
        """The local answer is written whole."""
        if self.phase == ANSWERING:
            self.finish()

    def cut(self) -> None:
        """Ends the exchange and the connection without an answer."""
        self.drop()


class DownstreamProtocol(Downstream, asyncio.BufferedProtocol):
    """Downstream as asyncio and uvloop want it: they look for the base class."""

    __slots__ = ()
