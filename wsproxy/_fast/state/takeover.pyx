"""
The memory of takeovers: session -> the server that took it over, for as long as it must leave those that its cookie names.

Made with the shared state before the fork, read and written by ``decide``. After a failover the browser still has requests
with the old cookie on their way, on other connections and at other workers: without this memory each could end at another
new server. Must not know sockets, configuration or what a server's state is.

Bounded and without locks: a full bucket forgets what would be forgotten first, a lost entry costs one regular choice. Session
ids are never stored, only SipHash of them under a key that is new at each start (not at an upgrade): who knows no key
cannot aim at a bucket.
"""

import mmap
import os

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from wsproxy._fast.base.memory cimport address_of, ws_map_shared, ws_unmap

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* SipHash-2-4 of the 8 bytes of `first` and then `length` bytes (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast
       short-input PRF", 2012; written from the paper, checked with its test vector). */
    #define WS_ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))
    static inline void ws_sip_round(uint64_t v[4]) {
        v[0] += v[1]; v[1] = WS_ROTATE(v[1], 13) ^ v[0]; v[0] = WS_ROTATE(v[0], 32);
        v[2] += v[3]; v[3] = WS_ROTATE(v[3], 16) ^ v[2];
        v[0] += v[3]; v[3] = WS_ROTATE(v[3], 21) ^ v[0];
        v[2] += v[1]; v[1] = WS_ROTATE(v[1], 17) ^ v[2]; v[2] = WS_ROTATE(v[2], 32);
    }
    static inline void ws_sip_word(uint64_t v[4], uint64_t word) {
        v[3] ^= word;
        ws_sip_round(v);
        ws_sip_round(v);
        v[0] ^= word;
    }
    static uint64_t ws_siphash(uint64_t k0, uint64_t k1, uint64_t first, const char *data, size_t length) {
        uint64_t v[4] = {
            k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL
        };
        uint64_t last = (uint64_t)(length + 8) << 56;
        uint64_t word;
        size_t i;
        ws_sip_word(v, first);
        for (; length >= 8; data += 8, length -= 8) {
            for (word = 0, i = 0; i < 8; i++) word |= (uint64_t)(unsigned char)data[i] << (8 * i);
            ws_sip_word(v, word);
        }
        for (i = 0; i < length; i++) last |= (uint64_t)(unsigned char)data[i] << (8 * i);
        ws_sip_word(v, last);
        v[2] ^= 0xff;
        for (i = 0; i < 4; i++) ws_sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
    }
    """
    uint64_t ws_siphash(uint64_t k0, uint64_t k1, uint64_t first, const char* data, size_t length) noexcept nogil

cdef enum:
    # The low bits of an entry's value are 1 + the index of the server's slot; the others are when it ends, in ms of the
    # monotonic clock: 40 bits are 34 years of uptime.
    SERVER_BITS = 24
    SERVER_MASK = 0xFFFFFF


def siphash(bytes key not None, bytes data not None) -> int:
    """SipHash-2-4 of at least 8 bytes under a key of 16; for tests."""
    if len(key) != 16 or len(data) < 8:
        raise ValueError(f"found a key of {len(key)} bytes and {len(data)} bytes of data; allowed are 16 and 8 or more")
    return ws_siphash(
        int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"),
        int.from_bytes(data[:8], "little"), <const char*>data + 8, len(data) - 8,
    )


cdef Py_ssize_t takeovers_size(Py_ssize_t buckets) noexcept:
    return (buckets + 1) * WAYS * sizeof(ws_takeover)


cdef class TakeoverTable:
    """
    A mapping of ``buckets`` times four entries, a power of two; of ``fd`` at ``offset`` or (-1) anonymous.

    Its secret stands there, too: a program that takes the memory over finds what its predecessor remembered.
    """

    def __cinit__(self, Py_ssize_t buckets=BUCKETS, int fd=-1, long long offset=0):
        cdef char* at
        cdef uint64_t* header
        if buckets < 1 or buckets & (buckets - 1):
            raise ValueError(f"found {buckets} buckets; allowed is a power of two")
        # The first line is the header's, so that no bucket spans two lines.
        self.memory = mmap.mmap(fd, takeovers_size(buckets), offset=offset)
        at = address_of(self.memory)
        header = <uint64_t*>at
        self.live_until_ms = header
        self.entries = <ws_takeover*>at + WAYS
        self.bucket_mask = buckets - 1
        if header[1] == 0 and header[2] == 0:
            header[1] = int.from_bytes(os.urandom(8), "little")
            header[2] = int.from_bytes(os.urandom(8), "little")
        self.secret_0 = header[1]
        self.secret_1 = header[2]

    cdef uint64_t key_of(self, uint64_t cluster, const char* session, Py_ssize_t length) noexcept nogil:
        return ws_siphash(self.secret_0, self.secret_1, cluster, session, length)

    cdef int32_t find(self, uint64_t key, int64_t now_ms, int64_t* until_ms) noexcept nogil:
        cdef ws_takeover* bucket = &self.entries[(key & self.bucket_mask) * WAYS]
        cdef uint64_t value
        cdef int way
        for way in range(WAYS):
            value = ws_takeover_load(&bucket[way].value)
            if ws_takeover_load(&bucket[way].check) ^ value == key and value & SERVER_MASK:
                until_ms[0] = <int64_t>(value >> SERVER_BITS)
                if until_ms[0] > now_ms:
                    return <int32_t>(value & SERVER_MASK) - 1
        return -1

    cdef bint remember(self, uint64_t key, int32_t server, int64_t now_ms, int64_t until_ms) noexcept nogil:
        cdef ws_takeover* bucket = &self.entries[(key & self.bucket_mask) * WAYS]
        cdef ws_takeover* place = bucket
        cdef uint64_t new = (<uint64_t>until_ms << SERVER_BITS) | <uint64_t>(server + 1)
        cdef uint64_t value
        cdef uint64_t first_end = <uint64_t>-1
        cdef int way
        cdef bint is_news = True
        for way in range(WAYS):
            value = ws_takeover_load(&bucket[way].value)
            if ws_takeover_load(&bucket[way].check) ^ value == key and value & SERVER_MASK:
                place = &bucket[way]
                is_news = value & SERVER_MASK != <uint64_t>(server + 1) or <int64_t>(value >> SERVER_BITS) <= now_ms
                break
            if value >> SERVER_BITS < first_end:
                first_end = value >> SERVER_BITS
                place = &bucket[way]
        ws_takeover_store(&place.check, key ^ new)
        ws_takeover_store(&place.value, new)
        ws_takeover_raise(self.live_until_ms, <uint64_t>until_ms)
        return is_news

    cdef int copy_to(self, TakeoverTable other) except -1:
        if other.bucket_mask != self.bucket_mask:
            raise ValueError("found another number of buckets; allowed is the same")
        other.secret_0 = self.secret_0
        other.secret_1 = self.secret_1
        memcpy(other.entries, self.entries, (self.bucket_mask + 1) * WAYS * sizeof(ws_takeover))
        other.live_until_ms[0] = ws_takeover_load(self.live_until_ms)
        return 0

    # --- the same for tests -----------------------------------------------------------------------------------------

    def find_session(self, Py_ssize_t cluster, bytes session not None, int64_t now_ms) -> int:
        """Index of the slot of the server that took the session over; -1 none."""
        cdef int64_t until_ms
        if not any_lives(self, now_ms):
            return -1
        return self.find(self.key_of(cluster, <const char*>session, len(session)), now_ms, &until_ms)

    def remember_session(
        self, Py_ssize_t cluster, bytes session not None, int server, int64_t now_ms, int64_t until_ms
    ) -> bool:
        """Whether this is a new server for the session."""
        if not 0 <= server < SERVER_MASK:
            raise ValueError(f"found server {server}; allowed is 0..{SERVER_MASK - 1}")
        return self.remember(self.key_of(cluster, <const char*>session, len(session)), server, now_ms, until_ms)


cdef class ClusterSessions:
    """What the workers of a cluster know together of its sessions: counters, and the partition table that came last."""

    def __cinit__(self, int fd, long long offset):
        """A mapping, of ``fd`` at ``offset`` or (-1) anonymous."""
        self.at = <ws_sessions*>ws_map_shared(fd, offset, sizeof(ws_sessions))
        if self.at == NULL:
            raise MemoryError

    def __dealloc__(self):
        ws_unmap(self.at, sizeof(ws_sessions))

    cdef bint keep_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil:
        cdef ws_sessions* at = self.at
        cdef uint32_t kept_version = <uint32_t>min(version_len, <Py_ssize_t>MOST_VERSION_BYTES)
        cdef uint32_t kept = <uint32_t>min(table_len, <Py_ssize_t>MOST_PARTITION_BYTES)
        if at.version_len == kept_version and memcmp(at.version, version, kept_version) == 0:
            if at.table_size or not table_len:
                return False
        at.version_len = 0  # a worker that dies below leaves a table without a version: the next answer brings both again
        at.table_len = 0
        at.table_size = 0
        memcpy(at.table, table, kept)
        at.table_len = kept
        memcpy(at.version, version, kept_version)
        at.version_len = kept_version
        at.table_size = <uint32_t>table_len
        return True

    cdef dict counts(self, uint64_t kept):
        """By name; ``kept`` is how many requests went by affinity in their first try."""
        cdef ws_sessions* at = self.at
        broken = [at.broken[reason] for reason in range(REASONS)]
        return {
            "requests": kept + sum(broken) - broken[5],  # what failed in its first try was counted there already
            "remembered": at.remembered,
            "moved": at.moved,
            "unknown_clone": broken[UNKNOWN_CLONE],
            "down": broken[2],
            "full": broken[4],
            "tried": broken[5],
            "out": broken[6],
        }

    cdef tuple partition_table(self):
        """Version and table, as far as they are kept; call under the cluster's lock."""
        return self.at.version[: self.at.version_len], self.at.table[: self.at.table_len]
