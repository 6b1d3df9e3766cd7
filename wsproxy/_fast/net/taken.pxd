# What a socket has taken of the bytes that were given to a cipher before it.

from libc.stdint cimport int64_t
from wsproxy._fast.net.records cimport Records

cdef enum:
    MOST_WRITES = 32

# One write: its records, counted in the bytes that the cipher has made since the connection began.
cdef struct Write:
    int64_t begin
    int64_t end
    int64_t given               # as `Stream.given`, with this one


cdef class Taken:
    cdef Write writes[32]           # MOST_WRITES; those that the socket may not have whole
    cdef int length
    cdef int64_t before             # `given` before the first of them
    cdef int64_t sure               # of the cipher's bytes: those that the socket has, or has room for
    cdef int fd                     # the socket a second time, for when the loop has closed its own; -1: that is not needed

    # A write is encrypted; `fd`: the socket.
    cdef int note(self, int64_t begin, int64_t end, int64_t given, int fd) except -1
    # `note`, where `accepted` is known in other ways, and needs not be asked for.
    cdef void add(self, int64_t begin, int64_t end, int64_t given) noexcept
    cdef void forget(self, int64_t accepted) noexcept
    # Whether all that was encrypted has its place in the kernel, though the loop may not have offered it yet.
    cdef bint is_sure(self, int fd) noexcept
    # Of `given`, what stands in records that the socket has whole.
    cdef int64_t count_taken(self, int fd) noexcept
    cdef int64_t count_of(self, int64_t accepted) noexcept
    # From now on the socket can be asked when the loop has closed it.
    cdef void keep(self, int fd) noexcept
    cdef void let_go(self) noexcept


# Of a connection that begins; None: its TLS library counts nothing.
cdef Taken taken_of(Records records)
