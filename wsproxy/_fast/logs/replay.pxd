# A request that a log tells of, decided again by the code that decides live traffic.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Choice, Decider
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.http.head cimport RequestHead

cpdef enum Rule:
    # Why `ReplayedRequest.choose` answered with its server.
    AFFINITY = 0            # one of the clone ids names it
    REMEMBERED = 1          # the session moved there a moment ago
    BALANCED = 2            # regular balancing chose it
    ALLOWED = 3             # regular balancing may choose it: where its turn begins is random
    NONE = 4                # there is no server


cdef class ReplayedRequest:
    cdef Decider decider
    cdef View view
    cdef Service service
    cdef readonly bytes host
    cdef readonly int port
    cdef readonly bytes target
    cdef readonly list cookies      # values of Cookie fields
    cdef MatchResult found
    cdef Choice choice
    cdef readonly int server        # where it is in flight; -1 nowhere
    cdef bint was_chosen
    cdef bint counted               # in flight in the shared state

    cdef RequestHead* fill_head(self) except NULL
    # What `choose` does; the answer is the server or a negative constant.
    cpdef bring(self, list cookies)
    cdef bint collect(self) except -1
    cpdef list clone_ids(self)
    cpdef list clone_ids_brought(self)
    cdef bint brings_strangers(self) except -1
    cpdef list clone_ids_in(self, list cookies)
    cdef int choose_server(self, int64_t now_ms, int logged, Rule* rule) except? -9
    cpdef remember(self, int server, int64_t now_ms)
    cpdef go_to(self, int server)
    cpdef fail(self, bint answered=*)
    cpdef finish(self)
    cdef int choose_as_logged(self, Cluster cluster, int64_t now_ms, int logged, bint had_last_chance) except -1
    cdef int leave(self) except -1


cdef int put_inflight(Cluster cluster, int server, int count) except -1
