"""
How many sessions a server has had requests of lately, over all workers: asked by an operator who wants to take it out.

Noted by ``decide.decide`` with each request that goes by affinity. Must not keep anything that names a session: only how rare
the rarest hash was (P. Flajolet et al., "HyperLogLog", 2007), under a key that is new at each start.

Without a lock: a note that another worker's overwrites is lost, and comes again with the session's next request.
"""

from libc.math cimport ldexp, log
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

cdef extern from *:
    """
    static inline int ws_leading_zeros(uint64_t x) { return x ? __builtin_clzll(x) : 64; }
    """
    int ws_leading_zeros(uint64_t x) noexcept nogil

cdef enum:
    REGISTER_BITS = 8


cdef void note_session(ws_seen* seen, uint64_t key, int64_t now_ms) noexcept nogil:
    cdef int64_t number = now_ms // SEEN_WINDOW_MS + 1
    cdef ws_seen_window* window = &seen.at[number % SEEN_WINDOWS]
    cdef unsigned char rank
    seen.last_ms = now_ms
    if key == 0:
        return
    if window.number != number:
        memset(window.highest, 0, SEEN_REGISTERS)
        window.number = number
    rank = <unsigned char>(1 + ws_leading_zeros(key >> REGISTER_BITS) - REGISTER_BITS)
    if window.highest[key % SEEN_REGISTERS] < rank:
        window.highest[key % SEEN_REGISTERS] = rank


cdef int64_t count_sessions(const ws_seen* seen, int64_t now_ms) noexcept nogil:
    cdef int64_t number = now_ms // SEEN_WINDOW_MS + 1
    cdef int at, window, empty = 0
    cdef unsigned char highest
    cdef double harmonic = 0
    cdef double estimate
    for at in range(SEEN_REGISTERS):
        highest = 0
        for window in range(SEEN_WINDOWS):
            if number - SEEN_WINDOWS < seen.at[window].number <= number and seen.at[window].highest[at] > highest:
                highest = seen.at[window].highest[at]
        empty += highest == 0
        harmonic += ldexp(1, -<int>highest)
    estimate = 0.7213 / (1 + 1.079 / SEEN_REGISTERS) * SEEN_REGISTERS * SEEN_REGISTERS / harmonic
    if estimate <= 2.5 * SEEN_REGISTERS and empty:
        estimate = SEEN_REGISTERS * log(<double>SEEN_REGISTERS / empty)  # few: those without a note say more
    return <int64_t>(estimate + 0.5)


def count_keys(list keys not None, list at_ms not None, int64_t now_ms) -> int:
    """What is counted at ``now_ms`` where sessions with these hashes came at these times; for tests."""
    cdef ws_seen seen
    memset(&seen, 0, sizeof(seen))
    for key, when in zip(keys, at_ms, strict=True):
        note_session(&seen, key, when)
    return count_sessions(&seen, now_ms)
