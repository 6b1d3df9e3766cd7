# The clock of intervals and deadlines: CLOCK_MONOTONIC, the same in all processes of a machine.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <time.h>

    static inline int64_t ws_now_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &t);  /* 4 ms steps, no system call */
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    }
    static inline int64_t ws_now_us(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    }
    """
    int64_t ws_now_ms() noexcept nogil
    int64_t ws_now_us() noexcept nogil
