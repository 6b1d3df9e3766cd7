"""
What a simulation of a log needs besides ``replay``: a known start of everything random, and the session of a request.

Driven by ``simulate.simulation`` and ``simulate.traffic``. Decides nothing: servers are chosen by
``replay.ReplayedRequest``.
"""

from libc.stdint cimport uint64_t
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.affinity cimport CloneIds, find_session_id
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.logs.replay cimport ReplayedRequest
from wsproxy._fast.state.segment cimport start_turns


def start_cluster(Cluster cluster not None, uint64_t turns, uint64_t sessions) -> None:
    """
    The cluster's turns begin where ``turns`` says, and sessions that moved are kept under the key ``sessions``.

    For a state that nobody else uses; the key is that of all clusters of the state.
    """
    ws_lock(&cluster.slot.lock)
    start_turns(cluster.slot, turns)
    cluster.takeovers.secret_0 = sessions
    cluster.takeovers.secret_1 = ~sessions
    cluster.takeovers.own_0, cluster.takeovers.own_1 = sessions, ~sessions
    ws_unlock(&cluster.slot.lock)


def read_affinity(ReplayedRequest request not None) -> tuple[bytes, tuple[bytes, ...]]:
    """(session id, clone ids in their order) that the request brings; the first is empty where nothing tells the session."""
    cdef tuple clone_ids = tuple(request.clone_ids())
    cdef const char* session_id = NULL
    cdef CloneIds* ids = &request.decider.ids
    cdef Py_ssize_t length
    cdef bytes found = b""
    if not clone_ids:
        return b"", clone_ids
    request.collect()
    if ids.value_len:
        length = find_session_id(
            ids.value, ids.value_len, request.service.cluster.separator, request.service.cluster, &session_id
        )
        found = session_id[:length] if length else b""
    request.decider.let_go()
    return found, clone_ids
