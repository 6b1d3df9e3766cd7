"""
What a witness is told of a request: the results of the decisions that were taken, as Python objects.

Driven by ``intake`` and ``downstream`` while ``engine.witness_level`` asks for it; what is written of them is
``logs.plugin_writer``'s part. Must not decide: each value comes from the structs that the decision itself filled. Session ids
and passwords end here: whoever writes gets bytes that ``mask`` has been through.
"""

from collections import namedtuple

from wsproxy._fast.decide.affinity cimport list_values
from wsproxy._fast.decide.balance cimport DRAINED, FULL, OUT, PROBE
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Choice, Decider, matched_path
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.sight cimport Seen, find_seen
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.state.segment cimport total_inflight
from wsproxy._fast.tell.mask cimport SessionNames
from wsproxy._fast.tell.told cimport told_head, told_session, told_target

# ``route`` -1: none matches; then what follows it means nothing. ``path``: what was matched, ``target``: the path as it came.
# ``values``: the session's cookies and path parameters.
Asked = namedtuple(
    "Asked",
    "host port path target method minor route uri_group uri vhost_group vhost score exact vhost_score vhost_exact"
    " cookie url_id values clone_ids",
)
# ``server`` empty: none was found. ``is_down`` without ``retries``: a last chance, before its interval is over.
# ``inflight`` without this request; ``most``: MaxConnections, -1 no limit. ``by``: ``decide.ChosenBy``; ``unmet``: see
# ``Choice``.
Chosen = namedtuple(
    "Chosen", "server by_affinity remembered is_down retries left_s inflight most weight clone_id passed by unmet"
)
# A server that may not have the request: ``retries``: its interval is over, ``full``: it is at MaxConnections.
Passed = namedtuple("Passed", "server is_down retries left_s full drained out")


cdef bytes describe_head(int level, View view, Service service, const char* head, Py_ssize_t length):
    if level < DETAIL:
        return b""
    return told_head(head, length, <SessionNames>view.session_names, separator_of(service), level >= TRACE)


cdef inline char separator_of(Service service) noexcept:
    return 0 if service is None else service.cluster.separator


cdef object describe_request(
    int level, Decider decider, View view, RequestHead* head, const char* host, Py_ssize_t host_len,
    int port, MatchResult* found, bint has_ids,
):
    cdef Py_ssize_t path_len
    cdef const char* path = matched_path(decider, head, &path_len)
    cdef bint shows = level >= TRACE
    cdef SessionNames names = <SessionNames>view.session_names
    cdef char separator = separator_of(view.services[found.cluster]) if found.route >= 0 else 0
    cdef int i
    return Asked(
        host[:host_len], port, told_target(path, path_len, names, separator, shows),
        told_target(head.target, head.path_len, names, separator, shows), head.method[:head.method_len],
        head.minor,
        found.route, found.uri_group, found.uri, found.vhost_group, found.vhost, found.score, found.exact,
        found.vhost_score, found.vhost_exact, found.cookie[:found.cookie_len], found.url_id[:found.url_id_len],
        [told_session(value, separator, shows) for value in list_values(
            &head.fields, head.target, head.path_len, head.has_params, found.cookie, found.cookie_len, found.url_id,
            found.url_id_len,
        )] if has_ids else [],
        [decider.ids.at[i].start[:decider.ids.at[i].length] for i in range(decider.ids.count)] if has_ids else [],
    )


cdef object describe_choice(Cluster cluster, Choice* choice):
    cdef Seen* seen
    cdef int i
    cdef int server = choice.server
    cdef list passed = []
    if cluster.sight != NULL:
        for i in range(cluster.sight.count):
            seen = &cluster.sight.at[i]
            if seen.tried == &choice.tried and seen.server != server:
                passed.append(Passed(
                    cluster.server_names[seen.server], bool(seen.is_down), seen.verdict == PROBE,
                    seconds_of(seen), seen.verdict == FULL, seen.verdict == DRAINED, seen.verdict == OUT,
                ))
    if server < 0:
        chosen = Chosen("", False, False, False, False, 0, 0, -1, 0, b"", passed, choice.by, False)
    else:
        seen = NULL if cluster.sight == NULL else find_seen(cluster.sight, server, &choice.tried)
        chosen = Chosen(
            cluster.server_names[server], bool(choice.by_affinity), bool(choice.remembered),
            seen != NULL and bool(seen.is_down), seen != NULL and seen.verdict == PROBE,
            0 if seen == NULL else seconds_of(seen),
            max(total_inflight(cluster.servers[server]) - 1, 0),
            cluster.servers[server].max_connections if cluster.servers[server].max_connections > 0 else -1,
            cluster.servers[server].weight,
            cluster.clone_ids[server][:cluster.clone_id_lens[server]] if cluster.clone_ids[server] != NULL else b"",
            passed,
            choice.by,
            bool(choice.unmet),
        )
    if cluster.sight != NULL:
        cluster.sight.count = 0
    return chosen


cdef int seconds_of(Seen* seen) noexcept:
    """Whole seconds that it stays down for, as the log counts them: up to the next one."""
    return <int>((seen.left_ms + 999) // 1000)
