# How many sessions a server has had requests of lately: an estimate in its slot.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # A session that brings no request for half an hour is over by default, in WebSphere as in Liberty.
    SEEN_WINDOW_MS = 900_000
    SEEN_WINDOWS = 3
    # 6.5 % is the standard error of large numbers; up to some hundred it is a few sessions at most.
    SEEN_REGISTERS = 256

cdef extern from *:
    """
    #include <stdint.h>

    typedef struct {
        int64_t number;               /* of the window, of SEEN_WINDOW_MS each from boot on, plus 1; 0: none yet */
        unsigned char highest[256];
    } ws_seen_window;

    typedef struct {
        int64_t last_ms;              /* CLOCK_MONOTONIC: when the last request of a session came; 0: none did */
        ws_seen_window at[3];
    } ws_seen;
    """
    ctypedef struct ws_seen_window:
        int64_t number
        unsigned char highest[256]
    ctypedef struct ws_seen:
        int64_t last_ms
        ws_seen_window at[3]


# A request of the session with this hash came; 0: nothing tells the session from others.
cdef void note_session(ws_seen* seen, uint64_t key, int64_t now_ms) noexcept nogil
# Sessions of the present window and of the two before it: of the last 30 to 45 minutes.
cdef int64_t count_sessions(const ws_seen* seen, int64_t now_ms) noexcept nogil
