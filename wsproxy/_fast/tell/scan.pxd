# One look at a text: whether it can be told as it stands; with or without a copy of it, which is then whole.

from wsproxy._fast.tell.pieces cimport WS_SHORT

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #if defined(__x86_64__)
    #include <immintrin.h>
    #endif

    /* Which bytes are there: 1 those that are escaped; without the others nothing is masked: 2 "=", 4 "%" or "@", 8 ";". */
    enum { WS_ESCAPED = 1, WS_EQUALS = 2, WS_CODED = 4, WS_SEMICOLON = 8 };

    typedef unsigned char ws_bytes __attribute__((vector_size(16)));
    typedef signed char ws_found __attribute__((vector_size(16)));

    /* Of 1 to 15 bytes each, some of them more than once: who asks whether any is there does not mind. Copied, if `to`. */
    static inline __attribute__((always_inline)) void ws_fewer(char *to, const char *p, size_t length, uint64_t words[2]) {
        uint32_t first, last;
        if (length >= 8) {
            memcpy(words, p, 8);
            memcpy(words + 1, p + length - 8, 8);
            if (to) {
                memcpy(to, words, 8);
                memcpy(to + length - 8, words + 1, 8);
            }
            return;
        }
        if (length >= 4) {
            memcpy(&first, p, 4);
            memcpy(&last, p + length - 4, 4);
            if (to) {
                memcpy(to, &first, 4);
                memcpy(to + length - 4, &last, 4);
            }
        } else {
            const unsigned char *c = (const unsigned char *)p;
            unsigned char a = c[0], b = c[length / 2], d = c[length - 1];
            if (to) {
                to[0] = (char)a;
                to[length / 2] = (char)b;
                to[length - 1] = (char)d;
            }
            first = last = (uint32_t)a * 0x01000001u | (uint32_t)b << 8 | (uint32_t)d << 16;
        }
        words[0] = words[1] = (uint64_t)last << 32 | first;
    }

    /* --- sixteen at a time, in vectors of whatever machine this is --- */

    typedef struct { ws_found escaped, equals, coded, semicolon; } ws_kinds;

    static inline __attribute__((always_inline)) void ws_note_kinds(ws_kinds *seen, const char *p, char *to) {
        ws_bytes bytes;
        memcpy(&bytes, p, sizeof bytes);
        if (to) memcpy(to, &bytes, sizeof bytes);
        seen->escaped |= (bytes - 0x20 > 0x5e) | (bytes == '"') | (bytes == '\\\\');
        seen->equals |= bytes == '=';
        seen->coded |= (bytes == '%') | (bytes == '@');
        seen->semicolon |= bytes == ';';
    }

    static inline int ws_any(ws_found found) {
        uint64_t words[2];
        memcpy(words, &found, sizeof words);
        return (words[0] | words[1]) != 0;
    }

    static inline __attribute__((always_inline)) int ws_scan_any(char *to, const char *p, size_t length) {
        ws_kinds seen = {{0}, {0}, {0}, {0}};
        uint64_t words[2];
        size_t i;
        if (length < 16) {
            if (length == 0) return 0;
            ws_fewer(to, p, length, words);
            ws_note_kinds(&seen, (const char *)words, NULL);
        } else {
            for (i = 0; i + 16 <= length; i += 16) ws_note_kinds(&seen, p + i, to ? to + i : NULL);
            /* the last ones, whether or not others have had some of them */
            if (i < length) ws_note_kinds(&seen, p + length - 16, to ? to + length - 16 : NULL);
        }
        return ws_any(seen.escaped) | ws_any(seen.equals) << 1 | ws_any(seen.coded) << 2 | ws_any(seen.semicolon) << 3;
    }

    static int ws_look_anywhere(const char *p, size_t length) { return ws_scan_any(NULL, p, length); }
    static int ws_copy_anywhere(char *to, const char *p, size_t length) { return ws_scan_any(to, p, length); }

    #if defined(__x86_64__)
    /* --- thirty-two at a time: each half of a byte has its row of classes, and it is of those that both have --- */

    /* Classes: 01 a row of controls or of no ASCII, 02 double quote, 04 backslash, 08 DEL, 10 %, 20 =, 40 @, 80 semicolon. */
    #define WS_LOW 0x41, 1, 3, 1, 1, 0x11, 1, 1, 1, 1, 1, (char)0x81, 5, 0x21, 1, 9
    #define WS_HIGH 1, 1, 0x12, (char)0xa0, 0x40, 4, 0, 8, 1, 1, 1, 1, 1, 1, 1, 1

    static inline __attribute__((always_inline, target("avx2"))) __m256i ws_classes(__m256i bytes) {
        const __m256i low = _mm256_setr_epi8(WS_LOW, WS_LOW);
        const __m256i high = _mm256_setr_epi8(WS_HIGH, WS_HIGH);
        const __m256i half = _mm256_set1_epi8(15);
        return _mm256_and_si256(_mm256_shuffle_epi8(low, _mm256_and_si256(bytes, half)),
                                _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half)));
    }

    static inline __attribute__((always_inline, target("avx2"))) int ws_scan_avx2(char *to, const char *p, size_t length) {
        __m256i found, bytes;
        __m128i half;
        uint64_t words[2];
        size_t i;
        if (length >= 32) {
            /* the last ones, whether or not others have had some of them */
            bytes = _mm256_loadu_si256((const __m256i *)(p + length - 32));
            if (to) _mm256_storeu_si256((__m256i *)(to + length - 32), bytes);
            found = ws_classes(bytes);
            for (i = 0; i + 32 < length; i += 32) {
                bytes = _mm256_loadu_si256((const __m256i *)(p + i));
                if (to) _mm256_storeu_si256((__m256i *)(to + i), bytes);
                found = _mm256_or_si256(found, ws_classes(bytes));
            }
        } else {
            if (length >= 16) {
                __m128i first = _mm_loadu_si128((const __m128i *)p);
                __m128i last = _mm_loadu_si128((const __m128i *)(p + length - 16));
                if (to) {
                    _mm_storeu_si128((__m128i *)to, first);
                    _mm_storeu_si128((__m128i *)(to + length - 16), last);
                }
                bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(first), last, 1);
            } else {
                if (length == 0) return 0;
                ws_fewer(to, p, length, words);
                bytes = _mm256_broadcastsi128_si256(_mm_set_epi64x((int64_t)words[1], (int64_t)words[0]));
            }
            found = ws_classes(bytes);
        }
        if (_mm256_testz_si256(found, found)) return 0;
        half = _mm_or_si128(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1));
        words[0] = (uint64_t)_mm_cvtsi128_si64(half) | (uint64_t)_mm_extract_epi64(half, 1);
        words[0] |= words[0] >> 32;
        words[0] |= words[0] >> 16;
        words[0] |= words[0] >> 8;
        return (words[0] & 0x0f ? WS_ESCAPED : 0) | (words[0] & 0x20 ? WS_EQUALS : 0) | (words[0] & 0x50 ? WS_CODED : 0) |
               (words[0] & 0x80 ? WS_SEMICOLON : 0);
    }

    static __attribute__((target("avx2"))) int ws_look_avx2(const char *p, size_t length) {
        return ws_scan_avx2(NULL, p, length);
    }
    static __attribute__((target("avx2"))) int ws_copy_avx2(char *to, const char *p, size_t length) {
        return ws_scan_avx2(to, p, length);
    }
    #endif

    static int ws_is_wide = 0;

    static inline int ws_look(const char *p, size_t length) {
    #if defined(__x86_64__)
        if (ws_is_wide) return ws_look_avx2(p, length);
    #endif
        return ws_look_anywhere(p, length);
    }

    /* So many bytes are written, and no more. */
    static inline int ws_copy_looking(char *to, const char *p, size_t length) {
    #if defined(__x86_64__)
        if (ws_is_wide) return ws_copy_avx2(to, p, length);
    #endif
        return ws_copy_anywhere(to, p, length);
    }

    /* Whether this machine has the wide way, and it may be gone. */
    static inline int ws_choose_way(int may_be_wide) {
    #if defined(__x86_64__)
        ws_is_wide = may_be_wide && __builtin_cpu_supports("avx2");
    #endif
        return ws_is_wide;
    }
    """
    enum:
        WS_ESCAPED
        WS_EQUALS
        WS_CODED
        WS_SEMICOLON
    int ws_look(const char* p, size_t length) noexcept nogil
    int ws_copy_looking(char* to, const char* p, size_t length) noexcept nogil
    # For each module that includes this once, when it is loaded; tests go both ways.
    bint ws_choose_way(bint may_be_wide) noexcept nogil


# Whether `pieces.ws_put_short` writes it as it is told.
cdef inline bint is_short_and_plain(const char* text, Py_ssize_t length) noexcept nogil:
    return 0 < length <= <Py_ssize_t>WS_SHORT and not ws_look(text, length) & WS_ESCAPED
