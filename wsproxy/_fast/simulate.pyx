"""
What a simulation of a log needs besides ``replay``: a known start of everything random, and the session of a request.

Driven by ``pluginlog.simulate`` and ``pluginlog.simulate_traffic``. Decides nothing: servers are chosen by
``replay.ReplayedRequest``.
"""

from libc.stdint cimport uint64_t
from wsproxy._fast.affinity cimport CloneIds, find_session_id
from wsproxy._fast.lock cimport ws_lock, ws_unlock
from wsproxy._fast.replay cimport ReplayedRequest
from wsproxy._fast.select cimport Cluster
from wsproxy._fast.state cimport start_turns


def start_cluster(Cluster cluster not None, uint64_t turns, uint64_t sessions) -> None:
    """
    The cluster's turns begin where ``turns`` says, and sessions that moved are kept under the key ``sessions``.

    For a state that nobody else uses; the key is that of all clusters of the state.
    """
    ws_lock(&cluster.slot.lock)
    start_turns(cluster.slot, turns)
    cluster.takeovers.secret_0 = sessions
    cluster.takeovers.secret_1 = ~sessions
    ws_unlock(&cluster.slot.lock)


def read_affinity(ReplayedRequest request not None) -> tuple[bytes, tuple[bytes, ...]]:
    """(session id, clone ids in their order) that the request brings; the first is empty where nothing tells the session."""
    cdef const char* session_id = NULL
    cdef CloneIds* ids = &request.engine.ids
    cdef Py_ssize_t length
    cdef tuple clone_ids = tuple(request.clone_ids())  # leaves what it read in `ids`
    if not clone_ids or ids.value_len == 0:
        return b"", clone_ids
    length = find_session_id(ids.value, ids.value_len, request.service.cluster.separator, &session_id)
    return session_id[:length] if length else b"", clone_ids
