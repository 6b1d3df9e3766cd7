# What a follower of a log asks and tells whoever replays it: one typed method for each.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.match cimport RouteTable
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.request cimport LoggedRequest, Process


cdef class Matched:
    cdef readonly str logged
    cdef readonly str ours
    cdef readonly bytes host
    cdef readonly int port


cdef class Grouped:
    cdef readonly str group
    cdef readonly int score
    cdef readonly int exact
    cdef readonly bytes cookie
    cdef readonly bytes url


cdef class Routes:
    cdef readonly RouteTable uris       # each Uri as a route of its own; None: not set up
    cdef readonly tuple cluster_names
    # By the text of the line. A follower looks here before it asks; what is kept is up to whoever derives from this.
    cdef readonly dict matched          # -> Matched, of lines `Found a match`; None: the line is cut
    cdef readonly dict grouped          # -> Grouped, of the choice of a Route

    cpdef Matched vhost(self, LogLine line)
    cpdef Matched uri(self, LogLine line)
    cpdef Grouped group(self, LogLine line)
    cpdef int find_uri(self, str group, str pattern) except -2
    cpdef str rebuild(self, LoggedRequest request, str group)


cdef class RareTries:
    cpdef bint name_by_transport(self, LoggedRequest request) except -1
    cpdef judge_going_on(self, LoggedRequest request, int64_t line)
    cpdef meet_stranger(self, LoggedRequest request, int64_t line)
    cpdef str explain_affinity(self, LoggedRequest request, bint was_named)
    cpdef judge_size(self, LoggedRequest request, int64_t line)
    cpdef check_first(self, LoggedRequest request, tuple now, int64_t line)
    cpdef judge_giving_up(self, LoggedRequest request)
    cpdef judge_error(self, LoggedRequest request)


cdef class Heard:
    cpdef Process new_process(self)
    cpdef tuple read_tolerantly(self, int code, bytes text, Py_ssize_t at)
    cpdef on_rare(self, LogLine line)
    cpdef on_foreign(self, LogLine line)
    cpdef keep_check(self, LoggedRequest request, str what, str result, str logged, str ours, int64_t line, str note)
    cpdef hand_over(self, LoggedRequest request)
