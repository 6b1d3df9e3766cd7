"""
Where each array of a RouteTable stands in its one block of bytes, and whether bytes are such a block.

Driven by ``match_tables`` (a block is made) and ``match`` (another process's block is mapped). There are no pointers in a
block: whoever maps it points its own Tables there, which takes the same time for any number of Routes. Must not look at
what the arrays say; a block that anybody else might have written must not come here.
"""

from cpython.mem cimport PyMem_RawCalloc
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy
from wsproxy._fast.base.borrowed cimport ws_hide

cdef extern from *:
    """
    /* "wsroutes" as bytes where the lowest comes first; FNV-1a's start and prime */
    #define WSPROXY_BLOCK_MAGIC 0x736574756F727377ULL
    #define WSPROXY_DIGEST_START 0xCBF29CE484222325ULL
    #define WSPROXY_DIGEST_PRIME 0x100000001B3ULL
    """
    const uint64_t MAGIC "WSPROXY_BLOCK_MAGIC"
    const uint64_t DIGEST_START "WSPROXY_DIGEST_START"
    const uint64_t DIGEST_PRIME "WSPROXY_DIGEST_PRIME"

cdef enum:
    # Another number whenever a struct of the pxd, or what one of its fields means, changes.
    LAYOUT = 1
    # Between two arrays, so that reading past the end of one reads nothing of the next; and each begins a cache line.
    GAP = 16
    LINE = 64


cdef void* take(size_t count, size_t size) except NULL:
    """Zeroed memory for ``count`` items, never NULL; the caller owns it."""
    cdef void* memory = PyMem_RawCalloc(count if count > 0 else 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef uint64_t slots_for(uint64_t count) noexcept nogil:
    """A power of two, at least twice ``count``."""
    cdef uint64_t slots = 8
    while slots < 2 * count:
        slots *= 2
    return slots


cdef uint64_t place_arrays(const Header* header, uint64_t* offsets, char* block) noexcept nogil:
    """
    Says where each array begins; answers where the last one ends, 0 where a count cannot be.

    block: if not NULL, in checked builds nobody may read between its arrays any more.
    """
    cdef size_t sizes[ARRAYS]
    cdef uint64_t end = sizeof(Header)
    cdef int array
    sizes[TEXT] = 1
    sizes[HOSTS] = sizeof(Host)
    sizes[KEYS] = sizeof(Key)
    sizes[PATTERNS] = sizeof(Pattern)
    sizes[VHOST_REFS] = sizes[URI_REFS] = sizeof(Ref)
    sizes[SUFFIX_LENGTHS] = sizes[FIRST_NAMES] = sizeof(int32_t)
    sizes[LENGTHS] = 1
    sizes[NAMES] = sizeof(Names)
    sizes[ROUTES] = sizeof(RouteRow)
    sizes[HOST_SLOTS] = sizes[KEY_SLOTS] = sizes[PATTERN_SLOTS] = sizes[PAIR_SLOTS] = sizeof(Slot)
    for array in range(ARRAYS):
        if header.counts[array] >> 40:      # sums of such products stay within 64 bits
            return 0
        offsets[array] = (end + GAP + LINE - 1) & ~<uint64_t>(LINE - 1)
        if block != NULL:
            ws_hide(block + end, offsets[array] - end)
        end = offsets[array] + header.counts[array] * sizes[array]
    return end


cdef uint64_t digest_of(const Header* header) noexcept nogil:
    """FNV-1a of what follows ``digest`` and of the size: one changed byte always changes it."""
    cdef uint64_t h = (DIGEST_START ^ header.size) * DIGEST_PRIME
    cdef const uint8_t* p = <const uint8_t*>header.counts
    cdef const uint8_t* end = <const uint8_t*>header + sizeof(Header)
    while p < end:
        h = (h ^ p[0]) * DIGEST_PRIME
        p += 1
    return h


cdef void point_index(Index* index, const char* block, uint64_t offset, uint64_t slots) noexcept nogil:
    cdef int bits = 0
    while (<uint64_t>1 << bits) < slots:
        bits += 1
    index.slots = <Slot*>(block + offset)
    index.mask = slots - 1
    index.shift = 64 - bits


cdef void point_tables(Tables* t, const char* block, const uint64_t* offsets) noexcept nogil:
    """Tables of a block, wherever it came from."""
    cdef const Header* header = <const Header*>block
    t.block = block
    t.size = header.size
    t.text = <char*>(block + offsets[TEXT])
    t.hosts = <Host*>(block + offsets[HOSTS])
    t.keys = <Key*>(block + offsets[KEYS])
    t.patterns = <Pattern*>(block + offsets[PATTERNS])
    t.vhost_refs = <Ref*>(block + offsets[VHOST_REFS])
    t.uri_refs = <Ref*>(block + offsets[URI_REFS])
    t.suffix_lengths = <int32_t*>(block + offsets[SUFFIX_LENGTHS])
    t.lengths = <uint8_t*>(block + offsets[LENGTHS])
    t.names = <Names*>(block + offsets[NAMES])
    t.first_names = <int32_t*>(block + offsets[FIRST_NAMES])
    t.routes = <RouteRow*>(block + offsets[ROUTES])
    point_index(&t.host_index, block, offsets[HOST_SLOTS], header.counts[HOST_SLOTS])
    point_index(&t.key_index, block, offsets[KEY_SLOTS], header.counts[KEY_SLOTS])
    point_index(&t.pattern_index, block, offsets[PATTERN_SLOTS], header.counts[PATTERN_SLOTS])
    point_index(&t.pairs, block, offsets[PAIR_SLOTS], header.counts[PAIR_SLOTS])
    t.exact_first = header.exact_first
    t.walk = header.walk
    t.route_count = <int32_t>header.counts[ROUTES]
    t.vhost_count = <int32_t>header.counts[KEYS] - 1        # without NO_VHOST_GROUP
    t.uri_group_count = <int32_t>header.counts[FIRST_NAMES] - 1
    t.has_ungrouped = header.has_ungrouped
    t.longest_host = header.longest_host
    t.longest_exact = header.longest_exact
    t.longest_prefix = header.longest_prefix


cdef int make_block(Tables* t, Header* header) except -1:
    cdef uint64_t offsets[ARRAYS]
    cdef char* block
    header.magic = MAGIC
    header.layout = LAYOUT
    header.size = place_arrays(header, offsets, NULL)
    header.digest = digest_of(header)
    block = <char*>take(header.size, 1)
    memcpy(block, header, sizeof(Header))
    place_arrays(header, offsets, block)
    point_tables(t, block, offsets)
    return 0


cdef int open_block(Tables* t, const void* memory, size_t length) except -1:
    cdef uint64_t offsets[ARRAYS]
    cdef const Header* header = <const Header*>memory
    if <uintptr_t>memory % ALIGNMENT:
        raise ValueError(
            f"RouteTable: found memory at {<uintptr_t>memory:#x}; allowed is a multiple of {ALIGNMENT},"
            " as the beginning of a page is"
        )
    if length < sizeof(Header):
        raise ValueError(f"RouteTable: found {length} bytes; allowed is what flat() gave, at least {sizeof(Header)}")
    if header.magic != MAGIC:
        raise ValueError(f"RouteTable: found magic {header.magic:#x}; allowed is {MAGIC:#x}, with which flat() begins")
    if header.layout != LAYOUT:
        raise ValueError(
            f"RouteTable: found layout {header.layout}; allowed is {LAYOUT}: it was made by another version of wsproxy"
        )
    if header.digest != digest_of(header) or header.size != place_arrays(header, offsets, NULL):
        raise ValueError("RouteTable: found a header that does not agree with its digest; allowed is what flat() gave")
    if header.size > length:
        raise ValueError(f"RouteTable: found {length} bytes; allowed is at least the {header.size} that its header tells of")
    point_tables(t, <const char*>memory, offsets)
    return 0
