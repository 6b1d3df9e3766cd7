"""
Which cluster and which server take a request: match, then affinity, then balancing (PLUGIN.md 2.2, 3.4, 4).

Driven by ``downstream`` for live traffic and by ``replay`` for a log's. Joins the parts and holds no state of its own;
allocates nothing.

A server that the request names and that may have it beats everything. A session that had to leave all servers it names is
remembered with its new one (``takeover``), so that its other requests meet there for as long as they must leave, too. Nobody
is remembered who was sent away by an answer (503: its server is well) or who names no server of the cluster: whoever makes
up clone ids would fill the memory (docs/decisions/0005).

Knows no sockets: a View (whose Routes and servers), a Decider (whose requests, and scratch) and a head are all that it needs.

Scratch that borrows: ``Decider.request``, ``ids`` and ``known`` point into bytes that somebody else owns and that do not live
as long: what was read from a socket, what a connection keeps, a Python object. Therefore

1. they are good only until whoever filled them returns; nobody reads what another call has left there, and who is not sure
   whether there is something reads what is empty;
2. a request begins with them empty of the one before (``forget_ids``; the head is written over), and its line in the access
   log is begun then: the session's cookie that it finds is ``known`` to the decision;
3. they are emptied wherever their bytes go: ``Decider.let_go``. Who that is in live traffic says ``engine``.

Builds with WSPROXY_CHECKED (``borrowed``) end the process where something borrows between two events, spoil what was
emptied, poison what was freed, and hide the read buffer between two reads.
"""

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcmp, memset
from wsproxy._fast.base.atomics cimport ws_load64
from wsproxy._fast.base.borrowed cimport ws_assert_let_go, ws_spoil
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.decide.affinity cimport CloneIds, KnownCookie, clear_clone_ids, collect_clone_ids, find_session_id
from wsproxy._fast.decide.cluster cimport ALL_FULL, FULL, PROBE, TRIED, Cluster, Verdict
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.state.seen cimport note_session
from wsproxy._fast.state.segment cimport check_worker
from wsproxy._fast.state.takeover cimport UNKNOWN_CLONE, any_lives, ws_takeover_count
from wsproxy._fast.state.tried cimport has_tried_none, set_tried

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* For counting only: whoever makes up session ids makes up sessions. So it need not stand what SipHash (`takeover`)
       does, and costs a quarter of that. The multiplier is the golden ratio's, the last step that of MurmurHash3. */
    static inline uint64_t ws_mix(uint64_t h, const char *data, Py_ssize_t length) {
        uint64_t word;
        for (; length >= 8; data += 8, length -= 8) {
            memcpy(&word, data, 8);
            h = (h ^ word) * 0x9E3779B97F4A7C15ULL;
            h ^= h >> 32;
        }
        for (word = (uint64_t)length; length > 0; length--) word = word << 8 | (unsigned char)data[length - 1];
        h = (h ^ word) * 0x9E3779B97F4A7C15ULL;
        h ^= h >> 33;
        h *= 0xFF51AFD7ED558CCDULL;
        return h ^ h >> 33;
    }
    """
    uint64_t ws_mix(uint64_t h, const char* data, Py_ssize_t length) noexcept nogil


cdef class Decider:
    """Takes decisions in the name of one worker, with the scratch that they need; the View is another's."""

    def __init__(self, int worker_id):
        self.worker_id = check_worker(worker_id)

    def __dealloc__(self):
        PyMem_Free(self.path_scratch)

    cdef int make_room(self, View view) except -1:
        cdef char* larger
        if self.path_room < view.limits.target_bytes:
            larger = <char*>PyMem_Realloc(self.path_scratch, view.limits.target_bytes)
            if larger == NULL:
                raise MemoryError
            self.path_scratch = larger
            self.path_room = view.limits.target_bytes
        return 0

    cdef void let_go(self) noexcept:
        ws_spoil(&self.request, sizeof(RequestHead))
        self.request.start = NULL
        ws_spoil(&self.ids, sizeof(CloneIds))
        ws_spoil(&self.known, sizeof(KnownCookie))
        self.forget_ids()

    cdef void check_let_go(self) noexcept:
        ws_assert_let_go(self.request.start == NULL, "decider.request")
        ws_assert_let_go(self.known.field == NULL, "decider.known")
        ws_assert_let_go(self.ids.count == 0 and self.ids.value_len == 0, "decider.ids")


cdef const char* matched_path(Decider decider, RequestHead* head, Py_ssize_t* length) noexcept:
    if not head.has_params:
        length[0] = head.path_len
        return head.target
    length[0] = strip_params(head.target, head.path_len, decider.path_scratch)
    return decider.path_scratch


cdef Service decide_service(
    Decider decider, View view, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port,
    int default_port, MatchResult* found,
):
    cdef Py_ssize_t path_len
    cdef const char* path = matched_path(decider, head, &path_len)
    cdef const char* host = head.host if head.host != NULL else local_host
    cdef Py_ssize_t host_len = head.host_len if head.host != NULL else local_host_len
    cdef int port = port_of(view, head, local_port, default_port)
    if view.routes.match(host, host_len, port, path, path_len, found) >= 0:
        return <Service>view.services[found.cluster]
    found.cookie_len = 0
    return view.fallback


cdef int port_of(View view, RequestHead* head, int local_port, int default_port) noexcept:
    if view.vhost_matching_compat or head.host == NULL:
        return local_port
    return head.port if head.port >= 0 else default_port


cdef void decide_server(
    Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice
) noexcept:
    decide_server_at(decider, view, service, head, found, choice, ws_now_ms())


cdef void decide_server_at(
    Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice, int64_t now_ms
) noexcept:
    """Affinity first, left to right over primaries then backups; else regular balancing (PLUGIN 3.4, PM12112)."""
    memset(choice, 0, sizeof(Choice))
    clear_clone_ids(&decider.ids)
    choice.is_fallback = found.route < 0
    choose_first(decider, view, service.cluster, head, found, choice, now_ms)
    note_rule(decider, service.cluster, choice)


cdef void choose_first(
    Decider decider, View view, Cluster cluster, RequestHead* head, MatchResult* found, Choice* choice, int64_t now_ms
) noexcept:
    if cluster.has_clone_ids and found.cookie_len and (head.fields.has_cookie or head.has_params):
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params,
            found.cookie, found.cookie_len, found.url_id, found.url_id_len, cluster.separator, cluster,
            &decider.known, &decider.ids,
        )
        if decider.ids.count:
            if take_named(decider, cluster, now_ms, choice):
                note_affinity(decider, cluster, choice.server, now_ms)
                return
            # Where it waits for its own server it need not leave it.
            if not waits_for_own(cluster, choice) and take_remembered(decider, view, cluster, now_ms, choice):
                note_affinity(decider, cluster, choice.server, now_ms)
                return
            if waits_for_own(cluster, choice):
                choice.server = ALL_FULL  # for this session
                return
    choice.server = cluster.pick(decider.worker_id, now_ms, &choice.tried, &choice.probe)
    if decider.ids.count and choice.server >= 0:
        note_move(decider, view, cluster, now_ms, choice, False)
        if choice.by_affinity:
            note_affinity(decider, cluster, choice.server, now_ms)


cdef inline void note_affinity(Decider decider, Cluster cluster, int server, int64_t now_ms) noexcept nogil:
    """A request came to the server that has its session, in its first try."""
    cdef const char* session_id = NULL
    cdef Py_ssize_t length = 0
    cluster.count_affinity(server)
    if decider.ids.value_len:
        length = find_session_id(decider.ids.value, decider.ids.value_len, cluster.separator, cluster, &session_id)
    note_session(
        &cluster.servers[server].seen, ws_mix(cluster.takeovers.own_0, session_id, length) if length else 0, now_ms
    )


cdef inline bint waits_for_own(Cluster cluster, Choice* choice) noexcept nogil:
    return choice.wanted != 0 and cluster.has_queue and cluster.affinity_waits


cdef void strike_off(Cluster cluster, Choice* choice, bint answered) noexcept nogil:
    set_tried(&choice.tried, choice.server)
    if answered and ws_load64(&cluster.servers[choice.server].down_until_ms) == 0:
        choice.answered = True


cdef void decide_again(Decider decider, View view, Service service, Choice* choice) noexcept:
    decide_again_at(decider, view, service, choice, ws_now_ms())


cdef void decide_again_at(Decider decider, View view, Service service, Choice* choice, int64_t now_ms) noexcept:
    choose_again(decider, view, service.cluster, choice, now_ms)
    note_rule(decider, service.cluster, choice)


cdef void choose_again(Decider decider, View view, Cluster cluster, Choice* choice, int64_t now_ms) noexcept:
    choice.by_affinity = False
    choice.remembered = False
    if decider.ids.count and cluster.has_clone_ids:
        if take_named(decider, cluster, now_ms, choice) or take_remembered(decider, view, cluster, now_ms, choice):
            return
    choice.server = cluster.pick(decider.worker_id, now_ms, &choice.tried, &choice.probe)
    if decider.ids.count and choice.server >= 0 and cluster.has_clone_ids:
        note_move(decider, view, cluster, now_ms, choice, True)


cdef void decide_waited(Decider decider, View view, Service service, Choice* choice) noexcept:
    cdef Cluster cluster = service.cluster
    cdef int64_t now_ms
    if decider.ids.count and choice.server >= 0 and cluster.has_clone_ids:
        now_ms = ws_now_ms()
        note_move(decider, view, cluster, now_ms, choice, not has_tried_none(&choice.tried))
        if choice.by_affinity:
            note_affinity(decider, cluster, choice.server, now_ms)
    note_rule(decider, cluster, choice)


cdef const char* word_of_rule(int by) noexcept nogil:
    if by == BY_AFFINITY:
        return "affinity"
    if by == BY_TAKEOVER:
        return "takeover"
    if by == BY_WEIGHT:
        return "weight"
    if by == BY_RANDOM:
        return "random"
    if by == BY_BACKUP:
        return "backup"
    if by == BY_CLUSTER_ADDRESS:
        return "cluster-address"
    if by == BY_RETRY:
        return "retry"
    if by == BY_LAST_CHANCE:
        return "last-chance"
    return "fallback" if by == BY_FALLBACK else "-"


def rule_word(int by) -> str:
    """The word of a ``ChosenBy`` in logs and traces."""
    return word_of_rule(by).decode()


cdef void note_rule(Decider decider, Cluster cluster, Choice* choice) noexcept nogil:
    cdef bint is_chance = choice.tried.had_last_chance and not choice.had_chance
    choice.had_chance = choice.tried.had_last_chance
    choice.unmet = False
    if choice.server < 0:
        choice.by = BY_NOBODY
    elif choice.by_affinity:
        choice.by = BY_AFFINITY
    elif choice.remembered:
        choice.by = BY_TAKEOVER
    elif choice.is_fallback:
        choice.by = BY_FALLBACK
    else:
        choice.unmet = decider.ids.count > 0
        if choice.server == cluster.cluster_address:
            choice.by = BY_CLUSTER_ADDRESS
        elif cluster.is_backup(choice.server):
            choice.by = BY_BACKUP
        elif is_chance:
            choice.by = BY_LAST_CHANCE
        elif choice.probe:
            choice.by = BY_RETRY
        else:
            choice.by = BY_RANDOM if cluster.random else BY_WEIGHT


cdef bint take_named(Decider decider, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil:
    """The first server that the clone ids name and that may have the request (PLUGIN 3.4)."""
    cdef int i, position, server
    cdef Verdict verdict
    choice.reason = UNKNOWN_CLONE
    choice.wanted = 0
    for i in range(decider.ids.count):
        position = cluster.find_clone(decider.ids.at[i].start, decider.ids.at[i].length, 0)
        while position >= 0:
            server = cluster.order[position]
            verdict = cluster.take(server, decider.worker_id, now_ms, &choice.tried)
            if verdict <= PROBE:
                choice.server = server
                choice.probe = verdict == PROBE
                choice.by_affinity = True
                return True
            if choice.reason == UNKNOWN_CLONE:
                choice.reason = verdict
            if verdict == FULL and choice.wanted == 0:
                choice.wanted = server + 1
            position = cluster.find_clone(decider.ids.at[i].start, decider.ids.at[i].length, position + 1)
    return False


cdef bint take_remembered(Decider decider, View view, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil:
    """After ``take_named`` found none: where the session's other requests went when they found none."""
    cdef uint64_t key
    cdef int64_t until_ms = 0
    cdef int32_t slot
    cdef int server
    cdef Verdict verdict
    if choice.reason == UNKNOWN_CLONE or not any_lives(cluster.takeovers, now_ms):
        return False
    key = session_key(decider, cluster)
    if key == 0:
        return False
    slot = cluster.takeovers.find(key, now_ms, &until_ms)
    if slot < 0:
        return False
    server = cluster.member_at_slot(slot)
    if server < 0:
        return False
    verdict = cluster.take(server, decider.worker_id, now_ms, &choice.tried)
    if verdict > PROBE:
        if verdict == FULL and choice.wanted == 0:
            choice.wanted = server + 1
        return False
    choice.server = server
    choice.probe = verdict == PROBE
    if names(cluster, &decider.ids, server):
        choice.by_affinity = True  # its place or its interval came in between
        return True
    choice.remembered = True
    ws_takeover_count(&cluster.sessions.at.remembered)
    if until_ms - now_ms < view.takeover_ms // 2:
        # The cookie never came (a server that writes none): the session stays as long as it must be away.
        cluster.takeovers.remember(key, slot, now_ms, now_ms + view.takeover_ms)
    return True


cdef void note_move(Decider decider, View view, Cluster cluster, int64_t now_ms, Choice* choice, bint again) noexcept nogil:
    cdef uint64_t key
    if names(cluster, &decider.ids, choice.server):
        choice.by_affinity = True  # its place or its interval came in between
        return
    if choice.reason == UNKNOWN_CLONE and is_stand_alone(&decider.ids):
        return
    if not choice.broken:
        choice.broken = True
        ws_takeover_count(&cluster.sessions.at.broken[<int>TRIED if again else choice.reason])
    if choice.reason == UNKNOWN_CLONE or choice.answered:
        return
    if view.takeover_ms == 0 or choice.server == cluster.cluster_address:
        return  # behind a ClusterAddress somebody else keeps sessions together
    key = session_key(decider, cluster)
    if key and cluster.takeovers.remember(
        key, cluster.server_slot_index(choice.server), now_ms, now_ms + view.takeover_ms
    ):
        ws_takeover_count(&cluster.sessions.at.moved)


cdef uint64_t session_key(Decider decider, Cluster cluster) noexcept nogil:
    """Under which the memory of takeovers has the request's session; 0: nothing tells the session from others."""
    cdef const char* session_id = NULL
    cdef Py_ssize_t length
    if decider.ids.value_len == 0:
        return 0
    length = find_session_id(decider.ids.value, decider.ids.value_len, cluster.separator, cluster, &session_id)
    return cluster.takeovers.key_of(cluster.takeover_id, session_id, length) if length else 0


cdef bint names(Cluster cluster, CloneIds* ids, int server) noexcept nogil:
    """Whether one of the clone ids is the server's."""
    cdef int i
    cdef Py_ssize_t length = cluster.clone_id_lens[server]
    if cluster.clone_ids[server] == NULL:
        return False
    for i in range(ids.count):
        if ids.at[i].length == length and memcmp(ids.at[i].start, cluster.clone_ids[server], length) == 0:
            return True
    return False


cdef bint is_stand_alone(CloneIds* ids) noexcept nogil:
    """Whether all clone ids are the -1 of a server outside any cluster: such a session has no owner (PLUGIN 3.1)."""
    cdef int i
    for i in range(ids.count):
        if ids.at[i].length != 2 or memcmp(ids.at[i].start, b"-1", 2) != 0:
            return False
    return True


cdef Py_ssize_t strip_params(const char* path, Py_ssize_t length, char* out) noexcept nogil:
    """``path`` without the ``;params`` of each segment, as servlet containers read it (PLUGIN Q11); its length."""
    cdef Py_ssize_t i
    cdef Py_ssize_t written = 0
    cdef bint skipping = False
    for i in range(length):
        if path[i] == c";":
            skipping = True
        elif path[i] == c"/":
            skipping = False
        if not skipping:
            out[written] = path[i]
            written += 1
    return written
