"""
Takes the decisions of a logged request again, with the functions that live traffic uses, at the log's time.

Driven by ``pluginlog.replay``. Holds no rule of its own: where regular balancing cannot be repeated, because its turn
begins at random, the others of the server's group are struck off and the same function is asked again.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr
from wsproxy._fast.affinity cimport collect_clone_ids
from wsproxy._fast.decide cimport decide_again_at, decide_server_at, decide_service, matched_path, session_key
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.fields cimport FIELD_COOKIE, MAX_FIELDS
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.lock cimport ws_lock, ws_unlock
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport Cluster
from wsproxy._fast.state cimport ws_store32
from wsproxy._fast.tried cimport Tried, set_tried

cdef enum:
    # All replayed requests are counted as one worker's.
    WORKER = 0


cdef class ReplayedRequest:
    """
    One request: its route, and the server of each of its tries.

    ``host`` without port and brackets, empty: unknown; ``cookies``: the values of its Cookie fields.

    Raises: ValueError for a target or cookies that live traffic would have refused.
    """

    def __cinit__(self, Engine engine not None, bytes host not None, int port, bytes target not None, list cookies not None):
        if len(target) > engine.limits.target_bytes:
            raise ValueError(f"found a target of {len(target)} bytes; allowed is {engine.limits.target_bytes}")
        self.engine = engine
        self.host = host
        self.port = port
        self.target = target
        self.bring(cookies)
        self.server = -1
        self.choice.server = -1
        self.service = decide_service(engine, self.fill_head(), b"", 0, port, port, &self.found)

    cdef RequestHead* fill_head(self) except NULL:
        """The engine's scratch head, as far as decisions read it; points into this object."""
        cdef RequestHead* head = &self.engine.request
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
        cdef const char* path = matched_path(self.engine, self.fill_head(), &length)
        return path[:length]

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

    cpdef list clone_ids(self):
        """The clone ids that its cookies and path bring, in the order in which they are tried."""
        cdef RequestHead* head = self.fill_head()
        cdef Engine engine = self.engine
        cdef int i
        if self.service is None or not self.service.cluster.has_clone_ids:
            return []
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params, self.found.cookie, self.found.cookie_len,
            self.found.url_id, self.found.url_id_len, self.service.cluster.separator, &engine.ids,
        )
        return [engine.ids.at[i].start[:engine.ids.at[i].length] for i in range(engine.ids.count)]

    cpdef list clone_ids_in(self, list cookies):
        """The same, had it these Cookie fields."""
        cdef list before = self.cookies
        self.bring(cookies)
        try:
            return self.clone_ids()
        finally:
            self.cookies = before

    @property
    def cluster(self) -> int:
        """Index of the cluster; -1: no route."""
        return self.found.cluster if self.found.route >= 0 else -1

    @property
    def cookie(self) -> bytes:
        """Name of the affinity cookie."""
        return self.found.cookie[:self.found.cookie_len]

    def remember(self, int server, int64_t now_ms) -> None:
        """The log says that the request's session has moved to this server: the next ``choose`` knows it, no later one."""
        cdef RequestHead* head = self.fill_head()
        cdef Cluster cluster
        cdef uint64_t key
        if self.service is None:
            return
        cluster = self.service.cluster
        cluster.check_server(server)
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params, self.found.cookie, self.found.cookie_len,
            self.found.url_id, self.found.url_id_len, cluster.separator, &self.engine.ids,
        )
        key = session_key(self.engine, cluster)
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

    cdef int choose_server(self, int64_t now_ms, int logged, Rule* rule) except? -9:
        cdef RequestHead* head = self.fill_head()
        cdef Cluster cluster
        rule[0] = NONE
        if self.service is None:
            return -1
        cluster = self.service.cluster
        self.leave()
        if not self.was_chosen:
            self.was_chosen = True
            decide_server_at(self.engine, self.service, head, &self.found, &self.choice, now_ms)
        else:
            if cluster.has_clone_ids:
                collect_clone_ids(
                    &head.fields, head.target, head.path_len, head.has_params, self.found.cookie, self.found.cookie_len,
                    self.found.url_id, self.found.url_id_len, cluster.separator, &self.engine.ids,
                )
            else:
                self.engine.ids.count = 0
            decide_again_at(self.engine, self.service, &self.choice, now_ms)
        self.server = self.choice.server
        self.counted = self.server >= 0
        if self.choice.by_affinity:
            rule[0] = AFFINITY
            return self.server
        if self.choice.remembered:
            rule[0] = REMEMBERED
            return self.server
        if 0 <= logged < cluster.count and logged != self.server:
            self.choose_as_logged(cluster, now_ms, logged)
            if self.server == logged:
                rule[0] = ALLOWED
                return self.server
        if self.server >= 0:
            rule[0] = BALANCED
        return self.choice.server

    cdef int choose_as_logged(self, Cluster cluster, int64_t now_ms, int logged) except -1:
        """
        The logged server where ``pick`` may take it, else what ``pick`` took.

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

    def go_to(self, int server) -> None:
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

    cpdef fail(self):
        """Its server failed: the next ``choose`` is for another one."""
        if self.choice.server >= 0:  # it may have been given back already
            set_tried(&self.choice.tried, self.choice.server)
        self.leave()

    cpdef finish(self):
        """It is no longer in flight."""
        self.leave()


cdef int put_inflight(Cluster cluster, int server, int count) except -1:
    ws_store32(&cluster.servers[cluster.check_server(server)].inflight[WORKER], count)
    return 0


def set_inflight(Cluster cluster not None, int server, int count) -> None:
    """The log says that so many requests are in flight at the server."""
    put_inflight(cluster, server, count)
