# What Upstream needs to know of the exchange that it serves; Downstream is the one implementation.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.base.borrowed cimport WSPROXY_CHECKED
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.decide.compression cimport Compression
from wsproxy._fast.decide.view cimport View
from wsproxy._fast.http.chunked cimport ChunkState
from wsproxy._fast.http.codings cimport Coding
from wsproxy._fast.http.fields cimport Fields
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.sink cimport Sink
from wsproxy._fast.tell.ended cimport ENDED_LR, ENDED_SC, ENDED_WELL, Cause

cpdef enum Phase:
    IDLE = 0                # waiting for a request head
    CONNECTING              # the slow path looks for a connection; nothing was sent to this server
    RELAYING                # an upstream has the request
    TUNNELLING              # another protocol: bytes go both ways as they are
    ANSWERING               # the slow path writes the answer itself
    LINGERING               # answer sent, and the end; what the client still sends is thrown away: see `linger`
    CLOSED

cdef struct Body:
    int kind                # BodyKind
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
    HEAD_TIMEOUT = 3        # timeouts.server_head_s


# Ends the process where the one phase may not follow the other; in checked builds each step is looked at.
cdef void check_phase(Phase now, Phase later) noexcept


cdef class Exchange:
    cdef Engine engine
    cdef View view                  # that its present request, or the last one, began with
    cdef Sink sink                  # where its answer goes; never None
    cdef Phase phase                # changed by `enter` alone
    cdef bint request_done          # all of the request was received
    cdef bint half_closed           # the client sends no more; what is pending is still answered
    cdef bint response_started
    cdef bint keep_alive            # another request may follow on its connection, as far as is known
    cdef bint http10                # answers of our own, and HTTP/1's framing, depend on it
    cdef bint head_only
    cdef Compression compression    # of the [[edge]] that the request is for; None: its answer goes as it is
    cdef Coding coding              # that the client takes of its codings
    cdef bint squeezed              # the answer is compressed: `sink` is a `Squeezed`
    cdef bint takes_trailers        # the client wants the answer's trailers, and http.trailers allows them
    # The session's value as the request brought it; empty: nobody needs it. See `Intake.keep_session`.
    cdef Buffer session
    cdef int expect                 # Expectation
    cdef Cause cause                # why it ended, or is about to; changed by `ended_by` alone
    cdef Cause failed_as            # ... should there be no other try: how the last one failed
    cdef int64_t handed_us          # when its server was given it, its head first; 0: none was
    cdef int64_t asked_us           # when what its server has of the request so far was sent: its answer is timed from there
    cdef frozenset upgrades         # names of the protocols that the request asks for on this connection, and may; or None
    cdef uint64_t edges             # which [[edge]] tables of its View fit the request, a bit each
    cdef object explained           # the decision, for a client that asked and may know it; None: nobody asked

    cdef inline void enter(self, Phase phase) noexcept:
        if WSPROXY_CHECKED:
            check_phase(self.phase, phase)
        self.phase = phase

    cdef inline void ended_by(self, Cause cause) noexcept:
        """The first word counts, for what follows from it is not the cause; that the answer is our own is no word yet."""
        if self.cause == ENDED_WELL or self.cause == ENDED_LR:
            self.cause = cause

    cdef inline void forget_end(self) noexcept:
        self.cause = ENDED_WELL
        self.failed_as = ENDED_SC  # there was nobody to ask

    # --- questions to the slow path: where it fails, the exchange ends there, with everything that it holds given back
    cdef int ask_connect(self) except -1
    cdef int ask_send_kept(self) except -1
    cdef int ask_no_server(self, bint full) except -1
    cdef int ask_upstream_failed(self, int kind, int error, bint reused) except -1
    cdef int ask_answer_cut(self, int kind, int error) except -1
    cdef int ask_answer_began(self, int status) except -1
    cdef int ask_server_up(self, int status, int64_t down_ms) except -1
    cdef int ask_tries_over(self, object ledger) except -1
    cdef int ask_has_room(self) except -1
    cdef int ask_refuse(self, int error) except -1
    cdef int ask_last_hop(self, bint is_options) except -1
    cdef int ask_health(self, bint ok) except -1
    cdef int ask_no_route(self, bytes method, bytes target, bytes host, int port, bytes path) except -1
    cdef int ask_edge(self, int act, int table, bytes method, bytes target) except -1
    cdef int ask_too_large(self) except -1
    cdef int ask_page(self, int table, int status) except -1
    cdef int ask_timed_out(self) except -1
    cdef int slow_failed(self, str question) except -1
    # --- what the witness is told: whatever comes of that, the exchange goes on
    cdef int tell_picked(self, long long number, str server, bint by_affinity) except -1
    cdef int tell_checked(self, object chosen) except -1
    cdef int tell_decided(self, object asked, object chosen, bytes head) except -1
    cdef int tell_sent(self, bytes head, bint reused) except -1
    cdef int tell_answered(self, bytes head) except -1
    cdef int tell_over(self, long long number, str server, bint by_affinity) except -1

    # --- what the server's side asks for
    # Ends the exchange and the connection without an answer.
    cdef int drop(self) except -1
    # Completes the session cookie of a final answer that sets cookies, or whose `session` is kept, adds the decision where
    # it is `explained`, and begins to compress where there is a `compression`; 0, or -1: no room. `body`: what is here of it.
    cdef int edit_answer(self, ResponseHead* head, const char* body, Py_ssize_t length) noexcept
    # A final answer has a partition table or its version.
    cdef int note_partitions(self, Fields* fields) except -1
    # The head of a final answer is here, so long as it is sent on: the server lives and there will be no retry.
    cdef int answer_begins(self, Py_ssize_t head_len) except -1
    # It began, and is not whole yet.
    cdef int answer_goes_on(self) except -1
    # The answer was handed over whole.
    cdef int finish(self) except -1
    # The server said 100 (Continue): a body that waits for that is sent.
    cdef int continue_body(self) except -1
    # A final answer came whose status View.is_failure counts. True: another server has been taken for the request; the
    # caller drops the answer and then calls `go_elsewhere`.
    cdef bint is_refused(self, int status) except -1
    cdef int go_elsewhere(self) except -1
    # Whether the client gets a page of an [[edge]] instead of a server's answer with this status. True: the caller tells that
    # it `answer_begins`, drops it, and then calls `give_page`.
    cdef bint wants_page(self, int status) noexcept
    cdef int give_page(self, int status) except -1
    # The server changed the protocol, and its 101 was passed on: from here bytes go both ways as they are.
    cdef int begin_tunnel(self) except -1
    # The server sends no more through the tunnel; whether the tunnel goes on for the other direction.
    cdef bint server_ended(self) except -1
    # The server's side of the tunnel is gone; `clean`: what it sent is to be delivered.
    cdef int end_tunnel(self, bint clean) except -1
    # The server went away before the answer was whole; `upstream` is cut already.
    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1
