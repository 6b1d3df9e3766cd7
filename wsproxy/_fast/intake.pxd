# A client's connection as what receives its requests.

from wsproxy._fast.client cimport Client
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.trailers cimport End
from wsproxy._fast.upstream cimport Upstream


cdef class Intake(Client):
    cdef Py_ssize_t process(self, const char* data, Py_ssize_t length) except -1
    cdef Py_ssize_t begin(self, const char* data, Py_ssize_t length) except -1
    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1
    # The steps of `start`, in their order.
    cdef int begin_request(self, RequestHead* head, const char* data, Py_ssize_t length) except -1
    cdef bint find_service(self, RequestHead* head, MatchResult* found) except -1
    cdef Py_ssize_t send_on(
        self, RequestHead* head, MatchResult* found, const char* data, Py_ssize_t length
    ) except -1
    cdef Py_ssize_t write_head(self, RequestHead* head, MatchResult* found) except? -2
    cdef int dispatch(
        self, MatchResult* found, Py_ssize_t out_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1
    cdef int hand_over(self, Upstream upstream) except -1
    cdef Py_ssize_t take_body(self, const char* data, Py_ssize_t length, Py_ssize_t* forward, End* end) except? -1
    cdef int refuse(self, int error) except -1
    cdef int relay_body(self, const char* data, Py_ssize_t length) except -1
    cdef int keep_pending(self, const char* data, Py_ssize_t length) except -1
    cdef int keep_sent(self, const char* data, Py_ssize_t length) except -1
    cdef int tell_start(self, MatchResult* found, Py_ssize_t out_len, bint is_warm) except -1
    # Keeps a request of which nothing was sent, whatever PostBufferSize says.
    cdef int keep_unsent(
        self, const char* head, Py_ssize_t head_len, const char* body, Py_ssize_t body_len, End* end
    ) except -1
    # Copies the session value that `engine.ids` points to.
    cdef int keep_session(self) except -1
