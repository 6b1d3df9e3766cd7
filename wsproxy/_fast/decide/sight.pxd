# What a choice of a server saw of those that it passed over: down, full, drained. Noted only while a witness wants to know.
#
# Filled by `balance` where it passes a server over, read by `witness`; both are rare or asked for. Must not judge: the log
# that is written from it shows the decision that was taken, not a second one.

from libc.stdint cimport int64_t
from wsproxy._fast.state.tried cimport Tried

cdef enum:
    # As many as a cluster has servers.
    MOST_SEEN = 256

cdef struct Seen:
    int server
    int verdict                 # balance.Verdict; never USABLE
    bint is_down
    int64_t left_ms             # of its RetryInterval; 0: over, or it is not marked down
    const Tried* tried          # whose choice it was

cdef struct Sight:              # one a cluster in each worker
    int count
    Seen at[256]


cdef inline Seen* find_seen(Sight* sight, int server, const Tried* tried) noexcept nogil:
    """What was noted of this server in the choice for ``tried``; NULL: nothing."""
    cdef int i
    for i in range(sight.count):
        if sight.at[i].server == server and sight.at[i].tried == tried:
            return &sight.at[i]
    return NULL


cdef inline void note_seen(
    Sight* sight, int server, int verdict, bint is_down, int64_t left_ms, const Tried* tried
) noexcept nogil:
    """Notes what a server was found to be, once for each server: the last word counts."""
    cdef Seen* seen = find_seen(sight, server, tried)
    if seen == NULL:
        if sight.count >= MOST_SEEN:
            return  # of choices that nobody asked about, such as those for who waits in the queue
        seen = &sight.at[sight.count]
        sight.count += 1
    seen.server = server
    seen.verdict = verdict
    seen.is_down = is_down
    seen.left_ms = left_ms if left_ms > 0 else 0
    seen.tried = tried
