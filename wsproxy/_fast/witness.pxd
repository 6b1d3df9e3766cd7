# What a witness is told of a request: the results of the decisions that were taken, as Python objects.

from wsproxy._fast.decide cimport Choice
from wsproxy._fast.engine cimport Engine
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.select cimport Cluster

# Who asked for what, and the Route that was found; `host` and `port` are those that were matched;
# `has_ids`: its clone ids were looked for, they stand in `engine.ids`.
cdef object describe_request(
    Engine engine, RequestHead* head, const char* host, Py_ssize_t host_len, int port, MatchResult* found, bint has_ids
)
# The server that was chosen, or none, and those that were passed over; forgets what was noted of them.
cdef object describe_choice(Cluster cluster, Choice* choice)
