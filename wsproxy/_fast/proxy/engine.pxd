# What the connections of one worker share: the present View, scratch, the slow path.

from libc.stdint cimport int64_t, uint64_t
from wsproxy._fast.decide.decide cimport Decider
from wsproxy._fast.decide.view cimport View
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.net.stream cimport Hub, Stream
from wsproxy._fast.proxy.slow cimport Listener, Slow
from wsproxy._fast.state.client_counts cimport ClientCounts
from wsproxy._fast.state.meters cimport Meters
from wsproxy._fast.state.segment cimport SharedState, ws_header
from wsproxy._fast.tell.access_line cimport AccessLog
from wsproxy._fast.tell.trace cimport Tracer


cdef class Engine(Hub):
    cdef readonly int worker_id
    cdef readonly View view         # of requests that begin now; each exchange keeps its own: see `Exchange.view`
    cdef object views               # a WeakSet: those that requests still go by
    cdef readonly Decider decider   # with the request that is read
    cdef ResponseHead response      # scratch that borrows; see the rule in engine.pyx
    cdef char* edits                # memory of `scratch.Scratch`, OUT_SIZE bytes
    cdef public Slow slow           # the slow path: see dataplane.slowpath
    cdef public Listener witness    # is told what is decided: see dataplane.witness
    # loglines.LogLevel of what it is told of requests that go well; 0: nothing. The one thing that they are asked for it.
    cdef int witness_level
    cdef AccessLog access           # gets a line for each request; None: nobody does. Set once: see `log_access`
    cdef set keeping                # Streams that keep lines for it
    cdef Tracer tracer              # has the context of each request, and records of some; None: traces are off. See `trace`
    # Texts of the connection that came last, which the next one has, too, most likely; none where none came yet.
    cdef bytes last_peer
    cdef bytes last_constant        # Origin.constant of it, without TLS
    cdef bytes last_local_host
    cdef SharedState state          # of all workers; None in tests that have none
    cdef ws_header* header          # there; NULL: the same
    cdef Meters meters              # what metrics tell; None: nobody counts
    cdef uint64_t* row              # the worker's there; NULL: the same
    cdef ClientCounts client_counts  # limits.client_connections; None: no limit
    cdef int64_t most_of_client
    cdef readonly long long refused_connections  # because of it
    cdef readonly int squeezed      # answers that are being compressed
    cdef readonly int lingering     # clients whose connection ends in order: see `linger`
    cdef int most_lingering
    cdef readonly bint draining     # answers that begin say that the connection ends
    cdef bint is_retiring           # because another program has taken over
    cdef bint is_stopping           # it ends, whatever they say, because the worker does
    cdef readonly long long requests

    # The stream keeps lines of the access log until its socket has taken what they tell of: it is looked at in the loop's
    # next turn, then with every `look_at_lines`.
    cdef int keep_looking(self, Stream stream) except -1
    # So many more of what `WorkerWord` names, where anybody counts.
    cpdef int count(self, int word, int64_t more=*) except -1
