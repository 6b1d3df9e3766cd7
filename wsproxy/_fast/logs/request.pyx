"""
A request while its lines are being read: what the log has said of it so far, and the process of the log that served it.

Driven by ``logs.follow`` and ``replay.replay``; ``replay.world`` makes processes. Pure data; must not decide anything.
"""

cimport cython
from libc.stdint cimport int64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Decider
from wsproxy._fast.decide.view cimport Service, View


cpdef tuple split_host(bytes text):
    """Host without brackets, and port (-1 none)."""
    cdef bytes host, port
    if b":" not in text:
        return text, UNKNOWN_PORT
    host, _, port = text.rpartition(b":")
    if not port.isdigit() or len(port) > 5 or b":" in host and not host.endswith(b"]"):
        host, port = text, b"-1"
    if host.startswith(b"[") and host.endswith(b"]"):
        host = host[1:len(host) - 1]
    return host, int(port)


@cython.final
cdef class Place:
    """
    A server of a cluster in one process: what its name in a log stands for.

    ``addresses``: host:port for https requests, and for http requests; ``io_timeout_s``: its ServerIOTimeout.
    """

    def __init__(
        self, Cluster cluster not None, Service service not None, int index, str name not None, int max_connections,
        tuple addresses not None, double io_timeout_s=0,
    ):
        cluster.check_server(index)
        self.cluster = cluster
        self.service = service
        self.index = index
        self.name = name
        self.max_connections = max_connections
        self.secure_address, self.plain_address = addresses
        self.io_timeout_s = io_timeout_s

    @property
    def addresses(self) -> tuple[str, str]:
        """host:port for https requests, and for http requests."""
        return self.secure_address, self.plain_address


@cython.final
cdef class Process:
    """One process of a log: down marks, weights and requests in flight are its own."""

    def __init__(self, Decider decider not None, View view not None, tuple clusters not None, dict places not None):
        self.decider = decider
        self.view = view
        self.clusters = clusters
        self.places = places
        self.counters = {}

    def find(self, bytes server not None, int cluster=-1) -> Place | None:
        """The server of this name, of this cluster if it has one so called."""
        return self.find_place(server, cluster)

    cdef Place find_place(self, bytes server, int cluster):
        cdef list places = self.places.get(server)
        cdef Place place
        if not places:
            return None
        if len(places) > 1 and 0 <= cluster < len(self.clusters):
            for place in places:
                if place.cluster is self.clusters[cluster]:
                    return place
        return places[0]


@cython.final
cdef class Attempt:
    """One try at a server."""

    def __cinit__(self):
        self.server = b""


@cython.final
cdef class LoggedRequest:
    """What is known of a request; ``uri`` is None until the log has told it. ``number``: its first line."""

    def __cinit__(
        self, Process process not None, tuple key not None, str file not None, int64_t number, int64_t time_us,
        *, bint has_begun,
    ):
        self.process = process
        self.key = key
        self.file = file
        self.first = self.last = number
        self.time_us = time_us
        self.has_begun = has_begun
        self.host = self.method = self.clone_ids = self.matched = self.checked = b""
        self.group = self.server_name = ""
        self.port = UNKNOWN_PORT
        self.content_length = -1
        self.cluster = -1
        self.goes_on = True
        self.failed_at = self.marked = ()
        self.values = []
        self.cookies = []
        self.set_cookies = []
        self.checks = []
        self.attempt = Attempt.__new__(Attempt)
        process.running += 1
        if process.running > 1:
            process.meetings += 1
            self.meetings = -1
        else:
            self.meetings = process.meetings

    @property
    def is_alone(self) -> bool:
        """Whether no other request of the process has run beside it so far."""
        return self.was_alone()

    cpdef bint knows_session(self):
        """Whether all clone ids of the request are known by now: below Debug, they come with its Cookie lines."""
        return self.has_debug or len(self.values) > 0 or len(self.cookies) > 0
