# RouteTable's memory: hash indexes and arrays that `match_tables` builds and `match` reads.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef struct Slot:
    uint64_t hash
    int32_t id              # -1: free

cdef struct Index:          # open addressing, at most half full
    Slot* slots
    uint64_t mask
    int shift

cdef struct Ref:            # one member of a group
    int32_t group           # -1: none
    int32_t member

cdef struct Host:
    uint32_t start
    uint32_t length

cdef struct Key:
    int32_t score
    int32_t exact
    int32_t cls             # host class
    int32_t first           # its VirtualHosts: `vhost_refs`, ascending by group
    int32_t count

cdef struct Pattern:
    uint32_t start          # in `text`
    uint32_t length
    int32_t kind
    int32_t prefix          # KIND_SUFFIX: the Pattern before the `*`
    int32_t score
    int32_t exact
    int32_t cls             # uri class; -1: only here for the sake of its suffixes
    int32_t first           # its Uris: `uri_refs`, ascending by group
    int32_t count
    int32_t first_suffix    # lengths of its suffixes, ascending: `suffix_lengths`
    int32_t suffix_count

cdef struct Names:          # borrowed from bytes in RouteTable.keep
    const char* cookie
    Py_ssize_t cookie_len
    const char* url_id
    Py_ssize_t url_id_len

cdef struct RouteRow:
    int32_t vhost_group
    int32_t uri_group
    int32_t cluster

cdef struct Tables:
    char* text
    Host* hosts
    Key* keys
    Pattern* patterns
    Ref* vhost_refs
    Ref* uri_refs
    int32_t* suffix_lengths
    uint8_t* lengths        # [n]: which Kinds have a text of n bytes
    Names* names            # names[0]: the defaults; then Uri by Uri
    int32_t* first_names    # [uri group]: index into names of its first Uri
    RouteRow* routes
    Index host_index        # text -> host number
    Index key_index         # (host number, port) -> key
    Index pattern_index     # text -> pattern
    Index pairs             # (host class, uri class) -> first Route
    bint exact_first        # the exact match counts before the score
    bint walk               # too many of them: (vhost group + 1, uri group + 1) -> first Route
    int32_t route_count
    bint has_ungrouped      # some Route names no VirtualHostGroup
    uint32_t longest_host
    uint32_t longest_exact
    uint32_t longest_prefix

cdef extern from *:
    """
    /* FNV-1a's start and prime; golden ratio to spread over slots; salt to part exact from prefix */
    #define WSPROXY_HASH_START 0xCBF29CE484222325ULL
    #define WSPROXY_HASH_PRIME 0x100000001B3ULL
    #define WSPROXY_HASH_SPREAD 0x9E3779B97F4A7C15ULL
    #define WSPROXY_EXACT_SALT 0xD6E8FEB86659FD93ULL
    """
    const uint64_t START "WSPROXY_HASH_START"
    const uint64_t PRIME "WSPROXY_HASH_PRIME"
    const uint64_t SPREAD "WSPROXY_HASH_SPREAD"
    const uint64_t EXACT_SALT "WSPROXY_EXACT_SALT"


cdef inline uint64_t hash_step(uint64_t h, char byte) noexcept nogil:
    return (h ^ <uint8_t>byte) * PRIME


cdef inline uint64_t pair_of(int32_t high, int32_t low) noexcept nogil:
    return (<uint64_t><uint32_t>high << 32) | <uint32_t>low


cdef inline uint64_t slot_of(Index* index, uint64_t h) noexcept nogil:
    return (h * SPREAD) >> index.shift


# Zeroed memory, never NULL; the caller owns it.
cdef void* take(size_t count, size_t size) except NULL
# Fills zeroed Tables; the bytes that they point into are appended to `keep`. After an error: free_tables.
cdef int build_tables(
    Tables* t, list vhost_groups, list uri_groups, list routes, Py_ssize_t max_pairs, list keep
) except -1
cdef void free_tables(Tables* t) noexcept
