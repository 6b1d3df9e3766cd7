# Which server took over a session, for all workers; and what each cluster's workers count of its sessions.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum:
    # News of one round of the ring: more than all workers can tell within the 10 ms between two looks of the ha process, and
    # what waits while another ha process is started. A power of two.
    NEWS = 16384
    # Entries of one bucket: 4 of 16 bytes are one cache line.
    WAYS = 4
    # 16384 buckets, 1 MiB: at 60 s each it holds a thousand moves a second, the sessions of a large server at once.
    BUCKETS = 16384
    # Raw partition tables are kept up to this: no head of an answer may be larger by default (limits.head_bytes), and real
    # tables name each member of a cell in some hundred bytes.
    MOST_PARTITION_BYTES = 16384
    # Of the table's version: 64 bits in decimal are 20 characters.
    MOST_VERSION_BYTES = 32
    # Reasons for broken affinity: the index is a Verdict of `balance`, and 0 means that no server has one of the clone ids.
    UNKNOWN_CLONE = 0
    REASONS = 7
    # Members of Telling.
    TELLINGS = 7

cdef extern from *:
    """
    #include <stdint.h>

    /* Half of a pair each: `check` is the session's key XOR `value`. Written and read without a lock: a reader that meets two
       halves of different writes finds no key that fits, so it misses and never sees another session's server (R. Hyatt,
       T. Mann, "A lockless transposition table implementation for parallel search chess engines", 2002). A worker that dies
       between the two leaves a pair that fits nobody. */
    typedef struct { uint64_t check; uint64_t value; } ws_takeover;

    /* The same for who tells other proxies: `check` is key XOR value XOR the number of the news, spread. Many write, one
       reads. Whoever has taken a number writes in any order; until all of it is there, and when another round begins to
       overwrite it, it fits no number that is asked for. */
    typedef struct { uint64_t check; uint64_t key; uint64_t value; } ws_news;
    typedef struct __attribute__((aligned(64))) {
        uint64_t count;               /* news told so far; their numbers begin with 1 */
        char gap[56];                 /* workers write above, the ha process below */
        uint64_t read;                /* of these looked at by who tells others */
        uint64_t counts[8];           /* what became of them, and of others' news: an index is a Telling */
        ws_news at[16384];
    } ws_newsring;

    typedef struct {
        uint64_t moved;               /* sessions that got a new server */
        uint64_t remembered;          /* requests that went there because of it */
        uint64_t broken[7];           /* requests that no server of their list took, by reason */
        /* under the cluster's lock: */
        uint32_t version_len;
        uint32_t table_len;           /* bytes kept */
        uint32_t table_size;          /* bytes that came */
        char version[32];
        char table[16384];
    } ws_sessions;

    static inline uint64_t ws_news_check(uint64_t key, uint64_t value, uint64_t number) {
        return key ^ value ^ number * 0x9E3779B97F4A7C15ULL;
    }
    static inline uint64_t ws_news_number(ws_newsring *ring) { return __atomic_add_fetch(&ring->count, 1, __ATOMIC_RELAXED); }
    static inline uint64_t ws_takeover_load(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    static inline void ws_takeover_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    static inline void ws_takeover_count(uint64_t *p) { __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }
    static inline void ws_takeover_raise(uint64_t *p, uint64_t to) {
        uint64_t from = __atomic_load_n(p, __ATOMIC_RELAXED);
        while (from < to && !__atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    }
    """
    ctypedef struct ws_takeover:
        uint64_t check
        uint64_t value
    ctypedef struct ws_news:
        uint64_t check
        uint64_t key
        uint64_t value
    ctypedef struct ws_newsring:
        uint64_t count
        uint64_t read
        uint64_t counts[8]
        ws_news at[16384]
    ctypedef struct ws_sessions:
        uint64_t moved
        uint64_t remembered
        uint64_t broken[7]
        uint32_t version_len
        uint32_t table_len
        uint32_t table_size
        char version[32]
        char table[16384]
    uint64_t ws_news_check(uint64_t key, uint64_t value, uint64_t number) noexcept nogil
    uint64_t ws_news_number(ws_newsring* ring) noexcept nogil
    uint64_t ws_takeover_load(uint64_t* p) noexcept nogil
    void ws_takeover_store(uint64_t* p, uint64_t v) noexcept nogil
    void ws_takeover_count(uint64_t* p) noexcept nogil
    void ws_takeover_raise(uint64_t* p, uint64_t to) noexcept nogil


# Bytes of a table of so many buckets.
cdef Py_ssize_t takeovers_size(Py_ssize_t buckets) noexcept


cpdef enum Telling:
    # What became of news: of our own, to others, and of others', here.
    TOLD_OTHERS = 0
    NOT_READ = 1            # they came faster than they were read: told to nobody
    NOT_POSTED = 2          # there was no room or no time for them: told to nobody
    LEARNT = 3              # it holds here
    KNEW_BETTER = 4         # what was known here was newer, or the same
    UNKNOWN_HERE = 5        # no such cluster or server here, or its time is over
    NOT_BELIEVED = 6        # of another key, or of another version


cdef class TakeoverTable:
    cdef readonly object memory     # the mmap object; owns what the pointers point to
    cdef uint64_t* live_until_ms    # no entry lives longer: the one thing that requests look at while there is none
    cdef ws_takeover* entries
    cdef uint64_t bucket_mask
    cdef ws_newsring* ring
    cdef ws_newsring* news          # the same where other proxies are told; NULL: nobody is
    cdef uint64_t awaited           # the news that was not whole when it was looked at last
    # Sessions are kept under this key: of this start, or (``share``) of a group of proxies.
    cdef uint64_t secret_0
    cdef uint64_t secret_1
    # Of this start, an upgrade keeps it: for what no other proxy is to understand.
    cdef uint64_t own_0
    cdef uint64_t own_1

    # Of a session of the cluster that has this number.
    cdef uint64_t key_of(self, uint64_t cluster, const char* session, Py_ssize_t length) noexcept nogil
    # Of anything else that is known by a hash here alone.
    cdef uint64_t own_key_of(self, uint64_t kind, const char* data, Py_ssize_t length) noexcept nogil
    # Index of the server's slot, -1 none; `until_ms` is when it will be forgotten.
    cdef int32_t find(self, uint64_t key, int64_t now_ms, int64_t* until_ms) noexcept nogil
    # Whether that is a new server for the session.
    cdef bint remember(self, uint64_t key, int32_t server, int64_t now_ms, int64_t until_ms) noexcept nogil
    # The key's entry, or the one that is forgotten first; `value` is what it says.
    cdef ws_takeover* seat_of(self, uint64_t key, uint64_t* value, bint* is_found) noexcept nogil
    cdef void put(self, ws_takeover* place, uint64_t key, uint64_t value) noexcept nogil
    # All that is remembered here, in place of what `other` remembered.
    cdef int copy_to(self, TakeoverTable other) except -1


cdef inline bint any_lives(TakeoverTable table, int64_t now_ms) noexcept nogil:
    return <int64_t>ws_takeover_load(table.live_until_ms) > now_ms


cdef class ClusterSessions:
    cdef ws_sessions* at    # a mapping of its own

    # Whether this version of the partition table is news; keeps it then. Call under the cluster's lock.
    cdef bint keep_partitions(
        self, const char* version, Py_ssize_t version_len, const char* table, Py_ssize_t table_len
    ) noexcept nogil
    cdef dict counts(self, uint64_t kept)
    cdef tuple partition_table(self)
