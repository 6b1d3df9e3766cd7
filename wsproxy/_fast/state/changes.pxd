# The last changes of servers' states, each with its evidence: a ring in shared memory.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from wsproxy._fast.base.lock cimport pthread_mutex_t

cdef enum:
    # 2 MiB. A server that stays down adds one or two a RetryInterval: fifty of them for 40 minutes at the usual 60 s.
    MOST_CHANGES = 4096
    # With these a record has 512 bytes. Names of generated files have up to 60 characters; longer ones are cut.
    NAME_BYTES = 80
    TEXT_BYTES = 158

cpdef enum ChangeKind:
    MARKED_DOWN = 0
    STILL_DOWN = 1          # failed again while it was marked down
    UP = 2                  # it answered
    DRAIN_ON = 3
    DRAIN_OFF = 4
    PROBED = 5              # its RetryInterval is over and a request tries it
    PROBE_FAILED = 6        # an active probe, and not yet so many in a row that the server is down
    PROBE_OK = 7            # an active probe of a server that is down, and not yet so many in a row that it is up
    # Operators' words; those from 16 on leave room for what is seen.
    DOWN_ON = 16
    DOWN_OFF = 17
    NUMBERS_SET = 18        # another weight or MaxConnections
    MARK_CLEARED = 19       # a down mark is gone before anybody answered
    REQUEST_KILLED = 20
    LOG_LEVEL_SET = 21      # of http_plugin.log, so of no server
    PROXY_DRAIN_ON = 22     # the whole proxy
    PROXY_DRAIN_OFF = 23
    MAINTENANCE_ON = 24     # of a cluster, or of the whole proxy
    MAINTENANCE_OFF = 25

cdef enum:
    # As the worker of an Evidence: whoever is none.
    PROBER = -2
    OTHER_PROXY = -3        # of this one's group

cdef struct Evidence:
    int worker              # that saw it; -1: told by an operator, PROBER: an active probe, OTHER_PROXY
    int error               # errno; 0 none
    const char* detail      # in words
    Py_ssize_t detail_len
    const char* head        # of the request, from its first byte; only method and visible path are kept
    Py_ssize_t head_len
    uint64_t request_number  # of the worker; 0: no request did it, or it is not known which

cdef struct ChangeRecord:
    int64_t number          # 0: being written
    int64_t wall_ms
    int32_t kind
    int32_t worker
    int32_t error
    int32_t pid             # with the next one the request's id in all logs; 0: not known
    uint32_t tid
    char cluster[NAME_BYTES]
    char server[NAME_BYTES]
    char detail[TEXT_BYTES]
    char request[TEXT_BYTES]

cdef struct ChangeRing:
    pthread_mutex_t lock
    uint64_t last           # number of the newest record; 0: none yet
    ChangeRecord records[MOST_CHANGES]


# Adds one and returns its number. Callers hold the cluster's lock, so that a change is recorded once and in order.
cdef uint64_t record_change(
    ChangeRing* ring, int kind, const char* cluster, const char* server, const Evidence* evidence
) noexcept nogil
# Those that are still here with a number above `since`, oldest first. Takes no lock: writers never wait for a reader.
cdef list read_changes(ChangeRing* ring, uint64_t since)
# Length of `METHOD /path` at the start of a request head, up to whatever may begin parameters; 0 where there is none.
cdef Py_ssize_t visible_start(const char* head, Py_ssize_t length) noexcept nogil
# Length of the path in a request target up to whatever may begin parameters.
cdef Py_ssize_t visible_length(const char* target, Py_ssize_t length) noexcept nogil
# What fits of `text`, ended by a zero byte; text that may not exist has length 0.
cdef void copy_text(char* out, Py_ssize_t size, const char* text, Py_ssize_t length) noexcept nogil
