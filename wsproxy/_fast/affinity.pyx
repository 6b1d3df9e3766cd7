"""
Reads clone ids out of session cookies and ``;jsessionid=`` (PLUGIN.md 3.1 to 3.4).

Driven by ``connection`` once the route (and with it the cookie's name) is known. Must not judge the session id or the
cache id: they change and routing does not need them. A value without separator simply has no clone ids.

Order (PLUGIN 3.3): the SSL-id cookie, the AffinityCookie, then the path parameter; several cookies of one name are all
read, first to last (Q10); within a value left to right. Borrowed memory: the ids point into the request head.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memset
from wsproxy._fast.fields cimport FIELD_COOKIE, MAX_FIELDS, Fields
from wsproxy._fast.head cimport ExactCopy

# The cookie of sessions tracked by SSL id; its name is the same for every application (PLUGIN 3.3).
cdef const char* SSL_COOKIE = "SSLJSESSION"
cdef enum:
    SSL_COOKIE_LEN = 11

# In place of the session id in the values of all sessions tracked by SSL id (cut to 23 characters).
cdef const char* SSL_SESSION = "SESSIONMANAGEMENTAFFINI"
cdef enum:
    SSL_SESSION_LEN = 23
    # The cache id before the session id; it grows with each change of server (liberty.md).
    CACHE_ID_LEN = 4
    # HttpSessionIdLength may not be set lower. Shorter values that begin with four digits are somebody else's.
    LEAST_SESSION_ID_LEN = 8


cdef Py_ssize_t separator_length(const char* p, const char* end, char separator) noexcept nogil:
    """Bytes of the separator at ``p``, plain or percent-encoded (%3A, %2B); 0 none."""
    if p[0] == separator:
        return 1
    if p[0] == c"%" and end - p >= 3:
        if separator == c":" and p[1] == c"3" and (p[2] | 0x20) == c"a":
            return 3
        if separator == c"+" and p[1] == c"2" and (p[2] | 0x20) == c"b":
            return 3
    return 0


cdef const char* find_separator(const char* p, const char* end, char separator) noexcept nogil:
    while p < end and separator_length(p, end, separator) == 0:
        p += 1
    return p


cdef void split_value(const char* p, const char* end, char separator, CloneIds* out) noexcept nogil:
    """Everything after the first separator, split by the separator."""
    cdef const char* start = NULL
    cdef Py_ssize_t skip
    while p < end:
        skip = separator_length(p, end, separator)
        if skip == 0:
            p += 1
            continue
        if start != NULL and p > start and out.count < MAX_CLONE_IDS:
            out.at[out.count].start = start
            out.at[out.count].length = p - start
            out.count += 1
        p += skip
        start = p
    if start != NULL and end > start and out.count < MAX_CLONE_IDS:
        out.at[out.count].start = start
        out.at[out.count].length = end - start
        out.count += 1


cdef inline void note_value(
    const char* value, const char* end, int count_before, bint in_cookie, CloneIds* out
) noexcept nogil:
    if out.value_len == 0 and out.count > count_before:
        out.value = value
        out.value_len = end - value
        out.in_cookie = in_cookie


cdef void read_value(const char* value, Py_ssize_t length, char separator, bint in_cookie, CloneIds* out) noexcept nogil:
    cdef int count_before = out.count
    split_value(value, value + length, separator, out)
    note_value(value, value + length, count_before, in_cookie, out)


cdef bint next_cookie(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil:
    cdef const char* p = at[0]
    cdef const char* stop
    while p < end:
        if p[0] == c" " or p[0] == c"\t" or p[0] == c";":
            p += 1
            continue
        stop = <const char*>memchr(p, c";", end - p)
        if stop == NULL:
            stop = end
        if stop - p > name_len and p[name_len] == c"=" and memcmp(p, name, name_len) == 0:
            value[0] = p + name_len + 1
            value_end[0] = stop
            while value_end[0] > value[0] and ((value_end[0] - 1)[0] == c" " or (value_end[0] - 1)[0] == c"\t"):
                value_end[0] -= 1
            if value_end[0] - value[0] >= 2 and value[0][0] == c'"' and (value_end[0] - 1)[0] == c'"':
                value[0] += 1
                value_end[0] -= 1
            at[0] = stop
            return True
        p = stop
    return False


cdef void read_cookies(
    const char* p, const char* end, const char* name, Py_ssize_t name_len, char separator, CloneIds* out
) noexcept nogil:
    """Every cookie of this name in one Cookie field."""
    cdef const char* value
    cdef const char* value_end
    while next_cookie(&p, end, name, name_len, &value, &value_end):
        if name != SSL_COOKIE:
            read_value(value, value_end - value, separator, True, out)
        else:  # every session tracked by SSL id has the same text before its clone ids
            split_value(value, value_end, separator, out)


cdef bint next_param(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil:
    cdef const char* p = at[0]
    cdef const char* stop
    while True:
        p = <const char*>memchr(p, c";", end - p)
        if p == NULL:
            return False
        p += 1
        stop = p
        while stop < end and stop[0] != c";" and stop[0] != c"/":
            stop += 1
        if stop - p > name_len and p[name_len] == c"=" and memcmp(p, name, name_len) == 0:
            value[0] = p + name_len + 1
            value_end[0] = stop
            at[0] = stop
            return True
        p = stop


cdef void read_params(
    const char* p, const char* end, const char* name, Py_ssize_t name_len, char separator, CloneIds* out
) noexcept nogil:
    """Every path parameter of this name."""
    cdef const char* value
    cdef const char* value_end
    while next_param(&p, end, name, name_len, &value, &value_end):
        read_value(value, value_end - value, separator, False, out)


cdef Py_ssize_t find_session_id(
    const char* value, Py_ssize_t length, char separator, const char** session_id
) noexcept nogil:
    """Up to the first separator, without the cache id where one stands there; nothing for sessions tracked by SSL id."""
    cdef Py_ssize_t digits = 0
    length = find_separator(value, value + length, separator) - value
    while digits < CACHE_ID_LEN and digits < length and c"0" <= value[digits] <= c"9":
        digits += 1
    if digits == CACHE_ID_LEN and length >= CACHE_ID_LEN + LEAST_SESSION_ID_LEN:
        value += CACHE_ID_LEN
        length -= CACHE_ID_LEN
    if length >= SSL_SESSION_LEN and memcmp(value, SSL_SESSION, SSL_SESSION_LEN) == 0:
        return 0
    session_id[0] = value
    return length


cdef void collect_clone_ids(
    Fields* fields, const char* target, Py_ssize_t path_len, bint has_params,
    const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
    char separator, CloneIds* out,
) noexcept nogil:
    cdef int i, _round
    cdef const char* cookie_name = SSL_COOKIE
    cdef Py_ssize_t cookie_name_len = SSL_COOKIE_LEN
    out.count = 0
    out.value_len = 0
    if fields.has_cookie:
        for _round in range(2):
            for i in range(fields.count):
                if fields.at[i].kind == FIELD_COOKIE:
                    read_cookies(
                        fields.at[i].value, fields.at[i].value + fields.at[i].value_len,
                        cookie_name, cookie_name_len, separator, out,
                    )
            cookie_name = name
            cookie_name_len = name_len
    if has_params:
        read_params(target, target + path_len, url_id, url_id_len, separator, out)


cdef list list_values(
    Fields* fields, const char* target, Py_ssize_t path_len, bint has_params,
    const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
):
    cdef const char* cookie_name = SSL_COOKIE
    cdef Py_ssize_t cookie_name_len = SSL_COOKIE_LEN
    cdef const char* value
    cdef const char* value_end
    cdef const char* p
    cdef const char* end
    cdef list values = []
    cdef int i, _round
    for _round in range(2 if fields.has_cookie else 0):
        for i in range(fields.count):
            if fields.at[i].kind == FIELD_COOKIE:
                p = fields.at[i].value
                end = p + fields.at[i].value_len
                while next_cookie(&p, end, cookie_name, cookie_name_len, &value, &value_end):
                    values.append(value[:value_end - value])
        cookie_name = name
        cookie_name_len = name_len
    if has_params:
        p = target
        while next_param(&p, target + path_len, url_id, url_id_len, &value, &value_end):
            values.append(value[:value_end - value])
    return values


def read_clone_ids(list cookies, bytes path, bytes name=b"JSESSIONID", bytes url_id=b"jsessionid", bytes separator=b":"):
    """The clone ids of these Cookie field values and this path, in order; for tests, explain and replay."""
    cdef CloneIds ids
    cdef Fields fields
    cdef int i
    cdef ExactCopy copy
    cdef ExactCopy path_copy = ExactCopy(path)
    cdef list keep = []
    memset(&fields, 0, sizeof(fields))
    if len(cookies) > MAX_FIELDS:
        raise ValueError(f"found {len(cookies)} Cookie fields; allowed is {MAX_FIELDS}")
    if len(separator) != 1:
        raise ValueError(f"found separator {separator!r}; allowed is one byte")
    for value in cookies:
        copy = ExactCopy(value)
        keep.append(copy)
        fields.at[fields.count].kind = FIELD_COOKIE
        fields.at[fields.count].value = copy.at
        fields.at[fields.count].value_len = <uint32_t>copy.length
        fields.count += 1
        fields.has_cookie = True
    collect_clone_ids(
        &fields, path_copy.at, path_copy.length, b";" in path,
        <const char*>name, len(name), <const char*>url_id, len(url_id), separator[0], &ids,
    )
    return [ids.at[i].start[: ids.at[i].length] for i in range(ids.count)]


def read_session_id(bytes value not None, bytes separator=b":") -> bytes:
    """The part of this value that the session keeps through all its servers; for tests."""
    cdef ExactCopy copy = ExactCopy(value)
    cdef const char* session_id = NULL
    cdef Py_ssize_t length = find_session_id(copy.at, copy.length, separator[0], &session_id)
    return session_id[:length] if length else b""
