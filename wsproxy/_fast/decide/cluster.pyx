"""
A cluster at work: takes a server for a request (affinity target or regular balancing), counts it, marks it, gives it back.

Driven by ``decide`` and the connections for live traffic (and by explain and replay through the Python methods); works on
the slots of ``segment``, so all workers see one weight, one down mark, one count, one queue. Must not do I/O, except to wake
another worker. Who is chosen stands in ``balance``.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset, strlen
from wsproxy._fast.base.atomics cimport ws_count, ws_load32, ws_load64, ws_store32, ws_store64, ws_swap_if32
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.base.lock cimport ws_fence, ws_lock, ws_unlock
from wsproxy._fast.decide.balance cimport ALL_FULL, DOWN, FULL, MAX_SERVERS, PROBE, USABLE, Balancer, Verdict
from wsproxy._fast.state.changes cimport (
    DOWN_OFF, DRAIN_OFF, MARKED_DOWN, PROBED, STILL_DOWN, Evidence, read_changes, record_change,
)
from wsproxy._fast.state.operator cimport DRAIN, NO_HOLD
from wsproxy._fast.state.queue cimport (
    GRANTED, MOST_LINEUPS, MOST_WAITERS, REFUSED, WAITING, Lineup, Queue, Waiter, free_lineup, place_in, queue_append,
    queue_free, queue_unlink,
)
from wsproxy._fast.state.probed cimport is_held_down, mark_end
from wsproxy._fast.state.segment cimport SharedState, check_worker, total_inflight, ws_server_slot
from wsproxy._fast.state.tried cimport Tried, has_tried_none, set_tried, was_tried


cdef enum:
    # How far affinity requests may push a weight below zero (IgnoreAffinityRequests="false"). A server that is this far
    # behind gets no new sessions for thousands of turns anyway; without a floor the 32 bits wrap after days and the
    # busiest server gets all of them.
    LEAST_WEIGHT = -1_000_000
    # Changes of one kind that a server's failures or probes may add a second; a server that all requests try while it is
    # down (the only one of its cluster) would fill the ring with itself.
    LEAST_BETWEEN_MS = 1000


cdef class Cluster(Balancer):
    """
    A ServerCluster as the fast path sees it; see ``Balancer`` for the arguments.

    ``queue_size``: most requests that wait for a place at a server (0: none does), over all workers. ``affinity_waits``: also
    those whose own server is full, instead of going to another one.
    """

    def __cinit__(self, SharedState state not None, *_args, int queue_size=0, **_options):
        self.takeovers = state.takeovers
        memcpy(&self.takeover_id, self.slot.key, sizeof(uint64_t))
        self.sessions = state.sessions_of(self.slot_index())
        self.queue = NULL
        self.has_queue = queue_size > 0 and any(row[3] > 0 for row in self.rows)
        if self.has_queue:
            self.keep_queue = state.queue_of(self.slot_index())
            self.queue = self.keep_queue.at
        else:
            self.find_queue()

    cdef void enter(self, int server, int worker, int64_t now_ms, bint probe) noexcept nogil:
        """Counts one more request in flight; call under the cluster's lock, after ``judge`` allowed it."""
        cdef ws_server_slot* slot = self.servers[server]
        ws_store32(&slot.inflight[worker], slot.inflight[worker] + 1)
        ws_count(&slot.total)
        if slot.hold != NO_HOLD:
            self.end_hold(server, now_ms)
        if probe:
            self.begin_probe(server, worker, now_ms)

    cdef bint end_hold(self, int server, int64_t now_ms) noexcept nogil:
        """Says so where the time of an operator's hold is over, which it is without this; call under the cluster's lock."""
        cdef ws_server_slot* slot = self.servers[server]
        cdef Evidence evidence
        if slot.hold == NO_HOLD or self.hold_of(server, now_ms) != NO_HOLD:
            return False
        memset(&evidence, 0, sizeof(Evidence))
        evidence.worker = -1
        evidence.detail = "its time is over"
        evidence.detail_len = strlen(evidence.detail)
        self.record(server, DRAIN_OFF if slot.hold == DRAIN else DOWN_OFF, &evidence)
        ws_store32(&slot.hold, NO_HOLD)
        return True

    cdef void begin_probe(self, int server, int worker, int64_t now_ms) noexcept nogil:
        cdef ws_server_slot* slot = self.servers[server]
        cdef Evidence evidence
        ws_store32(&slot.probe_by, worker + 1)
        # A last chance is no change of the server's state: only what it brings is recorded.
        if now_ms >= ws_load64(&slot.down_until_ms) and now_ms - slot.probe_recorded_ms >= LEAST_BETWEEN_MS:
            slot.probe_recorded_ms = now_ms
            memset(&evidence, 0, sizeof(Evidence))
            evidence.worker = worker
            self.record(server, PROBED, &evidence)

    cdef uint64_t record(self, int server, int kind, const Evidence* evidence) noexcept nogil:
        """Adds a change to the ring; call under the cluster's lock."""
        return record_change(self.state.ring, kind, self.names[0], self.names[server + 1], evidence)

    cdef Verdict take(self, int server, int worker, int64_t now_ms, Tried* tried) noexcept nogil:
        """Gives the request to this server if it may have one (affinity). USABLE and PROBE mean taken."""
        cdef Verdict verdict
        ws_lock(&self.slot.lock)
        self.serve_first(now_ms)
        verdict = self.judge(server, now_ms, tried)
        if verdict == DOWN and self.member_count == 1 and self.order[0] == server and self.may_be_last(server, now_ms):
            verdict = USABLE  # nothing else to turn to: trying beats a sure refusal (PQ71608, Q9)
        if verdict <= PROBE:
            self.enter(server, worker, now_ms, verdict == PROBE)
            if not self.ignore_affinity_requests and self.servers[server].weight > LEAST_WEIGHT:
                self.servers[server].weight -= 1
        ws_unlock(&self.slot.lock)
        return verdict

    cdef int pick(self, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """
        Regular balancing: a server for a request without (usable) affinity, counted in flight.

        NONE_REACHABLE or ALL_FULL where there is none; ``probe`` says whether the request tries a down server again.
        """
        cdef int server
        ws_lock(&self.slot.lock)
        self.serve_first(now_ms)
        server = self.choose_or_say(now_ms, tried, probe)
        if server >= 0:
            self.enter(server, worker, now_ms, probe[0])
        ws_unlock(&self.slot.lock)
        return server

    cdef void release(self, int server, int worker, bint probe) noexcept nogil:
        """One request less in flight; a probe that ended without a verdict lets the next request try."""
        cdef ws_server_slot* slot = self.servers[server]
        ws_store32(&slot.inflight[worker], slot.inflight[worker] - 1)
        if probe:
            ws_swap_if32(&slot.probe_by, worker + 1, 0)
        if self.queue != NULL:
            self.pass_on()

    cdef MarkDown mark_down(self, int server, int64_t now_ms, const Evidence* evidence) noexcept nogil:
        """
        Out of service for RetryInterval from now, the last failure (PK28197); for all workers.

        Under the lock: nobody may see the probe over and the new mark not yet there, and probe again.
        """
        cdef ws_server_slot* slot = self.servers[server]
        cdef MarkDown mark = STILL_MARKED
        cdef bint was_up
        cdef int64_t until_ms
        cdef int other
        ws_lock(&self.slot.lock)
        was_up = ws_load64(&slot.down_until_ms) == 0
        if was_up:
            ws_store64(&slot.down_since_ms, now_ms)
            mark = NEWLY_MARKED
        elif now_ms >= ws_load64(&slot.down_until_ms):
            mark = STILL_FAILING
        ws_store32(&slot.down_errno, evidence.error)
        ws_store32(&slot.down_by, evidence.worker)
        if was_up or now_ms - slot.recorded_ms >= max(self.retry_interval_ms, LEAST_BETWEEN_MS):
            slot.recorded_ms = now_ms
            slot.evidence = self.record(server, MARKED_DOWN if was_up else STILL_DOWN, evidence)
        until_ms = max(mark_end(slot, now_ms, self.retry_interval_ms), 1)
        for other in range(self.count):
            # The clock ticks every 4 ms, and the last failure must be the last for pick_last_chance.
            if other != server and 0 <= ws_load64(&self.servers[other].down_until_ms) - until_ms < MAX_SERVERS:
                until_ms = ws_load64(&self.servers[other].down_until_ms) + 1
        ws_store64(&slot.down_until_ms, until_ms)
        ws_store32(&slot.probe_by, 0)
        self.serve_first(now_ms)  # who waits for this server goes to another
        ws_unlock(&self.slot.lock)
        return mark

    cdef int64_t mark_up(
        self, int server, int worker, const char* head, Py_ssize_t head_len, uint64_t request_number
    ) noexcept nogil:
        """Back in service for all workers: any answer proves it (PLUGIN 5.2) but to probes; ``head``: of its request."""
        if ws_load64(&self.servers[server].down_until_ms) == 0:
            return -1
        return self.mark_up_at(server, worker, head, head_len, request_number, 0)

    cdef int64_t mark_up_at(
        self, int server, int worker, const char* head, Py_ssize_t head_len, uint64_t request_number, int64_t now_ms
    ) noexcept nogil:
        cdef ws_server_slot* slot = self.servers[server]
        cdef Evidence evidence
        cdef int64_t down_ms = -1
        memset(&evidence, 0, sizeof(Evidence))
        evidence.worker = worker
        evidence.head, evidence.head_len = head, head_len
        evidence.request_number = request_number
        ws_lock(&self.slot.lock)
        now_ms = now_ms or ws_now_ms()
        # Several workers may have an answer at once; an operator's word (-1) beats probes.
        if ws_load64(&slot.down_until_ms) != 0 and (worker == -1 or not is_held_down(slot, now_ms)):
            down_ms = self.come_back(server, now_ms, &evidence)
        ws_unlock(&self.slot.lock)
        return down_ms

    cdef void count_affinity(self, int server) noexcept nogil:
        ws_count(&self.servers[server].affinity)

    cdef int find_queue(self) except -1:
        if self.queue == NULL:
            self.keep_queue = self.state.queues.get(self.slot_index())
            if self.keep_queue is not None:
                self.queue = self.keep_queue.at
        return 0

    # --- the queue ----------------------------------------------------------------------------------------------------

    cdef void pass_on(self) noexcept nogil:
        """A place is free: for who waits longest. The clock is read here because hardly any release comes this far."""
        ws_fence()  # `join` writes that it waits and then looks at the places
        if ws_load32(&self.queue.waiting):
            ws_lock(&self.slot.lock)
            self.serve_waiting(ws_now_ms())
            ws_unlock(&self.slot.lock)

    cdef void serve_waiting(self, int64_t now_ms) noexcept nogil:
        """
        Gives whatever is free to those who wait, in the order in which they came; call under the cluster's lock.

        A granted place is kept (``granted`` in the server's slot) until its worker takes it up: nobody can slip in between.
        """
        cdef Queue* queue = self.queue
        cdef Waiter* waiter
        cdef Tried full                 # found full in this pass: who waits for the same is not judged again
        cdef bint all_full = False
        cdef int32_t ticket = queue.first
        cdef int32_t next_ticket
        cdef int lineup = self.find_lineup()
        cdef int server
        memset(&full, 0, sizeof(Tried))
        while ticket:
            waiter = &queue.waiters[ticket]
            next_ticket = waiter.next
            if waiter.state != WAITING:
                queue_unlink(queue, ticket)  # by a worker that died before it could do this
            else:
                if waiter.lineup == lineup:
                    server = self.find_turn(waiter, now_ms, &full, &all_full)
                else:
                    server = self.find_turn_elsewhere(waiter, now_ms, &full, &all_full)
                if server != ALL_FULL:
                    self.give_turn(ticket, server, now_ms)
            ticket = next_ticket

    cdef int find_lineup(self) noexcept nogil:
        """Which lineup of the queue this cluster's servers are; -1: nobody has waited by it."""
        cdef int at, server
        for at in range(MOST_LINEUPS):
            if self.queue.lineups[at].count != self.count:
                continue
            server = 0
            while server < self.count and self.queue.lineups[at].slots[server] == self.server_slot_index(server):
                server += 1
            if server == self.count:
                return at
        return -1

    cdef int add_lineup(self) noexcept nogil:
        """The same, and it is added where it is not there; -1: there are too many. Call under the cluster's lock."""
        cdef int at = self.find_lineup()
        cdef int server
        if at < 0:
            at = free_lineup(self.queue)
            if at >= 0:
                for server in range(self.count):
                    self.queue.lineups[at].slots[server] = self.server_slot_index(server)
                self.queue.lineups[at].count = self.count
        return at

    cdef int find_turn(self, Waiter* waiter, int64_t now_ms, Tried* full, bint* all_full) noexcept nogil:
        """The server that a waiter may have now; ALL_FULL: it waits on, NONE_REACHABLE: there is nothing to wait for."""
        cdef bint probe = False
        cdef int server = waiter.wanted
        cdef Verdict verdict
        if server >= 0:
            if was_tried(full, server):
                return ALL_FULL
            verdict = self.judge(server, now_ms, &waiter.tried)
            if verdict <= PROBE:
                waiter.probe = verdict == PROBE
                return server
            if verdict == FULL and ws_load64(&self.servers[server].down_until_ms) == 0:
                set_tried(full, server)
                return ALL_FULL
            waiter.wanted = -1  # it went down: any other will do
        if all_full[0]:
            return ALL_FULL
        server = self.choose_or_say(now_ms, &waiter.tried, &probe)
        waiter.probe = probe
        if server == ALL_FULL and has_tried_none(&waiter.tried) and not waiter.tried.had_last_chance:
            all_full[0] = True  # where a waiter that failed nowhere gets nothing, no other does
        return server

    cdef int find_turn_elsewhere(self, Waiter* waiter, int64_t now_ms, Tried* full, bint* all_full) noexcept nogil:
        """
        A server of ours for who waits by another configuration, which must have it too; else ALL_FULL.

        Whether there is anything left to wait for is said by a cluster of its own configuration: each worker asks that of
        its waiters some times a second. So no last chance here, and none goes to another server than the one that it wants.
        """
        cdef const Lineup* theirs = &self.queue.lineups[waiter.lineup]
        cdef Tried barred
        cdef bint probe = False
        cdef Verdict verdict
        cdef int server, place
        memset(&barred, 0, sizeof(Tried))
        if waiter.wanted >= 0:
            for server in range(self.count):
                if self.server_slot_index(server) == theirs.slots[waiter.wanted]:
                    verdict = FULL if was_tried(full, server) else self.judge(server, now_ms, &barred)
                    waiter.probe = verdict == PROBE
                    return server if verdict <= PROBE else ALL_FULL
            return ALL_FULL
        if all_full[0]:
            return ALL_FULL
        for server in range(self.count):
            place = place_in(theirs, self.server_slot_index(server))
            if place < 0 or was_tried(&waiter.tried, place):
                set_tried(&barred, server)
        barred.had_last_chance = True
        server = self.choose_or_say(now_ms, &barred, &probe)
        waiter.probe = probe
        return server if server >= 0 else ALL_FULL

    cdef void give_turn(self, int32_t ticket, int server, int64_t now_ms) noexcept nogil:
        cdef Waiter* waiter = &self.queue.waiters[ticket]
        waiter.server = server
        if server >= 0:
            waiter.slot = self.server_slot_index(server)
            waiter.server = place_in(&self.queue.lineups[waiter.lineup], waiter.slot)
            if waiter.probe:
                self.begin_probe(server, waiter.worker, now_ms)
            ws_store32(&waiter.state, GRANTED)
            self.servers[server].granted += 1
        else:
            ws_store32(&waiter.state, REFUSED)
        queue_unlink(self.queue, ticket)
        self.state.call(waiter.worker)

    cdef int join(
        self, int worker, int64_t now_ms, int wanted, Tried* tried, bint* probe, int32_t* ticket
    ) noexcept nogil:
        """
        WAITS, with a ``ticket`` of the queue; or a server, where one became free or the queue is full but a server is not.

        ``wanted``: the one server to wait for, -1 any. ALL_FULL: no room in the queue; NONE_REACHABLE.
        """
        cdef int server
        cdef int lineup = -1
        ws_lock(&self.slot.lock)
        ticket[0] = 0
        if self.queue.waiting < self.queue_size:
            lineup = self.add_lineup()
        if lineup >= 0:
            ticket[0] = queue_append(self.queue, worker, lineup, wanted, tried)
        ws_fence()  # `release` frees a place and then looks whether somebody waits
        self.serve_waiting(now_ms)
        if ticket[0]:
            server = self.take_up(ticket[0], worker, tried, probe)
            if server != WAITS:
                ticket[0] = 0
        else:
            server = self.choose_or_say(now_ms, tried, probe)
            if server >= 0:
                self.enter(server, worker, now_ms, probe[0])
        ws_unlock(&self.slot.lock)
        return server

    cdef int take_up(self, int32_t ticket, int worker, Tried* tried, bint* probe) noexcept nogil:
        """What became of a waiter; WAITS: nothing yet, else its ticket is free again. Call under the cluster's lock."""
        cdef Waiter* waiter = &self.queue.waiters[ticket]
        cdef int server = waiter.server
        if waiter.state == WAITING:
            return WAITS
        if waiter.state == GRANTED:
            self.servers[server].granted -= 1
            self.enter(server, worker, 0, False)  # a probe has begun with the grant
            probe[0] = waiter.probe
            tried.had_last_chance = waiter.tried.had_last_chance
        queue_free(self.queue, ticket)
        return server

    cdef int take_turn(self, int32_t ticket, int worker, Tried* tried, bint* probe) noexcept nogil:
        cdef int server
        ws_lock(&self.slot.lock)
        server = self.take_up(ticket, worker, tried, probe)
        ws_unlock(&self.slot.lock)
        return server

    cdef int end_wait(self, int32_t ticket, int worker, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """The wait is over: a server that is free all the same, for who waited for its own any; or why there is none."""
        cdef int server
        ws_lock(&self.slot.lock)
        self.serve_waiting(now_ms)
        server = self.take_up(ticket, worker, tried, probe)
        if server == WAITS:
            queue_free(self.queue, ticket)
            server = self.choose_or_say(now_ms, tried, probe)
            if server >= 0:
                self.enter(server, worker, now_ms, probe[0])
        ws_unlock(&self.slot.lock)
        return server

    cdef void leave(self, int32_t ticket, int worker, int64_t now_ms) noexcept nogil:
        """The client is gone; a place that was kept for it goes to the next."""
        cdef Waiter* waiter = &self.queue.waiters[ticket]
        ws_lock(&self.slot.lock)
        if waiter.state == GRANTED:
            self.servers[waiter.server].granted -= 1
            if waiter.probe:
                ws_swap_if32(&self.servers[waiter.server].probe_by, worker + 1, 0)
        queue_free(self.queue, ticket)
        self.serve_waiting(now_ms)
        ws_unlock(&self.slot.lock)

    cdef bint has_turn(self, int32_t ticket) noexcept nogil:
        return ws_load32(&self.queue.waiters[ticket].state) != WAITING

    # --- sessions ---------------------------------------------------------------------------------------------------

    cdef uint64_t slot_index(self) noexcept nogil:
        return <uint64_t>(self.slot - self.state.clusters)

    cdef int32_t server_slot_index(self, int server) noexcept nogil:
        return <int32_t>(self.servers[server] - self.state.servers)

    cdef int member_at_slot(self, int32_t slot_index) noexcept nogil:
        """Index of the primary or backup with this slot; -1: it is not in the cluster any more."""
        cdef int position
        for position in range(self.member_count):
            if self.server_slot_index(self.order[position]) == slot_index:
                return self.order[position]
        return -1

    cdef bint note_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil:
        cdef bint is_news
        ws_lock(&self.slot.lock)
        is_news = self.sessions.keep_partitions(version, version_len, table, table_len)
        ws_unlock(&self.slot.lock)
        return is_news

    def partition_table(self) -> tuple[bytes, bytes]:
        """Version and raw text of the partition table that servers sent last (``$WSPT``); both empty: none came."""
        ws_lock(&self.slot.lock)
        try:
            return self.sessions.partition_table()
        finally:
            ws_unlock(&self.slot.lock)

    def affinity_counts(self) -> dict[str, int]:
        """
        Of all workers: ``requests`` with clone ids that a server took, ``remembered`` of these that went where their session
        moved to, ``moved`` sessions, and requests that no server of their clone ids took by reason: ``unknown_clone``,
        ``down``, ``full``, ``tried`` (it failed in this request), ``out`` (an operator has taken it down).
        """
        cdef int server
        cdef uint64_t kept = 0
        for server in range(self.count):
            kept += self.servers[server].affinity
        return self.sessions.counts(kept)

    # --- the same decisions for tests, explain, replay and admin -------------------------------------------------

    def pick_server(self, int worker, int64_t now_ms, tried=()) -> int:
        """Index of the server that regular balancing gives the next request, counted in flight; negative: none."""
        cdef Tried bits
        cdef bint probe
        self.read_tried(&bits, tried)
        return self.pick(check_worker(worker), now_ms, &bits, &probe)

    def take_server(self, int server, int worker, int64_t now_ms) -> int:
        """``Verdict`` of giving an affinity request to this server; 0 and 1 mean taken."""
        cdef Tried bits
        memset(&bits, 0, sizeof(bits))
        return self.take(self.check_server(server), check_worker(worker), now_ms, &bits)

    def find_clone_id(self, bytes clone_id) -> int:
        """Index of the server with this CloneID, primaries first; -1 none."""
        cdef int position = self.find_clone(<const char*>clone_id, len(clone_id), 0)
        return -1 if position < 0 else self.order[position]

    def release_server(self, int server, int worker) -> None:
        """Ends one request of ``pick_server`` or ``take_server``."""
        check_worker(worker)
        self.release(self.check_server(server), worker, ws_load32(&self.servers[server].probe_by) == worker + 1)

    cpdef set_down(self, int server, int worker, int64_t now_ms, int error=0, bytes detail=b"", bytes head=b""):
        """Marks the server down from ``now_ms`` on; ``detail`` in words and a request's ``head`` are the evidence."""
        cdef Evidence evidence
        evidence.worker = check_worker(worker)
        evidence.error = error
        evidence.detail = detail
        evidence.detail_len = len(detail)
        evidence.head = head
        evidence.head_len = len(head)
        evidence.request_number = 0
        self.mark_down(self.check_server(server), now_ms, &evidence)

    cpdef set_up(self, int server, int worker=-1, bytes head=b"", int64_t now_ms=0):
        """Clears the down mark; ``now_ms``: by another clock than this machine's."""
        self.mark_up_at(self.check_server(server), worker, <const char*>head, len(head), 0, now_ms)

    def why_down(self, int server) -> Change | None:
        """The last recorded failure of the server that is down; None: it is up, or newer changes have overwritten it."""
        cdef ws_server_slot* slot = self.servers[self.check_server(server)]
        cdef uint64_t number
        ws_lock(&self.slot.lock)
        number = slot.evidence if ws_load64(&slot.down_until_ms) != 0 else 0
        ws_unlock(&self.slot.lock)
        return self.change_at(number)

    cpdef last_failure(self, int server):
        """The last recorded failure of the server, up or down; None: there is none, or newer changes have overwritten it."""
        return self.change_at(self.servers[self.check_server(server)].evidence)

    cdef object change_at(self, uint64_t number):
        cdef list found = read_changes(self.state.ring, number - 1) if number else []
        change = found[0] if found else None
        return change if change is not None and change.number == number else None

    @property
    def queue_length(self) -> int:
        """Requests that wait now, over all workers."""
        return 0 if self.queue == NULL else ws_load32(&self.queue.waiting)

    def serve_queue(self, int64_t now_ms) -> None:
        """Lets those go on who can, now that time has passed or a worker died; costs nothing while nobody waits."""
        if self.queue != NULL and ws_load32(&self.queue.waiting):
            ws_lock(&self.slot.lock)
            self.serve_waiting(now_ms)
            ws_unlock(&self.slot.lock)

    def join_queue(self, int worker, int64_t now_ms, int wanted=-1, tried=()) -> tuple[int, int]:
        """(server or a negative constant, ticket): with ticket 0 the first is final, else it waits."""
        cdef Tried bits
        cdef bint probe
        cdef int32_t ticket = 0
        cdef int server
        self.read_tried(&bits, tried)
        if not self.has_queue:
            return ALL_FULL, 0
        if wanted >= 0:
            self.check_server(wanted)
        server = self.join(check_worker(worker), now_ms, wanted, &bits, &probe, &ticket)
        return server, ticket

    def take_queue_turn(self, int ticket, int worker) -> int:
        """The server that was granted to ``ticket``, counted in flight; WAITS (-3), or NONE_REACHABLE."""
        cdef Tried bits
        cdef bint probe
        self.read_tried(&bits, ())
        return self.take_turn(self.check_ticket(ticket), check_worker(worker), &bits, &probe)

    def end_queue_wait(self, int ticket, int worker, int64_t now_ms) -> int:
        """A server that is free all the same, or why there is none."""
        cdef Tried bits
        cdef bint probe
        self.read_tried(&bits, ())
        return self.end_wait(self.check_ticket(ticket), check_worker(worker), now_ms, &bits, &probe)

    def leave_queue(self, int ticket, int worker, int64_t now_ms) -> None:
        """Nobody is there any more."""
        self.leave(self.check_ticket(ticket), check_worker(worker), now_ms)

    cdef int check_ticket(self, int ticket) except -1:
        if self.queue == NULL or not 0 < ticket <= MOST_WAITERS:
            raise ValueError(f"cluster {self.name}: found ticket {ticket}; allowed is one of its queue")
        return ticket

    cdef int read_tried(self, Tried* bits, object tried) except -1:
        cdef int server
        memset(bits, 0, sizeof(Tried))
        for server in tried:
            set_tried(bits, self.check_server(server))
        return 0

    def judge_server(self, int server, int64_t now_ms, *, bint has_session=False) -> int:
        """The Verdict on this server for a request that comes now, and whose session it has or not; nothing changes."""
        cdef Tried tried
        cdef Verdict verdict
        memset(&tried, 0, sizeof(Tried))
        self.check_server(server)
        ws_lock(&self.slot.lock)
        verdict = self.judge(server, now_ms, &tried) if has_session else self.judge_new(server, now_ms, &tried)
        ws_unlock(&self.slot.lock)
        return verdict

    def server_state(self, int server) -> dict[str, int]:
        """What the slot says: weight, start_weight, inflight, down_until_ms, down_since_ms, total, affinity, failed, ..."""
        cdef ws_server_slot* slot = self.servers[self.check_server(server)]
        return {
            "weight": slot.weight, "start_weight": slot.start_weight, "max_connections": slot.max_connections,
            "inflight": total_inflight(slot), "granted": slot.granted,
            "hold": ws_load32(&slot.hold),
            "probe_by": ws_load32(&slot.probe_by) - 1,
            "down_until_ms": ws_load64(&slot.down_until_ms), "down_since_ms": ws_load64(&slot.down_since_ms),
            "down_errno": ws_load32(&slot.down_errno), "down_by": ws_load32(&slot.down_by),
            "total": slot.total, "affinity": slot.affinity, "failed": slot.failed,
        }
