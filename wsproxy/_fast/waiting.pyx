"""
The queue of a cluster: a list of waiters in shared memory, in the order in which they came, over all workers.

Driven by ``select``, under the cluster's lock. Must not know what a server is: who gets one is decided there.

A worker may be killed between any two writes. So a waiter is filled before it is linked, an unlinked one is freed last, whoever
walks the list drops what does not wait any more, and ``line_forget`` counts anew what such a death left wrong.
"""

import mmap

from libc.stdint cimport int32_t


cdef class WaitingLine:
    """One anonymous shared mapping; pages that nobody waits in cost nothing."""

    def __cinit__(self):
        cdef unsigned char[::1] view
        self.memory = mmap.mmap(-1, sizeof(Line))
        view = self.memory
        self.at = <Line*>&view[0]


cdef int32_t line_append(Line* line, int worker, int wanted, const Tried* tried) noexcept nogil:
    cdef int32_t place = find_free(line)
    cdef Waiter* waiter
    if place == 0:
        return 0
    waiter = &line.places[place]
    waiter.worker = worker
    waiter.wanted = wanted
    waiter.server = -1
    waiter.probe = 0
    waiter.linked = 1
    waiter.next = 0
    waiter.tried = tried[0]
    waiter.state = WAITING
    if line.first == 0:
        line.first = place
    else:
        line.places[find_last(line)].next = place
    line.last = place
    line.waiting += 1
    return place


cdef int32_t find_free(Line* line) noexcept nogil:
    cdef int32_t place = line.hint
    cdef int _step
    for _step in range(MOST_PLACES):
        place = place + 1 if place < MOST_PLACES else 1
        if line.places[place].state == NOBODY and not line.places[place].linked:
            line.hint = place
            return place
    return 0


cdef int32_t find_last(Line* line) noexcept nogil:
    """``last`` is right but after a death: then it has a next, or is not in the line any more."""
    cdef int32_t place = line.last
    if place and line.places[place].linked and line.places[place].next == 0:
        return place
    place = line.first
    while line.places[place].next:
        place = line.places[place].next
    return place


cdef void line_unlink(Line* line, int32_t place) noexcept nogil:
    cdef Waiter* waiter = &line.places[place]
    cdef int32_t before = 0
    cdef int32_t at = line.first
    while at and at != place:
        before = at
        at = line.places[at].next
    if at == place:
        if before:
            line.places[before].next = waiter.next
        else:
            line.first = waiter.next
        if line.last == place:
            line.last = before
        line.waiting -= 1
    waiter.linked = 0


cdef void line_free(Line* line, int32_t place) noexcept nogil:
    if line.places[place].linked:
        line_unlink(line, place)
    line.places[place].server = -1
    line.places[place].state = NOBODY


cdef void line_forget(Line* line, int worker) noexcept nogil:
    cdef int32_t place
    cdef int32_t waiting = 0
    for place in range(1, MOST_PLACES + 1):
        if line.places[place].worker == worker and (line.places[place].state != NOBODY or line.places[place].linked):
            line_free(line, place)
    place = line.first
    while place:
        waiting += 1
        place = line.places[place].next
    line.waiting = waiting
