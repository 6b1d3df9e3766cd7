"""
The memory of takeovers: session -> the server that took it over, for as long as it must leave those that its cookie names.

Made with the shared state before the fork, read and written by ``decide``. After a failover the browser still has requests
with the old cookie on their way, on other connections and at other workers: without this memory each could end at another
new server. Must not know sockets, configuration or what a server's state is.

Bounded and without locks: a full bucket forgets what would be forgotten first, a lost entry costs one regular choice. Session
ids are never stored, only SipHash of them under a key that is new at each start (not at an upgrade), or, where proxies tell
each other (``share``), the group's: who knows no key cannot aim at a bucket. What is news to others goes into a ring, which
``ha.board.takeovers`` reads: who writes there waits for nobody, and what is not read in time is overwritten and counted.
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
    SECRET_BYTES = 16
    IS_KNOWN_NOW = -1
    IS_KEPT = -2


# What ``TakeoverTable.learn`` says; a slot's index is never below 0.
NOW_KNOWN = IS_KNOWN_NOW
KEPT_OURS = IS_KEPT


def siphash(bytes key not None, bytes data not None) -> int:
    """SipHash-2-4 of at least 8 bytes under a key of 16; for tests."""
    if len(key) != 16 or len(data) < 8:
        raise ValueError(f"found a key of {len(key)} bytes and {len(data)} bytes of data; allowed are 16 and 8 or more")
    return ws_siphash(
        int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"),
        int.from_bytes(data[:8], "little"), <const char*>data + 8, len(data) - 8,
    )


cdef Py_ssize_t takeovers_size(Py_ssize_t buckets) noexcept:
    return (buckets + 1) * WAYS * sizeof(ws_takeover) + sizeof(ws_newsring)


cdef class TakeoverTable:
    """
    A mapping of ``buckets`` times four entries, a power of two, and of a ring; of ``fd`` at ``offset`` or (-1) anonymous.

    Its secret stands there, too: a program that takes the memory over finds what its predecessor remembered. Pages that
    nothing was written to cost nothing: the ring's are those, where nobody is told.
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
        self.ring = <ws_newsring*>(self.entries + buckets * WAYS)
        self.news = NULL
        self.awaited = 0
        if header[1] == 0 and header[2] == 0:
            header[1] = int.from_bytes(os.urandom(8), "little")
            header[2] = int.from_bytes(os.urandom(8), "little")
        self.own_0 = self.secret_0 = header[1]
        self.own_1 = self.secret_1 = header[2]

    def share(self, bytes secret not None) -> None:
        """
        From now on sessions are known by this secret of a group, and others are told of them; before the first fork.

        ``secret``: 16 bytes. What was remembered under another one is found no more.
        """
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"found a secret of {len(secret)} bytes; allowed are {SECRET_BYTES}")
        self.secret_0 = int.from_bytes(secret[:8], "little")
        self.secret_1 = int.from_bytes(secret[8:], "little")
        self.news = self.ring

    @property
    def is_shared(self) -> bool:
        """Whether other proxies are told."""
        return self.news != NULL

    cdef uint64_t key_of(self, uint64_t cluster, const char* session, Py_ssize_t length) noexcept nogil:
        return ws_siphash(self.secret_0, self.secret_1, cluster, session, length)

    cdef uint64_t own_key_of(self, uint64_t kind, const char* data, Py_ssize_t length) noexcept nogil:
        return ws_siphash(self.own_0, self.own_1, kind, data, length)

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

    cdef ws_takeover* seat_of(self, uint64_t key, uint64_t* value, bint* is_found) noexcept nogil:
        cdef ws_takeover* bucket = &self.entries[(key & self.bucket_mask) * WAYS]
        cdef ws_takeover* place = bucket
        cdef uint64_t each
        cdef uint64_t first = <uint64_t>-1
        cdef int way
        is_found[0] = False
        for way in range(WAYS):
            each = ws_takeover_load(&bucket[way].value)
            if ws_takeover_load(&bucket[way].check) ^ each == key and each & SERVER_MASK:
                value[0] = each
                is_found[0] = True
                return &bucket[way]
            if each >> SERVER_BITS < first >> SERVER_BITS:
                first = each
                place = &bucket[way]
        value[0] = first
        return place

    cdef void put(self, ws_takeover* place, uint64_t key, uint64_t value) noexcept nogil:
        ws_takeover_store(&place.check, key ^ value)
        ws_takeover_store(&place.value, value)
        ws_takeover_raise(self.live_until_ms, value >> SERVER_BITS)

    cdef bint remember(self, uint64_t key, int32_t server, int64_t now_ms, int64_t until_ms) noexcept nogil:
        cdef uint64_t new = (<uint64_t>until_ms << SERVER_BITS) | <uint64_t>(server + 1)
        cdef uint64_t old = 0
        cdef uint64_t number
        cdef ws_news* news
        cdef int64_t left_ms
        cdef bint is_found
        cdef bint is_news
        cdef ws_takeover* place = self.seat_of(key, &old, &is_found)
        self.put(place, key, new)
        left_ms = <int64_t>(old >> SERVER_BITS) - now_ms
        is_news = not is_found or old & SERVER_MASK != new & SERVER_MASK or left_ms <= 0
        # That a session stays longer is news, too: others would forget it meanwhile.
        if self.news != NULL and (is_news or left_ms < (until_ms - now_ms) // 2):
            number = ws_news_number(self.news)
            news = &self.news.at[number & (NEWS - 1)]
            ws_takeover_store(&news.key, key)
            ws_takeover_store(&news.value, new)
            ws_takeover_store(&news.check, ws_news_check(key, new, number))
        return is_news

    cdef int copy_to(self, TakeoverTable other) except -1:
        if other.bucket_mask != self.bucket_mask:
            raise ValueError("found another number of buckets; allowed is the same")
        other.secret_0, other.secret_1 = self.secret_0, self.secret_1
        other.own_0, other.own_1 = self.own_0, self.own_1
        memcpy(other.entries, self.entries, (self.bucket_mask + 1) * WAYS * sizeof(ws_takeover))
        other.live_until_ms[0] = ws_takeover_load(self.live_until_ms)
        return 0

    # --- for who tells other proxies --------------------------------------------------------------------------------

    def take_news(self, Py_ssize_t most) -> list[tuple[int, int, int]]:
        """
        (key, index of the server's slot, until when in ms of the monotonic clock) of what was remembered since the last call.

        Oldest first, at most so many. One process calls this. A worker that is within its writing is waited for until the
        next call, and then it has died: that news is lost, as are those that were overwritten; they are counted.
        """
        cdef ws_newsring* ring = self.ring
        cdef uint64_t count = ws_takeover_load(&ring.count)
        cdef uint64_t number = ring.read
        cdef uint64_t key, value
        cdef ws_news* news
        cdef list found = []
        if number == count:
            return found
        if count - number > NEWS:
            self.count_news(NOT_READ, count - NEWS - number)
            number = count - NEWS
        while number < count and len(found) < most:
            news = &ring.at[(number + 1) & (NEWS - 1)]
            key = ws_takeover_load(&news.key)
            value = ws_takeover_load(&news.value)
            if ws_takeover_load(&news.check) == ws_news_check(key, value, number + 1):
                found.append((key, <int64_t>(value & SERVER_MASK) - 1, <int64_t>(value >> SERVER_BITS)))
            elif self.awaited != number + 1:
                self.awaited = number + 1
                break
            else:
                self.count_news(NOT_READ, 1)
            number += 1
        ring.read = number
        return found

    def learn(self, uint64_t key, int server, int64_t now_ms, int64_t until_ms, *, bint wins_tie=False) -> int:
        """
        Remembers what another proxy does, and tells nobody: where nothing newer is known, which ends later.

        ``NOW_KNOWN`` or ``KEPT_OURS``; or, where another server is remembered until the same moment and not ``wins_tie``, its
        slot. Nothing is forgotten that ends later than this.
        """
        cdef uint64_t new = (<uint64_t>until_ms << SERVER_BITS) | <uint64_t>(server + 1)
        cdef uint64_t old = 0
        cdef bint is_found
        cdef ws_takeover* place
        if not 0 <= server < SERVER_MASK or until_ms <= now_ms:
            return IS_KEPT
        place = self.seat_of(key, &old, &is_found)
        if old >> SERVER_BITS > <uint64_t>until_ms or old == new and is_found:
            return IS_KEPT
        if is_found and old >> SERVER_BITS == <uint64_t>until_ms and not wins_tie:
            return <int>(old & SERVER_MASK) - 1
        self.put(place, key, new)
        return IS_KNOWN_NOW

    def count_news(self, int what, uint64_t many) -> None:
        """So many more of a ``Telling``; only who tells others calls this."""
        if not 0 <= what < TELLINGS:
            raise ValueError(f"found {what}; allowed is a Telling")
        ws_takeover_store(&self.ring.counts[what], self.ring.counts[what] + many)

    def news_counts(self) -> list[int]:
        """Of each ``Telling``, since the start; an upgrade keeps them."""
        cdef int what
        return [ws_takeover_load(&self.ring.counts[what]) for what in range(TELLINGS)]

    # --- the same for tests -----------------------------------------------------------------------------------------

    def find_session(self, Py_ssize_t cluster, bytes session not None, int64_t now_ms) -> int:
        """Index of the slot of the server that took the session over; -1 none."""
        cdef int64_t until_ms
        if not any_lives(self, now_ms):
            return -1
        return self.find(self.key_of(cluster, <const char*>session, len(session)), now_ms, &until_ms)

    def session_key(self, Py_ssize_t cluster, bytes session not None) -> int:
        """Under which the session is kept."""
        return self.key_of(cluster, <const char*>session, len(session))

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
