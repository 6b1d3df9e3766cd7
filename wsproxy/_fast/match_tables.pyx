"""
Lays out what the rows of a RouteTable say in C arrays and hash indexes, ready for ``match``.

Driven by ``RouteTable`` while it is made and freed. Must not match anything; must leave Tables that
``free_tables`` can free whatever goes wrong, so every piece of memory is stored in Tables at once.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from wsproxy._fast.match_draft cimport (
    ANY_HOST, KIND_EXACT, KIND_PREFIX, KIND_SUFFIX, NO_VHOST_GROUP, ROOT, Draft,
)

DEFAULT_COOKIE = b"JSESSIONID"
DEFAULT_URL_ID = b"jsessionid"


cdef void* take(size_t count, size_t size) except NULL:
    """Zeroed memory for ``count`` items, never NULL; the caller owns it."""
    cdef void* memory = PyMem_RawCalloc(count if count > 0 else 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef int reserve(Index* index, Py_ssize_t count) except -1:
    """Makes an index for at most ``count`` ids."""
    cdef int bits = 3
    cdef uint64_t i
    while (<uint64_t>1 << bits) < 2 * <uint64_t>count:
        bits += 1
    index.mask = (<uint64_t>1 << bits) - 1
    index.shift = 64 - bits
    index.slots = <Slot*>take(index.mask + 1, sizeof(Slot))
    for i in range(index.mask + 1):
        index.slots[i].id = -1
    return 0


cdef void insert(Index* index, uint64_t h, int32_t id) noexcept nogil:
    """Adds an id; ids of the same hash may stand side by side."""
    cdef uint64_t i = slot_of(index, h)
    while index.slots[i].id >= 0:
        i = (i + 1) & index.mask
    index.slots[i].hash = h
    index.slots[i].id = id


cdef void insert_least(Index* index, uint64_t number, int32_t id) noexcept nogil:
    """Stores ``id`` for ``number`` unless a smaller one is there."""
    cdef uint64_t i = slot_of(index, number)
    while index.slots[i].id >= 0 and index.slots[i].hash != number:
        i = (i + 1) & index.mask
    if index.slots[i].id < 0 or id < index.slots[i].id:
        index.slots[i].hash = number
        index.slots[i].id = id


cdef uint64_t hash_pattern(int32_t kind, int32_t prefix, const char* text, Py_ssize_t length) noexcept nogil:
    """The hash under which ``match`` looks for this pattern; lower-case hosts hash like a KIND_PREFIX."""
    cdef uint64_t h = START
    cdef Py_ssize_t i
    if kind == KIND_SUFFIX:
        h ^= <uint64_t>prefix
        for i in range(length):
            h = hash_step(h, text[length - 1 - i])
        return h
    for i in range(length):
        h = hash_step(h, text[i])
    return h ^ EXACT_SALT if kind == KIND_EXACT else h


cdef int lay_refs(Ref* refs, int32_t first, dict groups) except -1:
    """Writes {group: member} ascending by group at ``refs[first]``; answers where the next ones go."""
    for group, member in sorted(groups.items()):
        refs[first].group = group
        refs[first].member = member
        first += 1
    return first


cdef int lay_hosts(Tables* t, Draft draft) except -1:
    """Hosts and keys."""
    cdef int32_t number
    cdef int32_t first = 0
    cdef Host* host
    t.hosts = <Host*>take(len(draft.hosts) + 1, sizeof(Host))
    reserve(&t.host_index, len(draft.hosts))
    for text, number in draft.hosts.items():
        host = &t.hosts[number]
        host.start = draft.offset_of(text)
        host.length = len(text)
        t.longest_host = max(t.longest_host, host.length)
        insert(&t.host_index, hash_pattern(KIND_PREFIX, -1, t.text + host.start, host.length), number)
    t.keys = <Key*>take(len(draft.keys), sizeof(Key))
    t.vhost_refs = <Ref*>take(draft.count_members(draft.keys.values()), sizeof(Ref))
    reserve(&t.key_index, len(draft.keys))
    for number, ((host_number, port), groups) in enumerate(draft.keys.items()):
        if number != NO_VHOST_GROUP:
            insert(&t.key_index, pair_of(host_number, port), number)
            t.keys[number].score = 1
            t.keys[number].exact = 1 if host_number != ANY_HOST and port != -1 else 0
        t.keys[number].cls = draft.class_of(draft.host_classes, groups)
        t.keys[number].first = first
        t.keys[number].count = len(groups)
        first = lay_refs(t.vhost_refs, first, groups)
    return 0


cdef void score_pattern(Tables* t, Pattern* p) noexcept nogil:
    """Sets score and exact (PLUGIN.md 2.3, Q1): literal characters, and those before the first ``*``."""
    p.score = p.length
    p.exact = p.length
    if p.kind == KIND_SUFFIX:
        p.exact = t.patterns[p.prefix].length
        p.score += p.exact


cdef int lay_patterns(Tables* t, Draft draft) except -1:
    """Patterns, the groups that they stand in and the lengths of their suffixes."""
    cdef int32_t number, length
    cdef int32_t first = 0
    cdef int32_t first_suffix = 0
    cdef Pattern* p
    t.patterns = <Pattern*>take(len(draft.pattern_refs), sizeof(Pattern))
    t.uri_refs = <Ref*>take(draft.count_members(draft.pattern_refs), sizeof(Ref))
    t.suffix_lengths = <int32_t*>take(draft.count_members(draft.suffix_lengths.values()), sizeof(int32_t))
    reserve(&t.pattern_index, len(draft.pattern_refs))
    for (kind, prefix, text), number in draft.pattern_numbers.items():
        p = &t.patterns[number]
        p.kind = kind
        p.prefix = prefix       # has the smaller number, so that it is laid already
        p.start = draft.offset_of(text)
        p.length = len(text)
        score_pattern(t, p)
        if number > ROOT:       # NO_URI_GROUP and ROOT are visited without looking
            insert(&t.pattern_index, hash_pattern(p.kind, p.prefix, t.text + p.start, p.length), number)
        groups = draft.pattern_refs[number]
        p.cls = draft.class_of(draft.uri_classes, groups) if groups else -1
        p.first = first
        p.count = len(groups)
        first = lay_refs(t.uri_refs, first, groups)
        p.first_suffix = first_suffix
        for length in sorted(draft.suffix_lengths.get(number, ())):
            t.suffix_lengths[first_suffix] = length
            first_suffix += 1
        p.suffix_count = first_suffix - p.first_suffix
    return 0


cdef int lay_lengths(Tables* t, int32_t count) except -1:
    """Notes which lengths are worth a look."""
    cdef int32_t number
    cdef Pattern* p
    for number in range(ROOT + 1, count):
        p = &t.patterns[number]
        if p.kind == KIND_EXACT:
            t.longest_exact = max(t.longest_exact, p.length)
        elif p.kind != KIND_SUFFIX:
            t.longest_prefix = max(t.longest_prefix, p.length)
    t.lengths = <uint8_t*>take(max(t.longest_exact, t.longest_prefix) + 1, 1)
    for number in range(ROOT + 1, count):
        p = &t.patterns[number]
        if p.kind != KIND_SUFFIX:
            t.lengths[p.length] |= p.kind
    return 0


cdef int lay_names(Tables* t, list uri_groups, list keep) except -1:
    """Affinity names of every Uri; the bytes behind them go to ``keep``."""
    cdef int32_t number = 1
    cdef Py_ssize_t group
    cdef bytes cookie, url_id
    t.first_names = <int32_t*>take(len(uri_groups), sizeof(int32_t))
    t.names = <Names*>take(1 + sum(map(len, uri_groups)), sizeof(Names))
    lay_name(&t.names[0], DEFAULT_COOKIE, DEFAULT_URL_ID)
    for group, uris in enumerate(uri_groups):
        t.first_names[group] = number
        for _, cookie, url_id in uris:
            keep.append((cookie, url_id))
            lay_name(&t.names[number], cookie, url_id)
            number += 1
    return 0


cdef int lay_name(Names* names, bytes cookie, bytes url_id) except -1:
    names.cookie = cookie
    names.cookie_len = len(cookie)
    names.url_id = url_id
    names.url_id_len = len(url_id)
    return 0


cdef int lay_routes(Tables* t, list routes, int vhost_groups, int uri_groups) except -1:
    """Routes, checked."""
    cdef Py_ssize_t number
    cdef RouteRow* row
    t.routes = <RouteRow*>take(len(routes), sizeof(RouteRow))
    t.route_count = <int32_t>len(routes)
    for number, (vhost_group, uri_group, cluster) in enumerate(routes):
        row = &t.routes[number]
        row.vhost_group = vhost_group
        row.uri_group = uri_group
        row.cluster = cluster
        if not -1 <= row.vhost_group < vhost_groups:
            raise ValueError(
                f"route {number}: found VirtualHostGroup {vhost_group}; allowed is -1 to {vhost_groups - 1}"
            )
        if not -1 <= row.uri_group < uri_groups:
            raise ValueError(f"route {number}: found UriGroup {uri_group}; allowed is -1 to {uri_groups - 1}")
        if row.cluster < 0:
            raise ValueError(f"route {number}: found cluster {cluster}; allowed is 0 or more")
        if row.vhost_group < 0:
            t.has_ungrouped = True
    return 0


cdef int lay_pairs(Tables* t, Draft draft, Py_ssize_t count, Py_ssize_t max_pairs) except -1:
    """Which Route is the first between a host class and a uri class; where too many, between groups."""
    cdef Py_ssize_t route
    cdef Py_ssize_t pairs = 0
    cdef RouteRow* row
    cdef int32_t host_class, uri_class
    cdef dict of_vhost_group = draft.classes_by_group(draft.host_classes)
    cdef dict of_uri_group = draft.classes_by_group(draft.uri_classes)
    for route in range(count):
        row = &t.routes[route]
        pairs += (
            <Py_ssize_t>len(of_vhost_group.get(row.vhost_group, ()))
            * <Py_ssize_t>len(of_uri_group.get(row.uri_group, ()))
        )
    t.walk = pairs > max_pairs
    reserve(&t.pairs, count if t.walk else pairs)
    for route in range(count):
        row = &t.routes[route]
        if t.walk:
            insert_least(&t.pairs, pair_of(row.vhost_group + 1, row.uri_group + 1), <int32_t>route)
            continue
        for host_class in of_vhost_group.get(row.vhost_group, ()):
            for uri_class in of_uri_group.get(row.uri_group, ()):
                insert_least(&t.pairs, pair_of(host_class, uri_class), <int32_t>route)
    return 0


cdef int build_tables(
    Tables* t, list vhost_groups, list uri_groups, list routes, Py_ssize_t max_pairs, list keep
) except -1:
    cdef Draft draft = Draft()
    cdef bytes text
    lay_routes(t, routes, <int>len(vhost_groups), <int>len(uri_groups))
    draft.read(vhost_groups, uri_groups, routes)
    text = draft.join_text()
    keep.append(text)
    t.text = text
    lay_hosts(t, draft)
    lay_patterns(t, draft)
    lay_lengths(t, <int32_t>len(draft.pattern_refs))
    lay_names(t, uri_groups, keep)
    lay_pairs(t, draft, len(routes), max_pairs)
    return 0


cdef void free_tables(Tables* t) noexcept:
    PyMem_RawFree(t.hosts)
    PyMem_RawFree(t.keys)
    PyMem_RawFree(t.patterns)
    PyMem_RawFree(t.vhost_refs)
    PyMem_RawFree(t.uri_refs)
    PyMem_RawFree(t.suffix_lengths)
    PyMem_RawFree(t.lengths)
    PyMem_RawFree(t.names)
    PyMem_RawFree(t.first_names)
    PyMem_RawFree(t.routes)
    PyMem_RawFree(t.host_index.slots)
    PyMem_RawFree(t.key_index.slots)
    PyMem_RawFree(t.pattern_index.slots)
    PyMem_RawFree(t.pairs.slots)
