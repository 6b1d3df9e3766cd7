"""
Takes the decisions of a logged request again, with the functions that live traffic uses, at the log's time.

Driven by ``replay.replay``. Holds no rule of its own: where regular balancing cannot be repeated, because its turn
begins at random, the others of the server's group are struck off and the same function is asked again.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr
from wsproxy._fast.base.atomics cimport ws_store32
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.affinity cimport CloneIds, collect_clone_ids
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport (
    Decider, decide_again_at, decide_server_at, decide_service, is_stand_alone, matched_path, session_key, strike_off,
)
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport View
from wsproxy._fast.decide.writers cimport MOST_FOUND, Found, describe_found, find_misfits
from wsproxy._fast.http.fields cimport FIELD_COOKIE, MAX_FIELDS
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.state.tried cimport Tried, set_tried

cdef enum:
    # All replayed requests are counted as one worker's.
    WORKER = 0


cdef class ReplayedRequest:
    """
    One request: its route, and the server of each of its tries.

    ``host`` without port and brackets, empty: unknown; ``cookies``: the values of its Cookie fields.

    Raises: ValueError for a target or cookies that live traffic would have refused.
    """

    def __cinit__(
        self, Decider decider not None, View view not None, bytes host not None, int port, bytes target not None,
        list cookies not None,
    ):
        if len(target) > view.limits.target_bytes:
            raise ValueError(f"found a target of {len(target)} bytes; allowed is {view.limits.target_bytes}")
        decider.make_room(view)
        self.decider = decider
        self.view = view
        self.host = host
        self.port = port
        self.target = target
        self.bring(cookies)
        self.server = -1
        self.choice.server = -1
        self.service = decide_service(decider, view, self.fill_head(), b"", 0, port, port, &self.found)
        decider.let_go()

    cdef RequestHead* fill_head(self) except NULL:
        """The Decider's scratch head, as far as decisions read it; points into this object: ``Decider.let_go``."""
        cdef RequestHead* head = &self.decider.request
        cdef const char* target = <const char*>self.target
        cdef const char* query = <const char*>memchr(target, c"?", len(self.target))
        cdef bytes value
        head.target = target
        head.target_len = <int>len(self.target)
        head.path_len = head.target_len if query == NULL else <int>(query - target)
        head.has_params = memchr(target, c";", head.path_len) != NULL
        head.host = <const char*>self.host
        head.host_len = <int>len(self.host)
        head.port = self.port
        head.fields.count = 0
        head.fields.has_cookie = False
        for value in self.cookies:
            head.fields.at[head.fields.count].kind = FIELD_COOKIE
            head.fields.at[head.fields.count].value = <const char*>value
            head.fields.at[head.fields.count].value_len = <uint32_t>len(value)
            head.fields.count += 1
            head.fields.has_cookie = True
        return head

    @property
    def path(self) -> bytes:
        """The path that routes are matched with."""
        cdef Py_ssize_t length
        cdef const char* path = matched_path(self.decider, self.fill_head(), &length)
        cdef bytes copy = path[:length]
        self.decider.let_go()
        return copy

    def match(self) -> tuple | None:
        """(route, cluster, score, exact, affinity cookie, affinity URL identifier); None: no route."""
        cdef MatchResult* found = &self.found
        if found.route < 0:
            return None
        return (
            found.route, found.cluster, found.score, found.exact,
            found.cookie[:found.cookie_len], found.url_id[:found.url_id_len],
        )

    cpdef bring(self, list cookies):
        """Its Cookie fields became known after its route: their name depends on that."""
        cdef bint is_fit = len(cookies) <= MAX_FIELDS
        for value in cookies:
            is_fit = is_fit and isinstance(value, bytes)
        if not is_fit:
            raise ValueError(f"found {cookies!r}; allowed are up to {MAX_FIELDS} values of Cookie fields, as bytes")
        self.cookies = cookies

    cdef bint collect(self) except -1:
        """Its clone ids into ``Decider.ids``, until ``Decider.let_go``; False: no cluster takes it."""
        cdef RequestHead* head
        if self.service is None:
            return False
        head = self.fill_head()
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params, self.found.cookie, self.found.cookie_len,
            self.found.url_id, self.found.url_id_len, self.service.cluster.separator, self.service.cluster, NULL,
            &self.decider.ids,
        )
        return True

    cpdef list clone_ids(self):
        """The clone ids that its cookies and path bring, in the order in which they are tried."""
        if self.service is None or not self.service.cluster.has_clone_ids:
            return []
        return self.clone_ids_brought()

    cpdef list clone_ids_brought(self):
        """The same, whether the servers of its cluster have clone ids or not."""
        cdef Decider decider = self.decider
        cdef list found
        cdef int i
        if not self.collect():
            return []
        found = [decider.ids.at[i].start[:decider.ids.at[i].length] for i in range(decider.ids.count)]
        decider.let_go()
        return found

    cdef bint brings_strangers(self) except -1:
        """Whether it brings clone ids, and none of them is a server's of its cluster."""
        cdef CloneIds* ids = &self.decider.ids
        cdef bint are_strange
        cdef int i
        if not self.collect():
            return False
        are_strange = ids.count > 0 and not is_stand_alone(ids)
        for i in range(ids.count):
            if self.service.cluster.find_clone(ids.at[i].start, ids.at[i].length, 0) >= 0:
                are_strange = False
        self.decider.let_go()
        return are_strange

    cpdef list clone_ids_in(self, list cookies):
        """The same, had it these Cookie fields."""
        cdef list before = self.cookies
        self.bring(cookies)
        try:
            return self.clone_ids()
        finally:
            self.cookies = before

    def misfits(self) -> list:
        """What of its session only a name, a separator or a case keeps from being read, as ``writers.Noticed``."""
        cdef Found found[MOST_FOUND]
        cdef RequestHead* head = self.fill_head()
        cdef int i
        if self.service is None or not self.service.cluster.has_clone_ids:
            return []
        return [
            describe_found(
                self.service.cluster, -1, self.found.cookie[:self.found.cookie_len],
                self.found.url_id[:self.found.url_id_len], &found[i],
            )
            for i in range(find_misfits(self.service.cluster, head, &self.found, found))
        ]

    @property
    def cluster(self) -> int:
        """Index of the cluster; -1: no route."""
        return self.found.cluster if self.found.route >= 0 else -1

    @property
    def cookie(self) -> bytes:
        """Name of the affinity cookie."""
        return self.found.cookie[:self.found.cookie_len]

    cpdef remember(self, int server, int64_t now_ms):
        """The log says that the request's session has moved to this server: the next ``choose`` knows it, no later one."""
        cdef Cluster cluster
        cdef uint64_t key
        if self.service is None:
            return
        cluster = self.service.cluster
        cluster.check_server(server)
        self.collect()
        key = session_key(self.decider, cluster)
        self.decider.let_go()
        if key:
            cluster.takeovers.remember(key, cluster.server_slot_index(server), now_ms, now_ms + 1)

    def choose(self, int64_t now_ms, int logged) -> tuple[int, int]:
        """
        (server or a negative constant, Rule) of the next try, counted in flight.

        ``logged``: the server that the log names, -1 none. It is the answer where regular balancing may choose it.
        """
        cdef Rule rule = NONE
        cdef int server = self.choose_server(now_ms, logged, &rule)
        return server, rule

    @property
    def chosen_by(self) -> tuple[int, bool]:
        """``decide.ChosenBy`` of the last choice, and whether the request has clone ids whose servers could not have it."""
        return self.choice.by, bool(self.choice.unmet)

    cdef int choose_server(self, int64_t now_ms, int logged, Rule* rule) except? -9:
        cdef Cluster cluster
        cdef bint had_last_chance
        rule[0] = NONE
        if self.service is None:
            return -1
        cluster = self.service.cluster
        self.leave()
        had_last_chance = self.was_chosen and self.choice.tried.had_last_chance
        if not self.was_chosen:
            self.was_chosen = True
            decide_server_at(self.decider, self.view, self.service, self.fill_head(), &self.found, &self.choice, now_ms)
        else:
            if cluster.has_clone_ids:
                self.collect()
            decide_again_at(self.decider, self.view, self.service, &self.choice, now_ms)
        self.decider.let_go()
        self.server = self.choice.server
        self.counted = self.server >= 0
        if self.choice.by_affinity:
            rule[0] = AFFINITY
            return self.server
        if self.choice.remembered:
            rule[0] = REMEMBERED
            return self.server
        if 0 <= logged < cluster.count and logged != self.server:
            self.choose_as_logged(cluster, now_ms, logged, had_last_chance)
            if self.server == logged:
                rule[0] = ALLOWED
                return self.server
        if self.server >= 0:
            rule[0] = BALANCED
        return self.choice.server

    cdef int choose_as_logged(self, Cluster cluster, int64_t now_ms, int logged, bint had_last_chance) except -1:
        """
        The logged server where ``pick`` may take it, else what ``pick`` took; ``had_last_chance``: before it did.

        Struck off are only those whose turn it might have been instead: primaries for a primary, so that a backup is still
        refused while a primary can be used.
        """
        cdef Tried steered = self.choice.tried
        cdef bint probe = False
        cdef int position
        cdef int at = -1
        cdef int first = 0
        cdef int last = cluster.primary_count
        for position in range(cluster.member_count):
            if cluster.order[position] == logged:
                at = position
        if at < 0:
            return 0
        if at >= cluster.primary_count:
            if not cluster.balance_backups:
                return 0
            first, last = cluster.primary_count, cluster.member_count
        for position in range(first, last):
            if position != at:
                set_tried(&steered, cluster.order[position])
        steered.had_last_chance = True  # that one is not random
        self.leave()
        self.server = cluster.pick(WORKER, now_ms, &steered, &probe)
        self.choice.probe = probe
        self.counted = self.server >= 0
        if self.server != logged:
            self.leave()
            self.choice.tried.had_last_chance = had_last_chance
            self.server = cluster.pick(WORKER, now_ms, &self.choice.tried, &probe)
            self.choice.probe = probe
            self.counted = self.server >= 0
        self.choice.server = self.server
        return 0

    cdef int leave(self) except -1:
        if self.counted:
            self.service.cluster.release(self.server, WORKER, self.choice.probe)
        self.counted = False
        self.server = -1
        self.choice.probe = False
        return 0

    cpdef go_to(self, int server):
        """What follows is as if it had gone to this server: the log says so."""
        cdef Cluster cluster
        if self.service is None:
            return
        cluster = self.service.cluster
        cluster.check_server(server)
        if server == self.server:
            return
        self.leave()
        self.was_chosen = True
        ws_lock(&cluster.slot.lock)
        cluster.enter(server, WORKER, 0, False)
        ws_unlock(&cluster.slot.lock)
        self.server = server
        self.choice.server = server
        self.counted = True

    cpdef fail(self, bint answered=False):
        """Its server failed, or ``answered`` with what counts as a failure: the next ``choose`` is for another one."""
        if self.choice.server >= 0:  # it may have been given back already
            strike_off(self.service.cluster, &self.choice, answered)
        self.leave()

    cpdef finish(self):
        """It is no longer in flight."""
        self.leave()

    def count_decisions(self, int64_t now_ms, int rounds) -> int:
        """How many of so many first tries get a server, each given back at once: for bench.micro.affinity."""
        cdef RequestHead* head = self.fill_head()
        cdef int decided = 0
        cdef int _round
        if self.service is None:
            return 0
        self.leave()
        for _round in range(rounds):
            decide_server_at(self.decider, self.view, self.service, head, &self.found, &self.choice, now_ms)
            if self.choice.server >= 0:
                decided += 1
                self.service.cluster.release(self.choice.server, WORKER, self.choice.probe)
        self.choice.server = -1
        return decided


cdef int put_inflight(Cluster cluster, int server, int count) except -1:
    ws_store32(&cluster.servers[cluster.check_server(server)].inflight[WORKER], count)
    return 0


def set_inflight(Cluster cluster not None, int server, int count) -> None:
    """The log says that so many requests are in flight at the server."""
    put_inflight(cluster, server, count)
