# What a witness is told of a request: the results of the decisions that were taken, as Python objects.

from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Choice, Decider
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead

cpdef enum LogLevel:
    # What a line is; from NO_LEVEL on it is a record. The others are in growing order of what a LogLevel shows (PLUGIN 7.2).
    FOREIGN = 0             # nothing that the plug-in writes by itself; the text is the whole line
    BLANK = 1
    NO_LEVEL = 2            # component and function, but no level: found in excerpts
    PLUGIN = 3
    ERROR = 4
    WARNING = 5
    STATS = 6
    DETAIL = 7
    DEBUG = 8
    TRACE = 9
    OTHER_LEVEL = 10

# What was sent to a server or came from one, masked as the log's level wants it, by the names that sessions have in the View.
cdef bytes describe_head(int level, View view, Service service, const char* head, Py_ssize_t length)
# Who asked for what (masked in the same way), and the Route that was found; `host` and `port` are those that were matched;
# `has_ids`: its clone ids were looked for, they stand in `decider.ids`.
cdef object describe_request(
    int level, Decider decider, View view, RequestHead* head, const char* host, Py_ssize_t host_len,
    int port, MatchResult* found, bint has_ids,
)
# The server that was chosen, or none, and those that were passed over; forgets what was noted of them.
cdef object describe_choice(Cluster cluster, Choice* choice)
