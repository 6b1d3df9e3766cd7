# A client's connection from request to request.

from libc.stdint cimport int64_t
from wsproxy._fast.access_log cimport Entry
from wsproxy._fast.exchange cimport Body, Exchange
from wsproxy._fast.decide cimport Choice
from wsproxy._fast.engine cimport Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.rewrite cimport Origin
from wsproxy._fast.stream cimport Buffer
from wsproxy._fast.upstream cimport Upstream

cdef enum Phase:
    IDLE = 0                # waiting for a request head
    CONNECTING              # the slow path looks for a connection; nothing was sent to this server
    RELAYING                # an upstream has the request
    TUNNELLING              # another protocol: bytes go both ways as they are
    ANSWERING               # the slow path writes the answer itself
    LINGERING               # answer sent, the rest of the request is read and thrown away
    CLOSED


cdef enum Noted:
    # Flags of Client.noted: what the common path asks once, for all of them.
    HAS_LEDGER = 1
    IS_WITNESSED = 2        # the witness was told of the request and wants to know how it ends
    IS_TOLD = 4             # and knows how the try at the present server ended


cdef class Client(Exchange):
    cdef int phase
    cdef bint processing            # `process` is on the stack: a finished exchange returns to it
    cdef Buffer pending             # received, not used yet: part of a head, or requests sent ahead
    cdef Py_ssize_t scanned         # of pending: no head ends before
    cdef bytes peer
    cdef bytes local_host
    cdef bytes constant
    cdef int peer_port              # -1: it was gone before anybody could ask
    cdef int local_port
    cdef int default_port           # of the client's scheme: 80, or 443 over TLS
    cdef bint trusted               # a TrustedProxy: its private headers stand
    cdef Origin origin
    cdef Py_ssize_t lingered
    cdef bint was_used              # at least one request came
    # the exchange
    cdef Service service
    cdef Choice choice              # choice.server < 0: none is taken
    cdef int timeout_retries
    cdef int64_t began_ms           # when the request came
    cdef object ledger              # of its failed tries, made by the slow path; None: none failed
    cdef long long number           # of the request in this worker: with the worker's pid its id in all logs
    cdef int noted                  # Noted
    cdef Entry* entry               # of the access log; NULL: none is begun, as always without such a log
    cdef int64_t head_began_us      # when the head began that is not whole yet; 0: with what was read last
    # The connection that failed last:
    cdef Py_ssize_t held            # bytes that it had not sent yet
    cdef bint was_reused
    cdef bint pardoned              # a reused connection failed already: the next failure counts
    cdef Upstream upstream
    cdef Body body
    cdef bint passes_trailers       # of this request
    cdef Buffer trailers            # what is here of them; see ``trailers``
    cdef Buffer sent                # what was sent upstream, as long as it may be needed again
    cdef bint replayable            # `sent` is all of it
    cdef bint failover_marked       # $WSFO already stands in `sent`
    cdef Py_ssize_t sent_head       # length of the head in `sent`
    cdef bint session_in_cookie     # `session` is a cookie's value, not a path parameter's
    cdef const char* cookie         # AffinityCookie of the route, owned by the RouteTable; set with every routed request
    cdef Py_ssize_t cookie_len
    cdef const char* url_id         # AffinityURLIdentifier
    cdef Py_ssize_t url_id_len

    # Takes up what is pending; Intake's.
    cdef int process_pending(self) except -1
    # The client has body_s where it is its turn to go on.
    cdef void await_client(self) noexcept
    # `data`: what is here of a request that could not be read.
    cdef int forget_request(self, const char* data, Py_ssize_t length) except -1
    # The line of the access log: begun with the request (head NULL: it could not be read), told of the answer, ended.
    cdef int begin_entry(self, RequestHead* head, const char* data, Py_ssize_t length) except -1
    cdef int enter_answer(self, int status, Py_ssize_t head_len) except -1
    cdef int enter_server(self, Entry* entry) except -1
    cdef int end_entry(self, int status_of_none, bint whole) except -1
    cdef int begin_answer(self, str question, tuple details) except -1
    cdef int ask_slow(self, str question, tuple details) except -1
    # Tells the witness; whatever comes of that, the exchange goes on.
    cdef int tell(self, str what, tuple details) except -1
    cdef int note_answer(self, int status) except -1
    cdef int end_notes(self, int server) except -1
    # Gives the server back and ends what was noted about tries.
    cdef int release(self) except -1
    cdef int report_tries(self) except -1
    cdef int go_on(self) except -1
    cdef int linger(self) except -1
    cdef int leave_upstream(self) except -1
    cdef int close_tunnel(self) except -1
    cdef int drop(self) except -1
