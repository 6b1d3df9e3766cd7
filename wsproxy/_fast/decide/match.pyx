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
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memchr, memcmp
from wsproxy._fast.base.borrowed cimport ws_show
from wsproxy._fast.decide.match_block cimport (
    Host, Index, Key, Names, Pattern, Ref, RouteRow, Slot, Tables, open_block, take,
)
from wsproxy._fast.decide.match_draft cimport (
    ANY_HOST, KIND_EXACT, KIND_FOLDER, KIND_PREFIX, KIND_SUFFIX, NO_URI_GROUP, NO_VHOST_GROUP, ROOT,
)
from wsproxy._fast.decide.match_tables cimport (
    EXACT_SALT, START, build_tables, free_tables, hash_step, pair_of, slot_of,
)

# Pairs of classes are few unless hosts and patterns overlap in thousands of different ways. Beyond this many
# (32 MiB of slots) the groups of key and pattern are walked instead: slower by the length of these lists,
# same answer.
MAX_PAIRS = 1_000_000

cdef enum:
    MAX_KEYS = 5            # host:port, host:*, *:port, *:*, no VirtualHostGroup
    # Instead of the one Route to consider:
    ALL_ROUTES = -1
    ALL_URIS = -2           # no Routes at all: a Uri of any UriGroup; `route` is then the UriGroup
    ONE_GROUP = -3          # the same of the UriGroup in `group` alone

cdef struct Search:
    int32_t keys[MAX_KEYS]
    int key_count
    int only                # consider this Route alone; below 0: see above
    int32_t group
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
    """
    The number of this literal host, compared without regard to ASCII case; -1: in no VirtualHost.

    A last dot says that the name is whole (RFC 3986 3.2.2): `shop.example.` is the host `shop.example`.
    """
    cdef uint64_t h = START
    cdef uint64_t i
    cdef Py_ssize_t n
    cdef Host* known
    if length > 1 and host[length - 1] == c".":
        length -= 1
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


cdef int32_t only_route(Tables* t, Search* s, Key* key, Pattern* p) noexcept nogil:
    """The one Route of the search where its groups hold this key and this pattern, or the UriGroup; else -1."""
    cdef int32_t route = s.only
    if route == ALL_URIS:
        return t.uri_refs[p.first].group    # -1 for the Routes without UriGroup
    if route == ONE_GROUP:
        return s.group if member_of(t.uri_refs + p.first, p.count, s.group) >= 0 else -1
    if member_of(t.vhost_refs + key.first, key.count, t.routes[route].vhost_group) == -2:
        return -1
    if member_of(t.uri_refs + p.first, p.count, t.routes[route].uri_group) == -2:
        return -1
    return route


cdef inline int32_t uri_of(Tables* t, int32_t pattern, int32_t group) noexcept nogil:
    cdef Pattern* p = &t.patterns[pattern]
    return member_of(t.uri_refs + p.first, p.count, group)


cdef bint stands_before(Tables* t, Search* s, int32_t route, int32_t pattern) noexcept nogil:
    """Whether this match is the earlier one of two that are equally good."""
    cdef int32_t group
    if route != s.route:
        return route < s.route
    group = t.routes[route].uri_group if s.only >= ALL_ROUTES else route
    return uri_of(t, pattern, group) < uri_of(t, s.pattern, group)


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
        if s.only != ALL_ROUTES:
            route = only_route(t, s, key, p)
        elif t.walk:
            route = walk_groups(t, key, p)
        else:
            route = find_number(&t.pairs, pair_of(key.cls, p.cls))
        if route < 0:
            continue
        if rank == s.rank and not stands_before(t, s, route, pattern):
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
        out.uri = uri_of(t, s.pattern, row.uri_group)
        out.vhost_group = row.vhost_group
        out.vhost = best_vhost(t, s, row.vhost_group)
        if row.uri_group >= 0:
            names = &t.names[t.first_names[row.uri_group] + out.uri]
    out.cookie = t.text + names.cookie
    out.cookie_len = names.cookie_len
    out.url_id = t.text + names.url_id
    out.url_id_len = names.url_id_len


cdef void start_search(Search* s, int only) noexcept nogil:
    s.key_count = 0
    s.only = only
    s.rank = s.route = s.score = s.exact = s.pattern = s.key = s.group = -1


cdef inline Py_ssize_t end_of_path(const char* path, Py_ssize_t length) noexcept nogil:
    """Where parameters or the query begin."""
    cdef const char* stop
    if length > 0:
        stop = <const char*>memchr(path, c";", length)
        if stop != NULL:
            length = stop - path
        stop = <const char*>memchr(path, c"?", length)
        if stop != NULL:
            length = stop - path
    return length


cdef inline void add_keys(Tables* t, Search* s, const char* host, Py_ssize_t host_len, int port) noexcept nogil:
    """The keys of all VirtualHosts that take it."""
    cdef int32_t number = find_host(t, host, host_len)
    if number >= 0:
        if port >= 0:
            add_key(t, s, number, port)
        add_key(t, s, number, -1)
    if port >= 0:
        add_key(t, s, ANY_HOST, port)
    add_key(t, s, ANY_HOST, -1)


cdef int search(
    Tables* t, const char* host, Py_ssize_t host_len, int port,
    const char* path, Py_ssize_t path_len, int only, MatchResult* out,
) noexcept nogil:
    """``RouteTable.match``, or the same for the Route ``only``."""
    cdef Search s
    start_search(&s, only)
    add_keys(t, &s, host, host_len, port)
    if t.has_ungrouped:
        s.keys[s.key_count] = NO_VHOST_GROUP
        s.key_count += 1
    if s.key_count > 0:
        visit_path(t, &s, path, end_of_path(path, path_len))
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


@cython.no_gc     # holds a buffer only; one collected too early would leave `tables` dangling
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
        self.tables = take(1, sizeof(Tables))
        build_tables(<Tables*>self.tables, vhost_groups, uri_groups, routes, max_pairs, exact_first)

    def __dealloc__(self):
        if self.tables != NULL:
            self.drop_block()
            PyMem_RawFree(self.tables)

    cdef void drop_block(self) noexcept:
        if self.memory.buf != NULL:
            PyBuffer_Release(&self.memory)
        else:
            free_tables(<Tables*>self.tables)

    @staticmethod
    def mapped(memory):
        """
        The table whose ``flat()`` this memory holds: nothing is copied, whatever its size; the memory is kept as long as
        the table.

        memory: any buffer that begins at a multiple of 8, like an ``mmap`` or a slice of one; more may stand behind it.
        Nobody may write to it afterwards. It must come from a process of this wsproxy: only its header is checked.

        Raises: ValueError for memory that does not begin as ``flat()`` does or ends too early, TypeError for no buffer.
        """
        cdef RouteTable table = RouteTable([], [], [])
        table.take_memory(memory)
        return table

    cdef int take_memory(self, memory) except -1:
        """Has ``memory`` for its block from now on."""
        cdef Tables found
        cdef Py_buffer held
        PyObject_GetBuffer(memory, &held, PyBUF_SIMPLE)
        try:
            open_block(&found, held.buf, held.len)
        except ValueError:
            PyBuffer_Release(&held)
            raise
        self.drop_block()
        self.memory = held
        (<Tables*>self.tables)[0] = found
        return 0

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        cdef Tables* t = <Tables*>self.tables
        ws_show(<void*>t.block, t.size)     # gaps, too: who has all of it copies all of it
        PyBuffer_FillInfo(buffer, self, <void*>t.block, t.size, 1, flags)

    def flat(self):
        """All of the table as bytes that ``mapped`` takes in any process of this machine: its own memory, not a copy."""
        return memoryview(self)

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

    def match_vhost(self, int group, bytes host not None, int port):
        """
        The best VirtualHost of this VirtualHostGroup alone, whatever Routes say: (index in the group, score, exact);
        None: it has none.

        Groups that no Route names have nothing to match.
        """
        cdef Tables* t = <Tables*>self.tables
        cdef Search s
        cdef Key* key
        cdef int i
        start_search(&s, ALL_ROUTES)
        add_keys(t, &s, host, len(host), port)
        for i in range(s.key_count):
            key = &t.keys[s.keys[i]]
            if key.exact > s.exact and member_of(t.vhost_refs + key.first, key.count, group) >= 0:
                s.key = s.keys[i]
                s.exact = key.exact
        if s.key < 0:
            return None
        return best_vhost(t, &s, group), t.keys[s.key].score, s.exact

    def vhost_groups(self, bytes host not None, int port, int most):
        """VirtualHostGroups of Routes that take this host and port, those with an exact one first; at most ``most``."""
        cdef Tables* t = <Tables*>self.tables
        cdef Search s
        cdef Key* key
        cdef dict found = {}
        cdef int i, at
        start_search(&s, ALL_ROUTES)
        add_keys(t, &s, host, len(host), port)
        for i in range(s.key_count):        # the only exact key is the first one
            key = &t.keys[s.keys[i]]
            for at in range(key.first, key.first + key.count):
                if len(found) >= most:
                    break
                found[t.vhost_refs[at].group] = None
        return list(found)

    def match_uri(self, int group, bytes path not None):
        """
        The best Uri of this UriGroup alone, or of all for -1, whatever Routes say: (UriGroup, index in it, score, exact);
        None: no Uri takes the path.

        Groups that no Route names have nothing to match.
        """
        cdef Tables* t = <Tables*>self.tables
        cdef Search s
        start_search(&s, ALL_URIS if group < 0 else ONE_GROUP)
        s.group = group
        s.keys[0] = NO_VHOST_GROUP      # scores nothing
        s.key_count = 1
        visit_path(t, &s, path, end_of_path(path, len(path)))
        if s.route < 0:
            return None
        return s.route, uri_of(t, s.pattern, s.route), s.score, s.exact

    def count_uris(self, int group):
        """How many Uris this UriGroup has."""
        cdef Tables* t = <Tables*>self.tables
        if not 0 <= group < t.uri_group_count:
            raise ValueError(f"found UriGroup {group}; allowed is 0 to {t.uri_group_count - 1}")
        return t.first_names[group + 1] - t.first_names[group]

    def uri_text(self, int group, int uri):
        """A Uri as the file has it: whoever explains needs no Config with all of them."""
        cdef Tables* t = <Tables*>self.tables
        cdef int count = self.count_uris(group)
        cdef Names* names
        if not 0 <= uri < count:
            raise ValueError(f"found Uri {uri}; allowed is 0 to {count - 1}")
        names = &t.names[t.first_names[group] + uri]
        return t.text[names.uri : names.uri + names.uri_len]

    @property
    def vhost_count(self):
        """How many different VirtualHosts the Routes lead from."""
        return (<Tables*>self.tables).vhost_count

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
