# Reads and writes of memory that several processes share.

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>

    static inline int32_t ws_load32(int32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ws_store32(int32_t *p, int32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline int64_t ws_load64(int64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ws_store64(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void ws_count(uint64_t *p) { __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }
    /* Of a word that nobody else writes: readers see the old number or the new one, and it costs an addition. */
    static inline void ws_add_own(uint64_t *p, uint64_t n) { __atomic_store_n(p, *p + n, __ATOMIC_RELAXED); }
    static inline uint64_t ws_read(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline int ws_swap_if32(int32_t *p, int32_t from, int32_t to) {
        return __atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    /* Whether the bit was not set before. */
    static inline int ws_set_bit32(int32_t *p, int32_t bit) {
        return !(__atomic_load_n(p, __ATOMIC_RELAXED) & bit) && !(__atomic_fetch_or(p, bit, __ATOMIC_RELAXED) & bit);
    }
    """
    int32_t ws_load32(int32_t* p) noexcept nogil
    void ws_store32(int32_t* p, int32_t v) noexcept nogil
    int64_t ws_load64(int64_t* p) noexcept nogil
    void ws_store64(int64_t* p, int64_t v) noexcept nogil
    void ws_count(uint64_t* p) noexcept nogil
    void ws_add_own(uint64_t* p, uint64_t n) noexcept nogil
    uint64_t ws_read(const uint64_t* p) noexcept nogil
    bint ws_swap_if32(int32_t* p, int32_t old, int32_t new) noexcept nogil
    bint ws_set_bit32(int32_t* p, int32_t bit) noexcept nogil
