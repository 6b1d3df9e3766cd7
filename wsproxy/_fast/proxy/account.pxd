# What is told of a request: its times, what metrics count, why it ended, its line in the access log.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.decide.decide cimport Choice
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.proxy.exchange cimport Body, Exchange
from wsproxy._fast.tell.access_line cimport Entry
from wsproxy._fast.tell.ended cimport Spent, Waited
from wsproxy._fast.tell.trace cimport Trace, TraceEvent


cdef class Account(Exchange):
    cdef Service service
    cdef Choice choice              # choice.server < 0: none is taken
    cdef int route                  # the Route's place in the file, from 1; 0: none matches
    cdef int tried                  # tries at servers that were begun
    cdef Body body
    cdef bytes peer
    cdef Origin origin
    cdef int local_port
    cdef int default_port           # of the client's scheme: 80, or 443 over TLS
    cdef bint secure                # it came over TLS
    cdef long long number           # of the request in this worker: with the worker's pid its id in all logs
    cdef Entry* entry               # of the access log; NULL: none is begun, as always without such a log
    cdef int64_t head_began_us      # when the head began that is not whole yet; 0: with what was read last
    # What is metered, and the access log has of it: times in us of CLOCK_MONOTONIC, 0: it has not come to that.
    cdef int64_t began_us           # its first byte
    cdef bint dripped               # ... came before the rest of its head
    cdef int64_t first_us           # the head of the answer was here, and that is not counted yet
    cdef int64_t answered_us        # the same, whether it is counted or not
    cdef int64_t over_us            # ... and all of it; 0: whoever asks looks at the clock
    cdef int64_t queued_us          # it waits for a place
    cdef int64_t given_from         # what its connection had been given before
    cdef int answered_with          # status of the answer that has begun; 0: none; -1: it is counted how it ended
    cdef Spent spent
    # What metrics have not been told yet, since its class is that of an answer that is still to come.
    cdef int untold                 # bits: IS_RECEIVED, HAS_WAITED
    cdef int64_t connected_us       # how long the connection took that was made for it; -1: none was, or it is told
    cdef Trace trace                # the record of a request that is sampled; None: it is not

    # What it waits for now: the second letter of why it ends here.
    cdef Waited waits_for(self) noexcept
    # The line of the access log: begun with the request (head NULL: it could not be read), told of the answer, ended.
    cdef int begin_entry(self, RequestHead* head, const char* data, Py_ssize_t length) except -1
    cdef int enter_answer(self, int status, Py_ssize_t head_len) except -1
    cdef int enter_server(self, Entry* entry) except -1
    # The server that is taken had the request and failed it: without another one's answer the line names it.
    cdef int note_server(self) except -1
    cdef int end_entry(self, int status_of_none, bint whole) except -1
    # The record of a sampled request; nothing happens where there is none. The try at this server; how it failed; that its
    # answer broke off; a time, a number; the next try, whose id goes into the head that is sent again; an answer; the end.
    cdef int trace_try(self, int server) except -1
    cdef int trace_failed(self, int64_t kind) except -1
    cdef int trace_cut(self) except -1
    cdef int trace_time(self, TraceEvent event) except -1
    cdef int trace_number(self, TraceEvent event, int64_t number) except -1
    cdef int trace_next(self, char* head, Py_ssize_t length) except -1
    cdef int trace_answer(self, int64_t status, bint is_own, bint is_reused) except -1
    cdef int end_trace(self, bint whole) except -1
    # What metrics tell. Each step costs nothing where nobody counts: `engine.row` is NULL then.
    cdef int note_began(self) noexcept
    cdef uint64_t* meter(self) noexcept
    cdef uint64_t* cluster_meter(self) noexcept
    cdef void meter_request(self) noexcept
    cdef void meter_whole(self) noexcept
    # How long the parts took that no server is asked for, by the class of the answer: `kind`, or NO_CLASS.
    cdef void meter_parts(self, int kind) noexcept
    # The same at an end that is none of an answer that is whole.
    cdef void meter_rest(self) noexcept
    # No answer came over the connection that was made for it.
    cdef void meter_unused(self) noexcept
    cdef void meter_sent(self, bint reused) noexcept
    cdef void meter_answer(self) noexcept
    cdef void meter_first(self, uint64_t* block, int kind) noexcept
    cdef void meter_bytes(self) noexcept
    cdef void meter_bytes_in(self, uint64_t* block) noexcept
    cdef void meter_finish(self) noexcept
    cdef void meter_own(self, int status) noexcept
    cdef void meter_edge(self, int kind) noexcept
    cdef void meter_left(self) noexcept
    cdef void meter_wait(self, int word) noexcept
