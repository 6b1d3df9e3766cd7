"""
What an active probe means for a server: how many in a row take it out of service or bring it back, and until when that holds.

Driven by ``probe.prober``, one process for all workers, and by whoever puts a configuration in use (``watch_servers``).
Works on the slots of ``segment`` under the cluster's lock. What probes say ends by itself (``hold_ms``): a prober that died,
or hangs, keeps nobody down. Must not do I/O or read a clock: ``now_ms`` is given.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcmp, memset
from wsproxy._fast.base.atomics cimport ws_load64
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.cluster cimport NEWLY_MARKED, Cluster
from wsproxy._fast.state.changes cimport PROBE_FAILED, PROBE_OK, PROBER, Evidence
from wsproxy._fast.state.meters cimport MARKED_DOWN, PROBES_FAILED, PROBES_OK, Meters, add_one
from wsproxy._fast.state.probed cimport ANSWERS, AWAITED, FAILS, UNPROBED, ProbeSays, is_held_down
from wsproxy._fast.state.segment cimport KEY_BYTES, ws_server_slot
from wsproxy._fast.state.segment import server_key

cdef enum:
    # Of a streak: more in a row say no more.
    LONGEST = 1_000_000
    # What `cluster` leaves between two records of a server, at least.
    ONE_SECOND_MS = 1000


def watch_servers(
    Cluster cluster not None, int64_t now_ms, *, bint probed, str initial not None="up", int64_t hold_ms=0,
    int slow_start_ms=0,
) -> list[int]:
    """
    From now on the cluster's primaries and backups are probed, or not, and their weights grow when they come back, or not.

    Those that are down now until a probe says otherwise, by their indices.

    ``initial``: what servers are that no configuration had before, until a probe says it: "up", "down", or "until_probed":
    they get no request at all. That holds for RetryInterval, and ``hold_ms`` at least.
    """
    cdef int position, server
    cdef ProbeSays says = AWAITED if initial == "until_probed" else FAILS if initial == "down" else ANSWERS
    cdef bint begins_down
    cdef ws_server_slot* slot
    cdef Evidence evidence
    cdef list awaited = []
    cdef bytes detail = b"new, and no probe of it was answered yet (probe.initial)"
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = PROBER
    evidence.detail, evidence.detail_len = detail, len(detail)
    for position in range(cluster.member_count):
        server = cluster.order[position]
        slot = cluster.servers[server]
        begins_down = False
        ws_lock(&cluster.slot.lock)
        slot.slow_start_ms = slow_start_ms
        if slow_start_ms == 0:
            slot.slow_since_ms = 0
        if not probed:
            slot.probe_says = UNPROBED
            slot.probe_until_ms = 0
            slot.probe_streak = 0
        elif says >= FAILS and (not slot.is_known or slot.left_ms != 0):  # one that was away for a while is new, too
            slot.probe_says = says
            slot.probe_until_ms = now_ms + max(hold_ms, cluster.retry_interval_ms)
            begins_down = True
        slot.is_known = 1
        ws_unlock(&cluster.slot.lock)
        if begins_down:
            cluster.mark_down(server, now_ms, &evidence)
            awaited.append(server)
    return awaited


def note_probe(
    Cluster cluster not None, int server, bint ok, int64_t now_ms, *, int rise, int fall, int64_t hold_ms, int error=0,
    bytes detail not None=b"",
) -> ProbeNews:
    """
    Takes note of a probe's result, ``detail`` in words; what it did to the server.

    ``rise`` good ones in a row bring a server back that is down, ``fall`` failed ones take it out of service; the first one
    decides of a server that is awaited. ``hold_ms``: how long the result holds where no other follows.
    """
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef Evidence evidence
    cdef ProbeNews news
    cdef bytes key = server_key(cluster.name, cluster.server_names[server])
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = PROBER
    evidence.error = error
    evidence.detail, evidence.detail_len = detail, len(detail)
    ws_lock(&cluster.slot.lock)
    if memcmp(slot.key, <const char*>key, KEY_BYTES) != 0:
        news = NOBODYS  # who hung for an hour may come back to a slot that is another server's
    elif ok:
        news = note_good(cluster, server, now_ms, rise, hold_ms, &evidence)
    else:
        news = note_failed(cluster, server, now_ms, fall, hold_ms, &evidence)
    ws_unlock(&cluster.slot.lock)
    if news != NOBODYS:
        meter(cluster, server, PROBES_OK if ok else PROBES_FAILED)
    if news == WENT_DOWN or news == STAYS_DOWN:
        if cluster.mark_down(server, now_ms, &evidence) == NEWLY_MARKED:
            meter(cluster, server, MARKED_DOWN)
    return news


cdef void meter(Cluster cluster, int server, int word) noexcept:
    """One more, in the row behind the workers', which the one prober writes."""
    cdef Meters meters = cluster.state.meters
    if meters is not None:
        add_one(meters.server_block(meters.workers, cluster.server_slot_index(server)), word)


cdef ProbeNews note_good(
    Cluster cluster, int server, int64_t now_ms, int rise, int64_t hold_ms, const Evidence* evidence
) noexcept nogil:
    cdef ws_server_slot* slot = cluster.servers[server]
    slot.probe_streak = min(max(slot.probe_streak, 0) + 1, LONGEST)
    if ws_load64(&slot.down_until_ms) == 0:
        slot.probe_says = ANSWERS
        slot.probe_until_ms = now_ms + hold_ms
        return NO_NEWS
    if slot.probe_says != AWAITED and slot.probe_streak < rise:
        if is_held_down(slot, now_ms):
            slot.probe_until_ms = max(slot.probe_until_ms, now_ms + hold_ms)
        if slot.probe_streak == 1:
            cluster.record(server, PROBE_OK, evidence)
        return NOT_YET_UP
    slot.probe_says = ANSWERS
    slot.probe_until_ms = now_ms + hold_ms
    cluster.come_back(server, now_ms, evidence)
    return CAME_BACK


cdef ProbeNews note_failed(
    Cluster cluster, int server, int64_t now_ms, int fall, int64_t hold_ms, const Evidence* evidence
) noexcept nogil:
    """
    Where it is to be marked, the caller does that, without the lock; until then no answer brings it back.

    A new server that is down until a probe says otherwise goes down with the first one that fails: only then it is known why.
    """
    cdef ws_server_slot* slot = cluster.servers[server]
    cdef bint is_down = ws_load64(&slot.down_until_ms) != 0
    cdef bint is_judged = slot.probe_says == AWAITED or (is_down and slot.probe_says == FAILS)
    cdef bint is_first = is_down and slot.probe_says >= FAILS and slot.probe_streak == 0
    slot.probe_streak = max(min(slot.probe_streak, 0) - 1, -LONGEST)
    if not is_judged and -slot.probe_streak < fall:
        if slot.probe_streak == -1:  # the last one is told with the mark
            cluster.record(server, PROBE_FAILED, evidence)
        return NOT_YET_DOWN
    slot.probe_says = FAILS
    slot.probe_until_ms = now_ms + hold_ms
    if is_first:
        slot.recorded_ms = now_ms - max(cluster.retry_interval_ms, ONE_SECOND_MS)  # it is news why, soon as it may be
        return WENT_DOWN
    return STAYS_DOWN if is_down else WENT_DOWN


def is_found_ill(Cluster cluster not None, int server) -> bool:
    """Whether it is down, and a probe has said so: not one that is awaited, nor one that only a request has marked."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    return ws_load64(&slot.down_until_ms) != 0 and slot.probe_says == FAILS and slot.probe_streak < 0


def probe_state(Cluster cluster not None, int server) -> dict[str, int]:
    """What probes say (``ProbeSays``), how many in a row, until when; since when the weight grows, 0: it does not."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    return {
        "says": slot.probe_says,
        "streak": slot.probe_streak,
        "until_ms": slot.probe_until_ms,
        "slow_since_ms": slot.slow_since_ms,
    }
