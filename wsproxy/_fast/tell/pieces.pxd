# Short pieces at the end of a buffer: what most of a line is. None of them is worth a call of memcpy.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from wsproxy._fast.base.buffer cimport Buffer, buffer_append

cdef extern from *:
    """
    #include <endian.h>
    #include <stdint.h>
    #include <string.h>

    static const char ws_two_digits[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

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

    /* Eight digits at once: each half of a byte gets a byte of its own, and those above 9 go on at "a". */
    static inline void ws_put_hex(char *out, uint32_t number) {
        uint64_t x = number, above;
        x = (x | x << 16) & 0x0000FFFF0000FFFFULL;
        x = (x | x << 8) & 0x00FF00FF00FF00FFULL;
        x = (x | x << 4) & 0x0F0F0F0F0F0F0F0FULL;
        above = (x + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL;
        x = htobe64(x + 0x3030303030303030ULL + above * ('a' - '0' - 10));
        memcpy(out, &x, 8);
    }

    static inline void ws_copy_piece(char *to, const char *from) { memcpy(to, from, 16); }
    """
    char* ws_put_digits(char* end, uint64_t number) noexcept nogil
    void ws_put_hex(char* out, uint32_t number) noexcept nogil
    void ws_copy_piece(char* to, const char* src) noexcept nogil

cdef enum:
    PIECE = 16              # bytes that are copied of a piece, however many of them it has


cdef inline int put_piece(Buffer* out, const char* text, Py_ssize_t length) except -1:
    """As ``buffer_append``; PIECE bytes can be read at ``text``, and what is behind the piece is nothing to anybody."""
    if length > PIECE or out.capacity - out.length < PIECE:
        return buffer_append(out, text, length)
    ws_copy_piece(out.data + out.length, text)
    out.length += length
    return 0


cdef inline int put_number(Buffer* out, int64_t number) except -1:
    """Decimal; 0 for what is below."""
    cdef char digits[20 + PIECE]
    cdef char* begin = ws_put_digits(digits + 20, number if number > 0 else 0)
    return put_piece(out, begin, digits + 20 - begin)


cdef inline int put_hex(Buffer* out, uint32_t number) except -1:
    """Eight digits, as the pid and tid columns of http_plugin.log have them."""
    cdef char digits[PIECE]
    ws_put_hex(digits, number)
    return put_piece(out, digits, 8)
