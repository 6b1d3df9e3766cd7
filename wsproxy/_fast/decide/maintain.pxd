# Maintenance by an operator's word: of a cluster, or of the whole proxy.

from libc.stdint cimport int32_t, int64_t
from wsproxy._fast.base.atomics cimport ws_load32, ws_load64
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.state.operator cimport ws_maintenance
from wsproxy._fast.state.segment cimport ws_header


# Whether the word holds at `now_ms`: it ends by itself, without anybody who ends it.
cdef inline bint holds_at(ws_maintenance* word, int64_t now_ms) noexcept nogil:
    cdef int64_t until_ms
    if ws_load32(&word.is_on) == 0:
        return False
    until_ms = ws_load64(&word.until_ms)
    return until_ms == 0 or now_ms < until_ms


# Whether the requests of this cluster (None: of no cluster) get the page instead of a server; `until_wall_ms`: when that
# ends, 0: nobody knows.
cdef bint is_maintained(ws_header* header, Cluster cluster, int64_t now_ms, int64_t* until_wall_ms) noexcept
