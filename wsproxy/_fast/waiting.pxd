# The queue of a cluster: requests that wait for a place at one of its servers, over all workers.

from libc.stdint cimport int32_t
from wsproxy._fast.tried cimport Tried

cdef enum:
    # queue.size may be half of it: the others are requests whose turn has come and that have not taken it up yet.
    MOST_PLACES = 8192

cdef enum WaiterState:
    NOBODY = 0
    WAITING = 1
    GRANTED = 2             # a place at `server` is kept for it: counted in the slot's `granted`
    REFUSED = 3             # no server is left that it could wait for

cdef struct Waiter:
    int32_t state
    int32_t worker          # only this one frees the place, or the supervisor after its death
    int32_t wanted          # the one server that it waits for; -1 any. As `server`: index in the cluster
    int32_t server
    int32_t slot            # of the server in the shared state
    int32_t probe
    int32_t linked
    int32_t next            # place of who comes after it; 0: nobody
    Tried tried

cdef struct Line:
    int32_t waiting         # in that state; read without the lock
    int32_t first
    int32_t last
    int32_t hint            # where a free place may be
    Waiter places[MOST_PLACES + 1]  # place 0 is nobody's


cdef class WaitingLine:
    cdef object memory      # the mmap object; owns what `at` points to
    cdef Line* at

# All of these under the cluster's lock.
# The place of a new waiter, behind all others; 0: there is none.
cdef int32_t line_append(Line* line, int worker, int wanted, const Tried* tried) noexcept nogil
# Out of the line, whatever becomes of it.
cdef void line_unlink(Line* line, int32_t place) noexcept nogil
# Whoever had the place is gone; out of the line too.
cdef void line_free(Line* line, int32_t place) noexcept nogil
# Frees all places of a worker that died, and counts anew.
cdef void line_forget(Line* line, int worker) noexcept nogil
