# The queue of a cluster: requests that wait for a place at one of its servers, over all workers.

from libc.stdint cimport int32_t
from wsproxy._fast.state.tried cimport Tried

cdef enum:
    # queue.size may be half of it: the others are requests whose turn has come and that have not taken it up yet.
    MOST_WAITERS = 8192
    # Configurations that may wait in one queue at once, each with other servers or in another order. Each reload makes one
    # more at most; it is free again when the last who waits by it is gone.
    MOST_LINEUPS = 16
    MOST_LINED_UP = 256     # servers a cluster may have: `balance.MAX_SERVERS`

cdef enum WaiterState:
    NOBODY = 0
    WAITING = 1
    GRANTED = 2             # a place at `server` is kept for it: counted in the slot's `granted`
    REFUSED = 3             # no server is left that it could wait for

cdef struct Waiter:
    int32_t state
    int32_t worker          # only this one frees the ticket, or the supervisor after its death
    int32_t lineup          # the servers that it may have; what `wanted`, `server` and `tried` are places in
    int32_t wanted          # the one server that it waits for; -1 any
    int32_t server
    int32_t slot            # of the server in the shared state
    int32_t probe
    int32_t linked
    int32_t next            # ticket of who comes after it; 0: nobody
    Tried tried

cdef struct Lineup:
    # The servers of a cluster, in the order that one configuration has them in.
    int32_t count           # 0: this lineup was never used
    int32_t slots[MOST_LINED_UP]      # in the shared state

cdef struct Queue:
    int32_t waiting         # in that state; read without the lock
    int32_t first
    int32_t last
    int32_t hint            # where a free ticket may be
    Lineup lineups[MOST_LINEUPS]
    Waiter waiters[MOST_WAITERS + 1]  # by ticket; 0 is nobody's


cdef class SharedQueue:
    cdef Queue* at          # a mapping of its own

# All of these under the cluster's lock.
# The ticket of a new waiter, behind all others; 0: there is none.
cdef int32_t queue_append(Queue* queue, int worker, int lineup, int wanted, const Tried* tried) noexcept nogil
# A lineup that may be filled anew; -1: there is none.
cdef int free_lineup(Queue* queue) noexcept nogil
# Where a server stands in it; -1: nowhere.
cdef int place_in(const Lineup* lineup, int32_t slot) noexcept nogil
# Out of the queue, whatever becomes of it.
cdef void queue_unlink(Queue* queue, int32_t ticket) noexcept nogil
# Whoever had the ticket is gone; out of the queue too.
cdef void queue_free(Queue* queue, int32_t ticket) noexcept nogil
# Frees all tickets of a worker that died, and counts anew.
cdef void queue_forget(Queue* queue, int worker) noexcept nogil
