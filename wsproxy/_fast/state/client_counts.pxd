# How many connections each client has, over all workers: for limits.client_connections.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.state.takeover cimport TakeoverTable

cdef enum Admission:
    NOT_ASKED = 0
    COUNTED
    UNCOUNTED               # exempt, or no room to count
    REFUSED

cdef extern from *:
    """
    #include <stdint.h>

    typedef struct { uint64_t client; uint64_t count; } ws_client;  /* count 0: the place is free, whatever the client says */

    static inline uint64_t ws_client_load(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline void ws_client_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
    """
    ctypedef struct ws_client:
        uint64_t client
        uint64_t count
    uint64_t ws_client_load(uint64_t* p) noexcept nogil
    void ws_client_store(uint64_t* p, uint64_t v) noexcept nogil


# Bytes of the counts of so many workers.
cdef Py_ssize_t counts_size(int workers) noexcept


cdef class ClientCounts:
    cdef ws_client* rows            # one a worker, written by that worker only
    cdef readonly int workers
    cdef TakeoverTable hashes       # of the shared state: its secret

    # Whether `peer` is an address; its number then.
    cdef bint identify(self, bytes peer, uint64_t* client) noexcept
    # Counts a connection of this worker; COUNTED, UNCOUNTED, or REFUSED where the client had `most` already.
    cdef Admission enter(self, int worker, uint64_t client, int64_t most) noexcept nogil
    cdef void leave(self, int worker, uint64_t client) noexcept nogil
    cdef uint64_t total(self, uint64_t client) noexcept nogil
    cdef ws_client* find(self, int worker, uint64_t client, bint or_free) noexcept nogil
    cpdef forget(self, int worker)
    cdef int check(self, int worker) except -1
