# Bytes of a head looked at in steps of sixteen: gcc and clang have such vectors for any processor, and make
# smaller steps where it has none. Must not read past the end that it is given.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    typedef uint8_t ws_bytes __attribute__((vector_size(16)));
    typedef uint64_t ws_words __attribute__((vector_size(16)));

    static inline ws_bytes ws_load(const char *p) {
        ws_bytes block;
        memcpy(&block, p, 16);
        return block;
    }

    /* Which byte of the block is the first that was found, or 16. */
    static inline int ws_first(ws_bytes found) {
    #if defined(__SSE2__)
        int bits = _mm_movemask_epi8((__m128i)found);
        return bits ? __builtin_ctz(bits) : 16;
    #else
        ws_words words = (ws_words)found;
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        if (words[0]) return __builtin_clzll(words[0]) >> 3;
        return words[1] ? 8 + (__builtin_clzll(words[1]) >> 3) : 16;
    #else
        if (words[0]) return __builtin_ctzll(words[0]) >> 3;
        return words[1] ? 8 + (__builtin_ctzll(words[1]) >> 3) : 16;
    #endif
    #endif
    }

    /* The first of the bytes that is no letter, no digit and no `-`, of which names nearly always are; NULL: not within whole
       steps of what is here. */
    static inline const char *ws_after_name(const char *p, const char *end) {
        for (; end - p >= 16; p += 16) {
            ws_bytes block = ws_load(p);
            ws_bytes is_name = (ws_bytes)((uint8_t)25 >= (ws_bytes)((block | 0x20) - 'a')) |
                               (ws_bytes)((uint8_t)9 >= (ws_bytes)(block - '0')) | (ws_bytes)(block == '-');
            int at = ws_first(~is_name);
            if (at < 16) return p + at;
        }
        return NULL;
    }

    /* The first control character from `p` on; NULL: there is none, or fewer bytes than a step are here. Bytes from `from` on
       may be read, and have none before `p`. */
    static inline const char *ws_control(const char *from, const char *p, const char *end) {
        if (end - from < 16) return NULL;
        while (p < end) {
            const char *at_block = end - p >= 16 ? p : end - 16;
            ws_bytes block = ws_load(at_block);
            ws_bytes is_control = (ws_bytes)(block < 0x20) | (ws_bytes)(block == 0x7F);
            int at = ws_first(is_control);
            if (at < 16) {
                return at_block + at >= p ? at_block + at : NULL;
            }
            p = at_block + 16;
        }
        return NULL;
    }

    /* memset of so few bytes is a `rep stos` to gcc: 30 cycles before the first of them. */
    static inline void ws_empty(void *p, size_t length) {
        const ws_bytes none = {0};
        size_t at = 0;
        for (; at + 16 <= length; at += 16)
            memcpy((char *)p + at, &none, 16);
        memset((char *)p + at, 0, length - at);
    }

    /* What to set in other bytes so that where these are letters, they are lower case. Known when it is compiled. */
    static inline uint64_t ws_case_bits(const char *lower, int length) {
        uint64_t bits = 0;
        for (int i = 0; i < length; i++)
            ((unsigned char *)&bits)[i] = lower[i] >= 'a' && lower[i] <= 'z' ? 0x20 : 0;
        return bits;
    }

    static inline int ws_differs(const char *data, const char *lower, int length) {
        uint64_t a = 0, b = 0;
        memcpy(&a, data, length);
        memcpy(&b, lower, length);
        return (a | ws_case_bits(lower, length)) != b;
    }

    /* As `equals_ignoring_case`, eight bytes at a step, for a `lower` that is written where it is called. */
    static inline __attribute__((always_inline)) int ws_equals(const char *data, const char *lower, int length) {
        int i = 0;
        for (; i + 8 <= length; i += 8)
            if (ws_differs(data + i, lower + i, 8)) return 0;
        if (i + 4 <= length) {
            if (ws_differs(data + i, lower + i, 4)) return 0;
            i += 4;
        }
        for (; i < length; i++)
            if (ws_differs(data + i, lower + i, 1)) return 0;
        return 1;
    }
    """
    bint ws_equals(const char* data, const char* lower, int length) noexcept nogil
    void ws_empty(void* p, size_t length) noexcept nogil
    const char* ws_after_name(const char* p, const char* end) noexcept nogil
    const char* ws_control(const char* start, const char* p, const char* end) noexcept nogil
