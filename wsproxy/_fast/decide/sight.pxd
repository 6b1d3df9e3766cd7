# What a choice of a server saw of those that it passed over; noted only while a witness wants to know.

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

# Notes what a server was found to be, once for each server: the last word counts.
cdef void note_seen(
    Sight* sight, int server, int verdict, bint is_down, int64_t left_ms, const Tried* tried
) noexcept nogil
# What was noted of this server in the choice for `tried`; NULL: nothing.
cdef Seen* find_seen(Sight* sight, int server, const Tried* tried) noexcept nogil
