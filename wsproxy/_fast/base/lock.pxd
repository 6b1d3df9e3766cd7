# The lock of what lies in shared memory: process-shared, and robust: a worker that dies inside leaves it usable.

cdef extern from *:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <time.h>

    static int ws_mutex_init(pthread_mutex_t *lock) {
        pthread_mutexattr_t attributes;
        int failed = pthread_mutexattr_init(&attributes);
        if (failed) return failed;
        failed = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (!failed) failed = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (!failed) failed = pthread_mutex_init(lock, &attributes);
        pthread_mutexattr_destroy(&attributes);
        return failed;
    }
    static inline void ws_lock(pthread_mutex_t *lock) {
        /* Each write under the lock leaves a usable value behind, so a dead owner needs no repair. */
        if (pthread_mutex_lock(lock) == EOWNERDEAD) pthread_mutex_consistent(lock);
    }
    /* The same for who must not wait for a process that was stopped while it held the lock: whether it was had in time. */
    static inline int ws_lock_within(pthread_mutex_t *lock, int ms) {
        struct timespec pause = {0, 1000000};
        int failed;
        while ((failed = pthread_mutex_trylock(lock)) == EBUSY && ms-- > 0) nanosleep(&pause, NULL);
        if (failed == EOWNERDEAD) pthread_mutex_consistent(lock);
        return failed != EBUSY;
    }
    /* Between a write and a read of something else, where the other side has them the other way round: one sees. */
    static inline void ws_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline void ws_unlock(pthread_mutex_t *lock) { pthread_mutex_unlock(lock); }
    """
    ctypedef struct pthread_mutex_t:
        pass
    int ws_mutex_init(pthread_mutex_t* lock) nogil
    void ws_lock(pthread_mutex_t* lock) noexcept nogil
    bint ws_lock_within(pthread_mutex_t* lock, int ms) noexcept nogil
    void ws_unlock(pthread_mutex_t* lock) noexcept nogil
    void ws_fence() noexcept nogil
