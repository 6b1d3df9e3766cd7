# How long a server takes to answer: counted in its slot by all workers, read by who asks.

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>

    /* Of so many answers back the recent mean knows about two thirds: as HAProxy's averages, of 1024 there, which is too slow
       for a person who looks at a quiet server. */
    #define WS_RECENT_ANSWERS 64

    typedef struct {
        uint64_t answers;             /* heads of answers that came */
        uint64_t total_us;            /* how long that took, of all of them */
        int64_t recent_ns;            /* the mean of the last, the older the less; without nanoseconds it would stand still */
    } ws_latency;

    /* Several workers note at once: no note is lost, and none waits for a lock. */
    static inline void ws_note_latency(ws_latency *latency, int64_t us) {
        uint64_t count = __atomic_add_fetch(&latency->answers, 1, __ATOMIC_RELAXED);
        int64_t parts = count < WS_RECENT_ANSWERS ? (int64_t)count : WS_RECENT_ANSWERS;
        int64_t before = __atomic_load_n(&latency->recent_ns, __ATOMIC_RELAXED);
        int64_t after;
        if (us < 0)
            us = 0;
        __atomic_fetch_add(&latency->total_us, (uint64_t)us, __ATOMIC_RELAXED);
        do
            after = before + (us * 1000 - before) / parts;
        while (!__atomic_compare_exchange_n(&latency->recent_ns, &before, after, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    }
    """
    ctypedef struct ws_latency:
        uint64_t answers
        uint64_t total_us
        int64_t recent_ns
    # One more answer began, so long after its request was sent.
    void ws_note_latency(ws_latency* latency, int64_t us) noexcept nogil
