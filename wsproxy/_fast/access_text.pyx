"""
Text for the access log: what a client may choose, escaped as httpd escapes it, and without what opens a session.

Driven by ``access_log``. Pure. The rules of masking are those of ``pluginlog.masking``, which is the oracle in the tests;
unlike http_plugin.log the line keeps queries, as every access log does.
"""

from libc.string cimport memchr, memset
from wsproxy._fast.head cimport ExactCopy
from wsproxy._fast.stream cimport Buffer, buffer_append, buffer_clear

cdef extern from *:
    """
    #include <stddef.h>
    #include <string.h>

    /* Whether a byte has to be escaped; no way out before the end, so that the compiler makes vectors of it. */
    static inline int ws_needs_escape(const char *text, size_t length) {
        const unsigned char *p = (const unsigned char *)text;
        unsigned char found = 0;
        for (size_t i = 0; i < length; i++) {
            found |= (unsigned char)((unsigned char)(p[i] - 0x20) > 0x5e) | (p[i] == '"') | (p[i] == '\\\\');
        }
        return found;
    }
    """
    bint ws_needs_escape(const char* p, size_t length) noexcept nogil
    void* memmem(const void* data, size_t length, const void* sought, size_t sought_len) noexcept nogil

cdef enum:
    CACHE_ID_LEN = 4  # a number that is counted up for each session, before its id (PLUGIN 3.1)

cdef const char* HEX_DIGITS = "0123456789abcdef"


cdef int put_escaped(Buffer* out, const char* p, Py_ssize_t length) except -1:
    """As ap_escape_logitem: C letters for some controls, \\xhh for other bytes outside ASCII, or a backslash before it."""
    cdef char escape[4]
    cdef int size
    cdef unsigned char c
    cdef Py_ssize_t i
    cdef Py_ssize_t begin = 0
    if not ws_needs_escape(p, length):
        return buffer_append(out, p, length)
    escape[0] = c"\\"
    for i in range(length):
        c = p[i]
        if 0x20 <= c <= 0x7e and c != c'"' and c != c"\\":
            continue
        buffer_append(out, p + begin, i - begin)
        begin = i + 1
        size = 2
        if c == c'"' or c == c"\\":
            escape[1] = c
        elif c == 8:
            escape[1] = c"b"
        elif c == 9:
            escape[1] = c"t"
        elif c == 10:
            escape[1] = c"n"
        elif c == 11:
            escape[1] = c"v"
        elif c == 13:
            escape[1] = c"r"
        else:
            escape[1] = c"x"
            escape[2] = HEX_DIGITS[c >> 4]
            escape[3] = HEX_DIGITS[c & 15]
            size = 4
        buffer_append(out, escape, size)
    return buffer_append(out, p + begin, length - begin)


cdef Py_ssize_t find_clones(const char* p, Py_ssize_t length) noexcept nogil:
    """Where the separator before the clone ids stands; ``length``: there are none."""
    cdef const char* at = <const char*>memchr(p, c":", length) if length else NULL
    if at == NULL and length:
        at = <const char*>memchr(p, c"+", length)
    if at == NULL:
        at = <const char*>memmem(p, length, <const char*>"%3A", 3)
    if at == NULL:
        at = <const char*>memmem(p, length, <const char*>"%3a", 3)
    if at == NULL:
        at = <const char*>memmem(p, length, <const char*>"%2B", 3)
    if at == NULL:
        at = <const char*>memmem(p, length, <const char*>"%2b", 3)
    return length if at == NULL else at - p


cdef bint has_cache_id(const char* p, Py_ssize_t length) noexcept nogil:
    return (
        length > CACHE_ID_LEN and p[0] == c"0" and p[1] == c"0" and c"0" <= p[2] <= c"9" and c"0" <= p[3] <= c"9"
        and p[4] != c"\n"
    )


cdef int put_session(Buffer* out, const char* p, Py_ssize_t length) except -1:
    cdef Py_ssize_t at = find_clones(p, length)
    if has_cache_id(p, at):
        buffer_append(out, p, CACHE_ID_LEN)
    buffer_append(out, "***", 3)
    return put_escaped(out, p + at, length - at)


cdef Py_ssize_t size_of(const char* p, const char* end, char plain, char coded) noexcept nogil:
    """Length of this character, as it is (1) or as %3h (3); 0: it is another."""
    if p[0] == plain:
        return 1
    return 3 if end - p >= 3 and p[0] == c"%" and p[1] == c"3" and (p[2] | 0x20) == coded else 0


cdef int put_address(Buffer* out, const char* p, Py_ssize_t length) except -1:
    cdef const char* last = p + length
    cdef const char* end = last
    cdef const char* query
    cdef const char* begin = p
    cdef const char* value
    cdef Py_ssize_t size
    if length == 0 or memchr(p, c";", length) == NULL and memchr(p, c"%", length) == NULL:
        return put_escaped(out, p, length)
    query = <const char*>memchr(p, c"?", length)
    if query != NULL:
        end = query
    while p < end:
        size = size_of(p, end, c";", c"b")
        if size == 0:
            p += 1
            continue
        p += size
        while p < end and p[0] != c"/" and not size_of(p, end, c"=", c"d") and not size_of(p, end, c";", c"b"):
            p += 1
        size = size_of(p, end, c"=", c"d") if p < end else 0
        if size == 0:
            continue
        p += size
        put_escaped(out, begin, p - begin)
        value = p
        while p < end and p[0] != c"/" and not size_of(p, end, c";", c"b"):
            p += 1
        put_session(out, value, p - value)
        begin = p
    return put_escaped(out, begin, last - begin)


cdef int put_request_line(Buffer* out, const char* p, Py_ssize_t length) except -1:
    """All three parts as addresses: in a line that is none (a tab, a blank too many) the address may stand in any."""
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t end = length
    while begin < length and p[begin] != c" ":
        begin += 1
    put_address(out, p, begin)
    if begin >= length:
        return 0
    buffer_append(out, " ", 1)
    begin += 1
    while end > begin and p[end - 1] != c" ":
        end -= 1
    if end <= begin:
        return put_address(out, p + begin, length - begin)  # one blank: all behind it is an address
    put_address(out, p + begin, end - 1 - begin)
    buffer_append(out, " ", 1)
    return put_address(out, p + end, length - end)


cdef int put_cookies(Buffer* out, const char* p, Py_ssize_t length, frozenset names) except -1:
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t end, first, last
    cdef const char* equals
    while begin <= length:
        end = begin
        while end < length and p[end] != c";":
            end += 1
        first = begin
        last = end
        while first < last and p[first] in b" \t":
            first += 1
        while last > first and p[last - 1] in b" \t":
            last -= 1
        if begin:
            buffer_append(out, "; ", 2)
        equals = <const char*>memchr(p + first, c"=", last - first) if last > first else NULL
        if equals == NULL:
            buffer_append(out, "***", 3)
        else:
            put_escaped(out, p + first, equals + 1 - (p + first))
            if p[first:equals - p] in names:
                put_session(out, equals + 1, p + last - (equals + 1))
            else:
                buffer_append(out, "***", 3)
        begin = end + 1
    return 0


# --- for tests --------------------------------------------------------------------------------------------------------

ctypedef int (*Put)(Buffer*, const char*, Py_ssize_t) except -1

cdef bytes taken(Buffer* out):
    cdef bytes text = out.data[:out.length] if out.length else b""
    buffer_clear(out)
    return text


cdef bytes text_by(Put put, bytes value):
    cdef Buffer out
    cdef ExactCopy copy = ExactCopy(value)
    memset(&out, 0, sizeof(Buffer))
    put(&out, copy.at, copy.length)
    return taken(&out)


def escape(bytes value not None) -> bytes:
    """The value as the log has it."""
    return text_by(put_escaped, value)


def mask_address(bytes value not None) -> bytes:
    """A path or an address as the log has it."""
    return text_by(put_address, value)


def mask_request_line(bytes value not None) -> bytes:
    """A request line as the log has it."""
    return text_by(put_request_line, value)


def mask_session(bytes value not None) -> bytes:
    """An affinity cookie's value as the log has it."""
    return text_by(put_session, value)


def mask_cookies(bytes value not None, frozenset names not None) -> bytes:
    """A Cookie field's value as the log has it."""
    cdef Buffer out
    cdef ExactCopy copy = ExactCopy(value)
    memset(&out, 0, sizeof(Buffer))
    put_cookies(&out, copy.at, copy.length, names)
    return taken(&out)
