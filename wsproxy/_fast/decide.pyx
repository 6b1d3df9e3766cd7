"""
Which cluster and which server take a request: match, then affinity, then balancing (PLUGIN.md 2.2, 3.4, 4).

Driven by ``downstream`` for live traffic and by ``replay`` for a log's. Joins the parts and holds no state of its own;
allocates nothing.

A session that had to leave its owner is remembered with its new one (``takeover``), so that its other requests go there at
once. A session that left because its owner was full is remembered too: its parallel requests must meet, and its state is at
the new server now.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcmp, memset
from wsproxy._fast.affinity cimport CloneIds, collect_clone_ids, find_session_id
from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport ALL_FULL, FULL, PROBE, TRIED, Cluster, Verdict
from wsproxy._fast.state cimport ws_load32, ws_load64, ws_now_ms
from wsproxy._fast.takeover cimport UNKNOWN_CLONE, any_lives, ws_takeover_count
from wsproxy._fast.tried cimport has_tried_none


cdef const char* matched_path(Engine engine, RequestHead* head, Py_ssize_t* length) noexcept:
    if not head.has_params:
        length[0] = head.path_len
        return head.target
    length[0] = strip_params(head.target, head.path_len, engine.path_scratch)
    return engine.path_scratch


cdef Service decide_service(
    Engine engine, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port, int default_port,
    MatchResult* found,
):
    cdef Py_ssize_t path_len
    cdef const char* path = matched_path(engine, head, &path_len)
    cdef const char* host = head.host if head.host != NULL else local_host
    cdef Py_ssize_t host_len = head.host_len if head.host != NULL else local_host_len
    cdef int port = port_of(engine, head, local_port, default_port)
    if engine.routes.match(host, host_len, port, path, path_len, found) >= 0:
        return <Service>engine.services[found.cluster]
    found.cookie_len = 0
    return engine.fallback


cdef int port_of(Engine engine, RequestHead* head, int local_port, int default_port) noexcept:
    if engine.vhost_matching_compat or head.host == NULL:
        return local_port
    return head.port if head.port >= 0 else default_port


cdef void decide_server(Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice) noexcept:
    decide_server_at(engine, service, head, found, choice, ws_now_ms())


cdef void decide_server_at(
    Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice, int64_t now_ms
) noexcept:
    """Affinity first, left to right over primaries then backups; else regular balancing (PLUGIN 3.4, PM12112)."""
    cdef Cluster cluster = service.cluster
    memset(choice, 0, sizeof(Choice))
    engine.ids.count = 0
    engine.ids.value_len = 0
    if cluster.has_clone_ids and found.cookie_len and (head.fields.has_cookie or head.has_params):
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params,
            found.cookie, found.cookie_len, found.url_id, found.url_id_len, cluster.separator, &engine.ids,
        )
        if engine.ids.count and take_owner(engine, cluster, now_ms, choice):
            cluster.count_affinity(choice.server)
            return
        if choice.wanted and cluster.line != NULL and cluster.affinity_waits:
            choice.server = ALL_FULL  # for this session: it waits for its own
            return
    choice.server = cluster.pick(engine.worker_id, now_ms, &choice.tried, &choice.probe)
    if engine.ids.count and choice.server >= 0:
        note_move(engine, cluster, now_ms, choice, False)
        if choice.by_affinity:
            cluster.count_affinity(choice.server)


cdef void decide_again(Engine engine, Service service, Choice* choice) noexcept:
    decide_again_at(engine, service, choice, ws_now_ms())


cdef void decide_again_at(Engine engine, Service service, Choice* choice, int64_t now_ms) noexcept:
    cdef Cluster cluster = service.cluster
    choice.by_affinity = False
    choice.remembered = False
    if engine.ids.count and cluster.has_clone_ids and take_owner(engine, cluster, now_ms, choice):
        return
    choice.server = cluster.pick(engine.worker_id, now_ms, &choice.tried, &choice.probe)
    if engine.ids.count and choice.server >= 0 and cluster.has_clone_ids:
        note_move(engine, cluster, now_ms, choice, True)


cdef void decide_waited(Engine engine, Service service, Choice* choice) noexcept:
    cdef Cluster cluster = service.cluster
    if engine.ids.count and choice.server >= 0 and cluster.has_clone_ids:
        note_move(engine, cluster, ws_now_ms(), choice, not has_tried_none(&choice.tried))
        if choice.by_affinity:
            cluster.count_affinity(choice.server)


cdef bint take_owner(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil:
    cdef int i, position, server
    cdef Verdict verdict
    choice.reason = UNKNOWN_CLONE
    choice.wanted = 0
    if any_lives(cluster.takeovers, now_ms) and take_remembered(engine, cluster, now_ms, choice):
        return True
    for i in range(engine.ids.count):
        position = cluster.find_clone(engine.ids.at[i].start, engine.ids.at[i].length, 0)
        while position >= 0:
            server = cluster.order[position]
            verdict = cluster.take(server, engine.worker_id, now_ms, &choice.tried)
            if verdict <= PROBE:
                choice.server = server
                choice.probe = verdict == PROBE
                choice.by_affinity = True
                return True
            if choice.reason == UNKNOWN_CLONE:
                choice.reason = verdict
            if verdict == FULL and choice.wanted == 0:
                choice.wanted = server + 1
            position = cluster.find_clone(engine.ids.at[i].start, engine.ids.at[i].length, position + 1)
    return False


cdef bint take_remembered(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice) noexcept nogil:
    """The server that the session moved to, before its original owner: not every request may ask who just failed."""
    cdef uint64_t key = session_key(engine, cluster)
    cdef int64_t until_ms = 0
    cdef int32_t slot
    cdef int server
    cdef Verdict verdict
    if key == 0:
        return False
    slot = cluster.takeovers.find(key, now_ms, &until_ms)
    if slot < 0:
        return False
    server = cluster.member_at_slot(slot)
    if server < 0:
        return False
    if names(cluster, &engine.ids, server):
        cluster.takeovers.forget(key)  # the cookie says it now, and that the original owner comes first
        return False
    verdict = cluster.take(server, engine.worker_id, now_ms, &choice.tried)
    if verdict > PROBE:
        if verdict == FULL:
            choice.wanted = server + 1
        return False
    choice.server = server
    choice.probe = verdict == PROBE
    choice.remembered = True
    ws_takeover_count(&cluster.sessions.at.remembered)
    if until_ms - now_ms < engine.takeover_ms // 2 and not original_may_serve(cluster, &engine.ids, now_ms):
        # The cookie never came (a server that writes none): the session stays as long as its original owner is away.
        cluster.takeovers.remember(key, slot, now_ms, now_ms + engine.takeover_ms)
    return True


cdef void note_move(Engine engine, Cluster cluster, int64_t now_ms, Choice* choice, bint again) noexcept nogil:
    cdef uint64_t key
    if names(cluster, &engine.ids, choice.server):
        choice.by_affinity = True  # its place or its interval came in between
        return
    if choice.reason == UNKNOWN_CLONE and is_stand_alone(&engine.ids):
        return
    if not choice.broken:
        choice.broken = True
        ws_takeover_count(&cluster.sessions.at.broken[<int>TRIED if again else choice.reason])
    if engine.takeover_ms == 0 or choice.server == cluster.cluster_address:
        return  # behind a ClusterAddress somebody else keeps sessions together
    key = session_key(engine, cluster)
    if key and cluster.takeovers.remember(
        key, cluster.server_slot_index(choice.server), now_ms, now_ms + engine.takeover_ms
    ):
        ws_takeover_count(&cluster.sessions.at.moved)


cdef uint64_t session_key(Engine engine, Cluster cluster) noexcept nogil:
    """Under which the memory of takeovers has the request's session; 0: nothing tells the session from others."""
    cdef const char* session_id = NULL
    cdef Py_ssize_t length
    if engine.ids.value_len == 0:
        return 0
    length = find_session_id(engine.ids.value, engine.ids.value_len, cluster.separator, &session_id)
    return cluster.takeovers.key_of(cluster.slot_index(), session_id, length) if length else 0


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


cdef bint original_may_serve(Cluster cluster, CloneIds* ids, int64_t now_ms) noexcept nogil:
    """Whether the first server that the clone ids name may be asked, or be tried again: nobody else may ever probe it."""
    cdef int i, position, server
    for i in range(ids.count):
        position = cluster.find_clone(ids.at[i].start, ids.at[i].length, 0)
        if position >= 0:
            server = cluster.order[position]
            return not ws_load32(&cluster.servers[server].drained) and (
                ws_load64(&cluster.servers[server].down_until_ms) <= now_ms
            )
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
