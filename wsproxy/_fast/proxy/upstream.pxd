# A connection to a server.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.proxy.exchange cimport Body, Exchange
from wsproxy._fast.proxy.tunnel cimport TunnelEnd


cdef class Upstream(TunnelEnd):
    cdef bint awaits_head
    cdef bint is_cut                # what was read with the head ended where it had to: more is there
    cdef bint keep_alive
    cdef int interims               # 1xx heads of this exchange
    cdef readonly bint reused
    cdef readonly int exchanges
    cdef Py_ssize_t held            # bytes of the request that the transport still had when the exchange failed
    cdef Buffer pending             # part of a response head
    cdef Py_ssize_t scanned         # of pending: no head ends before; 0: nothing is there of one
    cdef int64_t head_until_ms      # when the head that began must be whole; 0: none has, or there is no limit
    cdef Body body
    cdef int mark                   # bytes of the body that must be there before the socket counts as readable; 0: any
    cdef int64_t marked_due_ms      # what ``deadline_ms`` would be without it
    cdef bint passes_trailers       # of this answer
    cdef Buffer trailers            # what is here of them; see ``trailers``
    cdef bint is_read               # all of the answer has come, one that counts as a failure

    cdef int begin(self, Exchange exchange) except -1
    cdef Py_ssize_t read_head(self, const char* data, Py_ssize_t length) except? -1
    cdef int keep_head(self, const char* data, Py_ssize_t length) except -1
    cdef bint is_upgraded(self, ResponseHead* head) except -1
    # The final head goes to the client's side; bytes of it there, -1: no room. `body`: what is here behind it.
    cdef Py_ssize_t begin_answer(self, const char* body, Py_ssize_t length) noexcept
    # The client's socket, where bytes of this answer's body, of which so many are still to come, can go through the pipe;
    # else less than 0.
    cdef int pipe_end_for(self, int64_t left) except? -1
    # So many went through the pipe at once: how many we want to be woken for, see `set_mark`.
    cdef void mark_by(self, Py_ssize_t count) noexcept
    cdef void set_mark(self, int count) noexcept
    # Passes on body bytes as far as the framing goes; `begins`: behind a head that the client's side has.
    cdef int relay(self, const char* data, Py_ssize_t length, bint begins) except -1
    cdef Py_ssize_t relay_chunks(self, const char* data, Py_ssize_t length) except? -1
    cdef Py_ssize_t relay_unchunked(self, const char* data, Py_ssize_t length) except? -1
    cdef int complete(self, bint clean) except -1
    cdef int leave(self, bint clean) except -1
    cdef bint is_whole(self, const char* data, Py_ssize_t length) noexcept
    cdef int discard(self) except -1
    cdef int replace(self, const char* data, Py_ssize_t length) except -1
    cdef int fail(self, int kind, int error) except -1
    cdef void touch(self) noexcept
