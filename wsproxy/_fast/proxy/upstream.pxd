# A connection to a server.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport Body, Exchange
from wsproxy._fast.proxy.pool cimport Pool


cdef class Upstream(Stream):
    cdef Engine engine
    cdef readonly Pool pool
    cdef Exchange exchange          # None: idle in the pool
    cdef bint awaits_head
    cdef bint is_cut                # what was read with the head ended where it had to: more is there
    cdef bint ended_tunnel          # the server sends no more through its tunnel
    cdef bint keep_alive
    cdef int interims               # 1xx heads of this exchange
    cdef readonly bint reused
    cdef readonly int exchanges
    cdef Py_ssize_t held            # bytes of the request that the transport still had when the exchange failed
    cdef Buffer pending             # part of a response head
    cdef Py_ssize_t scanned         # of pending: no head ends before; 0: nothing is there of one
    cdef int64_t head_until_ms      # when the head that began must be whole; 0: none has, or there is no limit
    cdef Body body
    cdef bint passes_trailers       # of this answer
    cdef Buffer trailers            # what is here of them; see ``trailers``
    cdef int64_t moved_ms           # of a tunnel: when a byte went through it last

    cdef int begin(self, Exchange exchange) except -1
    cdef Py_ssize_t read_head(self, const char* data, Py_ssize_t length) except? -1
    cdef int keep_head(self, const char* data, Py_ssize_t length) except -1
    cdef bint is_upgraded(self, ResponseHead* head) except -1
    # The final head goes to the client's side; bytes of it there, -1: no room. `body`: what is here behind it.
    cdef Py_ssize_t begin_answer(self, const char* body, Py_ssize_t length) noexcept
    # Whether bytes of this answer's body, of which so many are still to come, can go through the pipe.
    cdef bint can_pipe(self, int64_t left) except -1
    # Passes on body bytes as far as the framing goes; `begins`: behind a head that the client's side has.
    cdef int relay(self, const char* data, Py_ssize_t length, bint begins) except -1
    cdef Py_ssize_t relay_chunks(self, const char* data, Py_ssize_t length) except? -1
    cdef Py_ssize_t relay_unchunked(self, const char* data, Py_ssize_t length) except? -1
    cdef int complete(self, bint clean) except -1
    cdef int leave(self, bint clean) except -1
    cdef int discard(self, const char* data, Py_ssize_t length) except -1
    cdef int replace(self, const char* data, Py_ssize_t length) except -1
    cdef bint is_all(self, const char* data, Py_ssize_t length) noexcept
    cdef int fail(self, int kind, int error) except -1
    cdef void touch(self) noexcept
    # Bytes of the client go through the tunnel.
    cdef int pass_on(self, const char* data, Py_ssize_t length) except -1
    # The client sends no more through the tunnel; whether the tunnel goes on for the other direction.
    cdef bint client_ended(self) except -1
    cdef void touch_tunnel(self) noexcept
    cdef void time_tunnel(self) noexcept
    cdef int end_tunnel(self, bint clean) except -1
    # Leaves the tunnel and closes; `clean`: what was received is delivered.
    cdef int part(self, bint clean) except -1
    cdef int check_tunnel(self, int64_t now_ms) except -1
