# A request as what is received, sent on and followed by its body.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.trailers cimport End
from wsproxy._fast.proxy.course cimport Course
from wsproxy._fast.proxy.upstream cimport Upstream


cdef class Intake(Course):
    # Takes up the request whose head is `engine.request` and begins at `data`; bytes used of head and body.
    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1
    # The steps of `start`, in their order.
    cdef int begin_request(self, RequestHead* head, const char* data, Py_ssize_t length) except -1
    cdef int believe_proxy(self, RequestHead* head) noexcept
    cdef bint is_health(self, RequestHead* head) except -1
    # The trace context of the request, before its head is written; and whether it is recorded.
    cdef int begin_trace(self, RequestHead* head, MatchResult* found) except -1
    cdef bint find_service(self, RequestHead* head, MatchResult* found) except -1
    cdef bint is_for_edge(self, RequestHead* head, MatchResult* found) except -1
    cdef tuple describe_unmatched(self, RequestHead* head)
    cdef Py_ssize_t send_on(
        self, RequestHead* head, MatchResult* found, const char* data, Py_ssize_t length
    ) except -1
    cdef Py_ssize_t write_head(self, RequestHead* head, MatchResult* found) except? -2
    cdef int dispatch(
        self, MatchResult* found, object asked, Py_ssize_t out_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1
    cdef int look_closer(self, RequestHead* head, MatchResult* found) except -1
    cdef int hand_over(self, Upstream upstream) except -1
    cdef Py_ssize_t take_body(self, const char* data, Py_ssize_t length, Py_ssize_t* forward, End* end) except? -1
    cdef int refuse(self, int error) except -1
    cdef Py_ssize_t relay_body(self, const char* data, Py_ssize_t length) except -1
    # The same where nobody looks at them: how many may go through the hub's pipe, how many are in it.
    cdef int64_t pipeable(self) noexcept
    cdef int piped(self, Py_ssize_t count) except -1
    # Whether the body of the request that begins is here to its end; `data`: what follows the head.
    cdef bint is_whole(self, const char* data, Py_ssize_t length) noexcept
    cdef int keep_sent(self, const char* data, Py_ssize_t length) except -1
    cdef object describe_asked(self, MatchResult* found)
    cdef int tell_start(self, MatchResult* found, object asked, Py_ssize_t out_len, bint is_warm) except -1
    # Keeps a request of which nothing was sent, whatever PostBufferSize says.
    cdef int keep_unsent(
        self, const char* head, Py_ssize_t head_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1
    # Copies the session value that `decider.ids` points to.
    cdef int keep_session(self) except -1
