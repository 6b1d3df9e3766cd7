"""
Lays out what the rows of a RouteTable say in C arrays and hash indexes, ready for ``match``.

Driven by ``RouteTable`` while it is made and freed. Everything is counted first, then laid into the one block of
``match_block``. Must not match anything; must leave Tables that ``free_tables`` can free whatever goes wrong.
"""

from cpython.mem cimport PyMem_RawFree
from libc.string cimport memcpy, memset
from wsproxy._fast.decide.match_block cimport (
    FIRST_NAMES, HOST_SLOTS, HOSTS, KEY_SLOTS, KEYS, LENGTHS, NAMES, PAIR_SLOTS, PATTERN_SLOTS, PATTERNS, ROUTES,
    SUFFIX_LENGTHS, TEXT, URI_REFS, VHOST_REFS, Header, Host, Names, Pattern, Ref, RouteRow, make_block, slots_for,
)
from wsproxy._fast.decide.match_draft cimport ANY_HOST, KIND_EXACT, KIND_PREFIX, KIND_SUFFIX, NO_VHOST_GROUP, ROOT, Draft

DEFAULT_COOKIE = b"JSESSIONID"
DEFAULT_URL_ID = b"jsessionid"


cdef void clear_index(Index* index) noexcept nogil:
    """Makes all slots free."""
    cdef uint64_t i
    for i in range(index.mask + 1):
        index.slots[i].id = -1


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
    clear_index(&t.host_index)
    for text, number in draft.hosts.items():
        host = &t.hosts[number]
        host.start = draft.offset_of(text)
        host.length = len(text)
        insert(&t.host_index, hash_pattern(KIND_PREFIX, -1, t.text + host.start, host.length), number)
    clear_index(&t.key_index)
    for number, ((host_number, port), groups) in enumerate(draft.keys.items()):
        if number != NO_VHOST_GROUP:
            insert(&t.key_index, pair_of(host_number, port), number)
            t.keys[number].score = 1
            t.keys[number].exact = 1 if host_number != ANY_HOST and port != -1 else 0
        t.keys[number].cls = draft.host_class_of[number]
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
    clear_index(&t.pattern_index)
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
        p.cls = draft.uri_class_of[number]
        p.first = first
        p.count = len(groups)
        first = lay_refs(t.uri_refs, first, groups)
        p.first_suffix = first_suffix
        for length in sorted(draft.suffix_lengths.get(number, ())):
            t.suffix_lengths[first_suffix] = length
            first_suffix += 1
        p.suffix_count = first_suffix - p.first_suffix
    return 0


cdef void lay_lengths(Tables* t, int32_t count) noexcept nogil:
    """Notes which lengths are worth a look."""
    cdef int32_t number
    cdef Pattern* p
    for number in range(ROOT + 1, count):
        p = &t.patterns[number]
        if p.kind != KIND_SUFFIX:
            t.lengths[p.length] |= p.kind


cdef int lay_names(Tables* t, Draft draft, list uri_groups) except -1:
    """Affinity names of every Uri."""
    cdef int32_t number = 1
    cdef Py_ssize_t group
    cdef bint used
    lay_name(&t.names[0], draft, b"", DEFAULT_COOKIE, DEFAULT_URL_ID)
    for group, uris in enumerate(uri_groups):
        t.first_names[group] = number
        used = group in draft.used_uri_groups
        for uri, cookie, url_id in uris:
            lay_name(&t.names[number], draft, <bytes?>uri if used else b"", <bytes?>cookie, <bytes?>url_id)
            number += 1
    t.first_names[t.uri_group_count] = number
    return 0


cdef int lay_name(Names* names, Draft draft, bytes uri, bytes cookie, bytes url_id) except -1:
    names.uri = draft.offset_of(uri)
    names.uri_len = len(uri)
    names.cookie = draft.offset_of(cookie)
    names.cookie_len = len(cookie)
    names.url_id = draft.offset_of(url_id)
    names.url_id_len = len(url_id)
    return 0


cdef int check_routes(list routes, int vhost_groups, int uri_groups) except -1:
    """Refuses a Route with a number that is none."""
    cdef int32_t vhost_group, uri_group, cluster
    for number, (vhost_group, uri_group, cluster) in enumerate(routes):
        if not -1 <= vhost_group < vhost_groups:
            raise ValueError(
                f"route {number}: found VirtualHostGroup {vhost_group}; allowed is -1 to {vhost_groups - 1}"
            )
        if not -1 <= uri_group < uri_groups:
            raise ValueError(f"route {number}: found UriGroup {uri_group}; allowed is -1 to {uri_groups - 1}")
        if cluster < 0:
            raise ValueError(f"route {number}: found cluster {cluster}; allowed is 0 or more")
    return 0


cdef void lay_route(RouteRow* row, int32_t vhost_group, int32_t uri_group, int32_t cluster) noexcept:
    row.vhost_group = vhost_group
    row.uri_group = uri_group
    row.cluster = cluster


cdef int lay_pairs(Tables* t, dict classes_of_vhost_group, dict classes_of_uri_group) except -1:
    """Which Route is the first between a host class and a uri class; where too many, between groups."""
    cdef int32_t route
    cdef RouteRow* row
    cdef int32_t host_class, uri_class
    clear_index(&t.pairs)
    for route in range(t.route_count):
        row = &t.routes[route]
        if t.walk:
            insert_least(&t.pairs, pair_of(row.vhost_group + 1, row.uri_group + 1), route)
            continue
        for host_class in classes_of_vhost_group.get(row.vhost_group, ()):
            for uri_class in classes_of_uri_group.get(row.uri_group, ()):
                insert_least(&t.pairs, pair_of(host_class, uri_class), route)
    return 0


cdef uint64_t count_pairs(list routes, dict classes_of_vhost_group, dict classes_of_uri_group) except? 0:
    cdef uint64_t pairs = 0
    for vhost_group, uri_group, _ in routes:
        pairs += (
            <uint64_t>len(classes_of_vhost_group.get(vhost_group, ()))
            * <uint64_t>len(classes_of_uri_group.get(uri_group, ()))
        )
    return pairs


cdef int measure_texts(Header* header, Draft draft) except -1:
    """The longest text of each sort, which bounds how far ``match`` looks."""
    cdef uint32_t length
    cdef int kind
    for host in draft.hosts:
        length = len(host)
        header.longest_host = max(header.longest_host, length)
    for (kind, _, text), number in draft.pattern_numbers.items():
        length = len(text)
        if number <= ROOT or kind == KIND_SUFFIX:
            continue
        if kind == KIND_EXACT:
            header.longest_exact = max(header.longest_exact, length)
        else:
            header.longest_prefix = max(header.longest_prefix, length)
    header.counts[LENGTHS] = max(header.longest_exact, header.longest_prefix) + 1
    return 0


cdef int build_tables(
    Tables* t, list vhost_groups, list uri_groups, list routes, Py_ssize_t max_pairs, bint exact_first
) except -1:
    cdef Draft draft = Draft()
    cdef Header header
    cdef bytes text
    cdef uint64_t pairs
    cdef Py_ssize_t number
    memset(&header, 0, sizeof(Header))
    check_routes(routes, <int>len(vhost_groups), <int>len(uri_groups))
    draft.read(vhost_groups, uri_groups, routes)
    draft.place(DEFAULT_COOKIE)
    draft.place(DEFAULT_URL_ID)
    text = draft.join_text()
    of_vhost_group = draft.classes_by_group(draft.host_classes)
    of_uri_group = draft.classes_by_group(draft.uri_classes)
    pairs = count_pairs(routes, of_vhost_group, of_uri_group)
    header.exact_first = exact_first
    header.walk = pairs > <uint64_t>max_pairs
    header.has_ungrouped = any(row[0] < 0 for row in routes)
    measure_texts(&header, draft)
    header.counts[TEXT] = len(text)
    header.counts[HOSTS] = len(draft.hosts) + 1         # ANY_HOST has no text
    header.counts[KEYS] = len(draft.keys)
    header.counts[PATTERNS] = len(draft.pattern_refs)
    header.counts[VHOST_REFS] = draft.count_members(draft.keys.values())
    header.counts[URI_REFS] = draft.count_members(draft.pattern_refs)
    header.counts[SUFFIX_LENGTHS] = draft.count_members(draft.suffix_lengths.values())
    header.counts[NAMES] = 1 + draft.count_members(uri_groups)
    header.counts[FIRST_NAMES] = len(uri_groups) + 1
    header.counts[ROUTES] = len(routes)
    header.counts[HOST_SLOTS] = slots_for(len(draft.hosts))
    header.counts[KEY_SLOTS] = slots_for(len(draft.keys))
    header.counts[PATTERN_SLOTS] = slots_for(len(draft.pattern_refs))
    header.counts[PAIR_SLOTS] = slots_for(len(routes) if header.walk else pairs)
    make_block(t, &header)
    memcpy(t.text, <const char*>text, len(text))
    for number, row in enumerate(routes):
        lay_route(&t.routes[number], row[0], row[1], row[2])
    lay_hosts(t, draft)
    lay_patterns(t, draft)
    lay_lengths(t, <int32_t>len(draft.pattern_refs))
    lay_names(t, draft, uri_groups)
    lay_pairs(t, of_vhost_group, of_uri_group)
    return 0


cdef void free_tables(Tables* t) noexcept:
    PyMem_RawFree(<void*>t.block)
