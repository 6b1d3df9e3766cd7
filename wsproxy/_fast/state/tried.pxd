# Which servers a request has failed at.

from libc.stdint cimport uint64_t

cdef struct Tried:
    uint64_t bits[4]
    bint had_last_chance    # a server was tried though it is marked down, because nothing else was left


cdef inline bint was_tried(const Tried* tried, int server) noexcept nogil:
    return (tried.bits[server >> 6] >> (server & 63)) & 1


cdef inline bint has_tried_none(const Tried* tried) noexcept nogil:
    return not (tried.bits[0] | tried.bits[1] | tried.bits[2] | tried.bits[3])


cdef inline void set_tried(Tried* tried, int server) noexcept nogil:
    tried.bits[server >> 6] |= (<uint64_t>1) << (server & 63)
