# A request as its lines are read, and the process of the log that served it.

from libc.stdint cimport int64_t
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport Decider
from wsproxy._fast.decide.view cimport Service, View
from wsproxy._fast.logs.replay cimport ReplayedRequest

cdef enum:
    UNKNOWN_PORT = -1

cpdef tuple split_host(bytes text)


cdef class Place:
    cdef readonly Cluster cluster
    cdef readonly Service service
    cdef readonly int index
    cdef readonly str name
    cdef readonly int max_connections   # -1: no limit
    cdef readonly str secure_address    # host:port for https requests
    cdef readonly str plain_address     # and for http requests
    cdef readonly double io_timeout_s   # ServerIOTimeout as it stands there: below 0 it marks the server down
    cdef public int64_t marked_ms       # when the log marked it down, by LogTries.now_ms; 0: it did not, or it answered since
    cdef public int64_t ruled_line      # of a failure after which only the live code marks it down; 0: none


cdef class Process:
    cdef readonly Decider decider       # of all processes
    cdef readonly View view             # on servers' states of its own
    cdef readonly tuple clusters
    cdef readonly dict places           # by the server's name
    cdef public dict counters           # (pid, server) -> (failed, affinity, total) of its last line of counters
    cdef public bint knows_start        # its start is in the log, so that its counters begin at 0
    cdef public int64_t used            # when it began its last request: a number that grows
    cdef public int64_t running         # requests whose end is not in the log yet
    cdef public int64_t meetings        # how often a request began while another ran

    cdef Place find_place(self, bytes server, int cluster)


cdef class Attempt:
    cdef public bytes server            # that the log names, once it does
    cdef public bint is_decided
    cdef public Place place             # the same in the configuration, once it is decided
    cdef public str transport           # host:port; None: the log does not tell
    cdef public int64_t transport_line
    cdef public object failure          # routing.retry.Failure: where it fails, how; None: closed early
    cdef public bint reused
    cdef public bint moved              # the log says that its session was remembered with the server
    cdef public int status
    cdef public int64_t status_line
    cdef public int64_t marked_line     # that marks its server down; 0 none


cdef class LoggedRequest:
    cdef readonly Process process
    cdef readonly tuple key             # pid and tid
    cdef readonly str file
    cdef readonly int64_t first         # its first line
    cdef public int64_t last
    cdef readonly int64_t time_us
    cdef readonly bint has_begun        # `first` is where it begins
    cdef public bytes host
    cdef public int port
    cdef public bytes uri               # None until the log has told it
    cdef public bytes method
    cdef public list values             # that clone ids were parsed from
    cdef public list cookies
    cdef public list set_cookies        # of its last answer
    cdef public list checks             # those that are kept
    cdef public int64_t same_count      # and how many came out the same
    cdef public Attempt attempt         # the present one
    cdef public ReplayedRequest replayed
    cdef public int cluster             # index of the live match
    cdef public str group
    cdef public bytes clone_ids         # that the decision was taken with
    cdef public object is_secure        # None: not told
    cdef public object ruling           # on the last failed try: routing.retry.Ruling
    cdef public bint goes_on            # to another server after its last failure, as the live code has it
    cdef public bint is_ruled           # where it goes after it is to be compared with the next try
    cdef public int timeouts
    cdef public int64_t body
    cdef public int64_t content_length  # as its head says; -1: the log does not tell
    cdef public str server_name         # of the last try that was decided
    cdef public bint by_affinity
    cdef public bint knows_affinity
    cdef public int failures
    cdef public bint counted
    cdef public bint gave_up
    cdef public bint declined
    cdef public bint has_debug          # it has lines of LogLevel Debug: what is not there did not happen
    cdef public int status_seen
    cdef public int64_t try_us          # when its last try began, after one that failed; 0: with the request
    cdef public int64_t end_us          # of the last line that tells how far it is; 0: none
    cdef public tuple failed_at         # servers of the tries that failed
    cdef public tuple marked            # servers that it marked down
    # On the next choice, up to which these are kept: see `LogTries.logged_rule`
    cdef public bytes matched           # the server that the log says a clone id names
    cdef bytes checked                  # the last one that it says could be used
    cdef bint ignored                   # with ignoreWeights 1
    cdef bint passed                    # one was checked with ignoreWeights 1 and could not be used
    cdef list stated                    # what it saw of servers before its next choice: see `LogTries.state`; None: not kept
    cdef int64_t meetings               # of its process when it began alone; -1: it did not

    cdef inline bint was_alone(self) noexcept:
        return self.meetings == self.process.meetings

    cpdef bint knows_session(self)
