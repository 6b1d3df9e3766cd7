"""
Which cluster and which server take a request: match, then affinity, then balancing (PLUGIN.md 2.2, 3.4, 4).

Driven by ``downstream`` for live traffic. Joins the parts and holds no state of its own; allocates nothing.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset
from wsproxy._fast.affinity cimport collect_clone_ids
from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport PROBE, Cluster, Verdict
from wsproxy._fast.state cimport ws_now_ms


cdef Service decide_service(
    Engine engine, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int local_port, MatchResult* found
):
    cdef const char* path = head.target
    cdef Py_ssize_t path_len = head.path_len
    cdef const char* host = head.host if head.host != NULL else local_host
    cdef Py_ssize_t host_len = head.host_len if head.host != NULL else local_host_len
    cdef int port = head.port if head.port >= 0 else DEFAULT_PORT
    if engine.vhost_matching_compat or head.host == NULL:
        port = local_port
    if head.has_params:
        path_len = strip_params(path, path_len, engine.path_scratch)
        path = engine.path_scratch
    if engine.routes.match(host, host_len, port, path, path_len, found) >= 0:
        return <Service>engine.services[found.cluster]
    found.cookie_len = 0
    return engine.fallback


cdef void decide_server(Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice) noexcept:
    """Affinity first, left to right over primaries then backups; else regular balancing (PLUGIN 3.4, PM12112)."""
    cdef Cluster cluster = service.cluster
    cdef int i, position, server
    cdef Verdict verdict
    cdef int64_t now_ms = ws_now_ms()
    memset(choice, 0, sizeof(Choice))
    engine.ids.count = 0
    engine.ids.value_len = 0
    if cluster.has_clone_ids and found.cookie_len and (head.fields.has_cookie or head.has_params):
        collect_clone_ids(
            &head.fields, head.target, head.path_len, head.has_params,
            found.cookie, found.cookie_len, found.url_id, found.url_id_len, cluster.separator, &engine.ids,
        )
        for i in range(engine.ids.count):
            position = cluster.find_clone(engine.ids.at[i].start, engine.ids.at[i].length, 0)
            while position >= 0:
                server = cluster.order[position]
                verdict = cluster.take(server, engine.worker_id, now_ms, &choice.tried)
                if verdict <= PROBE:
                    choice.server = server
                    choice.probe = verdict == PROBE
                    choice.by_affinity = True
                    cluster.count_affinity(server)
                    return
                position = cluster.find_clone(engine.ids.at[i].start, engine.ids.at[i].length, position + 1)
    choice.server = cluster.pick(engine.worker_id, now_ms, &choice.tried, &choice.probe)


cdef void decide_again(Engine engine, Service service, Choice* choice) noexcept:
    choice.by_affinity = False
    choice.server = service.cluster.pick(engine.worker_id, ws_now_ms(), &choice.tried, &choice.probe)


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
