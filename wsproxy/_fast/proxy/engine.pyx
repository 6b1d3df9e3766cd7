"""
What the connections of one worker share: the present View, the Decider, the slow path, whom events are told.

Made by ``dataplane.worker`` before the first connection; read by every request. Must not do I/O by itself.

Scratch that borrows: ``response``, and what the Decider has (the rule stands at the head of ``decide``), point into bytes
that somebody else owns and that do not live as long: the hub's read buffer, what a connection keeps. They are emptied
wherever their bytes go: ``let_go`` at the end of each read (``stream``), ``Decider.let_go`` where kept bytes are freed
(``intake``) and after the slow path has read a kept request again (``downstream``). So between two events nothing borrows.

All else that points somewhere points into what lives as long: ``Course.cookie``, ``url_id`` and ``origin.via`` into the View
that the exchange keeps, the rest of ``Course.origin`` into the client's own bytes. ``sight.Seen.tried`` is compared and never
followed.
"""

from weakref import WeakSet

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from wsproxy._fast.base.borrowed cimport ws_assert_let_go, ws_spoil
from wsproxy._fast.base.buffer cimport OUT_SIZE
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.decide.decide cimport Decider
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.net.pipe cimport Pipe
from wsproxy._fast.net.stream cimport Hub, Stream
from wsproxy._fast.proxy.pool cimport Pool
from wsproxy._fast.proxy.slow cimport Slow
from wsproxy._fast.state.client_counts cimport ClientCounts
from wsproxy._fast.state.meters cimport IDLE, SERVER_BLOCK, WORKER_BLOCK, Meters
from wsproxy._fast.state.segment cimport SharedState
from wsproxy._fast.tell.access_line cimport AccessLog
from wsproxy._fast.tell.mask cimport SessionNames
from wsproxy._fast.tell.trace cimport Tracer


cdef class Engine(Hub):
    """Everything that the connections of one worker have in common; made by ``dataplane.worker``."""

    def __cinit__(self, *args, **kwargs):
        self.keeping = set()
        self.edits = <char*>PyMem_Malloc(OUT_SIZE)
        if self.edits == NULL:
            raise MemoryError

    def __init__(
        self,
        *,
        int worker_id,
        View view not None,
        Slow slow,
        int most_lingering=1024,
        ClientCounts client_counts=None,
        int64_t most_of_client=0,
        Pipe pipe=None,
        Meters meters=None,
        SharedState state=None,
    ):
        if meters is not None and not 0 <= worker_id < meters.workers:
            raise ValueError(f"found worker {worker_id}; allowed is one of the {meters.workers} that are metered")
        if client_counts is not None and not 0 <= worker_id < client_counts.workers:
            raise ValueError(f"found worker {worker_id}; allowed is one of the {client_counts.workers} that are counted for")
        self.worker_id = worker_id
        self.decider = Decider(worker_id)
        self.pipe = pipe
        self.client_counts = client_counts
        self.meters = meters
        self.state = state
        self.header = NULL if state is None else state.header
        self.row = NULL if meters is None else meters.row(worker_id)
        self.most_of_client = most_of_client
        self.most_lingering = most_lingering
        self.slow = slow
        self.witness = None
        self.views = WeakSet()
        self.take_view(view)

    def __dealloc__(self):
        PyMem_Free(self.edits)

    def take_view(self, View view not None) -> None:
        """
        From now on requests go by this configuration; those that have begun go on by the one that they began with.

        Idle connections of the View before are closed, but in pools that this one has too; those that are in use are as they
        are given back. Between two events of the loop only. What it says of servers is not written into their slots here:
        ``Cluster.apply``.
        """
        if not isinstance(view.session_names, SessionNames):
            raise TypeError("found a View that only decides; allowed is one that was made to serve")
        self.decider.make_room(view)
        view.show_sight(self.witness_level > 0)
        before = self.view
        self.views.add(view)
        self.view = view
        for other in self.views_in_use():
            (<View>other).find_queues()
        pools = view.pools()
        for pool in pools:
            (<Pool>pool).reopen()
        if before is not None:
            for pool in (<View>before).pools() - pools:
                (<Pool>pool).retire()

    def views_in_use(self) -> list[View]:
        """The present one, and those that requests have begun with that are not over."""
        return list(self.views)

    cdef void let_go(self) noexcept:
        self.decider.let_go()
        ws_spoil(&self.response, sizeof(ResponseHead))
        self.response.start = NULL

    cdef void check_let_go(self) noexcept:
        self.decider.check_let_go()
        ws_assert_let_go(self.response.start == NULL, "engine.response")

    @property
    def log_level(self) -> int:
        """``LogLevel`` that the witness is told of requests that go well; 0: it is told of failures only."""
        return self.witness_level

    @log_level.setter
    def log_level(self, int level) -> None:
        self.witness_level = level if self.witness is not None else 0
        for view in self.views_in_use():
            (<View>view).show_sight(self.witness_level > 0)

    def log_access(self, AccessLog access not None) -> None:
        """From now on each request leaves a line there; once, before the first connection."""
        if self.access is not None:
            raise RuntimeError("the engine has an access log")
        self.access = access

    cdef int keep_looking(self, Stream stream) except -1:
        self.keeping.add(stream)
        return self.ask_turn(stream)

    def look_at_lines(self) -> None:
        """Some times a second: lines of the access log that wait for a socket under TLS."""
        cdef Stream stream
        for stream in list(self.keeping):
            if not stream.look_at_lines():
                self.keeping.discard(stream)

    def trace(self, Tracer tracer not None) -> None:
        """From now on each request has a trace context; once, before the first connection."""
        if self.tracer is not None:
            raise RuntimeError("the engine has a tracer")
        self.tracer = tracer

    cpdef int count(self, int word, int64_t more=1) except -1:
        return 0 if self.meters is None else self.meters.count(self.worker_id, WORKER_BLOCK, 0, word, more)

    def note_idle(self) -> None:
        """Says how many warm connections there are to each server; called about once a second."""
        cdef Service service
        cdef Py_ssize_t slot
        cdef set pools
        cdef int at, idle
        cdef dict found = {}
        if self.row == NULL:
            return
        for view in self.views_in_use():
            for service in (<View>view).all_services():
                for at in range(len(service.pools)):
                    slot = service.cluster.servers[at] - service.cluster.state.servers
                    pools = found.setdefault(slot, set())
                    pools.add(service.pools[at])
                    pools.add(service.secure_pools[at])
        for slot, pools in found.items():
            idle = 0
            for pool in pools:
                idle += (<Pool>pool).warm
            self.meters.put(self.worker_id, SERVER_BLOCK, slot, IDLE, idle)

    @property
    def limits_clients(self) -> bool:
        """Whether there is a limit for the connections of a client."""
        return self.client_counts is not None

    def take_leave(self, bint wanted) -> None:
        """
        Whether connections end with their answers, as an operator drains the whole proxy; idle ones end now.

        Who has only connected has all its time for a first request: it may be a balancer's that does not know yet.
        """
        cdef Stream client
        if self.is_stopping or self.is_retiring or self.draining == wanted:
            return
        self.draining = wanted
        for client in self.streams() if wanted else ():
            if client.serves_client() and client.is_idle() and client.is_quiet():
                client.close()

    def drain(self) -> int:
        """Ends idle clients now and the others after their exchange; returns how many are left, those that linger too."""
        cdef int left = 0
        cdef int64_t now_ms = ws_now_ms()
        cdef bint first = not self.is_stopping
        cdef Stream client
        self.draining = self.is_stopping = True
        for client in self.streams():
            if client.serves_client():
                if client.is_idle() and client.is_quiet():  # else its next request came before it could know
                    client.close()
                elif first:
                    client.hurry(now_ms)
                # A closed one may have the last answer in its transport still: not over before that is sent.
                if client.is_served() or client.lingers():
                    left += 1
        return left

    def retire(self) -> int:
        """
        From now on each answer that begins ends its connection, and says so; how many are left, those that linger too.

        Unlike ``drain`` it ends none that was told otherwise: its next request may be under way. That has its usual time.
        """
        cdef int left = 0
        cdef Stream client
        self.draining = self.is_retiring = True
        for client in self.streams():
            left += client.serves_client() and (client.is_served() or client.lingers())
        return left

    def count_served(self) -> int:
        """Clients whose request or answer is not over; without those that linger."""
        cdef int count = 0
        cdef Stream client
        for client in self.streams():
            count += client.serves_client() and client.is_served()
        return count

    def close_all(self) -> None:
        """Cuts every connection; the end of a worker whose time to finish is over."""
        for stream in self.streams():
            (<Stream>stream).on_cut(False)
            (<Stream>stream).abort()
