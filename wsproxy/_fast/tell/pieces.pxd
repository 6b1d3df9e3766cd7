# Short pieces of a line, written where it goes on: what most of a line is. None of them is worth a call of memcpy.
#
# Whoever writes has seen to it that there is room: for a number 19 bytes, for a text its length and PIECE more, or PIECES.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from wsproxy._fast.base.borrowed cimport ws_move
from wsproxy._fast.base.buffer cimport Buffer

cdef extern from *:
    """
    #include <endian.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <time.h>

    static const char ws_two_digits[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

    static const uint64_t ws_powers_of_ten[] = {
        0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000,
        10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000, 1000000000000000000
    };

    /* Three digits of what is below 1000, the first in the lowest byte. A table of them would be out of the cache by then. */
    static inline uint32_t ws_three_digits(uint32_t number) {
        uint32_t hundreds = number * 5243 >> 19, rest = number - 100 * hundreds, tens = rest * 103 >> 10;
        return 0x303030 + (hundreds | tens << 8 | (rest - 10 * tens) << 16);
    }

    /* Below 1000; four bytes are written. Where it ends. */
    static inline char *ws_put_below_1000(char *out, uint32_t number) {
        unsigned zeros = (number < 100) + (number < 10);
        uint32_t digits = htole32(ws_three_digits(number) >> 8 * zeros);
        memcpy(out, &digits, 4);
        return out + 3 - zeros;
    }

    /* Written before `end`; where it begins. */
    static inline char *ws_put_digits(char *end, uint64_t number) {
        while (number >= 100) {
            uint64_t rest = number / 100;
            end -= 2;
            memcpy(end, ws_two_digits + 2 * (number - 100 * rest), 2);
            number = rest;
        }
        if (number >= 10) {
            end -= 2;
            memcpy(end, ws_two_digits + 2 * number, 2);
        } else {
            *--end = (char)('0' + number);
        }
        return end;
    }

    /* Decimal; 0 for what is below. Where it ends. */
    static inline char *ws_put_number(char *out, int64_t signed_number) {
        uint64_t number = signed_number > 0 ? (uint64_t)signed_number : 0;
        size_t guess;
        char *end;
        if (number < 1000) return ws_put_below_1000(out, (uint32_t)number);  /* a status, most sizes */
        if (number < 1000000) {                                              /* most times */
            uint32_t digits = htole32(ws_three_digits((uint32_t)number % 1000));
            end = ws_put_below_1000(out, (uint32_t)number / 1000);
            memcpy(end, &digits, 4);
            return end + 3;
        }
        guess = (size_t)(64 - __builtin_clzll(number)) * 1233 >> 12;  /* log10(2) is 1233 / 4096 */
        end = out + guess + (number >= ws_powers_of_ten[guess]);
        ws_put_digits(end, number);
        return end;
    }

    /* Eight digits at once: each half of a byte gets a byte of its own, and those above 9 go on at "a". */
    static inline char *ws_put_hex(char *out, uint32_t number) {
        uint64_t x = number, above;
        x = (x | x << 16) & 0x0000FFFF0000FFFFULL;
        x = (x | x << 8) & 0x00FF00FF00FF00FFULL;
        x = (x | x << 4) & 0x0F0F0F0F0F0F0F0FULL;
        above = (x + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL;
        x = htobe64(x + 0x3030303030303030ULL + above * ('a' - '0' - 10));
        memcpy(out, &x, 8);
        return out + 8;
    }

    /* Of both sides up to the next `step` bytes are touched: a constant, so that no copy is a call. */
    static inline __attribute__((always_inline)) char *ws_put_steps(char *out, const char *text, size_t length, size_t step) {
        size_t i = 0;
        do {
            memcpy(out + i, text + i, step);
            i += step;
        } while (i < length);
        return out + length;
    }

    static inline char *ws_put_text(char *out, const char *text, size_t length) {
        return ws_put_steps(out, text, length, 16);
    }

    /* For longer ones. */
    static inline char *ws_put_long(char *out, const char *text, size_t length) {
        return ws_put_steps(out, text, length, 32);
    }

    /* WS_SHORT bytes at most, and no more of them are touched: some in the middle twice. */
    #define WS_SHORT 32
    static inline char *ws_put_short(char *out, const char *text, size_t length) {
        size_t i;
        if (length >= 16) {
            memcpy(out, text, 16);
            memcpy(out + length - 16, text + length - 16, 16);
        } else if (length >= 8) {
            memcpy(out, text, 8);
            memcpy(out + length - 8, text + length - 8, 8);
        } else if (length >= 4) {
            memcpy(out, text, 4);
            memcpy(out + length - 4, text + length - 4, 4);
        } else {
            for (i = 0; i < length; i++) out[i] = text[i];
        }
        return out + length;
    }

    /* They are read, or written, soon: a cache that has not had them for long begins to fetch them now. */
    static inline void ws_expect_reads(const char *at, size_t length) {
        size_t i;
        for (i = 0; i < length; i += 64) __builtin_prefetch(at + i);
    }

    static inline void ws_expect_writes(char *at, size_t length) {
        size_t i;
        for (i = 0; i < length; i += 64) __builtin_prefetch(at + i, 1);
    }

    static inline int64_t ws_wall_seconds(void) { return (int64_t)time(NULL); }

    /* [10/Oct/2000:13:55:36 -0700]; strftime would ask the locale for the names. */
    static inline int ws_put_stamp(char *out, size_t size, int64_t seconds) {
        static const char months[12][4] = {
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
        };
        struct tm t;
        time_t when = (time_t)seconds;
        long zone;
        localtime_r(&when, &t);
        zone = t.tm_gmtoff < 0 ? -t.tm_gmtoff : t.tm_gmtoff;
        return snprintf(out, size, "[%02d/%s/%04d:%02d:%02d:%02d %c%02ld%02ld]", t.tm_mday, months[t.tm_mon % 12],
                        t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec, t.tm_gmtoff < 0 ? '-' : '+', zone / 3600,
                        zone / 60 % 60);
    }

    /* 2000-10-10T20:55:36.123Z */
    static inline int ws_put_utc(char *out, size_t size) {
        struct timespec now;
        struct tm t;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &t);
        return snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
                        t.tm_hour, t.tm_min, t.tm_sec, now.tv_nsec / 1000000);
    }
    """
    char* ws_put_digits(char* end, uint64_t number) noexcept nogil
    # Decimal; 0 for what is below. This and the next two return where the line goes on.
    char* ws_put_number(char* out, int64_t number) noexcept nogil
    # Eight digits, as the pid and tid columns of http_plugin.log have them.
    char* ws_put_hex(char* out, uint32_t number) noexcept nogil
    # PIECE bytes can be read behind `text`.
    char* ws_put_text(char* out, const char* text, size_t length) noexcept nogil
    # PIECES bytes.
    char* ws_put_long(char* out, const char* text, size_t length) noexcept nogil
    # Nothing can be read behind `text`, which is short.
    char* ws_put_short(char* out, const char* text, size_t length) noexcept nogil
    enum:
        WS_SHORT
    void ws_expect_reads(const char* at, size_t length) noexcept nogil
    void ws_expect_writes(char* at, size_t length) noexcept nogil
    int64_t ws_wall_seconds() noexcept nogil
    int ws_put_stamp(char* out, size_t size, int64_t seconds) noexcept nogil
    int ws_put_utc(char* out, size_t size) noexcept nogil

cdef enum:
    PIECE = 16              # bytes that are copied at once, however many of the last ones belong to the text
    PIECES = 32             # the same of a longer one


cdef inline char* grow(Buffer* out, char* at, Py_ssize_t needed) except NULL:
    """As many bytes behind ``at``, which is where the line goes on from now on."""
    cdef Py_ssize_t length = at - out.data
    cdef Py_ssize_t capacity = max(length + needed, 2 * out.capacity)
    cdef char* grown = <char*>ws_move(out.data, out.capacity, capacity)
    if grown == NULL:
        raise MemoryError
    out.data = grown
    out.capacity = capacity
    return grown + length


cdef inline char* room(Buffer* out, char* at, Py_ssize_t needed) except NULL:
    """
    Where the line goes on, with so many bytes there.

    Whoever begins to write at ``at`` asks once for all that has a limit; a value has its length asked for with it.
    """
    return at if out.data + out.capacity - at >= needed else grow(out, at, needed)


cdef inline char* put_absent(char* at, bint json) noexcept:
    if json:
        memcpy(at, "null", 4)
        return at + 4
    at[0] = c"-"
    return at + 1


cdef inline char* end_string(char* at, char* begin) noexcept:
    """Of JSON: the quotation mark that is open before ``begin`` is closed, or null is written over it for a dash."""
    if at - begin == 1 and begin[0] == c"-":
        return put_absent(begin - 1, True)
    at[0] = c'"'
    return at + 1
