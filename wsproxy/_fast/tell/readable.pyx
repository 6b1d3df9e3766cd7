"""
Text of http_plugin.log: what could end a line, drive a terminal or is no UTF-8 is escaped, and is read back.

Driven by ``logs.plugin_writer`` for every line, and by ``logs.follow`` for those that it reads. Pure. Each byte of a control
character (C0, DEL, C1), of a bidirectional control, of U+2028 and U+2029 (which end lines for some) and of what is no UTF-8
is ``\\xhh``. All else stays as it is, so that scripts for the plug-in's log go on working; but a backslash that would begin
an escape, and a bracket that would begin a stamp, because readers (``logs.lines`` too) find records that stand within a line.
"""

from libc.string cimport memchr, memset
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.chars cimport is_digit
from wsproxy._fast.base.memory cimport ExactCopy

cdef extern from *:
    """
    /* Whether ASCII text takes a closer look; no way out before the end, so that the compiler makes vectors of it. */
    static inline int ws_is_odd(const char *text, size_t length) {
        const unsigned char *p = (const unsigned char *)text;
        unsigned char found = 0;
        for (size_t i = 0; i < length; i++) {
            found |= (unsigned char)((unsigned char)(p[i] - 0x20) > 0x5e) | (p[i] == '[') | (p[i] == '\\\\');
        }
        return found;
    }
    """
    bint ws_is_odd(const char* p, size_t length) noexcept nogil
    const char* PyUnicode_AsUTF8AndSize(str text, Py_ssize_t* size) except NULL

cdef const char* HEX_DIGITS = "0123456789abcdef"


cdef inline int hex_value(char c) noexcept nogil:
    """Of a lower-case digit, as escapes have them; -1: it is none."""
    if c"0" <= c <= c"9":
        return c - c"0"
    return c - c"a" + 10 if c"a" <= c <= c"f" else -1


cdef inline bint is_escape(const char* p, const char* end) noexcept nogil:
    return end - p >= 4 and p[0] == c"\\" and p[1] == c"x" and hex_value(p[2]) >= 0 and hex_value(p[3]) >= 0


cdef inline bint may_be_stamp(const char* p, const char* end) noexcept nogil:
    """``[29/Jul/2014:...`` or ``[Wed Oct 03 ...``."""
    if p[0] != c"[":
        return False
    if end - p >= 4 and is_digit(p[1]) and is_digit(p[2]) and p[3] == c"/":
        return True
    return end - p >= 9 and p[4] == c" " and p[8] == c" "


cdef inline bint continues(const char* p) noexcept nogil:
    return (<unsigned char>p[0] & 0xC0) == 0x80


cdef Py_ssize_t size_of_character(const char* p, const char* end) noexcept nogil:
    """Bytes of the UTF-8 character at ``p`` (RFC 3629 4); 0: it is none."""
    cdef unsigned char first = p[0]
    cdef unsigned char second
    if first < 0x80:
        return 1
    if end - p < 2 or not continues(p + 1):
        return 0
    second = p[1]
    if 0xC2 <= first <= 0xDF:
        return 2
    if end - p < 3 or not continues(p + 2):
        return 0
    if 0xE0 <= first <= 0xEF:
        return 0 if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F) else 3
    if end - p < 4 or not continues(p + 3) or not 0xF0 <= first <= 0xF4:
        return 0
    return 0 if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F) else 4


cdef bint is_control(const char* p, Py_ssize_t size) noexcept nogil:
    """Whether the character of this size drives whoever shows it."""
    cdef unsigned char first = p[0]
    cdef unsigned char second, third
    if size == 1:
        return first < 0x20 or first == 0x7F
    second = p[1]
    if size == 2:  # C1; U+061C
        return (first == 0xC2 and second < 0xA0) or (first == 0xD8 and second == 0x9C)
    if size > 3 or first != 0xE2:
        return False
    third = p[2]
    if second == 0x80:  # U+200E, U+200F, U+2028 to U+202E
        return 0x8E <= third <= 0x8F or 0xA8 <= third <= 0xAE
    return second == 0x81 and 0xA6 <= third <= 0xA9  # U+2066 to U+2069


cdef int put_readable(Buffer* out, const char* p, Py_ssize_t length) except -1:
    cdef const char* end = p + length
    cdef const char* begin = p  # from here on nothing was written yet
    cdef Py_ssize_t size, i
    cdef unsigned char c
    cdef char escape[4]
    escape[0] = c"\\"
    escape[1] = c"x"
    while p < end:
        size = size_of_character(p, end)
        if size and not is_control(p, size) and not is_escape(p, end) and not may_be_stamp(p, end):
            p += size
            continue
        buffer_append(out, begin, p - begin)
        size = size or 1
        for i in range(size):
            c = p[i]
            escape[2] = HEX_DIGITS[c >> 4]
            escape[3] = HEX_DIGITS[c & 15]
            buffer_append(out, escape, 4)
        p += size
        begin = p
    return buffer_append(out, begin, end - begin)


cdef bytes read_back(bytes text):
    cdef const char* p = text
    cdef const char* end = p + len(text)
    cdef const char* begin = p
    cdef char c
    cdef Buffer out
    p = <const char*>memchr(p, c"\\", end - p)
    if p == NULL:
        return text
    memset(&out, 0, sizeof(Buffer))
    try:
        while p != NULL and p < end:
            if is_escape(p, end):
                c = <char>(hex_value(p[2]) << 4 | hex_value(p[3]))
                buffer_append(&out, begin, p - begin)
                buffer_append(&out, &c, 1)
                p += 4
                begin = p
            else:
                p += 1
            p = <const char*>memchr(p, c"\\", end - p) if p < end else NULL
        buffer_append(&out, begin, end - begin)
        return out.data[:out.length] if out.length else b""
    finally:
        buffer_clear(&out)


def escape(str text not None) -> str:
    """The text as a line has it; bytes that are no UTF-8 come as surrogates (``surrogateescape``)."""
    cdef Py_ssize_t length
    cdef const char* ascii
    cdef ExactCopy copy
    cdef Buffer out
    if text.isascii():  # nearly every line; its bytes are there already
        ascii = PyUnicode_AsUTF8AndSize(text, &length)
        if not ws_is_odd(ascii, length):
            return text
    copy = ExactCopy(text.encode("utf-8", "surrogateescape"))
    memset(&out, 0, sizeof(Buffer))
    try:
        put_readable(&out, copy.at, copy.length)
        return (out.data[:out.length] if out.length else b"").decode()
    finally:
        buffer_clear(&out)


def unescape(bytes text not None) -> bytes:
    """What was written as ``text``."""
    return read_back(text)
