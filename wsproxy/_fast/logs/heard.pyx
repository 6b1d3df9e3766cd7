"""
What a follower of a log asks and tells whoever replays it: a typed method for each, so that none is called by name.

Asked by ``follow`` and ``tries``. ``replay.routes``, ``replay.tries`` and ``replay.replay`` derive from these. Must not
answer anything itself.
"""

cimport cython
from libc.stdint cimport int64_t
from wsproxy._fast.decide.match cimport RouteTable
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.request cimport LoggedRequest, Process


@cython.final
cdef class Matched:
    """A ``Found a match`` line and the live matcher's word on it; ``port`` of the request where it says that, else -1."""

    def __init__(self, str logged not None, str ours not None, bytes host not None, int port):
        self.logged = logged
        self.ours = ours
        self.host = host
        self.port = port


@cython.final
cdef class Grouped:
    """A ``Setting the server group`` line."""

    def __init__(self, str group not None, int score, int exact, bytes cookie not None, bytes url not None):
        self.group = group
        self.score = score
        self.exact = exact
        self.cookie = cookie
        self.url = url


cdef class Routes:
    """What routing lines say, and what the live matcher says to the same."""

    def __cinit__(self, *_arguments, **_named):
        self.cluster_names = ()
        self.matched = {}
        self.grouped = {}

    def __init__(self, RouteTable uris not None, tuple cluster_names not None):
        self.uris = uris
        self.cluster_names = cluster_names

    cpdef Matched vhost(self, LogLine line):
        """What a VirtualHost match says; None where the line is cut."""
        raise NotImplementedError

    cpdef Matched uri(self, LogLine line):
        """What a Uri match says; None where the line is cut."""
        raise NotImplementedError

    cpdef Grouped group(self, LogLine line):
        """What the choice of a Route says; None where the line is cut."""
        raise NotImplementedError

    cpdef int find_uri(self, str group, str pattern) except -2:
        """Which route of ``uris`` stands for this Uri; -1: there is none."""
        raise NotImplementedError

    cpdef str rebuild(self, LoggedRequest request, str group):
        """Routes a request whose port the log does not tell; the answer is what was assumed."""
        raise NotImplementedError


cdef class RareTries:
    """What is rare in the tries of a request."""

    cpdef bint name_by_transport(self, LoggedRequest request) except -1:
        """Whether host and port tell the server, which is put into the attempt."""
        raise NotImplementedError

    cpdef judge_going_on(self, LoggedRequest request, int64_t line):
        raise NotImplementedError

    cpdef meet_stranger(self, LoggedRequest request, int64_t line):
        raise NotImplementedError

    cpdef str explain_affinity(self, LoggedRequest request, bint was_named):
        """Why there is a clone match on one side only."""
        raise NotImplementedError

    cpdef judge_size(self, LoggedRequest request, int64_t line):
        raise NotImplementedError

    cpdef check_first(self, LoggedRequest request, tuple now, int64_t line):
        raise NotImplementedError

    cpdef judge_giving_up(self, LoggedRequest request):
        raise NotImplementedError

    cpdef judge_error(self, LoggedRequest request):
        raise NotImplementedError


cdef class Heard:
    """The replay itself: what becomes of lines, checks and requests."""

    cpdef Process new_process(self):
        """One more of the log: everything up, nothing in flight."""
        raise NotImplementedError

    cpdef tuple read_tolerantly(self, int code, bytes text, Py_ssize_t at):
        """The fields of a message in another wording; None: it is cut."""
        raise NotImplementedError

    cpdef on_rare(self, LogLine line):
        """A message that a follower leaves to others."""
        raise NotImplementedError

    cpdef on_foreign(self, LogLine line):
        """A line that no plug-in writes."""
        raise NotImplementedError

    cpdef keep_check(self, LoggedRequest request, str what, str result, str logged, str ours, int64_t line, str note):
        """A check that is to be kept with its request."""
        raise NotImplementedError

    cpdef hand_over(self, LoggedRequest request):
        """The request is over and judged."""
        raise NotImplementedError
