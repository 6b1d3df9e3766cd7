# Compresses an answer on its way to the client.

from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.codings cimport Coding
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.http.scratch cimport Scratch
from wsproxy._fast.proxy.exchange cimport Exchange
from wsproxy._fast.proxy.sink cimport Sink

cpdef enum:
    # Read of an answer at a time: some tenths of a millisecond of compressing, and then everybody else has a turn.
    SQUEEZED_READ = 32768
    # Answers that a worker compresses at the same time; others go as they are. Each holds 256 KiB (gzip) or 1 MiB (zstd)
    # until it is over, however slow its client is.
    MOST_SQUEEZED = 256


cdef class Squeezed(Sink):
    cdef Sink inner                 # the client's
    cdef Coding coding
    cdef object gzipper             # of the one, zlib's object; else None
    cdef object packer              # of the other, a ZstdCompressor
    # Compressed, and not handed over; a chunk's head stands before it where the client takes chunks.
    cdef Buffer held
    cdef bint is_dirty              # bytes went in since the last flush
    cdef bint more                  # of the last piece: others follow at once

    cdef int keep(self, bytes packed) except -1


# A final answer begins whose request has a `compression`, and its head is not spelled yet: it is compressed where that is
# wanted, else only said to be one that might have been. `body`: what is here of it. 0, or -1: no room.
cdef int begin_squeezing(
    Exchange exchange, Scratch* scratch, ResponseHead* head, const char* body, Py_ssize_t length
) noexcept
# The answer is over, or never began: the exchange's sink is the client's own again.
cdef void end_squeezing(Exchange exchange) noexcept
