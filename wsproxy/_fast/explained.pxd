# A decision kept for the client that asked for it with X-Wsproxy-Explain.

from wsproxy._fast.decide cimport Choice
from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead, ResponseHead
from wsproxy._fast.lines cimport Room
from wsproxy._fast.match cimport MatchResult

# What keeps the decision of a request that asks; None where it does not, or its client may not know.
cdef object begin_explained(Engine engine, RequestHead* head, object exchange)
# Keeps the Route that was found, or that there is none.
cdef int explain_route(
    object explained, Engine engine, RequestHead* head, const char* local_host, Py_ssize_t local_host_len, int port,
    MatchResult* found,
) except -1
# `decide_server`, and keeps what was chosen and who was passed over.
cdef int decide_explained(
    object explained, Engine engine, Service service, RequestHead* head, MatchResult* found, Choice* choice
) except -1
# Adds what was decided to a server's answer, if there is room.
cdef int add_explained(object explained, object exchange, Room* room, ResponseHead* head) noexcept
