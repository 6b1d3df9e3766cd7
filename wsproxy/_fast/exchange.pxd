# What Upstream needs to know of the exchange that it serves; Downstream is the one implementation.

from libc.stdint cimport int64_t
from wsproxy._fast.chunked cimport ChunkState
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.fields cimport Fields
from wsproxy._fast.head cimport ResponseHead
from wsproxy._fast.stream cimport Buffer, Stream

cdef enum BodyKind:
    NO_BODY = 0
    LENGTH_BODY
    CHUNKED_BODY
    UNTIL_CLOSE             # responses only
    TUNNEL                  # no response: what follows a 101 (Switching Protocols)

cdef struct Body:
    int kind
    int64_t left            # LENGTH_BODY: bytes still to come
    int64_t seen            # payload so far
    ChunkState chunks

cdef enum Expectation:
    # Flags of a request with a body to a server with WaitForContinue="true".
    EXPECT_ADDED = 1        # `Expect: 100-continue` is ours: the client must not see the 100
    EXPECT_HELD = 2         # the body waits for the 100

cpdef enum FailureKind:
    # Why an exchange with a server ended without an answer; routing.retry decides what follows.
    CLOSED_EARLY = 0        # connection lost before the first byte of the answer
    IO_TIMEOUT = 1          # ServerIOTimeout
    BAD_RESPONSE = 2        # what came is not HTTP


cdef class Exchange(Stream):
    cdef Engine engine
    cdef bint request_done          # all of the request was received
    cdef bint half_closed           # the client sends no more; what is pending is still answered
    cdef bint response_started
    cdef bint keep_alive
    cdef bint http10
    cdef bint head_only
    cdef bint takes_trailers        # the client wants the answer's trailers, and http.trailers allows them
    # The session's value as the request brought it; empty: nobody needs it. See `Intake.keep_session`.
    cdef Buffer session
    cdef int expect                 # Expectation
    cdef frozenset upgrades         # names of the protocols that the request asks for on this connection, and may; or None
    cdef object explained           # the decision, for a client that asked and may know it; None: nobody asked
    cdef bint ends_by_close         # only the end of the connection tells the client that the answer is whole

    # Completes the session cookie of a final answer that sets cookies, or whose `session` is kept, and adds the decision
    # where it is `explained`; 0, or -1: no room.
    cdef int edit_answer(self, ResponseHead* head) noexcept
    # A final answer has a partition table or its version.
    cdef int note_partitions(self, Fields* fields) except -1
    # The head of a final answer is here, so long as it is sent on: the server lives and there will be no retry.
    cdef int answer_begins(self, Py_ssize_t head_len) except -1
    # The answer was handed over whole.
    cdef int finish(self) except -1
    # The server said 100 (Continue): a body that waits for that is sent.
    cdef int continue_body(self) except -1
    # A final answer came whose status Engine.is_failure counts. True: another server has been taken for the request; the
    # caller drops the answer and then calls `go_elsewhere`.
    cdef bint is_refused(self, int status) except -1
    cdef int go_elsewhere(self) except -1
    # The server changed the protocol, and its 101 was passed on: from here bytes go both ways as they are.
    cdef int begin_tunnel(self) except -1
    # The server sends no more through the tunnel; whether the tunnel goes on for the other direction.
    cdef bint server_ended(self) except -1
    # The server's side of the tunnel is gone; `clean`: what it sent is to be delivered.
    cdef int end_tunnel(self, bint clean) except -1
    # The server went away before the answer was whole; `upstream` is cut already.
    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1
