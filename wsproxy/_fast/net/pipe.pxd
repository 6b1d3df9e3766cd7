# The pipe of a worker: bytes go through it from socket to socket without being copied.

from libc.stdint cimport int64_t

cdef enum:
    # As long as a message still has so much: below, reading and sending cost less than sorting out pages.
    WORTH_PIPING = 16384
    # A MiB takes a fifth of a millisecond, in which nobody else has a turn.
    SPARE_A_TURN = 8388608


cdef class Pipe:
    cdef int entry                  # descriptors
    cdef int exit
    cdef Py_ssize_t length          # bytes in it
    cdef Py_ssize_t spare           # so many bytes more than shares may still be moved in this turn of the loop
    cdef bint is_refused            # splice(2) is not there, or forbidden: it is not tried again
    cdef readonly long long passed  # bytes that went from socket to socket, since the worker began

    # What has arrived on the socket, into the pipe; > 0, 0: the peer has ended, -1: see errno, as of `recv`. No more than a
    # share of the pipe, unless the target has room for it.
    cdef Py_ssize_t fill(self, int fd, int64_t most, int target) noexcept
    # As much as the socket takes now; bytes, or -2: it is broken, -3: by what is told once, as a reset.
    cdef Py_ssize_t drain(self, int fd) noexcept
    # What is in it, into memory; bytes.
    cdef Py_ssize_t take(self, char* data, Py_ssize_t room) noexcept
    cdef void discard(self) noexcept
