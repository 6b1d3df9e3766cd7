# What active probes say of a server, and how its weight grows when it comes back. All of it under the cluster's lock.

from libc.stdint cimport int32_t, int64_t
from wsproxy._fast.state.segment cimport ws_server_slot

cdef enum ProbeSays:
    # In the slot; holds until `probe_until_ms`, so that a prober that ended says nothing any more.
    UNPROBED = 0
    ANSWERS = 1
    FAILS = 2               # down, and no request's answer changes that
    AWAITED = 3             # new: no request before the first probe's result

cdef enum:
    # The parts that a weight is counted in while it grows.
    WHOLE = 1024


cdef inline bint is_held_down(const ws_server_slot* slot, int64_t now_ms) noexcept nogil:
    """Whether probes keep it down: an answer to a request does not bring it back."""
    return slot.probe_says >= FAILS and now_ms < slot.probe_until_ms


cdef inline bint is_awaited(const ws_server_slot* slot, int64_t now_ms) noexcept nogil:
    """Whether it gets no request at all, not even a last chance, since no probe has told anything of it yet."""
    return slot.probe_says == AWAITED and now_ms < slot.probe_until_ms


cdef inline int64_t mark_end(ws_server_slot* slot, int64_t now_ms, int64_t retry_interval_ms) noexcept nogil:
    """Until when it is down that fails now; what probes found before says nothing of now, unless they keep it down."""
    slot.probe_streak = min(slot.probe_streak, 0)
    if is_held_down(slot, now_ms):
        return max(now_ms + retry_interval_ms, slot.probe_until_ms)
    return now_ms + retry_interval_ms


cdef inline int32_t part_after(int64_t passed_ms, int64_t slow_start_ms) noexcept nogil:
    """The part of its weight that a server has so long after it came back, of WHOLE."""
    if not 0 <= passed_ms < slow_start_ms:
        return WHOLE
    return <int32_t>max(1, WHOLE * passed_ms // slow_start_ms)


cdef inline int32_t slow_share(ws_server_slot* slot, int64_t now_ms) noexcept nogil:
    """The part of its weight that a server has now, of WHOLE."""
    cdef int32_t part
    if slot.slow_since_ms == 0:
        return WHOLE
    part = part_after(now_ms - slot.slow_since_ms, slot.slow_start_ms)
    if part == WHOLE:
        slot.slow_since_ms = 0
    return part


cdef inline void begin_slow_start(ws_server_slot* slot, int64_t now_ms) noexcept nogil:
    """It has just come back. Turns that it had left from before are gone: they would all be its first ones."""
    if slot.slow_start_ms > 0:
        slot.slow_since_ms = now_ms
        slot.slow_credit = 0
        slot.weight = min(slot.weight, 0)


cdef inline int64_t turns_until_lifted(ws_server_slot* slot, int64_t now_ms) noexcept nogil:
    """How many times its start weight (above 0), as far as that has grown, lifts it above zero; 1 at least."""
    cdef int64_t missing = 1 - <int64_t>slot.weight
    cdef int64_t each = slot.start_weight
    if slot.slow_since_ms != 0:
        each *= slow_share(slot, now_ms)
        if slot.slow_since_ms != 0:
            missing = missing * WHOLE - slot.slow_credit
        else:
            each = slot.start_weight
    return 1 if missing <= 0 else (missing + each - 1) // each


cdef inline int64_t grown_weight(ws_server_slot* slot, int64_t times, int64_t now_ms) noexcept nogil:
    """``times`` its start weight, as far as that has grown; what is less than one turn is kept for the next time."""
    cdef int64_t parts = times * slot.start_weight
    if slot.slow_since_ms == 0:
        return parts
    parts = parts * slow_share(slot, now_ms) + slot.slow_credit
    slot.slow_credit = <int32_t>(parts % WHOLE)
    return parts // WHOLE
