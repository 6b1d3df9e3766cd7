# What an operator has said of a server, in its slot: taken out, other numbers than its file has; who, when, why, until when.

from libc.stdint cimport int32_t, int64_t

cpdef enum Hold:
    # What a server gets by an operator's word.
    NO_HOLD = 0             # whatever the rest says
    DRAIN = 1               # requests of sessions that it has, no others
    TAKEN_DOWN = 2          # nothing

cdef enum:
    WHO_BYTES = 64
    WHY_BYTES = 128

cdef extern from *:
    """
    #include <stdint.h>

    #define WS_WHO_BYTES 64
    #define WS_WHY_BYTES 128

    typedef struct {
        int64_t at_ms;                /* CLOCK_REALTIME */
        char who[WS_WHO_BYTES];       /* ended by a zero byte, like the next one */
        char why[WS_WHY_BYTES];
    } ws_said;

    /* Written under the cluster's lock, by the process that answers operators; zeroes: nobody has said anything. */
    typedef struct {
        int64_t until_ms;             /* CLOCK_MONOTONIC: the hold is over then; 0: when it is taken back */
        int64_t until_wall_ms;        /* the same for people */
        int32_t has_weight;           /* `weight` holds, not LoadBalanceWeight */
        int32_t weight;
        int32_t has_limit;            /* `limit` holds, not MaxConnections */
        int32_t limit;
        int32_t file_weight;          /* what the file said when an operator said otherwise */
        int32_t file_limit;
        ws_said hold;
        ws_said numbers;
    } ws_operator;

    /* That the page is shown instead of servers; written and read as the one above. */
    typedef struct {
        int32_t is_on;
        int64_t until_ms;             /* CLOCK_MONOTONIC: it is over then; 0: when it is taken back */
        int64_t until_wall_ms;        /* the same for people */
        ws_said said;
    } ws_maintenance;
    """
    ctypedef struct ws_said:
        int64_t at_ms
        char who[64]
        char why[128]
    ctypedef struct ws_operator:
        int64_t until_ms
        int64_t until_wall_ms
        int32_t has_weight
        int32_t weight
        int32_t has_limit
        int32_t limit
        int32_t file_weight
        int32_t file_limit
        ws_said hold
        ws_said numbers
    ctypedef struct ws_maintenance:
        int32_t is_on
        int64_t until_ms
        int64_t until_wall_ms
        ws_said said


# What of `hold` is left at `now_ms`: it ends by itself, without anybody who ends it.
cdef inline Hold hold_at(int32_t hold, const ws_operator* said, int64_t now_ms) noexcept nogil:
    return NO_HOLD if hold == NO_HOLD or (said.until_ms != 0 and now_ms >= said.until_ms) else <Hold>hold


# Now, as people count: ms since 1970.
cdef int64_t wall_ms() except -1
# The same moment on CLOCK_MONOTONIC as `until_wall_ms`, of which it is `at_ms` and `now_ms` now; 0: never.
cdef inline int64_t end_of(int64_t until_wall_ms, int64_t at_ms, int64_t now_ms) noexcept nogil:
    return max(now_ms + until_wall_ms - at_ms, <int64_t>1) if until_wall_ms else 0

# ``root (uid 0), for 30 min: new kernel``.
cdef bytes sentence(bytes who, bytes what, bytes why)
cdef void say(ws_said* said, bytes who, bytes why, int64_t at_ms) noexcept
