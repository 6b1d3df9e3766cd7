"""
The queue of a cluster: a list of waiters in shared memory, in the order in which they came, over all workers.

Driven by ``cluster``, under the cluster's lock. Must not know what a server is: who gets one is decided there.

A worker may be killed between any two writes. So a waiter is filled before it is linked, an unlinked one is freed last,
whoever walks the list drops what does not wait any more, and ``queue_forget`` counts anew what such a death left wrong.

Two configurations may share a cluster's queue for a while, as old requests end and new ones come. So each waiter says which
servers its numbers mean: its lineup.
"""

from libc.stdint cimport int32_t, uint32_t
from wsproxy._fast.base.memory cimport ws_map_shared, ws_unmap


cdef class SharedQueue:
    """A mapping, of ``fd`` at ``offset`` or (-1) anonymous; pages that nobody waits in cost nothing."""

    def __cinit__(self, int fd, long long offset):
        self.at = <Queue*>ws_map_shared(fd, offset, sizeof(Queue))
        if self.at == NULL:
            raise MemoryError

    def __dealloc__(self):
        ws_unmap(self.at, sizeof(Queue))


cdef int32_t queue_append(Queue* queue, int worker, int lineup, int wanted, const Tried* tried) noexcept nogil:
    cdef int32_t ticket = find_free(queue)
    cdef Waiter* waiter
    if ticket == 0:
        return 0
    waiter = &queue.waiters[ticket]
    waiter.worker = worker
    waiter.lineup = lineup
    waiter.wanted = wanted
    waiter.server = -1
    waiter.probe = 0
    waiter.linked = 1
    waiter.next = 0
    waiter.tried = tried[0]
    waiter.state = WAITING
    if queue.first == 0:
        queue.first = ticket
    else:
        queue.waiters[find_last(queue)].next = ticket
    queue.last = ticket
    queue.waiting += 1
    return ticket


cdef int free_lineup(Queue* queue) noexcept nogil:
    cdef uint32_t used = 0
    cdef int32_t ticket
    cdef int at
    for at in range(MOST_LINEUPS):
        if queue.lineups[at].count == 0:
            return at
    for ticket in range(1, MOST_WAITERS + 1):
        if queue.waiters[ticket].state != NOBODY or queue.waiters[ticket].linked:
            used |= <uint32_t>1 << queue.waiters[ticket].lineup
    for at in range(MOST_LINEUPS):
        if not used >> at & 1:
            return at
    return -1


cdef int place_in(const Lineup* lineup, int32_t slot) noexcept nogil:
    cdef int at
    for at in range(lineup.count):
        if lineup.slots[at] == slot:
            return at
    return -1


cdef int32_t find_free(Queue* queue) noexcept nogil:
    cdef int32_t ticket = queue.hint
    cdef int _step
    for _step in range(MOST_WAITERS):
        ticket = ticket + 1 if ticket < MOST_WAITERS else 1
        if queue.waiters[ticket].state == NOBODY and not queue.waiters[ticket].linked:
            queue.hint = ticket
            return ticket
    return 0


cdef int32_t find_last(Queue* queue) noexcept nogil:
    """``last`` is right but after a death: then it has a next, or is not in the queue any more."""
    cdef int32_t ticket = queue.last
    if ticket and queue.waiters[ticket].linked and queue.waiters[ticket].next == 0:
        return ticket
    ticket = queue.first
    while queue.waiters[ticket].next:
        ticket = queue.waiters[ticket].next
    return ticket


cdef void queue_unlink(Queue* queue, int32_t ticket) noexcept nogil:
    cdef Waiter* waiter = &queue.waiters[ticket]
    cdef int32_t before = 0
    cdef int32_t at = queue.first
    while at and at != ticket:
        before = at
        at = queue.waiters[at].next
    if at == ticket:
        if before:
            queue.waiters[before].next = waiter.next
        else:
            queue.first = waiter.next
        if queue.last == ticket:
            queue.last = before
        queue.waiting -= 1
    waiter.linked = 0


cdef void queue_free(Queue* queue, int32_t ticket) noexcept nogil:
    if queue.waiters[ticket].linked:
        queue_unlink(queue, ticket)
    queue.waiters[ticket].server = -1
    queue.waiters[ticket].state = NOBODY


cdef void queue_forget(Queue* queue, int worker) noexcept nogil:
    cdef int32_t ticket
    cdef int32_t waiting = 0
    for ticket in range(1, MOST_WAITERS + 1):
        if queue.waiters[ticket].worker == worker and (queue.waiters[ticket].state != NOBODY or queue.waiters[ticket].linked):
            queue_free(queue, ticket)
    ticket = queue.first
    while ticket:
        waiting += 1
        ticket = queue.waiters[ticket].next
    queue.waiting = waiting
