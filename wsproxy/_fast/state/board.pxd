# What operators want to know of running requests, and what each worker says: in shared memory, looked at by sweeps.

from libc.stdint cimport int32_t, int64_t, uint32_t
from wsproxy._fast.state.changes cimport NAME_BYTES, TEXT_BYTES

cdef enum:
    # A worker's oldest ones. 64 servers with 25 requests each are fewer; 1.7 MiB a worker are there once somebody asks.
    MOST_ROWS = 4096
    # The text of an IPv6 address with a scope.
    PEER_BYTES = 64

cpdef enum Stage:
    QUEUED = 0              # waits for a place
    CONNECTING = 1          # the slow path looks for a connection
    SENT = 2                # a server has it, or some of it, and has not begun to answer
    ANSWERED = 3            # the answer has begun
    TUNNEL = 4
    OWN_ANSWER = 5          # wsproxy itself answers

cdef struct RunningRow:
    uint32_t number         # of the request in its worker: with the worker's pid its id
    int32_t stage
    int64_t age_ms          # -1: nobody has noted when it began
    char cluster[NAME_BYTES]
    char server[NAME_BYTES]
    char asked[TEXT_BYTES]
    char peer[PEER_BYTES]

cdef struct BoardPage:
    int64_t answered        # the question that the rest answers
    int32_t pid
    int32_t count           # rows
    int32_t total           # requests, more than rows where these are MOST_ROWS
    int32_t killed
    RunningRow rows[MOST_ROWS]

cdef struct Question:
    int64_t number
    int64_t kill_with       # the question that `kill` belongs to
    int64_t kill            # pid << 32 | number of a request; 0: none


# Bytes of a board for so many workers.
cdef Py_ssize_t board_size(int workers) noexcept


cdef class Board:
    cdef char* memory
    cdef Py_ssize_t size
    cdef readonly int workers
    cdef Question* question

    cdef BoardPage* page(self, int worker) except NULL
