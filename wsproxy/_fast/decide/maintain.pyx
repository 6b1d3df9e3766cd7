"""
``wsproxy maintenance``: an operator has the page shown instead of a cluster's servers, or instead of all.

Driven by ``admin.control``; asked by ``proxy.intake`` for each request where any word was said (``ws_header.maintained``),
and by ``explain``. A word is a write into shared memory: it holds for all workers from the next request on. Written under
the cluster's lock; that of the whole proxy by one process, the one that answers operators.
"""

from collections import namedtuple

from libc.stdint cimport int64_t
from libc.string cimport memset
from wsproxy._fast.base.atomics cimport ws_load32, ws_store32, ws_store64
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.state.changes cimport MAINTENANCE_OFF, MAINTENANCE_ON, Evidence, record_change
from wsproxy._fast.state.operator cimport WHY_BYTES, end_of, say, sentence, wall_ms, ws_maintenance
from wsproxy._fast.state.segment cimport SharedState, ws_header

# Times in milliseconds since 1970; ``until_ms`` 0: until it is taken back.
Maintenance = namedtuple("Maintenance", "who why since_ms until_ms")


cdef bint is_maintained(ws_header* header, Cluster cluster, int64_t now_ms, int64_t* until_wall_ms) noexcept:
    until_wall_ms[0] = 0
    if holds_at(&header.maintenance, now_ms):
        until_wall_ms[0] = header.maintenance.until_wall_ms
        return True
    if cluster is not None and holds_at(&cluster.slot.maintenance, now_ms):
        until_wall_ms[0] = cluster.slot.maintenance.until_wall_ms
        return True
    return False


cdef ws_maintenance* word_of(SharedState state, Cluster cluster) noexcept:
    return &state.header.maintenance if cluster is None else &cluster.slot.maintenance


cdef int tell(SharedState state, Cluster cluster, int kind, bytes text) except -1:
    cdef Evidence evidence
    cdef const char* name = ""
    if cluster is not None:
        name = cluster.names[0]
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = -1
    evidence.detail = text
    evidence.detail_len = len(text)
    record_change(state.ring, kind, name, "", &evidence)
    return 0


def maintain(
    SharedState state not None, Cluster cluster, bint is_on, *, bytes who=b"", bytes why=b"", bytes words=b"",
    int64_t until_wall_ms=0, int64_t said_ms=0,
) -> bool:
    """
    Whether that is otherwise than before; one that ends otherwise, or for another reason, is another.

    ``cluster`` None: the whole proxy. ``until_wall_ms``: when it ends by itself, by the clock of now; 0: when it is taken
    back. ``words``: that for people. ``said_ms``: when it was said, 0: now. The caller says ``count_maintenance`` afterwards.
    """
    cdef ws_maintenance* word = word_of(state, cluster)
    cdef int64_t at_ms = wall_ms()
    cdef int64_t now_ms = ws_now_ms()
    cdef bint is_new
    cdef bytes text = sentence(who, words, why)
    if cluster is not None:
        ws_lock(&cluster.slot.lock)
    try:
        end(state, cluster, word, now_ms)
        is_new = holds_at(word, now_ms) != is_on or is_on and (
            word.until_wall_ms != until_wall_ms or <bytes>word.said.why != why[:WHY_BYTES - 1]
        )
        if is_new:
            # Off first: this process may be killed between two writes, and must not leave one word with another one's end.
            ws_store32(&word.is_on, 0)
            if is_on:
                word.until_wall_ms = until_wall_ms
                ws_store64(&word.until_ms, end_of(until_wall_ms, at_ms, now_ms))
                say(&word.said, who, why, said_ms or at_ms)
                ws_store32(&word.is_on, 1)
                # Before anybody counts: who is asked whether there is any must not be told none.
                ws_store32(&state.header.maintained, 1)
            tell(state, cluster, MAINTENANCE_ON if is_on else MAINTENANCE_OFF, text)
    finally:
        if cluster is not None:
            ws_unlock(&cluster.slot.lock)
    return is_new


cdef bint end(SharedState state, Cluster cluster, ws_maintenance* word, int64_t now_ms) except -1:
    """Says so where the time of a word is over, which it is without this."""
    if ws_load32(&word.is_on) == 0 or holds_at(word, now_ms):
        return False
    tell(state, cluster, MAINTENANCE_OFF, b"its time is over")
    ws_store32(&word.is_on, 0)
    return True


def count_maintenance(SharedState state not None, list clusters not None) -> int:
    """How many words hold, of the whole proxy and of these clusters, which are all that there are; others are ended."""
    cdef Cluster cluster
    cdef int64_t now_ms = ws_now_ms()
    cdef int count
    end(state, None, &state.header.maintenance, now_ms)
    count = holds_at(&state.header.maintenance, now_ms)
    for cluster in clusters:
        if ws_load32(&cluster.slot.maintenance.is_on):
            ws_lock(&cluster.slot.lock)
            try:
                end(state, cluster, &cluster.slot.maintenance, now_ms)
                count += holds_at(&cluster.slot.maintenance, now_ms)
            finally:
                ws_unlock(&cluster.slot.lock)
    ws_store32(&state.header.maintained, count > 0)
    return count


def maintenance_of(SharedState state not None, Cluster cluster) -> Maintenance | None:
    """What an operator has said of the cluster (None: of the whole proxy), as it holds now; None: nothing."""
    cdef ws_maintenance* word = word_of(state, cluster)
    if not holds_at(word, ws_now_ms()):
        return None
    return Maintenance(
        (<bytes>word.said.who).decode("utf-8", "replace"), (<bytes>word.said.why).decode("utf-8", "replace"),
        word.said.at_ms, word.until_wall_ms,
    )


def is_in_maintenance(SharedState state not None, Cluster cluster) -> bool:
    """Whether requests of the cluster (None: of no cluster) get the page instead of a server."""
    cdef int64_t until_wall_ms
    return is_maintained(state.header, cluster, ws_now_ms(), &until_wall_ms)
