# TLS connections of clients: sockets in the worker's epoll set, with the TLS library between them and their streams.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.net.poller cimport PlainTransport
from wsproxy._fast.net.taken cimport Taken
from wsproxy._fast.net.tls_terms cimport Terms


cdef class TlsTransport(PlainTransport):
    cdef Terms terms                # the context lives as long
    cdef void* tls                  # OpenSSL's SSL; NULL: this side has ended, what comes is thrown away as it is
    cdef Buffer kept                # ciphertext that came and was not decrypted yet, from ...
    cdef Py_ssize_t kept_at         # ... here on
    cdef Taken taken                # of what the stream gave, what `out` has; None: nothing
    cdef int64_t given              # bytes of the stream's, with those of the last write that was not sent at once
    cdef int64_t corked_from        # of `made`, where this transport is corked
    cdef int64_t made               # bytes of ciphertext since the connection began
    cdef int64_t arrives_by_ms      # CLOCK_MONOTONIC: when the handshake is to be over
    cdef int missing                # bytes of the record that was begun
    cdef int begun                  # bytes of its header that came, where that is not whole
    cdef unsigned char[5] header
    cdef short handshakes_left      # records that the handshake may still take
    cdef short voids_left           # records without data that may still come
    cdef bint may_begin             # the library may take another record
    cdef bint arriving              # in the handshake: the stream knows nothing yet
    cdef bint has_come              # the first byte is here
    cdef bint is_plain              # it was none of TLS: a line of HTTP
    cdef bint is_broken             # nothing can be sent any more
    cdef bint has_more              # what arrived is not read to its end

    # `poller`, `fd` and `stream` are there.
    cdef int begin(self, Terms terms, int64_t most_ms) except -1
    cdef int take_record(self, char* data, int room) noexcept
    cdef bint has_whole_record(self) noexcept
    cdef int put(self, const char* data, int length) except -1
    cdef Py_ssize_t push_out(self) except -1
    cdef int note_held(self, int64_t begin, int64_t before) except -1
    cdef int meet_later(self) except -1
    cdef int shake(self) except -1
    cdef int meet(self, const char* data, Py_ssize_t length) except -1
    cdef int arrive(self) except -1
    cdef int refuse(self, str words) except -1
    cdef int take(self, const char* data, Py_ssize_t length) except -1
    cdef int put_by(self, const char* data, Py_ssize_t length) except -1
    cdef int take_kept(self) except -1
    cdef int seal(self, const char* data, Py_ssize_t length) except -1
    cdef int seal_end(self) except -1
    cdef int break_off(self, str words) except -1
    cdef void let_go(self) noexcept
