# What an active probe means for a server.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.state.changes cimport Evidence

cpdef enum ProbeNews:
    NO_NEWS = 0             # it is up, as before
    NOT_YET_DOWN = 1        # it failed, and stays in service until more follow
    WENT_DOWN = 2
    STAYS_DOWN = 3
    NOT_YET_UP = 4          # it answered, and stays out of service until more follow
    CAME_BACK = 5
    NOBODYS = 6             # no server of this name has the slot any more

# Both under the cluster's lock.
cdef ProbeNews note_good(
    Cluster cluster, int server, int64_t now_ms, int rise, int64_t hold_ms, const Evidence* evidence
) noexcept nogil
cdef ProbeNews note_failed(
    Cluster cluster, int server, int64_t now_ms, int fall, int64_t hold_ms, const Evidence* evidence
) noexcept nogil
