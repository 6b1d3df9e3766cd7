# RouteTable's memory: one block of bytes without a pointer in it, so that every process may map it where it likes.
#
# A Header, then the arrays, each at the next multiple of ALIGNMENT that leaves a gap: what the Header counts decides where
# each of them stands. `match_tables` fills them, `match` reads them through Tables, which has their addresses.

from libc.stddef cimport size_t
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
    uint32_t start          # in `text`
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

cdef struct Names:          # of one Uri, all in `text`
    uint32_t uri            # as the file has it; empty where no Route names its UriGroup
    uint32_t uri_len
    uint32_t cookie
    uint32_t cookie_len
    uint32_t url_id
    uint32_t url_id_len

cdef struct RouteRow:
    int32_t vhost_group
    int32_t uri_group
    int32_t cluster

cdef enum:                  # arrays, in the order in which they stand in the block
    TEXT                    # all literal texts, each once
    HOSTS
    KEYS
    PATTERNS
    VHOST_REFS
    URI_REFS
    SUFFIX_LENGTHS
    LENGTHS
    NAMES
    FIRST_NAMES
    ROUTES
    HOST_SLOTS              # slots are a power of two
    KEY_SLOTS
    PATTERN_SLOTS
    PAIR_SLOTS
    ARRAYS                  # how many there are

cdef enum:
    ALIGNMENT = 8           # of a block, for whoever maps it

cdef struct Header:
    uint64_t magic
    uint64_t layout         # LAYOUT
    uint64_t size           # of the whole block
    uint64_t digest         # of the rest of the Header: the lookups trust it
    uint64_t counts[ARRAYS]
    uint32_t exact_first
    uint32_t walk
    uint32_t has_ungrouped
    uint32_t longest_host
    uint32_t longest_exact
    uint32_t longest_prefix

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
    int32_t* first_names    # [uri group]: index into names of its first Uri; after the last group: how many names there are
    RouteRow* routes
    Index host_index        # text -> host number
    Index key_index         # (host number, port) -> key
    Index pattern_index     # text -> pattern
    Index pairs             # (host class, uri class) -> first Route
    bint exact_first        # the exact match counts before the score
    bint walk               # too many of them: (vhost group + 1, uri group + 1) -> first Route
    int32_t route_count
    int32_t vhost_count     # different ones
    int32_t uri_group_count
    bint has_ungrouped      # some Route names no VirtualHostGroup
    uint32_t longest_host
    uint32_t longest_exact
    uint32_t longest_prefix
    const char* block       # where all of it stands
    size_t size

# Zeroed memory, never NULL; the caller owns it.
cdef void* take(size_t count, size_t size) except NULL
# What an index for at most so many ids needs.
cdef uint64_t slots_for(uint64_t count) noexcept nogil
# Zeroed memory for what this Header counts, with the Header, sealed, in it; its Tables point there. The caller owns t.block.
cdef int make_block(Tables* t, Header* header) except -1
# Points Tables into a block that somebody else owns. Raises ValueError for one that `make_block` did not begin so.
cdef int open_block(Tables* t, const void* memory, size_t length) except -1
