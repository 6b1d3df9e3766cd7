# Which answers of servers are compressed, and what becomes of their fields.

from libc.stdint cimport int64_t
from wsproxy._fast.http.codings cimport Coding
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.scratch cimport Scratch

cdef struct MediaType:
    const char* text            # lower case
    Py_ssize_t length
    bint is_prefix              # "text/*": `text` ends with the slash

cdef enum Suits:
    # Of an answer's head.
    GOES_AS_IT_IS = 0
    IS_COMPRESSIBLE             # as far as its head says; whether it is compressed depends on the client, too
    KNOWN_TO_CLIENT             # a 304: there is nothing to compress, and its tag is that of what was


cdef class Compression:
    # `compress` of an [[edge]].
    cdef bytes texts            # what `types` point into
    cdef MediaType* types
    cdef int type_count
    cdef unsigned char offered[2]
    cdef int offered_count
    cdef readonly int64_t min_bytes
    cdef readonly int level

    # What the client gets; IDENTITY also where it may not: HTTP/1.0 knows no chunks.
    cdef Coding choose(self, RequestHead* head) noexcept
    cdef Suits suits(self, ResponseHead* head) noexcept
    cdef Suits suits_304(self, ResponseHead* head) noexcept
    cdef bint has_type(self, const char* value, Py_ssize_t length) noexcept


# Vary: Accept-Encoding, where that is not said; 0, or -1: no room.
cdef int add_vary(Scratch* scratch, ResponseHead* head) noexcept nogil
# The fields of an answer that is compressed; 0, or -1: no room.
cdef int write_coding(Scratch* scratch, ResponseHead* head, Coding coding) noexcept nogil
# A strong ETag becomes a weak one; 0, or -1: no room.
cdef int weaken_tag(Scratch* scratch, ResponseHead* head) noexcept nogil
