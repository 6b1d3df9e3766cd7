"""
What an operator does to a server while the proxy runs: take it out, bring it back, give it other numbers than its file does.

Driven by ``admin.control`` (and ``explain``, in a state of its own). A word is a write into the server's slot under its
cluster's lock: it holds for all workers from the next decision on, also for one that is being started, and needs no message
to any of them. Each leaves one entry in the ring of changes, with who said it and why. Must not know who may: that is the
admin socket's part.
"""

from collections import namedtuple

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset
from wsproxy._fast.base.atomics cimport ws_load32, ws_load64, ws_store32, ws_store64
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.base.lock cimport ws_lock, ws_unlock
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.state.changes cimport (
    DOWN_OFF, DOWN_ON, DRAIN_OFF, DRAIN_ON, MARK_CLEARED, NUMBERS_SET, OTHER_PROXY, Evidence, record_change,
)
from wsproxy._fast.state.latency cimport ws_note_latency
from wsproxy._fast.state.operator cimport DRAIN, NO_HOLD, TAKEN_DOWN, WHY_BYTES, Hold, end_of, say, sentence, wall_ms
from wsproxy._fast.state.probed cimport WHOLE, begin_slow_start, part_after
from wsproxy._fast.state.seen cimport count_sessions
from wsproxy._fast.state.segment cimport SharedState, ws_server_slot
from wsproxy._fast.state.operator import Hold as HoldWord

# ``who``, ``why``: of the hold; times in milliseconds since 1970, 0: none. ``weight``, ``limit``: what holds instead of the
# file's, None: the file's does; ``file_weight``, ``file_limit``: what that said then.
Said = namedtuple(
    "Said", "hold who why since_ms until_ms weight limit file_weight file_limit numbers_who numbers_why numbers_ms"
)
# ``last_ms``: how long ago the last request of a session came; -1: none did.
Sessions = namedtuple("Sessions", "seen last_ms")
# From the request's last byte that was sent to the head of the answer: how many answers, all their milliseconds, and the mean
# of the last ones, the older the less; -1: none came.
Latency = namedtuple("Latency", "answers total_ms recent_ms")
# Of a server that has come back: the part of its weight that it has, 1 at last, and when that will be.
Growth = namedtuple("Growth", "part left_ms")

# For ``set_numbers``: what the file says.
AS_FILE = object()


cdef int add_entry(Cluster cluster, int server, int kind, bytes text) except -1:
    """Call under the cluster's lock."""
    cdef Evidence evidence
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = -1
    evidence.detail = text
    evidence.detail_len = len(text)
    cluster.record(server, kind, &evidence)
    return 0


def hold_server(
    Cluster cluster not None, int server, int hold, *, bytes who=b"", bytes why=b"", bytes words=b"", int64_t until_wall_ms=0,
    int64_t said_ms=0,
) -> bool:
    """
    Whether that is another hold than before; one that ends otherwise, or for another reason, is another.

    ``until_wall_ms``: when it ends by itself, by the clock of now; 0: when it is taken back. ``words``: that for people.
    ``said_ms``: when it was said, 0: now.
    """
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef int64_t at_ms = wall_ms()
    cdef int64_t now_ms = ws_now_ms()
    cdef Hold before
    cdef bytes text = sentence(who, words, why)
    cdef bint is_new
    if not NO_HOLD <= hold <= TAKEN_DOWN:
        raise ValueError(f"found hold {hold}; allowed is {int(NO_HOLD)}..{int(TAKEN_DOWN)}")
    ws_lock(&cluster.slot.lock)
    try:
        cluster.end_hold(server, now_ms)
        before = <Hold>slot.hold
        is_new = before != <Hold>hold or hold != NO_HOLD and (
            slot.said.until_wall_ms != until_wall_ms or <bytes>slot.said.hold.why != why[:WHY_BYTES - 1]
        )
        if is_new:
            # Free first: this process may be killed between two writes, and must not leave one hold with another one's end.
            ws_store32(&slot.hold, NO_HOLD)
            slot.said.until_wall_ms = until_wall_ms
            ws_store64(&slot.said.until_ms, end_of(until_wall_ms, at_ms, now_ms))
            say(&slot.said.hold, who, why, said_ms or at_ms)
            ws_store32(&slot.hold, hold)
            if hold == NO_HOLD:
                add_entry(cluster, server, DRAIN_OFF if before == DRAIN else DOWN_OFF, text)
            else:
                add_entry(cluster, server, DRAIN_ON if hold == DRAIN else DOWN_ON, text)
            cluster.serve_first(now_ms)  # who waits for this server goes to another, or has its turn now
    finally:
        ws_unlock(&cluster.slot.lock)
    return is_new


def set_numbers(
    Cluster cluster not None, int server, *, weight=None, limit=None, bytes who=b"", bytes why=b"", int64_t said_ms=0,
) -> bool:
    """
    Whether anything is otherwise now. ``weight`` instead of LoadBalanceWeight, ``limit`` instead of MaxConnections; None: as
    it is, ``AS_FILE``: what the file says again.
    """
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef int64_t at_ms = said_ms or wall_ms()
    cdef int32_t old_weight, old_limit, new_weight, new_limit
    cdef bint has_weight, has_limit
    cdef int32_t file_weight = cluster.rows[server][2]
    cdef int32_t file_limit = cluster.rows[server][3]
    ws_lock(&cluster.slot.lock)
    try:
        old_weight, old_limit = cluster.weight_of(server), cluster.limit_of(server)
        has_weight = slot.said.has_weight if weight is None else weight is not AS_FILE
        has_limit = slot.said.has_limit if limit is None else limit is not AS_FILE
        new_weight = old_weight if weight is None else file_weight if weight is AS_FILE else weight
        new_limit = old_limit if limit is None else file_limit if limit is AS_FILE else limit
        if (
            (has_weight, has_limit, new_weight, new_limit)
            == (slot.said.has_weight != 0, slot.said.has_limit != 0, old_weight, old_limit)
        ):
            return False
        parts = []
        if weight is not None:
            parts.append(f"weight {old_weight} -> {new_weight}" + ("" if has_weight else " (the file's)"))
        if limit is not None:
            parts.append(f"MaxConnections {old_limit} -> {new_limit}" + ("" if has_limit else " (the file's)"))
        if weight is not None:
            slot.said.weight, slot.said.has_weight, slot.said.file_weight = new_weight, has_weight, file_weight
        if limit is not None:
            slot.said.limit, slot.said.has_limit, slot.said.file_limit = new_limit, has_limit, file_limit
        say(&slot.said.numbers, who, why, at_ms)
        cluster.apply_numbers()
        add_entry(cluster, server, NUMBERS_SET, sentence(who, ", ".join(parts).encode(), why))
        cluster.serve_first(ws_now_ms())
    finally:
        ws_unlock(&cluster.slot.lock)
    return True


def apply_numbers(Cluster cluster not None) -> None:
    """Weights and limits as they are to be: by the configuration that ``cluster`` has, and by words."""
    ws_lock(&cluster.slot.lock)
    try:
        cluster.apply_numbers()
    finally:
        ws_unlock(&cluster.slot.lock)


def clear_mark(Cluster cluster not None, int server, *, bytes who=b"", bytes why=b"") -> bool:
    """Whether the server was marked down, which it is not any more: requests find out whether it lives."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef bint was_down
    ws_lock(&cluster.slot.lock)
    try:
        was_down = ws_load64(&slot.down_until_ms) != 0
        if was_down:
            add_entry(cluster, server, MARK_CLEARED, sentence(who, b"", why))
            ws_store64(&slot.down_until_ms, 0)
            ws_store32(&slot.probe_by, 0)
            slot.probe_streak = 0
            begin_slow_start(slot, ws_now_ms())
            cluster.serve_first(ws_now_ms())
    finally:
        ws_unlock(&cluster.slot.lock)
    return was_down


def take_mark(
    Cluster cluster not None, int server, bint is_down, *, bint is_operator=False, int64_t age_ms=0, int error=0,
    bytes detail=b"",
) -> bool:
    """
    Whether the server is marked otherwise than before: as another proxy of the group, or an operator there, says.

    ``age_ms``: of the failure: RetryInterval counts from it, so a mark whose time is over is none. What our own probes hold
    down, only an operator brings back.
    """
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef bint was_down = ws_load64(&slot.down_until_ms) != 0
    cdef Evidence evidence
    if is_operator and not is_down:
        return clear_mark(cluster, server, why=detail)
    if is_down and (was_down or age_ms >= cluster.retry_interval_ms):
        return False
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = OTHER_PROXY
    evidence.error = error
    evidence.detail = detail
    evidence.detail_len = len(detail)
    if is_down:
        cluster.mark_down(server, ws_now_ms() - age_ms, &evidence)
    elif was_down:
        cluster.mark_up(server, OTHER_PROXY, NULL, 0, 0)
    return (ws_load64(&slot.down_until_ms) != 0) != was_down


def end_holds(Cluster cluster not None) -> int:
    """Adds the entries of holds whose time is over and that nobody has met since; how many these were."""
    cdef int server
    cdef int count = 0
    cdef int64_t now_ms = ws_now_ms()
    for server in range(cluster.count):
        if ws_load32(&cluster.servers[server].hold) != NO_HOLD and cluster.hold_of(server, now_ms) == NO_HOLD:
            ws_lock(&cluster.slot.lock)
            count += cluster.end_hold(server, now_ms)
            ws_unlock(&cluster.slot.lock)
    return count


def said_of(Cluster cluster not None, int server) -> Said:
    """What operators have said of the server, as it holds now."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    ws_lock(&cluster.slot.lock)
    try:
        hold = cluster.hold_of(server, ws_now_ms())
        return Said(
            HoldWord(hold),
            text_of(slot.said.hold.who) if hold else "",
            text_of(slot.said.hold.why) if hold else "",
            slot.said.hold.at_ms if hold else 0,
            slot.said.until_wall_ms if hold else 0,
            slot.said.weight if slot.said.has_weight else None,
            slot.said.limit if slot.said.has_limit else None,
            slot.said.file_weight,
            slot.said.file_limit,
            text_of(slot.said.numbers.who),
            text_of(slot.said.numbers.why),
            slot.said.numbers.at_ms,
        )
    finally:
        ws_unlock(&cluster.slot.lock)


cdef str text_of(const char* text):
    return (<bytes>text).decode("utf-8", "replace")


def sessions_of(Cluster cluster not None, int server) -> Sessions:
    """Of how many sessions requests came to the server in the last 30 to 45 minutes, about."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef int64_t now_ms = ws_now_ms()
    return Sessions(
        count_sessions(&slot.seen, now_ms), max(now_ms - slot.seen.last_ms, 0) if slot.seen.last_ms else -1
    )


def latency_of(Cluster cluster not None, int server) -> Latency:
    """How long the server has taken to answer, as all workers have counted it."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef int64_t answers = ws_load64(<int64_t*>&slot.latency.answers)
    return Latency(
        answers, ws_load64(<int64_t*>&slot.latency.total_us) / 1000.0,
        ws_load64(&slot.latency.recent_ns) / 1e6 if answers else -1.0,
    )


def note_answer(Cluster cluster not None, int server, int64_t us) -> None:
    """An answer began so long after its request was sent: as ``proxy.course`` notes it, for tests."""
    ws_note_latency(&cluster.servers[cluster.check_server(server)].latency, us)


def growth_of(Cluster cluster not None, int server, int64_t now_ms) -> Growth:
    """How far slow start is, as decisions go by it; nothing changes."""
    cdef ws_server_slot* slot = cluster.servers[cluster.check_server(server)]
    cdef int64_t since_ms = ws_load64(&slot.slow_since_ms)
    cdef int64_t length_ms = ws_load32(&slot.slow_start_ms)
    cdef int32_t part = WHOLE if since_ms == 0 else part_after(now_ms - since_ms, length_ms)
    return Growth(part / <double>WHOLE, 0 if part == WHOLE else since_ms + length_ms - now_ms)


def numbers_of_file(Cluster cluster not None, int server) -> tuple[int, int]:
    """LoadBalanceWeight and MaxConnections."""
    cluster.check_server(server)
    return cluster.rows[server][2], cluster.rows[server][3]


def record_word(SharedState state not None, int kind, bytes cluster, bytes server, bytes text) -> None:
    """Adds an entry about what an operator did to something that has no slot: a request, a log."""
    cdef Evidence evidence
    memset(&evidence, 0, sizeof(Evidence))
    evidence.worker = -1
    evidence.detail = text
    evidence.detail_len = len(text)
    record_change(state.ring, kind, cluster, server, &evidence)
