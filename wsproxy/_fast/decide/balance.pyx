"""
Which server regular balancing chooses: weighted round robin, random, backups, a last chance. What may have a request at all.

Driven by ``cluster``, under the cluster's lock; changes nothing but weights and cursors. Works on the slots of ``segment``,
so all workers see one weight, one down mark, one count. Must not do I/O or read a clock: ``now_ms`` is given.

The rules are PLUGIN.md section 4: configured weights divided by their greatest common divisor, a random start position,
one less a request, servers at or below zero are passed over, and when none is left each gets the smallest multiple of
its own start weight that lifts at least one usable server above zero (Q6). Backups in list order or balanced (Q5). Where
nothing is usable, one that is marked down gets a last chance.
"""

import math

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp
from wsproxy._fast.base.atomics cimport ws_load32, ws_load64
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.sight cimport Sight, note_seen
from wsproxy._fast.state.operator cimport DRAIN, NO_HOLD, TAKEN_DOWN
from wsproxy._fast.state.probed cimport grown_weight, slow_share, turns_until_lifted
from wsproxy._fast.state.segment cimport SharedState, total_inflight, ws_server_slot
from wsproxy._fast.state.tried cimport Tried, was_tried
from wsproxy._fast.state.segment import cluster_key, server_key


cdef class Balancer:
    """
    The servers of a cluster as the choice sees them: slots, clone ids, weights, primaries and backups.

    ``servers``: (name, clone id or None, LoadBalanceWeight, MaxConnections) in file order; ``primaries`` and ``backups``:
    indices into it (a server that is named again keeps its first place); ``cluster_address``: index of the ClusterAddress
    or -1. It looks its slots up, and writes nothing there: what the configuration says of them holds after ``apply``. Both
    before forking: new servers take slots.
    """

    def __cinit__(
        self,
        SharedState state not None,
        str name not None,
        list servers not None,
        list primaries not None,
        list backups not None,
        *,
        int cluster_address=-1,
        bint random=False,
        bint ignore_affinity_requests=True,
        bint balance_backups=False,
        bint last_chance=True,
        str separator=":",
        double retry_interval_s=60,
        int queue_size=0,
        bint affinity_waits=True,
    ):
        cdef int index
        self.count = len(servers)
        if not 0 < self.count <= MAX_SERVERS:
            raise ValueError(f"cluster {name}: found {self.count} servers; allowed is 1..{MAX_SERVERS}")
        self.name = name
        self.server_names = tuple(row[0] for row in servers)
        self.rows = servers
        self.state = state
        self.slot = state.cluster_slot(cluster_key(name))
        self.servers = <ws_server_slot**>malloc(self.count * sizeof(ws_server_slot*))
        self.clone_ids = <const char**>malloc(self.count * sizeof(char*))
        self.clone_id_lens = <Py_ssize_t*>malloc(self.count * sizeof(Py_ssize_t))
        self.order = <int*>malloc(self.count * sizeof(int))
        self.names = <const char**>malloc((self.count + 1) * sizeof(char*))
        if not self.servers or not self.clone_ids or not self.clone_id_lens or not self.order or not self.names:
            raise MemoryError
        self.keep = [None if row[1] is None else (<str>row[1]).encode() for row in servers]
        self.keep += [(<str>text).encode() for text in (name, *self.server_names)]
        for index in range(self.count + 1):
            self.names[index] = <const char*><bytes>self.keep[self.count + index]
        for index in range(self.count):
            self.servers[index] = state.server_slot(server_key(name, servers[index][0]))
            self.clone_ids[index] = NULL
            self.clone_id_lens[index] = 0
            if self.keep[index] is not None:
                self.has_clone_ids = True
                self.clone_ids[index] = <const char*><bytes>self.keep[index]
                self.clone_id_lens[index] = len(self.keep[index])
        for index in [*primaries, *backups, *([] if cluster_address == -1 else [cluster_address])]:
            self.check_server(index)
        # dict: `order` has room for each server once, and a server in both lists is one server, not two.
        for server in dict.fromkeys([*primaries, *backups]):
            self.order[self.member_count] = server
            self.member_count += 1
        self.primary_count = len(set(primaries))
        self.cluster_address = cluster_address
        self.random = random
        self.ignore_affinity_requests = ignore_affinity_requests
        self.balance_backups = balance_backups
        self.last_chance = last_chance
        self.queue_size = queue_size
        self.affinity_waits = affinity_waits
        self.separator = ord(separator)
        self.retry_interval_ms = <int64_t>(retry_interval_s * 1000)

    def __dealloc__(self):
        free(self.sight)
        free(self.servers)
        free(self.clone_ids)
        free(self.clone_id_lens)
        free(self.order)
        free(self.names)

    def apply(self) -> None:
        """
        Writes what the configuration says into the slots: from now on it holds for all workers.

        What the slots know by themselves stays: down marks, requests in flight, what an operator said, turns of servers whose
        weight is as before.
        """
        cdef int index
        cdef int32_t cluster = <int32_t>(self.slot - self.state.clusters)
        self.state.open_cluster(cluster)
        ws_lock(&self.slot.lock)
        try:
            if self.queue_size > 0:
                self.slot.has_queue = 1  # it stays: requests of an earlier configuration may wait
            self.slot.told = 0  # with a new configuration it may be otherwise
            for index in range(self.count):
                self.servers[index].cluster = cluster
                self.servers[index].told = 0
            self.apply_numbers()
        finally:
            ws_unlock(&self.slot.lock)

    cdef int32_t weight_of(self, int server):
        cdef ws_server_slot* slot = self.servers[server]
        return slot.said.weight if slot.said.has_weight else self.rows[server][2]

    cdef int32_t limit_of(self, int server):
        cdef ws_server_slot* slot = self.servers[server]
        return slot.said.limit if slot.said.has_limit else self.rows[server][3]

    cdef int apply_numbers(self) except -1:
        cdef int index
        for index in range(self.count):
            self.servers[index].max_connections = self.limit_of(index)
        self.set_start_weights(0, self.primary_count)
        if self.balance_backups:
            self.set_start_weights(self.primary_count, self.member_count)
        return 0

    cdef int set_start_weights(self, int first, int last) except -1:
        """Divides the weights of order[first:last] by their GCD (100/90/80 -> 10/9/8); a changed one starts its turn anew."""
        cdef int position, server
        cdef int32_t reduced
        cdef list weights = [self.weight_of(self.order[position]) for position in range(first, last)]
        divisor = math.gcd(*weights) or 1
        for position in range(first, last):
            server = self.order[position]
            reduced = weights[position - first] // divisor
            if self.servers[server].start_weight != reduced:
                self.servers[server].start_weight = reduced
                self.servers[server].weight = reduced
        return 0

    cdef int find_clone(self, const char* clone_id, Py_ssize_t length, int start) noexcept nogil:
        """Position in ``order`` from ``start`` on whose CloneID is exactly ``clone_id``; -1 none (PLUGIN 3.4)."""
        cdef int position, server
        for position in range(start, self.member_count):
            server = self.order[position]
            if self.clone_id_lens[server] == length and self.clone_ids[server] != NULL:
                if memcmp(self.clone_ids[server], clone_id, length) == 0:
                    return position
        return -1

    cdef Verdict judge(self, int server, int64_t now_ms, const Tried* tried) noexcept nogil:
        """
        Whether the server may be given a request of a session that it has; changes nothing. Call under the cluster's lock.
        """
        cdef ws_server_slot* slot = self.servers[server]
        cdef int64_t down_until_ms
        if was_tried(tried, server):
            return TRIED
        if self.hold_of(server, now_ms) == TAKEN_DOWN:
            return self.say(server, OUT, now_ms, tried)
        if slot.max_connections > 0 and total_inflight(slot) + slot.granted >= slot.max_connections:
            return self.say(server, FULL, now_ms, tried)
        down_until_ms = ws_load64(&slot.down_until_ms)
        if down_until_ms == 0:
            return USABLE
        # One probe at a time over all workers (PLUGIN 5.2, PM49491).
        if now_ms >= down_until_ms and ws_load32(&slot.probe_by) == 0:
            return self.say(server, PROBE, now_ms, tried)
        return self.say(server, DOWN, now_ms, tried)

    cdef Verdict judge_new(self, int server, int64_t now_ms, const Tried* tried) noexcept nogil:
        """The same for a request that no session brings to this server: drained is who gets none of these."""
        if self.hold_of(server, now_ms) == DRAIN and not was_tried(tried, server):
            return self.say(server, DRAINED, now_ms, tried)
        return self.judge(server, now_ms, tried)

    cdef Verdict say(self, int server, Verdict verdict, int64_t now_ms, const Tried* tried) noexcept nogil:
        cdef int64_t down_until_ms
        if self.sight != NULL:
            down_until_ms = ws_load64(&self.servers[server].down_until_ms)
            note_seen(self.sight, server, verdict, down_until_ms != 0, down_until_ms - now_ms, tried)
        return verdict

    cdef int show_sight(self, bint wanted) except -1:
        free(self.sight)
        self.sight = NULL
        if wanted:
            self.sight = <Sight*>calloc(1, sizeof(Sight))
            if self.sight == NULL:
                raise MemoryError
        return 0

    cdef int choose_or_say(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """
        Regular balancing: a server, not counted yet; NONE_REACHABLE or ALL_FULL where there is none.

        ``probe`` says whether the request tries a down server again.
        """
        cdef int server, position
        cdef bint full = False
        cdef bint freed = False
        cdef Verdict verdict
        server = self.choose(now_ms, tried, probe)
        if server >= 0:
            return server
        for position in range(self.member_count):
            verdict = self.judge_new(self.order[position], now_ms, tried)
            full = full or verdict == FULL
            freed = freed or (verdict <= PROBE and self.may_choose(position))
        if freed:
            # A request ended since (releases take no lock): full a moment ago, and its place is this one's.
            server = self.choose(now_ms, tried, probe)
        elif self.last_chance and not full and not tried.had_last_chance:
            server = self.pick_last_chance(now_ms, tried, probe)
        if server >= 0:
            return server
        return ALL_FULL if full or freed else NONE_REACHABLE

    cdef bint may_choose(self, int position) noexcept nogil:
        """Whether regular balancing ever gives requests to this member."""
        if position < self.primary_count:
            return self.cluster_address < 0 and self.servers[self.order[position]].start_weight > 0
        return not self.balance_backups or self.servers[self.order[position]].start_weight > 0

    cdef int choose(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """The server that ``pick`` takes, not yet counted; -1 none."""
        cdef int server = -1
        probe[0] = False
        if self.cluster_address >= 0:
            # Never marked down for good, never full: whoever stands behind it decides. An operator's word holds there, too.
            if not was_tried(tried, self.cluster_address) and self.hold_of(self.cluster_address, now_ms) == NO_HOLD:
                server = self.cluster_address
        else:
            server = self.pick_balanced(0, self.primary_count, &self.slot.cursor, now_ms, tried, probe)
        if server >= 0:
            return server
        if self.balance_backups:
            return self.pick_balanced(
                self.primary_count, self.member_count, &self.slot.backup_cursor, now_ms, tried, probe
            )
        return self.pick_backup(now_ms, tried, probe)

    cdef int pick_balanced(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil:
        """One of order[first:last] as LoadBalance says; -1 none."""
        if self.random:
            return self.pick_random(first, last, now_ms, tried, probe)
        return self.pick_weighted(first, last, cursor, now_ms, tried, probe)

    cdef int pick_weighted(
        self, int first, int last, int32_t* cursor, int64_t now_ms, Tried* tried, bint* probe
    ) noexcept nogil:
        """Weighted round robin over order[first:last] (PLUGIN 4.1); -1 none."""
        cdef int _step, position, server, _turn
        cdef int count = last - first
        cdef Verdict verdict
        if count == 0:
            return -1
        for _turn in range(2):
            position = cursor[0] % count
            for _step in range(count):
                server = self.order[first + position]
                position = position + 1 if position + 1 < count else 0
                if self.servers[server].weight <= 0:
                    continue
                verdict = self.judge_new(server, now_ms, tried)
                if verdict <= PROBE:
                    self.servers[server].weight -= 1
                    cursor[0] = position
                    probe[0] = verdict == PROBE
                    return server
            if not self.readjust(first, last, now_ms, tried):
                return -1
        return -1

    cdef bint readjust(self, int first, int last, int64_t now_ms, Tried* tried) noexcept nogil:
        """
        Adds the smallest multiple of each start weight that lifts one usable server above zero; False: none is usable.

        Of a server that has just come back (slow start) only the part counts that its weight has grown to.
        """
        cdef int position, server
        cdef int32_t start
        cdef int64_t needed, raised, least = 0
        for position in range(first, last):
            server = self.order[position]
            start = self.servers[server].start_weight
            if start > 0 and self.judge_new(server, now_ms, tried) <= PROBE:
                needed = turns_until_lifted(self.servers[server], now_ms)
                if least == 0 or needed < least:
                    least = needed
        if least == 0:
            return False
        for position in range(first, last):
            server = self.order[position]
            # Not above its start weight: a server that was down must not come back with the turns it missed.
            start = self.servers[server].start_weight
            raised = self.servers[server].weight + grown_weight(self.servers[server], least, now_ms)
            self.servers[server].weight = <int32_t>min(raised, <int64_t>start)
        return True

    cdef int pick_random(self, int first, int last, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """One of order[first:last] at random, weights ignored except 0 = affinity only (PLUGIN 4.2); -1 none."""
        cdef int position, server
        cdef uint64_t candidates = 0
        cdef int chosen = -1
        cdef bint chosen_probe = False
        cdef bint grows = False  # one has just come back: then each counts with the part of its weight that it has
        cdef uint64_t each = 1
        cdef Verdict verdict
        cdef uint64_t x = self.slot.random
        for position in range(first, last):
            grows = grows or self.servers[self.order[position]].slow_since_ms != 0
        for position in range(first, last):
            server = self.order[position]
            if self.servers[server].start_weight <= 0:
                continue
            verdict = self.judge_new(server, now_ms, tried)
            if verdict <= PROBE:
                if grows:
                    each = <uint64_t>slow_share(self.servers[server], now_ms)
                candidates += each
                x ^= x << 13
                x ^= x >> 7
                x ^= x << 17
                if x % candidates < each:  # reservoir of one: each candidate with the same chance
                    chosen = server
                    chosen_probe = verdict == PROBE
        self.slot.random = x
        probe[0] = chosen_probe
        return chosen

    cdef int pick_backup(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """The first usable backup in list order (PLUGIN 4.3); -1 none."""
        cdef int position
        cdef Verdict verdict
        for position in range(self.primary_count, self.member_count):
            verdict = self.judge_new(self.order[position], now_ms, tried)
            if verdict <= PROBE:
                probe[0] = verdict == PROBE
                return self.order[position]
        return -1

    cdef int pick_last_chance(self, int64_t now_ms, Tried* tried, bint* probe) noexcept nogil:
        """
        The server whose last failure is longest ago though its interval is not over, once a request (PLUGIN 5.3); -1 none.

        It is a probe: one request at a time pays for it, the others get their 503 at once instead of hanging in
        ConnectTimeout by the hundred. Each failure makes another server the next, so one that lives is found. The only
        server of a cluster is tried by every request: there a probe would refuse all others for as long as it runs
        (PQ71608, Q9).
        """
        cdef int position, server
        cdef int chosen = -1
        for position in range(self.member_count):
            server = self.order[position]
            if not self.may_choose(position) or self.judge_new(server, now_ms, tried) != DOWN:
                continue
            if self.member_count > 1 and ws_load32(&self.servers[server].probe_by) != 0:
                continue
            if not self.may_be_last(server, now_ms):
                continue
            if chosen < 0 or ws_load64(&self.servers[server].down_until_ms) < ws_load64(&self.servers[chosen].down_until_ms):
                chosen = server
        tried.had_last_chance = chosen >= 0
        probe[0] = chosen >= 0 and self.member_count > 1
        return chosen

    cdef int check_server(self, int server) except -1:
        """Raises for an index that Python code got wrong: below here nothing checks it."""
        if not 0 <= server < self.count:
            raise ValueError(f"cluster {self.name}: found server {server}; allowed is 0..{self.count - 1}")
        return server

    def weight_now(self, int server) -> int:
        """LoadBalanceWeight, or what an operator said instead."""
        return self.weight_of(self.check_server(server))

    def slots(self) -> tuple[int, list[int]]:
        """The number of the cluster's slot and those of its servers', in file order: what ``Meters`` counts by."""
        return self.slot - self.state.clusters, [self.servers[at] - self.state.servers for at in range(self.count)]

    @property
    def cursors(self) -> tuple[int, int]:
        """Positions among the primaries and among balanced backups at which the next turn goes on."""
        cdef int backups = self.member_count - self.primary_count
        return (
            self.slot.cursor % self.primary_count if self.primary_count else 0,
            self.slot.backup_cursor % backups if backups else 0,
        )
