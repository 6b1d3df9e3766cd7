"""
Finds the Route of (host, port, path) in a time that does not grow with the number of Routes (PLUGIN.md 2).

Driven by ``connection`` for live traffic and, through ``match_path``, by explain, replay and tests. Must not
read the Config (``routing.table`` turns it into rows), decode or tidy the path, or allocate while matching.

A match is a pair of one *key* and one *pattern*, and both are few for any request:

- keys: ``host:port``, ``host:*``, ``*:port``, ``*:*`` and "no VirtualHostGroup named": at most five;
- patterns: prefixes of the path, the path itself, suffixes, and "no UriGroup named". All literal texts stand
  in one hash table. A forward hash grows along the path and is looked up where a prefix can end; suffixes of
  a matching prefix (``/app/*.jsp``; that of ``*.jsp`` is empty) are found by a backward hash.

Which Route belongs to a pair is looked up, too: keys that stand in the same VirtualHostGroups form a host
class, patterns that stand in the same UriGroups form a uri class, and ``pairs`` maps (host class, uri class)
to its first Route in file order. Thus hosts that share a group, or groups that share a UriGroup, cost no more
than their text.
"""

from collections import namedtuple

cimport cython
from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memchr, memcmp
from wsproxy._fast.match_draft cimport (
    ANY_HOST, KIND_EXACT, KIND_FOLDER, KIND_PREFIX, KIND_SUFFIX, NO_URI_GROUP, NO_VHOST_GROUP, ROOT,
)
from wsproxy._fast.match_tables cimport (
    EXACT_SALT, START, Host, Index, Key, Names, Pattern, Ref, RouteRow, Slot, Tables, build_tables,
    free_tables, hash_step, pair_of, slot_of, take,
)

# Pairs of classes are few unless hosts and patterns overlap in thousands of different ways. Beyond this many
# (32 MiB of slots) the groups of key and pattern are walked instead: slower by the length of these lists,
# same answer.
MAX_PAIRS = 1_000_000

cdef enum:
    MAX_KEYS = 5            # host:port, host:*, *:port, *:*, no VirtualHostGroup

cdef struct Search:
    int32_t keys[MAX_KEYS]
    int key_count
    int only                # consider this Route alone; -1: all
    int64_t rank            # score and exact match of the best so far, the one that counts more in the upper half
    int route
    int score
    int exact
    int pattern
    int key


cdef struct Query:          # of count_matches
    const char* host
    Py_ssize_t host_len
    int port
    const char* path
    Py_ssize_t path_len


# --------------------------------------------------------------------------------------------------------------
# Looking up


cdef inline char lower(char byte) noexcept nogil:
    return byte | 0x20 if c"A" <= byte <= c"Z" else byte


cdef inline int32_t find_number(Index* index, uint64_t number) noexcept nogil:
    """The id stored for ``number``, which is its own hash; -1: none."""
    cdef uint64_t i = slot_of(index, number)
    while index.slots[i].id >= 0:
        if index.slots[i].hash == number:
            return index.slots[i].id
        i = (i + 1) & index.mask
    return -1


cdef int32_t find_host(Tables* t, const char* host, Py_ssize_t length) noexcept nogil:
    """The number of this literal host, compared without regard to ASCII case; -1: in no VirtualHost."""
    cdef uint64_t h = START
    cdef uint64_t i
    cdef Py_ssize_t n
    cdef Host* known
    if length > t.longest_host:
        return -1
    for n in range(length):
        h = hash_step(h, lower(host[n]))
    i = slot_of(&t.host_index, h)
    while t.host_index.slots[i].id >= 0:
        if t.host_index.slots[i].hash == h:
            known = &t.hosts[t.host_index.slots[i].id]
            if known.length == length:
                n = 0
                while n < length and lower(host[n]) == t.text[known.start + n]:
                    n += 1
                if n == length:
                    return t.host_index.slots[i].id
        i = (i + 1) & t.host_index.mask
    return -1


cdef inline int32_t find_pattern(
    Tables* t, uint64_t h, int32_t kind, int32_t prefix, const char* text, Py_ssize_t length
) noexcept nogil:
    """The Pattern of this kind and text; -1: none."""
    cdef uint64_t i = slot_of(&t.pattern_index, h)
    cdef Slot* slots = t.pattern_index.slots
    cdef Pattern* p
    while slots[i].id >= 0:
        if slots[i].hash == h:
            p = &t.patterns[slots[i].id]
            if (
                p.length == length and p.kind == kind and p.prefix == prefix
                and memcmp(t.text + p.start, text, length) == 0
            ):
                return slots[i].id
        i = (i + 1) & t.pattern_index.mask
    return -1


cdef int32_t member_of(Ref* refs, int32_t count, int32_t group) noexcept nogil:
    """The member stored for ``group`` in ``refs`` (ascending by group); -2: the group is not among them."""
    cdef int32_t low = 0
    cdef int32_t high = count
    cdef int32_t middle
    while low < high:
        middle = (low + high) >> 1
        if refs[middle].group < group:
            low = middle + 1
        else:
            high = middle
    return refs[low].member if low < count and refs[low].group == group else -2


# ----------------------------------------------------------------------------------------------------------
# Matching


cdef int32_t walk_groups(Tables* t, Key* key, Pattern* p) noexcept nogil:
    """The first Route between any group of the key and any group of the pattern; -1: none."""
    cdef int32_t i, j, route
    cdef int32_t first = -1
    for i in range(key.first, key.first + key.count):
        for j in range(p.first, p.first + p.count):
            route = find_number(&t.pairs, pair_of(t.vhost_refs[i].group + 1, t.uri_refs[j].group + 1))
            if route >= 0 and (first < 0 or route < first):
                first = route
    return first


cdef int32_t only_route(Tables* t, Key* key, Pattern* p, int32_t route) noexcept nogil:
    """``route`` itself where its groups hold this key and this pattern; else -1."""
    if member_of(t.vhost_refs + key.first, key.count, t.routes[route].vhost_group) == -2:
        return -1
    if member_of(t.uri_refs + p.first, p.count, t.routes[route].uri_group) == -2:
        return -1
    return route


cdef inline int32_t uri_of(Tables* t, int32_t pattern, int32_t route) noexcept nogil:
    cdef Pattern* p = &t.patterns[pattern]
    return member_of(t.uri_refs + p.first, p.count, t.routes[route].uri_group)


cdef void consider(Tables* t, Search* s, int32_t pattern) noexcept nogil:
    """Notes the Route behind each key and this matching pattern if it is the best so far."""
    cdef Pattern* p = &t.patterns[pattern]
    cdef Key* key
    cdef int i, score, exact
    cdef int64_t rank
    cdef int32_t route
    if p.cls < 0:
        return
    for i in range(s.key_count):
        key = &t.keys[s.keys[i]]
        score = p.score + key.score
        exact = p.exact + key.exact
        rank = (<int64_t>exact << 32) + score if t.exact_first else (<int64_t>score << 32) + exact
        if rank < s.rank:
            continue
        if s.only >= 0:
            route = only_route(t, key, p, s.only)
        elif t.walk:
            route = walk_groups(t, key, p)
        else:
            route = find_number(&t.pairs, pair_of(key.cls, p.cls))
        if route < 0:
            continue
        if rank == s.rank:
            if route > s.route:
                continue
            if route == s.route and uri_of(t, pattern, route) >= uri_of(t, s.pattern, route):
                continue
        s.rank = rank
        s.score = score
        s.exact = exact
        s.route = route
        s.pattern = pattern
        s.key = s.keys[i]


cdef void visit_prefix(
    Tables* t, Search* s, int32_t prefix, const char* path, Py_ssize_t length
) noexcept nogil:
    """Considers a matching prefix and those of its suffixes that the rest of the path ends with."""
    cdef Pattern* p = &t.patterns[prefix]
    cdef Py_ssize_t rest = length - p.length
    cdef Py_ssize_t done = 0
    cdef int32_t i, found, suffix
    cdef uint64_t h
    consider(t, s, prefix)
    if p.suffix_count == 0:
        return
    h = START ^ <uint64_t>prefix
    for i in range(p.first_suffix, p.first_suffix + p.suffix_count):
        suffix = t.suffix_lengths[i]
        if suffix > rest:
            return
        while done < suffix:
            done += 1
            h = hash_step(h, path[length - done])
        found = find_pattern(t, h, KIND_SUFFIX, prefix, path + length - suffix, suffix)
        if found >= 0:
            consider(t, s, found)


cdef void visit_path(Tables* t, Search* s, const char* path, Py_ssize_t length) noexcept nogil:
    """Considers every pattern that matches this path."""
    cdef Py_ssize_t walked = length
    cdef Py_ssize_t i
    cdef uint64_t h = START
    cdef int32_t found, kind
    consider(t, s, NO_URI_GROUP)
    visit_prefix(t, s, ROOT, path, length)
    if length > t.longest_exact and length > t.longest_prefix:
        walked = max(t.longest_exact, t.longest_prefix)
    for i in range(walked):
        h = hash_step(h, path[i])
        kind = KIND_FOLDER if path[i] == c"/" else KIND_PREFIX
        if t.lengths[i + 1] & kind:
            found = find_pattern(t, h, kind, -1, path, i + 1)
            if found >= 0:
                visit_prefix(t, s, found, path, length)
    if length <= t.longest_exact and t.lengths[length] & KIND_EXACT:
        found = find_pattern(t, h ^ EXACT_SALT, KIND_EXACT, -1, path, length)
        if found >= 0:
            consider(t, s, found)


cdef inline void add_key(Tables* t, Search* s, int32_t host, int32_t port) noexcept nogil:
    cdef int32_t key = find_number(&t.key_index, pair_of(host, port))
    if key >= 0:
        s.keys[s.key_count] = key
        s.key_count += 1


cdef int32_t best_vhost(Tables* t, Search* s, int32_t group) noexcept nogil:
    """The VirtualHost of ``group`` that decided: the first of the equally exact; -1: no group."""
    cdef Key* key
    cdef int i
    cdef int32_t member
    cdef int32_t best = -1
    for i in range(s.key_count):
        key = &t.keys[s.keys[i]]
        if key.exact == t.keys[s.key].exact:
            member = member_of(t.vhost_refs + key.first, key.count, group)
            if member >= 0 and (best < 0 or member < best):
                best = member
    return best


cdef void fill(Tables* t, Search* s, MatchResult* out) noexcept nogil:
    """Writes the outcome of the search into ``out``."""
    cdef RouteRow* row
    cdef Names* names = &t.names[0]
    out.route = s.route
    if s.route < 0:
        out.score = out.exact = out.vhost_score = out.vhost_exact = 0
        out.cluster = out.uri_group = out.uri = out.vhost_group = out.vhost = -1
    else:
        row = &t.routes[s.route]
        out.cluster = row.cluster
        out.score = s.score
        out.exact = s.exact
        out.vhost_score = t.keys[s.key].score
        out.vhost_exact = t.keys[s.key].exact
        out.uri_group = row.uri_group
        out.uri = uri_of(t, s.pattern, s.route)
        out.vhost_group = row.vhost_group
        out.vhost = best_vhost(t, s, row.vhost_group)
        if row.uri_group >= 0:
            names = &t.names[t.first_names[row.uri_group] + out.uri]
    out.cookie = names.cookie
    out.cookie_len = names.cookie_len
    out.url_id = names.url_id
    out.url_id_len = names.url_id_len


cdef int search(
    Tables* t, const char* host, Py_ssize_t host_len, int port,
    const char* path, Py_ssize_t path_len, int only, MatchResult* out,
) noexcept nogil:
    """``RouteTable.match``, or the same for the Route ``only``."""
    cdef Search s
    cdef const char* stop
    cdef int32_t number
    if path_len > 0:
        stop = <const char*>memchr(path, c";", path_len)
        if stop != NULL:
            path_len = stop - path
        stop = <const char*>memchr(path, c"?", path_len)
        if stop != NULL:
            path_len = stop - path
    s.key_count = 0
    s.only = only
    s.rank = s.route = s.score = s.exact = s.pattern = s.key = -1
    number = find_host(t, host, host_len)
    if number >= 0:
        if port >= 0:
            add_key(t, &s, number, port)
        add_key(t, &s, number, -1)
    if port >= 0:
        add_key(t, &s, ANY_HOST, port)
    add_key(t, &s, ANY_HOST, -1)
    if t.has_ungrouped:
        s.keys[s.key_count] = NO_VHOST_GROUP
        s.key_count += 1
    if s.key_count > 0:
        visit_path(t, &s, path, path_len)
    fill(t, &s, out)
    return s.route


# ----------------------------------------------------------------------------------------------------------
# For Python

Match = namedtuple(
    "Match",
    ("route", "cluster", "score", "exact", "uri_group", "uri", "vhost_group", "vhost", "cookie", "url_id"),
    module=__name__,
)


cdef object match_of(MatchResult* found):
    if found.route < 0:
        return None
    return Match(
        found.route, found.cluster, found.score, found.exact, found.uri_group, found.uri, found.vhost_group,
        found.vhost, found.cookie[: found.cookie_len], found.url_id[: found.url_id_len],
    )


@cython.no_gc     # holds bytes only; a collected `keep` would leave `tables` dangling
cdef class RouteTable:
    """
    Which Route a request takes, compiled once from rows and never changed.

    vhost_groups: for each VirtualHostGroup its (host or ``*``, port or -1 for any); uri_groups: for each
    UriGroup its (Uri, AffinityCookie, AffinityURLIdentifier); routes: (VirtualHostGroup or -1, UriGroup or
    -1, cluster). max_pairs bounds the memory; see MAX_PAIRS.
    exact_first: the exact match counts before the score (PLUGIN Q1).

    Raises: ValueError for a number out of range, TypeError for a row of another shape, MemoryError.
    """

    def __cinit__(
        self, list vhost_groups, list uri_groups, list routes, *,
        Py_ssize_t max_pairs=MAX_PAIRS, bint exact_first=False,
    ):
        self.keep = []
        self.tables = take(1, sizeof(Tables))
        build_tables(<Tables*>self.tables, vhost_groups, uri_groups, routes, max_pairs, self.keep)
        (<Tables*>self.tables).exact_first = exact_first

    def __dealloc__(self):
        if self.tables != NULL:
            free_tables(<Tables*>self.tables)
            PyMem_RawFree(self.tables)

    cdef int match(
        self, const char* host, Py_ssize_t host_len, int port,
        const char* path, Py_ssize_t path_len, MatchResult* out,
    ) noexcept nogil:
        return search(<Tables*>self.tables, host, host_len, port, path, path_len, -1, out)

    cdef int match_alone(
        self, int route, const char* host, Py_ssize_t host_len, int port,
        const char* path, Py_ssize_t path_len, MatchResult* out,
    ) noexcept nogil:
        return search(<Tables*>self.tables, host, host_len, port, path, path_len, route, out)

    def match_path(self, bytes host not None, int port, bytes path not None):
        """The Match of live traffic for this request; None where no Route matches."""
        cdef MatchResult found
        self.match(host, len(host), port, path, len(path), &found)
        return match_of(&found)

    def match_route(self, int route, bytes host not None, int port, bytes path not None):
        """What ``route`` alone scores for this request, for explain; None where it does not match."""
        cdef MatchResult found
        if not 0 <= route < (<Tables*>self.tables).route_count:
            raise ValueError(f"found route {route}; allowed is 0 to {(<Tables*>self.tables).route_count - 1}")
        self.match_alone(route, host, len(host), port, path, len(path), &found)
        return match_of(&found)

    def count_matches(self, list queries not None, int rounds):
        """How many of these (host, port, path) match, asked ``rounds`` times in C: for bench.micro.match."""
        cdef Py_ssize_t count = len(queries)
        cdef Py_ssize_t matched = 0
        cdef Py_ssize_t i
        cdef int _round
        cdef MatchResult found
        cdef bytes host, path
        cdef Query* asked = <Query*>take(count, sizeof(Query))
        try:
            for i in range(count):
                host, port, path = queries[i]       # the list keeps the bytes alive
                asked[i].host = host
                asked[i].host_len = len(host)
                asked[i].port = port
                asked[i].path = path
                asked[i].path_len = len(path)
            with nogil:
                for _round in range(rounds):
                    for i in range(count):
                        if self.match(
                            asked[i].host, asked[i].host_len, asked[i].port,
                            asked[i].path, asked[i].path_len, &found,
                        ) >= 0:
                            matched += 1
        finally:
            PyMem_RawFree(asked)
        return matched
