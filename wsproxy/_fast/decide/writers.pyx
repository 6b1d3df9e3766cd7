"""
Who writes clone ids: learned from the cookies that servers set; and what of clone ids cannot be right.

Driven by ``downstream`` for answers that set cookies, by ``intake`` for its first requests that bring cookies and no clone
id, by ``replay`` for explain. What is learned stands in the slots of ``segment``: all workers know it at once. The last
cookie counts, so servers that are replaced by others are learned anew. Must not log: what is news is handed back.

Why: a list that wsproxy added must be taken away before a server that takes the whole value for the session id, one that
the server wrote must not (docs/decisions/0006).
"""

from collections import namedtuple

from libc.string cimport memchr, memcmp
from wsproxy._fast.base.atomics cimport ws_load32, ws_set_bit32, ws_store32
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.decide.affinity cimport find_route, find_separator, next_cookie, next_param, separator_length
from wsproxy._fast.decide.session_cookie cimport TAKE_LISTS, TAKE_NOTHING, TAKE_OURS, SetCookie, read_set_cookie
from wsproxy._fast.http.fields cimport FIELD_COOKIE, FIELD_SET_COOKIE, MAX_FIELDS, Limits
from wsproxy._fast.http.head cimport ResponseHead, parse_request, parse_response

# ``server``: who set the cookie, "" a client brought it; ``clone_id``: its CloneID, "" it has none; ``text``: clone id or
# name as it was found; ``owner``: the server whose CloneID that is, ``owner_id``; ``name``: the AffinityCookie, or
# ``in_path`` the AffinityURLIdentifier.
Noticed = namedtuple("Noticed", "finding cluster server clone_id text owner owner_id name in_path separator")


cdef Taking taking_of(Cluster cluster, int server) noexcept nogil:
    cdef int writer = ws_load32(&cluster.servers[server].writer) if server >= 0 else 0
    if writer == 0:
        writer = ws_load32(&cluster.slot.writer)  # servers of a cluster are alike
    if writer == WRITES_ITS_OWN:
        return TAKE_NOTHING
    return TAKE_OURS if writer == WRITES_OTHERS else TAKE_LISTS


cdef void note_writer(Cluster cluster, int server, int writer) noexcept nogil:
    if ws_load32(&cluster.servers[server].writer) != writer:
        ws_store32(&cluster.servers[server].writer, writer)
    if ws_load32(&cluster.slot.writer) != writer:
        ws_store32(&cluster.slot.writer, writer)


cdef bint is_news(Cluster cluster, int server, Finding kind) noexcept nogil:
    if kind == OTHERS_ID or kind == UNKNOWN_ID:
        return ws_set_bit32(&cluster.servers[server].told, 1 << kind)
    return ws_set_bit32(&cluster.slot.told, 1 << kind)


cdef inline char other_separator(Cluster cluster) noexcept nogil:
    return c":" if cluster.separator == c"+" else c"+"


cdef int owner_of(Cluster cluster, const char* clone_id, Py_ssize_t length) noexcept nogil:
    cdef int position = cluster.find_clone(clone_id, length, 0) if length else -1
    return -1 if position < 0 else cluster.order[position]


cdef bint is_its_own(Cluster cluster, int server, const char* clone_id, Py_ssize_t length) noexcept nogil:
    return (
        cluster.clone_ids[server] != NULL and cluster.clone_id_lens[server] == length
        and memcmp(cluster.clone_ids[server], clone_id, length) == 0
    )


cdef bint is_same_but_case(const char* a, const char* b, Py_ssize_t length) noexcept nogil:
    """Whether they differ, and in nothing but the case of letters."""
    cdef Py_ssize_t i
    cdef char lower
    if memcmp(a, b, length) == 0:
        return False
    for i in range(length):
        if a[i] != b[i]:
            lower = a[i] | 0x20
            if lower != b[i] | 0x20 or not c"a" <= lower <= c"z":
                return False
    return True


cdef bint set_found(Found* out, Finding kind, int server, const char* text, Py_ssize_t length) noexcept nogil:
    out.kind = kind
    out.server = server
    out.text = text
    out.length = length
    out.in_path = False
    return True


# --- what servers do ---------------------------------------------------------------------------------------------------

cdef void learn(
    Cluster cluster, int server, Fields* fields, const char* name, Py_ssize_t name_len, bint had_list, Found* news
) noexcept nogil:
    cdef SetCookie cookie
    cdef Found found
    cdef int i
    news.kind = NOTHING_FOUND
    for i in range(fields.count):
        if fields.at[i].kind != FIELD_SET_COOKIE or fields.at[i].dropped or not read_set_cookie(&fields.at[i], &cookie):
            continue
        if cookie.name_len != name_len or cookie.value == cookie.end or cookie.is_deletion:
            continue
        found.kind = NOTHING_FOUND
        if memcmp(cookie.name, name, name_len) == 0:
            judge_set_cookie(cluster, server, &cookie, had_list, &found)
        elif is_same_but_case(cookie.name, name, name_len):
            set_found(&found, OTHER_NAME, -1, cookie.name, name_len)
        if found.kind != NOTHING_FOUND and is_news(cluster, server, found.kind):
            news[0] = found


cdef void judge_set_cookie(Cluster cluster, int server, SetCookie* cookie, bint had_list, Found* out) noexcept nogil:
    cdef const char* cut = find_separator(cookie.value, cookie.end, cluster.separator)
    if cut == cookie.end:
        note_writer(cluster, server, WRITES_NONE)
        if server != cluster.cluster_address:
            judge_session(cluster, server, cookie, out)
    elif not had_list:
        judge_list(cluster, server, cut, cookie.end, out)


cdef void judge_session(Cluster cluster, int server, SetCookie* cookie, Found* out) noexcept nogil:
    """A value without a list."""
    cdef const char* route = find_route(cookie.value, cookie.end - cookie.value)
    cdef int owner = -1 if route == NULL else owner_of(cluster, route, cookie.end - route)
    if route != NULL and is_its_own(cluster, server, route, cookie.end - route):
        set_found(out, OWN_ROUTE, server, route, cookie.end - route)
    elif owner >= 0:
        set_found(out, OTHERS_ID, owner, route, cookie.end - route)
    elif not find_other_separator(cluster, cookie.value, cookie.end, out) and cluster.clone_ids[server] != NULL:
        set_found(out, NO_IDS, -1, cookie.name, cookie.name_len)


cdef void judge_list(Cluster cluster, int server, const char* p, const char* end, Found* out) noexcept nogil:
    """The list from the separator at ``p`` on, all of it the server's own words; the last clone id is what it added."""
    cdef const char* start
    cdef const char* last = NULL
    cdef Py_ssize_t length = 0
    cdef bint has_own = server == cluster.cluster_address  # somebody behind it wrote it
    cdef int owner
    while p < end:
        start = p + separator_length(p, end, cluster.separator)
        p = find_separator(start, end, cluster.separator)
        if p > start:
            last = start
            length = p - start
            has_own = has_own or is_its_own(cluster, server, last, length)
    note_writer(cluster, server, WRITES_ITS_OWN if has_own else WRITES_OTHERS)
    # Partition ids are no clone ids: which server has one is said in a table (PLUGIN 3.5).
    if has_own or last == NULL or cluster.sessions.at.version_len:
        return
    owner = owner_of(cluster, last, length)
    set_found(out, UNKNOWN_ID if owner < 0 else OTHERS_ID, owner, last, length)


# --- what clients bring --------------------------------------------------------------------------------------------------

cdef bint find_other_separator(Cluster cluster, const char* p, const char* end, Found* out) noexcept nogil:
    """A CloneID behind the other separator, in a value without a list."""
    cdef char other = other_separator(cluster)
    cdef const char* start
    cdef int owner
    p = find_separator(p, end, other)
    while p < end:
        start = p + separator_length(p, end, other)
        p = find_separator(start, end, other)
        owner = owner_of(cluster, start, p - start)
        if owner >= 0:
            return set_found(out, OTHER_SEPARATOR, owner, start, p - start)
    return False


cdef int find_other_case(Cluster cluster, const char* p, const char* end, Found* out, int most) noexcept nogil:
    """Clone ids of this list that are CloneIDs in another case; how many."""
    cdef const char* start
    cdef int position, server
    cdef int count = 0
    while p < end and count < most:
        start = p + separator_length(p, end, cluster.separator)
        p = find_separator(start, end, cluster.separator)
        if owner_of(cluster, start, p - start) >= 0:
            continue
        for position in range(cluster.member_count):
            server = cluster.order[position]
            if cluster.clone_ids[server] != NULL and cluster.clone_id_lens[server] == p - start:
                if is_same_but_case(start, cluster.clone_ids[server], p - start):
                    set_found(&out[count], OTHER_CASE, server, start, p - start)
                    count += 1
                    break
    return count


cdef int look_at_value(Cluster cluster, const char* value, const char* end, Found* out, int most) noexcept nogil:
    cdef const char* cut = find_separator(value, end, cluster.separator)
    if most <= 0:
        return 0
    if cut == end:
        return find_other_separator(cluster, value, end, out)
    return find_other_case(cluster, cut, end, out, most)


cdef int find_other_name(
    const char* p, const char* end, const char* ends, const char* name, Py_ssize_t name_len, Found* out, int most
) noexcept nogil:
    """The first ``NAME=`` in another case between these ``ends``; ``most`` 0: it is not looked for."""
    cdef const char* start
    while p < end and most > 0:
        start = p
        while p < end and p[0] != ends[0] and p[0] != ends[1]:
            p += 1
        while start < p and (start[0] == c" " or start[0] == c"\t"):
            start += 1
        if p - start > name_len and is_same_but_case(start, name, name_len):
            if memchr(b" \t=", start[name_len], 3) != NULL:
                return set_found(out, OTHER_NAME, -1, start, name_len)
        p += 1
    return 0


cdef int find_misfits(Cluster cluster, RequestHead* head, MatchResult* found, Found* out) noexcept nogil:
    cdef const char* p
    cdef const char* end
    cdef const char* value
    cdef const char* value_end
    cdef int count = 0
    cdef int in_cookies, i
    for i in range(head.fields.count if found.cookie_len else 0):
        if head.fields.at[i].kind != FIELD_COOKIE:
            continue
        p = head.fields.at[i].value
        end = p + head.fields.at[i].value_len
        count += find_other_name(p, end, ";,", found.cookie, found.cookie_len, &out[count], MOST_FOUND - count)
        while next_cookie(&p, end, found.cookie, found.cookie_len, &value, &value_end):
            count += look_at_value(cluster, value, value_end, &out[count], MOST_FOUND - count)
    if head.has_params and found.url_id_len:
        in_cookies = count
        p = head.target
        end = p + head.path_len
        count += find_other_name(p, end, ";/", found.url_id, found.url_id_len, &out[count], MOST_FOUND - count)
        while next_param(&p, end, found.url_id, found.url_id_len, &value, &value_end):
            count += look_at_value(cluster, value, value_end, &out[count], MOST_FOUND - count)
        for i in range(in_cookies, count):
            out[i].in_path = True
    return count


cdef object describe_found(Cluster cluster, int server, bytes cookie, bytes url_id, Found* found):
    cdef bint sets = server >= 0
    cdef bint owned = found.server >= 0
    return Noticed(
        found.kind, cluster.name,
        cluster.server_names[server] if sets else "",
        id_of(cluster, server) if sets else b"",
        found.text[:found.length],
        cluster.server_names[found.server] if owned else "",
        id_of(cluster, found.server) if owned else b"",
        url_id if found.in_path else cookie, bool(found.in_path), cluster.separator,
    )


cdef bytes id_of(Cluster cluster, int server):
    return b"" if cluster.clone_ids[server] == NULL else cluster.clone_ids[server][:cluster.clone_id_lens[server]]


# --- for tests ---------------------------------------------------------------------------------------------------------

def learn_from(Cluster cluster not None, int server, bytes data not None, bytes name not None, bint had_list=False):
    """What this answer of the server teaches: (a Writer of both afterwards, news as ``Noticed`` or None)."""
    cdef ResponseHead head
    cdef Limits limits = Limits(1 << 20, 65536, MAX_FIELDS, True, False)
    cdef ExactCopy copy = ExactCopy(data)
    cdef Found news
    cluster.check_server(server)
    if parse_response(copy.at, copy.length, &limits, &head) <= 0:
        return None
    learn(cluster, server, &head.fields, <const char*>name, len(name), had_list, &news)
    return (
        ws_load32(&cluster.servers[server].writer), ws_load32(&cluster.slot.writer),
        None if news.kind == NOTHING_FOUND else describe_found(cluster, server, name, b"", &news),
    )


def misfits_of(
    Cluster cluster not None, bytes data not None, bytes name=b"JSESSIONID", bytes url_id=b"jsessionid"
) -> list | None:
    """What cannot be right in this request's session, as ``Noticed``; None: it is none."""
    cdef RequestHead head
    cdef MatchResult match
    cdef Limits limits = Limits(1 << 20, 65536, MAX_FIELDS, True, False)
    cdef ExactCopy copy = ExactCopy(data)
    cdef Found found[MOST_FOUND]
    cdef int i
    if parse_request(copy.at, copy.length, &limits, &head) <= 0:
        return None
    match.cookie, match.cookie_len = <const char*>name, len(name)
    match.url_id, match.url_id_len = <const char*>url_id, len(url_id)
    return [
        describe_found(cluster, -1, name, url_id, &found[i])
        for i in range(find_misfits(cluster, &head, &match, found))
    ]
