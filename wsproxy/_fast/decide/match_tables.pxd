# Fills the arrays and hash indexes of a RouteTable; `match_block` says where they stand.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from wsproxy._fast.decide.match_block cimport Index, Tables

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


# Makes the block of these rows, and points Tables, all zero before, into it. After an error, too: free_tables.
cdef int build_tables(
    Tables* t, list vhost_groups, list uri_groups, list routes, Py_ssize_t max_pairs, bint exact_first
) except -1
cdef void free_tables(Tables* t) noexcept
