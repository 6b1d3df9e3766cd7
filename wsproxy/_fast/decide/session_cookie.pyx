"""
The clone list of a session cookie: completed in answers, taken away before servers that did not write it.

Driven by ``downstream`` for answers with Set-Cookie and for requests that were failed over, and by ``edits`` for requests to
servers that leave clone ids to us (``writers`` knows them). WebSphere and Liberty keep the list themselves; for others we
write what they would, so that the original server stays first and gets the session back (PLUGIN 3.2, DESIGN 6). What is
added is taken away again (docs/decisions/0006). Must not touch another cookie.

What a client sent goes back to it only as cookie-octets (RFC 6265 4.1.1): no value can end the field it stands in.
"""

from libc.string cimport memchr, memcmp
from wsproxy._fast.base.chars cimport trim
from wsproxy._fast.decide.affinity cimport (
    find_route, find_separator, is_of_websphere, next_cookie, next_param, separator_length,
)
from wsproxy._fast.decide.balance cimport Balancer
from wsproxy._fast.http.fields cimport FIELD_COOKIE, FIELD_SET_COOKIE, TCHAR, Field, Fields, all_of, equals_ignoring_case
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.scratch cimport Scratch, insert_into_line, put, put_text, replace_line, reserve

# What a cookie that we set is followed by; the value before it came from the client's own cookie. The second line is
# what WebSphere sends beside its session cookies: a shared cache that keeps the answer must not give it to others.
cdef const char* ATTRIBUTES = "; Path=/; HttpOnly"
cdef const char* SECURE = "; Secure"
cdef const char* NOT_SHARED = "\r\nCache-Control: no-cache=\"Set-Cookie\"\r\n"

cdef enum:
    FIXED = 96  # `Set-Cookie: `, `=` and the three texts above


# next_cookie or next_param.
ctypedef bint (*NextValue)(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil


cdef bint all_cookie_octets(const char* p, Py_ssize_t length) noexcept nogil:
    """RFC 6265 4.1.1: visible ASCII without ``"``, ``,``, ``;`` and ``\\``."""
    cdef Py_ssize_t i
    for i in range(length):
        if not 0x21 <= p[i] <= 0x7E or p[i] == c'"' or p[i] == c"," or p[i] == c";" or p[i] == c"\\":
            return False
    return True


# --- answers -----------------------------------------------------------------------------------------------------

cdef bint can_stand_in_list(Completion* completion) noexcept nogil:
    """Whether the clone id, once appended, is read as what it is; else each answer would append it again."""
    cdef const char* end = completion.clone_id + completion.clone_id_len
    return (
        completion.clone_id_len > 0
        and all_cookie_octets(completion.clone_id, completion.clone_id_len)
        and find_separator(completion.clone_id, end, completion.separator) == end
    )


cdef bint lists_clone(
    const char* p, const char* end, Completion* completion, const char** link, Py_ssize_t* link_len
) noexcept nogil:
    """Whether route or list have the clone id; if not, ``link`` is what goes between the value and the clone id."""
    cdef const char* start = NULL
    cdef const char* cut = find_separator(p, end, completion.separator)
    cdef const char* route = find_route(p, cut - p)
    cdef Py_ssize_t skip
    link[0] = &completion.separator
    link_len[0] = 1
    if route != NULL and is_clone(route, cut, completion):
        return True
    p = cut
    while p < end:
        skip = separator_length(p, end, completion.separator)
        if skip == 0:
            p += 1
            continue
        if start != NULL and is_clone(start, p, completion):
            return True
        link[0] = p  # plain or encoded, as this value has it
        link_len[0] = skip
        p += skip
        start = p
    if start != NULL:
        if start == end:
            link_len[0] = 0  # the value ends with a separator
        else:
            return is_clone(start, end, completion)
    return False


cdef inline bint is_clone(const char* start, const char* end, Completion* completion) noexcept nogil:
    return end - start == completion.clone_id_len and memcmp(start, completion.clone_id, completion.clone_id_len) == 0


cdef bint is_deletion(const char* p, const char* end) noexcept nogil:
    """Whether the last valid Max-Age of these attributes is 0 or less (RFC 6265 5.2.2)."""
    cdef const char* stop
    cdef const char* key_end
    cdef const char* value
    cdef const char* value_end
    cdef bint deletes = False
    while p < end:
        p += 1  # the `;`
        stop = <const char*>memchr(p, c";", end - p)
        if stop == NULL:
            stop = end
        key_end = <const char*>memchr(p, c"=", stop - p)
        if key_end != NULL:
            value = key_end + 1
            value_end = stop
            trim(&p, &key_end)
            trim(&value, &value_end)
            if key_end - p == 7 and equals_ignoring_case(p, "max-age", 7):
                deletes = is_at_most_zero(value, value_end, deletes)
        p = stop
    return deletes


cdef bint is_at_most_zero(const char* p, const char* end, bint otherwise) noexcept nogil:
    """``otherwise`` where it is no number."""
    cdef bint negative = p < end and p[0] == c"-"
    cdef bint zero = True
    p += negative
    if p == end:
        return otherwise
    while p < end:
        if not c"0" <= p[0] <= c"9":
            return otherwise
        zero = zero and p[0] == c"0"
        p += 1
    return negative or zero


cdef bint read_set_cookie(Field* field, SetCookie* out) noexcept nogil:
    cdef const char* field_end = field.value + field.value_len
    cdef const char* end = <const char*>memchr(field.value, c";", field.value_len)
    cdef const char* name = field.value
    cdef const char* name_end
    cdef const char* value
    if end == NULL:
        end = field_end
    name_end = <const char*>memchr(name, c"=", end - name)
    if name_end == NULL:
        return False
    value = name_end + 1
    out.is_deletion = is_deletion(end, field_end)
    trim(&name, &name_end)
    trim(&value, &end)
    out.name = name
    out.name_len = name_end - name
    if value < end and value[0] == c'"':
        if end - value < 2 or (end - 1)[0] != c'"':
            end = value  # half a quoted string: whatever it means, not a list
        else:
            value += 1
            end -= 1
    if memchr(value, c",", end - value) != NULL:
        end = value  # behind a comma nobody would read it
    out.value = value
    out.end = end
    return True


cdef int complete_field(Scratch* scratch, Fields* fields, Field* field, Completion* completion, bint* is_set) noexcept nogil:
    """Completes one Set-Cookie field where it is of this cookie; ``is_set`` becomes true there."""
    cdef SetCookie cookie
    cdef const char* link
    cdef Py_ssize_t link_len
    if not read_set_cookie(field, &cookie):
        return 0
    if cookie.name_len != completion.name_len or memcmp(cookie.name, completion.name, completion.name_len) != 0:
        return 0
    is_set[0] = True
    if cookie.value == cookie.end or cookie.is_deletion:
        return 0
    if lists_clone(cookie.value, cookie.end, completion, &link, &link_len):
        return 0
    if cookie.end - cookie.value + link_len + completion.clone_id_len > MAX_VALUE:
        return 0
    return insert_into_line(scratch, fields, field, cookie.end, link, link_len, completion.clone_id, completion.clone_id_len)


cdef int set_cookie(Scratch* scratch, Fields* fields, Completion* completion) noexcept nogil:
    """Adds the cookie that the request came with, its list completed; nothing where the list has the clone id."""
    cdef const char* end = completion.session + completion.session_len
    cdef const char* link
    cdef Py_ssize_t link_len
    cdef char* p
    if lists_clone(completion.session, end, completion, &link, &link_len):
        return 0
    if completion.session_len + link_len + completion.clone_id_len > MAX_VALUE:
        return 0
    if not all_of(completion.name, completion.name_len, TCHAR):
        return 0
    if not all_cookie_octets(completion.session, completion.session_len):
        return 0
    p = reserve(scratch, FIXED + completion.name_len + completion.session_len + link_len + completion.clone_id_len)
    if p == NULL:
        return -1
    fields.more = p
    p = put(p, "Set-Cookie: ", 12)
    p = put(p, completion.name, completion.name_len)
    p = put(p, "=", 1)
    p = put(p, completion.session, completion.session_len)
    p = put(p, link, link_len)
    p = put(p, completion.clone_id, completion.clone_id_len)
    p = put_text(p, ATTRIBUTES)
    if completion.secure:
        p = put_text(p, SECURE)
    p = put_text(p, NOT_SHARED)
    fields.more_len = p - fields.more
    return 0


cdef int complete_cookies(Scratch* scratch, ResponseHead* head, Completion* completion) noexcept nogil:
    cdef Fields* fields = &head.fields
    cdef int i
    cdef bint is_set = False
    if not can_stand_in_list(completion):
        return 0
    for i in range(fields.count if fields.has_set_cookie else 0):
        if fields.at[i].kind == FIELD_SET_COOKIE and not fields.at[i].dropped:
            if complete_field(scratch, fields, &fields.at[i], completion, &is_set) < 0:
                return -1
    # A server that failed did not take the session over. A 304 would change what the client's cache keeps with the answer.
    if is_set or not completion.session_len or head.status >= 500 or head.status == 304:
        return 0
    return set_cookie(scratch, fields, completion)


# --- requests ----------------------------------------------------------------------------------------------------

cdef const char* end_of_ours(const char* p, const char* end, char separator, Balancer cluster) noexcept nogil:
    """Where, from the separator at ``p`` on, the CloneIDs of the cluster begin with which the list ends."""
    cdef const char* ours = end
    cdef const char* at
    cdef const char* start
    while p < end:
        at = p
        start = p + separator_length(p, end, separator)
        p = find_separator(start, end, separator)
        if cluster is None or cluster.find_clone(start, p - start, 0) < 0:
            ours = end
        elif ours == end:
            ours = at
    return ours


cdef const char* end_of_kept(
    const char* value, const char* end, char separator, Taking taking, Balancer cluster
) noexcept nogil:
    """Up to where the server gets the value."""
    cdef const char* cut = find_separator(value, end, separator)
    if taking == TAKE_ALL or cut == end:
        return cut
    if is_of_websphere(value, cut - value):
        return end
    return cut if taking == TAKE_LISTS else end_of_ours(cut, end, separator, cluster)


cdef Py_ssize_t strip_values(
    Scratch* scratch, NextValue next_value, const char* at, const char* end, const char* name, Py_ssize_t name_len,
    char separator,
    Taking taking, Balancer cluster, const char** text, Py_ssize_t length,
) noexcept nogil:
    """
    Bytes taken out of all values from ``at`` to ``end``, places in ``text``; -1 where there is no more memory.

    Where there are any, ``text`` becomes a copy without them.
    """
    cdef const char* text_end = text[0] + length
    cdef const char* kept = text[0]  # what was copied ends here
    cdef const char* value
    cdef const char* value_end
    cdef const char* cut
    cdef char* copy = NULL
    cdef char* p = NULL
    while next_value(&at, end, name, name_len, &value, &value_end):
        cut = end_of_kept(value, value_end, separator, taking, cluster)
        if cut == value_end:
            continue
        if copy == NULL:
            copy = p = reserve(scratch, length)
            if copy == NULL:
                return -1
        p = put(p, kept, cut - kept)
        kept = value_end
    if copy == NULL:
        return 0
    p = put(p, kept, text_end - kept)
    text[0] = copy
    return length - (p - copy)


cdef int strip_clone_ids(
    Scratch* scratch, RequestHead* head, const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
    char separator, Taking taking, Balancer cluster,
) noexcept nogil:
    cdef Fields* fields = &head.fields
    cdef Field* field
    cdef const char* line
    cdef Py_ssize_t stripped
    cdef int i
    for i in range(fields.count if fields.has_cookie else 0):
        field = &fields.at[i]
        if field.kind != FIELD_COOKIE or field.dropped:
            continue
        line = field.line
        stripped = strip_values(
            scratch, next_cookie, field.value, field.value + field.value_len, name, name_len, separator, taking, cluster,
            &line, field.line_len,
        )
        if stripped < 0:
            return -1
        if stripped:
            replace_line(fields, field, line, field.line_len - stripped)
    if not head.has_params:
        return 0
    stripped = strip_values(
        scratch, next_param, head.target, head.target + head.path_len, url_id, url_id_len, separator, taking, cluster,
        &head.target, head.target_len,
    )
    if stripped < 0:
        return -1
    head.path_len -= <int>stripped
    head.target_len -= <int>stripped
    return 0
