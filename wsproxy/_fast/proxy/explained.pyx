"""
A decision kept for the client that asked for it with ``X-Wsproxy-Explain: 1``, and added to its answer.

Driven by ``intake`` where a request asks, and by ``downstream`` for its answer; whoever does not ask costs a flag. Must not
decide: each value comes from the structs that the decision itself filled. Who may know, and the words, are the part of
``dataplane.explained``, which hands in the object that keeps them.
"""

from wsproxy._fast.base.buffer cimport OUT_SIZE
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport decide_server
from wsproxy._fast.http.scratch cimport put, reserve
from wsproxy._fast.net.stream cimport complain
from wsproxy._fast.tell.witness cimport describe_choice, describe_request

cdef enum:
    # Left for what ``rewrite`` adds to an answer: the decision is left out before the answer is.
    ADDED_BY_REWRITE = 1024


cdef object begin_explained(Engine engine, View view, RequestHead* head, object exchange):
    if not (head.fields.asks_why and view.explains):
        return None
    begun = None
    try:
        begun = engine.slow.begin_explained(exchange)
    except Exception:
        complain("internal error: a request that asks for its decision gets none", ())
    return begun


cdef int explain_route(
    object explained, Engine engine, View view, RequestHead* head, const char* local_host, Py_ssize_t local_host_len,
    int port, MatchResult* found,
) except -1:
    explained.asked = describe_request(
        engine.witness_level, engine.decider, view, head,
        head.host if head.host != NULL else local_host, head.host_len if head.host != NULL else local_host_len,
        port, found, False,
    )
    return 0


cdef int decide_explained(
    object explained, Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice
) except -1:
    cdef Cluster cluster = service.cluster
    cdef bint is_watched = cluster.sight != NULL  # the log wants to know who is passed over, too
    cdef int seen, i
    if not is_watched:
        cluster.show_sight(True)
    decide_server(decider, view, service, head, found, choice)
    seen = cluster.sight.count
    explained.clone_ids = [decider.ids.at[i].start[:decider.ids.at[i].length] for i in range(decider.ids.count)]
    explained.chosen = describe_choice(cluster, choice)
    if is_watched:
        cluster.sight.count = seen
    else:
        cluster.show_sight(False)
    return 0


cdef int add_explained(object explained, object exchange, Scratch* scratch, ResponseHead* head) noexcept:
    cdef bytes lines = None
    cdef char* at
    cdef char* p
    cdef Py_ssize_t length
    try:
        lines = explained.of_answer(exchange)
    except Exception:
        complain("internal error: an answer goes without its decision", ())
    if lines is None:
        return 0
    length = len(lines) + head.fields.more_len
    if head.size + head.fields.rewritten + length + ADDED_BY_REWRITE > OUT_SIZE:
        return 0
    at = reserve(scratch, length)
    if at == NULL:
        return 0
    p = at
    if head.fields.more_len:
        p = put(p, head.fields.more, head.fields.more_len)
    put(p, <const char*>lines, len(lines))
    head.fields.more = at
    head.fields.more_len = length
    return 0
