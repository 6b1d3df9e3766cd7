# One request, from its head to the end of its answer.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.decide.edge cimport EdgeAsked
from wsproxy._fast.decide.session_cookie cimport Taking
from wsproxy._fast.decide.writers cimport Found
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.proxy.account cimport Account
from wsproxy._fast.proxy.upstream cimport Upstream

cdef enum Noted:
    # Flags of Course.noted: what the common path asks once, for all of them.
    HAS_LEDGER = 1
    IS_WITNESSED = 2        # the witness was told of the request and wants to know how it ends
    IS_TOLD = 4             # and knows how the try at the present server ended
    IS_TRACED = 8           # `trace` is not None, and its server is to be told of


cdef class Course(Account):
    # the client; see `set_client`
    cdef bytes local_host
    cdef bytes constant
    cdef int peer_port              # -1: it was gone before anybody could ask
    cdef bint trusted               # a TrustedProxy: its private headers stand
    # the exchange
    cdef int timeout_retries
    cdef int64_t began_ms           # when the request came; 0: no server was looked for
    cdef int64_t try_until_ms       # CONNECTING with a server taken: until when the slow path gets on with it; 0: no matter
    cdef bint is_overdue            # it did not, and gets one look more
    cdef int64_t maintained_until_ms  # until when an operator's maintenance holds that it met, ms since 1970; 0: not known
    cdef object ledger              # of its failed tries, made by the slow path; None: none failed
    cdef int noted                  # Noted
    # The connection that failed last:
    cdef Py_ssize_t held            # bytes that it had not sent yet
    cdef bint was_reused
    cdef bint pardoned              # a reused connection failed already: the next failure counts
    cdef Upstream upstream
    cdef bint passes_trailers       # of this request
    cdef Buffer trailers            # what is here of them; see ``trailers``
    cdef Buffer sent                # what was sent upstream, as long as it may be needed again
    cdef bint replayable            # `sent` is all of it
    cdef bint failover_marked       # $WSFO already stands in `sent`
    cdef Buffer asked               # METHOD, path and a blank, once `sent` is gone: for whoever tells of a failure
    cdef Py_ssize_t sent_head       # length of the head in `sent`
    cdef Taking taking              # what of clone lists is taken out of the request
    cdef bint had_list              # the server gets a clone list all the same
    cdef bint session_in_cookie     # `session` is a cookie's value, not a path parameter's
    cdef const char* cookie         # AffinityCookie of the route, owned by the View; set with every routed request
    cdef Py_ssize_t cookie_len
    cdef const char* url_id         # AffinityURLIdentifier
    cdef Py_ssize_t url_id_len

    # Whose requests these are; `constant`: the private headers that are the same for all of them.
    cdef int set_client(
        self, bytes peer, int peer_port, bytes local_host, int local_port, bint secure, bytes constant
    ) except -1
    # The next request goes by the worker's present View, where the last one went by another.
    cdef int take_view(self) except -1
    # Nobody waits for the exchange that runs, as its client sends no more; `is_whole`: all of the request came.
    cdef bint has_left(self, bint is_whole) noexcept
    # The client has body_s where it is its turn to go on.
    cdef bint has_try(self) noexcept
    cdef int give_up_try(self, int64_t now_ms) except -1
    cdef void await_client(self) noexcept
    # `data`: what is here of a request that could not be read.
    cdef int forget_request(self, const char* data, Py_ssize_t length) except -1
    # What [[edge]] tables are asked, and into `edges` which of them fit; head NULL: it could not be read.
    cdef void ask_of_edges(self, RequestHead* head, int cluster, EdgeAsked* asked) noexcept
    cdef void select_edges(self, RequestHead* head, int cluster) noexcept
    # The slow path answers; the caller asks it to.
    cdef int begin_answer(self) except -1
    # What was kept for a retry is needed no more, but for method and path.
    cdef int forget_sent(self) except -1
    # Where these stand, `METHOD PATH ...`, and how long that is; 0: nowhere.
    cdef const char* find_asked(self, Py_ssize_t* length) noexcept
    cdef int note_answer(self, int status) except -1
    # Tells the slow path what was found about clone ids. `server`: who set the cookie; -1: the client brought it.
    cdef int tell_found(self, int server, Found* found) noexcept
    cdef int end_notes(self, int server) except -1
    # Gives the server back and ends what was noted about tries.
    cdef int release(self) except -1
    cdef int report_tries(self) except -1
    cdef int leave_upstream(self) except -1
    cdef int leave_place(self, Upstream upstream) except -1
    cdef int close_tunnel(self) except -1
    # What the client's side tells: the client is gone; it stops to read, or reads again; the time for `Sink.wait` is over.
    cdef int client_gone(self) except -1
    cdef int client_pauses(self, bint paused) except -1
    cdef int on_deadline(self) except -1
