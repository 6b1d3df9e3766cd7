# A decision kept for the client that asked for it with X-Wsproxy-Explain.

from wsproxy._fast.decide.decide cimport Choice, Decider
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.scratch cimport Scratch
from wsproxy._fast.proxy.engine cimport Engine

# What keeps the decision of a request that asks; None where it does not, or its client may not know.
cdef object begin_explained(Engine engine, View view, RequestHead* head, object exchange)
# Keeps the Route that was found, or that there is none.
cdef int explain_route(
    object explained, Engine engine, View view, RequestHead* head, const char* local_host, Py_ssize_t local_host_len,
    int port, MatchResult* found,
) except -1
# `decide_server`, and keeps what was chosen and who was passed over.
cdef int decide_explained(
    object explained, Decider decider, View view, Service service, RequestHead* head, MatchResult* found, Choice* choice
) except -1
# Adds what was decided to a server's answer, if there is room.
cdef int add_explained(object explained, object exchange, Scratch* scratch, ResponseHead* head) noexcept
