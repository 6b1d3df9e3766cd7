# What an exchange and its server's side may ask of the client's side.

from libc.stdint cimport int64_t
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.tell.access_line cimport Entry

cdef enum BodyKind:
    NO_BODY = 0
    LENGTH_BODY
    CHUNKED_BODY
    UNTIL_CLOSE             # responses only
    TUNNEL                  # no response: what follows a 101 (Switching Protocols)


cdef class Sink:
    # The client does not read: whoever feeds it must stop. What is handed over reaches nobody. It is ending, or gone.
    cdef bint is_paused(self) noexcept
    cdef bint is_broken(self) noexcept
    cdef bint is_closed(self) noexcept
    # Whether it has ended or reset a connection that is not read for now, and nobody has noticed.
    cdef bint has_hung_up(self) except -1
    # Bytes that were to be sent since it began: what logs count answers by. And those of them that no socket has taken yet.
    cdef int64_t given(self) noexcept
    cdef int64_t held(self) noexcept
    # Ends the line of an exchange that is over once all that was given is taken; False: it is, or nobody would say so.
    cdef bint keep_line(self, Entry* entry) noexcept
    # Whether chunks go on as they are, else only what is in them.
    cdef bint takes_chunks(self) noexcept

    # A final answer begins: its head is spelled, and goes out with the first of its body. Bytes of it; -1: no room.
    cdef Py_ssize_t begin(self, ResponseHead* head, int kind, bint has_trailers) noexcept
    # It did not begin after all: nothing of it was handed over, and another one will come.
    cdef void take_back(self) noexcept
    # A 1xx; 0, or -1: no room.
    cdef int interim(self, ResponseHead* head) except? -1
    # The next bytes, as they are; `more`: others follow at once.
    cdef int body(self, const char* data, Py_ssize_t length, bint more) except -1
    # The same, and behind them what is in the hub's pipe; only where it has a `pipe_end`, a socket: else less than 0.
    cdef int pipe_end(self) except? -1
    cdef int piped(self, const char* data, Py_ssize_t length) except -1
    # A piece of the body is over, or all of it: what is held back of it goes out. Only where the sink is `Exchange.squeezed`.
    cdef int flush(self, bint is_last) except -1
    # Part of an answer of our own, as a client of HTTP/1 gets it: the head is in the first one, whole.
    cdef int own(self, const char* data, Py_ssize_t length) except -1
    # The answer was handed over whole, and the exchange holds nothing any more: another one may begin.
    cdef int end(self) except -1

    # Whether the rest of the request is wanted now.
    cdef int pause_request(self) except -1
    cdef int resume_request(self) except -1
    # When the exchange wants to hear (`Exchange.on_deadline`) that nothing has come of what it waits for; 0: never.
    cdef void wait(self, int64_t until_ms) noexcept

    # The protocol has changed: what came behind the request goes to the server.
    cdef int begin_tunnel(self) except -1
    # Nothing more will be sent; False where only `close` can say that.
    cdef bint half_close(self) except -1

    # Nothing more will come of this exchange: in order, at once, or as an error where an end would say that all is whole.
    cdef int close(self) except -1
    cdef int abort(self) except -1
    cdef int reset(self) except -1


# That of a client that is gone.
cdef Sink no_sink()
