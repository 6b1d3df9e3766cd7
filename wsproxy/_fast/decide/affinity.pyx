"""
Reads clone ids out of session cookies and ``;jsessionid=`` (PLUGIN.md 3.1 to 3.4).

Driven by ``connection`` once the route (and with it the cookie's name) is known. Must not judge the session id or the
cache id: they change and routing does not need them. A value without separator simply has no clone ids.

Cookies are read as application servers read them: a comma ends one too, which RFC 2109 and 2965 allow and gateways that join
fields write, and blanks may stand around ``=``. Quotes protect nothing: a ``;`` or ``,`` in them ends the cookie.

Order (PLUGIN 3.3): the SSL-id cookie, the AffinityCookie, then the path parameter; several cookies of one name are all
read, first to last (Q10); within a value left to right. What stands behind the last point of a session id is a clone id
too where a server of the cluster has it: Tomcat's jvmRoute, Jetty's worker name. Borrowed memory: the ids point into the
request head.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memset
from wsproxy._fast.base.chars cimport is_blank
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.decide.balance cimport Balancer
from wsproxy._fast.http.fields cimport FIELD_COOKIE, MAX_FIELDS, Fields

cdef extern from "string.h" nogil:
    void* memrchr(const void* data, int character, size_t length)

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
    SESSION_ID_LEN = 23
    # Bytes of a cookie that are looked through at once for its end; sessions are shorter.
    WINDOW = 256
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
    cdef const char* plain = <const char*>memchr(p, separator, end - p) if p < end else NULL
    cdef const char* stop = end if plain == NULL else plain
    while p < stop:
        p = <const char*>memchr(p, c"%", stop - p)
        if p == NULL:
            return stop
        if separator_length(p, end, separator):
            return p
        p += 1
    return stop


cdef void split_list(const char* p, const char* end, char separator, CloneIds* out) noexcept nogil:
    """What stands behind the separator at ``p``, split by the separator."""
    cdef const char* start
    while p < end:
        start = p + separator_length(p, end, separator)
        p = find_separator(start, end, separator)
        if p > start:
            append(out, start, p - start)


cdef inline void append(CloneIds* out, const char* start, Py_ssize_t length) noexcept nogil:
    if out.count < MAX_CLONE_IDS:
        out.at[out.count].start = start
        out.at[out.count].length = length
        out.count += 1


cdef const char* find_route(const char* value, Py_ssize_t length) noexcept nogil:
    cdef const char* point = <const char*>memrchr(value, c".", length)
    if point == NULL or point + 1 == value + length:
        return NULL
    return point + 1


cdef bint is_of_websphere(const char* value, Py_ssize_t length) noexcept nogil:
    """
    Four digits that count from 0000 up, and 23 characters among which no point is (PLUGIN 3.1, liberty.md).

    Tight, so that no id of Tomcat, Jetty or Spring Session passes for one: those of 27 characters that begin with a 0 and
    three digits are nobody's.
    """
    return (
        length == CACHE_ID_LEN + SESSION_ID_LEN and value[0] == c"0" and c"0" <= value[1] <= c"9"
        and c"0" <= value[2] <= c"9" and c"0" <= value[3] <= c"9" and memchr(value, c".", length) == NULL
    )


cdef void read_value(
    const char* value, Py_ssize_t length, char separator, Balancer cluster, bint in_cookie, CloneIds* out
) noexcept nogil:
    cdef int count_before = out.count
    cdef const char* end = value + length
    cdef const char* cut = find_separator(value, end, separator)
    cdef const char* route = find_route(value, cut - value) if cluster is not None else NULL
    if route != NULL and cluster.find_clone(route, cut - route, 0) >= 0:
        append(out, route, cut - route)
    if cut < end:
        out.has_list = True
        if not is_of_websphere(value, cut - value):
            out.has_foreign = True
        split_list(cut, end, separator, out)
    if out.value_len == 0 and out.count > count_before:
        out.value = value
        out.value_len = length
        out.in_cookie = in_cookie


cdef inline bint begins_cookie(const char* p, const char* start) noexcept nogil:
    """Whether a cookie may begin at ``p``: blanks and the end of another one, or nothing, stand before it."""
    while p > start and is_blank((p - 1)[0]):
        p -= 1
    return p == start or (p - 1)[0] == c";" or (p - 1)[0] == c","


cdef inline const char* cookie_end(const char* p, const char* end) noexcept nogil:
    """Where this cookie's value ends. In windows: a search to the field's end for each of many cookies costs its square."""
    cdef const char* stop
    cdef const char* semicolon
    cdef const char* comma
    while p < end:
        stop = p + WINDOW if end - p > WINDOW else end
        semicolon = <const char*>memchr(p, c";", stop - p)
        if semicolon != NULL:
            stop = semicolon
        comma = <const char*>memchr(p, c",", stop - p)
        if comma != NULL:
            return comma
        if semicolon != NULL:
            return semicolon
        p = stop
    return end


cdef bint next_cookie(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil:
    cdef const char* p = at[0]
    cdef const char* q = p + name_len - 1
    if name_len == 0:
        return False
    while True:
        # By its last letter: those of SSLJSESSION and JSESSIONID stand in neither of them twice.
        q = <const char*>memchr(q, name[name_len - 1], end - q) if q < end else NULL
        if q == NULL:
            return False
        q += 1
        p = q - name_len
        if p[0] == name[0] and memcmp(p, name, name_len) == 0 and begins_cookie(p, at[0]):
            while q < end and is_blank(q[0]):
                q += 1
            if q < end and q[0] == c"=":
                break
            q = p + name_len
    q += 1
    while q < end and is_blank(q[0]):
        q += 1
    p = q
    q = cookie_end(q, end)
    at[0] = q
    while q > p and is_blank((q - 1)[0]):
        q -= 1
    if q - p >= 2 and p[0] == c'"' and (q - 1)[0] == c'"':
        p += 1
        q -= 1
    value[0] = p
    value_end[0] = q
    return True


cdef inline bint first_cookie(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, KnownCookie* known, const char** value,
    const char** value_end,
) noexcept nogil:
    """As ``next_cookie`` for the first one of a field, which somebody may have found already."""
    if known == NULL or known.field != at[0] or known.name_len != name_len or memcmp(known.name, name, name_len) != 0:
        return next_cookie(at, end, name, name_len, value, value_end)
    at[0] = known.behind
    value[0] = known.value
    value_end[0] = known.value_end
    return True


cdef void read_cookies(
    const char* p, const char* end, const char* name, Py_ssize_t name_len, char separator, Balancer cluster,
    KnownCookie* known, CloneIds* out,
) noexcept nogil:
    """Every cookie of this name in one Cookie field."""
    cdef const char* value
    cdef const char* value_end
    cdef bint is_found = first_cookie(&p, end, name, name_len, known, &value, &value_end)
    while is_found:
        if name != SSL_COOKIE:
            read_value(value, value_end - value, separator, cluster, True, out)
        else:  # every session tracked by SSL id has the same text before its clone ids
            value = find_separator(value, value_end, separator)
            out.has_list = out.has_list or value < value_end
            split_list(value, value_end, separator, out)
        is_found = next_cookie(&p, end, name, name_len, &value, &value_end)


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


cdef Py_ssize_t find_session_id(
    const char* value, Py_ssize_t length, char separator, Balancer cluster, const char** session_id
) noexcept nogil:
    """
    Up to the first separator, without the cache id where one stands there, and without a route that is a CloneID.

    Nothing for sessions tracked by SSL id.
    """
    cdef Py_ssize_t digits = 0
    cdef const char* route
    length = find_separator(value, value + length, separator) - value
    route = find_route(value, length) if cluster is not None else NULL
    if route != NULL and cluster.find_clone(route, value + length - route, 0) >= 0:
        length = route - 1 - value
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
    char separator, Balancer cluster, KnownCookie* known, CloneIds* out,
) noexcept nogil:
    cdef int i, _round
    cdef const char* cookie_name = SSL_COOKIE
    cdef Py_ssize_t cookie_name_len = SSL_COOKIE_LEN
    cdef const char* p = target
    cdef const char* value
    cdef const char* value_end
    clear_clone_ids(out)
    if fields.has_cookie:
        for _round in range(2):
            for i in range(fields.count):
                if fields.at[i].kind == FIELD_COOKIE:
                    read_cookies(
                        fields.at[i].value, fields.at[i].value + fields.at[i].value_len,
                        cookie_name, cookie_name_len, separator, cluster, known, out,
                    )
            cookie_name = name
            cookie_name_len = name_len
    if has_params:
        while next_param(&p, target + path_len, url_id, url_id_len, &value, &value_end):
            read_value(value, value_end - value, separator, cluster, False, out)


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


def read_clone_ids(
    list cookies, bytes path, bytes name=b"JSESSIONID", bytes url_id=b"jsessionid", bytes separator=b":",
    Balancer cluster=None, *, bint is_known=False,
):
    """
    The clone ids of these Cookie field values and this path, in order; routes that ``cluster`` knows, too. For tests.

    ``is_known``: somebody has looked for the first cookie of the name before, as the access log does.
    """
    cdef CloneIds ids
    cdef KnownCookie known
    cdef Fields fields
    cdef int i
    cdef const char* p
    cdef const char* value_at
    cdef const char* value_end
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
    known.field = NULL
    for i in range(fields.count if is_known else 0):
        p = fields.at[i].value
        if next_cookie(&p, p + fields.at[i].value_len, <const char*>name, len(name), &value_at, &value_end):
            note_cookie(&known, fields.at[i].value, <const char*>name, len(name), value_at, value_end, p)
            break
    collect_clone_ids(
        &fields, path_copy.at, path_copy.length, b";" in path,
        <const char*>name, len(name), <const char*>url_id, len(url_id), separator[0], cluster, &known, &ids,
    )
    return [ids.at[i].start[: ids.at[i].length] for i in range(ids.count)]


def read_session_id(bytes value not None, bytes separator=b":", Balancer cluster=None) -> bytes:
    """The part of this value that the session keeps through all its servers; for tests."""
    cdef ExactCopy copy = ExactCopy(value)
    cdef const char* session_id = NULL
    cdef Py_ssize_t length = find_session_id(copy.at, copy.length, separator[0], cluster, &session_id)
    return session_id[:length] if length else b""


def is_websphere_form(bytes value not None) -> bool:
    """Whether this session, without its clone ids, is of WebSphere's form; for tests."""
    cdef ExactCopy copy = ExactCopy(value)
    return is_of_websphere(copy.at, copy.length)
