"""
What the slow path may know of an exchange: its client, its request, its choice of a server, what fits it of its settings.

Read by ``dataplane`` between two steps of the fast half, and told as Python's objects. Nothing here changes the exchange, but
for the ledger of failed tries, which the slow path keeps in it. What it may do with the exchange is in ``downstream``.
"""

from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.edge cimport Edge
from wsproxy._fast.http.fields cimport Field
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport client_of
from wsproxy._fast.proxy.course cimport HAS_LEDGER
from wsproxy._fast.proxy.exchange cimport CONNECTING, EXPECT_HELD
from wsproxy._fast.proxy.intake cimport Intake
from wsproxy._fast.proxy.pool cimport Pool, pool_of
from wsproxy._fast.tell.witness cimport describe_choice

from wsproxy._fast.proxy.exchange import Facts


cdef class Asked(Intake):
    """An exchange that the slow path asks."""

    @property
    def ends(self) -> tuple | None:
        """(address, port) of the client, and of where it came in, as introduced; None where nobody knows any more."""
        if self.peer_port < 0:
            return None
        return (self.peer.decode(), self.peer_port), (self.local_host.decode(), self.local_port)

    @property
    def sender(self) -> str:
        """The address that the connection comes from, whoever it speaks for."""
        return self.peer.decode()

    @property
    def is_waiting(self) -> bool:
        """Whether the exchange still wants a connection: the client is there and none was given."""
        return self.waits()

    cdef bint waits(self) noexcept:
        return self.phase == CONNECTING and not self.sink.is_closed()

    @property
    def is_open(self) -> bool:
        """Whether the client is still there."""
        return not self.sink.is_closed()

    @property
    def pool(self) -> Pool | None:
        """The pool of the server that was taken."""
        return None if self.choice.server < 0 else pool_of(self.service, self.choice.server, self.secure)

    @property
    def plan(self) -> object:
        """What its configuration is to the slow path and the logs: see ``dataplane.served``."""
        return self.view.plan

    @property
    def cluster(self) -> Cluster | None:
        """Of the route; None before routing."""
        return None if self.service is None else self.service.cluster

    @property
    def cluster_name(self) -> str:
        """Of the route's cluster; empty before routing."""
        return "" if self.service is None else self.service.cluster.name

    @property
    def facts(self) -> Facts:
        """What retry rules and local answers need to know of the exchange, as it is now."""
        return Facts(
            peer=self.client_text(),
            keep_alive=bool(self.keep_alive) and bool(self.request_done) and not self.engine.draining,
            http10=bool(self.http10),
            head_only=bool(self.head_only),
            replayable=self.sent.length > 0,  # whatever is kept is all of it
            timeout_retries=self.timeout_retries,
            io_timeout_retry=-1 if self.service is None else self.service.io_timeout_retry,
            bytes_sent=max(0, self.count_sent() - self.held),
            reused=bool(self.was_reused),
            age_ms=ws_now_ms() - self.began_ms,
            body_bytes=self.body.seen,
        )

    cdef Py_ssize_t count_head(self) noexcept:
        """Bytes of the head that are kept."""
        return min(self.sent.length, self.sent_head)

    cdef str client_text(self):
        cdef Py_ssize_t length
        cdef const char* client = client_of(&self.origin, &length)
        return client[:length].decode()

    cdef Py_ssize_t count_sent(self) noexcept:
        """Bytes of the request that were given to the connection."""
        if self.expect & EXPECT_HELD:
            return self.sent_head
        return self.sent.length or self.sent_head + <Py_ssize_t>self.body.seen

    @property
    def request_line(self) -> bytes:
        """The first line of the request, or what is kept of it: method and path. Empty where no server was chosen for it."""
        cdef Py_ssize_t length
        cdef const char* asked = self.find_asked(&length)
        cdef bytes head = asked[:length] if length else b""
        return head.partition(b"\r\n")[0]

    def asked_fields(self, frozenset names not None) -> dict:
        """
        Values of the request's fields with these names (in lower case); of several, a list (RFC 9110 5.3).

        Only within a question about a request that was just read: its head is the reader's, and gone when that returns.
        """
        cdef RequestHead* head = &self.engine.decider.request
        cdef Field* field
        cdef dict found = {}
        cdef int i
        if head.start == NULL:
            raise RuntimeError("the request's head is gone")
        for i in range(head.fields.count):
            field = &head.fields.at[i]
            name = field.line[:field.name_len].lower()
            if name in names:
                value = field.value[:field.value_len]
                found[name] = found[name] + b", " + value if name in found else value
        return found

    @property
    def last_failure(self) -> object:
        """What was recorded when the taken server failed last, as ``changes.Change``; None: it is not kept any more."""
        return self.service.cluster.last_failure(self.choice.server)

    @property
    def tries(self) -> object:
        """What the slow path noted of failed tries; gone when the exchange ends. None: nothing failed."""
        return self.ledger

    @tries.setter
    def tries(self, object ledger) -> None:
        self.ledger = ledger
        self.noted = self.noted & ~HAS_LEDGER if ledger is None else self.noted | HAS_LEDGER

    @property
    def ended_as(self) -> int:
        """Why it ended, or is about to, as far as that is known: a ``Cause``."""
        return self.cause

    @property
    def request_number(self) -> int:
        """Of the request in this worker: with the worker's pid its id in all logs."""
        return self.number

    @property
    def decision(self) -> object:
        """What was decided, kept for a client that asked and may know it (see ``explained``); None: nobody asked."""
        return self.explained

    @property
    def is_secure(self) -> bool:
        """Whether the client came over TLS."""
        return self.secure

    @property
    def by_affinity(self) -> bool:
        """Whether the taken server is one that the request's session named, or moved to."""
        return bool(self.choice.by_affinity or self.choice.remembered)

    @property
    def edge_mask(self) -> int:
        """Which ``[[edge]]`` tables of its configuration fit the request, a bit each; see ``edges_of``."""
        return self.edges

    def own_page(self, int status) -> tuple | None:
        """(Content-Type, body) of the page that answers with this status instead of ours; None: ours does."""
        cdef int at
        if not self.edges:
            return None
        at = self.view.edges.page_for(self.edges, status)
        return None if at < 0 else (<Edge>self.view.edges.at[at]).pages[status]

    @property
    def retry_after_s(self) -> int:
        """For a 503, as its ``[[edge]]`` tables say; 0: they say nothing."""
        return self.view.edges.retry_after(self.edges) if self.edges else 0

    @property
    def maintained_until(self) -> int:
        """When the maintenance ends that the request has met, in ms since 1970; 0: nobody knows."""
        return self.maintained_until_ms

    def edge(self, int table) -> Edge:
        """The table of this number, of the configuration that the request goes by."""
        return self.view.edges.edges[table]

    def describe_choice(self) -> object:
        """The last choice of a server, as ``witness.Chosen``; ask right after it."""
        return describe_choice(self.service.cluster, &self.choice)
