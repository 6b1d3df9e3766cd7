# A client's connection and its orderly end.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.tell.access_line cimport Entry
from wsproxy._fast.tell.ended cimport Cause


cdef class Lingering(Stream):
    cdef Engine engine
    cdef readonly Downstream exchange  # the one that runs, or the next
    cdef Buffer pending             # received, not used yet: part of a head, or requests sent ahead
    cdef int kept_fd                # TLS: the socket a second time, for what follows the loop's transport; -1: nothing does
    cdef bint is_lingering          # counted in engine.lingering; until it is lost
    cdef readonly int64_t lingered           # bytes thrown away since; TLS: bytes received before
    cdef int64_t took_ms            # when the client took something of its answer last
    cdef bint says_close            # its request was the last one, by its own word
    cdef Entry* first_line          # of the access log: their answers wait in the transport, in this order
    cdef Entry* last_line
    cdef list lenders               # of what these lines borrow
    cdef Py_ssize_t lines_size      # memory of these lines
    cdef Cause cut_as               # why it is cut off within its last answer; 0: the client leaves
    cdef bint ends_by_close         # only the end of the connection tells the client that the answer is whole

    # Of `close`, which every orderly end goes through.
    cdef bint may_send(self) except -1
    cdef int begin_lingering(self) except -1
    cdef int leave_cipher(self) except -1
    cpdef connection_lost(self, object error)
    cdef int forget_kept(self) except -1
    cdef int look_on(self, int64_t now_ms) except -1
    cdef int cut_off(self, bint held) except -1
    # See `Sink.keep_line`.
    cdef bint keep_line(self, Entry* entry) noexcept
    cdef void end_lines(self, bint is_lost) noexcept
    cdef void end_line(self, Entry* entry) noexcept
    # An answer was handed over whole: next request, or close.
    cdef int next_request(self) except -1
