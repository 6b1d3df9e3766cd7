"""
How many connections each client has open, over all workers, in shared memory.

Made with the shared state before the fork, only where a limit is set; asked once a connection, by ``downstream``. Must not
know sockets. The kernel spreads a client's connections over the workers, so only the sum over all of them can be limited.

Each worker has a row of its own and no other writes there: no lock, and the connections of a worker that died are one memset.
A worker counts first and looks at the sum then, both in one order for all (sequentially consistent): of two that take a
client's last place at the same moment at least one sees the other. So there are never more than allowed; both may be refused.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset
from wsproxy._fast.base.memory cimport ws_map_shared, ws_unmap
from wsproxy._fast.state.takeover cimport TakeoverTable

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET
    int AF_INET6
    int inet_pton(int family, const char* text, void* address)

cdef enum:
    # Places that a client may have, 4 cache lines. 8192 buckets are 2 MiB a worker, of which only those pages exist that
    # clients needed: with 32,000 clients at once the odds that one finds no place are 1 to 100, and it is only not counted.
    WAYS = 16
    BUCKETS = 8192
    # Of an IPv6 address: what a provider gives to one customer. Counting addresses, all would have 2^64 times the limit.
    IPV6_BYTES = 8
    # The longest text of an address: 45 characters and a NUL (INET6_ADDRSTRLEN).
    TEXT_BYTES = 46

# Beside the numbers of clusters, in the keyed hash that both use.
cdef uint64_t CLIENTS = <uint64_t>-1


cdef Py_ssize_t counts_size(int workers) noexcept:
    return <Py_ssize_t>workers * BUCKETS * WAYS * sizeof(ws_client)


cdef class ClientCounts:
    """A mapping with a row for each of ``workers``, of ``fd`` at ``offset`` or (-1) anonymous."""

    def __cinit__(self, TakeoverTable hashes not None, int workers, int fd=-1, long long offset=0):
        if workers < 1:
            raise ValueError(f"found {workers} workers; allowed is 1 or more")
        self.rows = <ws_client*>ws_map_shared(fd, offset, counts_size(workers))
        if self.rows == NULL:
            raise MemoryError
        self.workers = workers
        self.hashes = hashes

    def __dealloc__(self):
        ws_unmap(self.rows, counts_size(self.workers))

    cdef bint identify(self, bytes peer, uint64_t* client) noexcept:
        cdef char text[TEXT_BYTES]
        cdef unsigned char address[16]
        cdef const char* at = <const char*>peer
        cdef Py_ssize_t length = len(peer)
        cdef const char* scope = <const char*>memchr(at, c"%", length)  # fe80::1%eth0
        if scope != NULL:
            length = scope - at
        if length >= TEXT_BYTES:
            return False
        memcpy(text, at, length)
        text[length] = 0
        if inet_pton(AF_INET, text, address) == 1:
            client[0] = self.hashes.own_key_of(CLIENTS, <const char*>address, 4)
        elif inet_pton(AF_INET6, text, address) != 1:
            return False
        elif memcmp(address, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0:
            client[0] = self.hashes.own_key_of(CLIENTS, <const char*>address + 12, 4)
        else:
            client[0] = self.hashes.own_key_of(CLIENTS, <const char*>address, IPV6_BYTES)
        return True

    cdef Admission enter(self, int worker, uint64_t client, int64_t most) noexcept nogil:
        cdef ws_client* place = self.find(worker, client, True)
        if place == NULL:
            return UNCOUNTED
        if place.count == 0:
            ws_client_store(&place.client, client)
        ws_client_store(&place.count, place.count + 1)
        if <int64_t>self.total(client) > most:
            ws_client_store(&place.count, place.count - 1)
            return REFUSED
        return COUNTED

    cdef void leave(self, int worker, uint64_t client) noexcept nogil:
        cdef ws_client* place = self.find(worker, client, False)
        if place != NULL:
            ws_client_store(&place.count, place.count - 1)

    cdef uint64_t total(self, uint64_t client) noexcept nogil:
        cdef uint64_t total = 0
        cdef uint64_t count
        cdef ws_client* bucket
        cdef int worker, way
        for worker in range(self.workers):
            bucket = &self.rows[(worker * BUCKETS + <Py_ssize_t>(client & (BUCKETS - 1))) * WAYS]
            for way in range(WAYS):
                if ws_client_load(&bucket[way].client) == client:
                    count = ws_client_load(&bucket[way].count)
                    # Another client may have got the free place in between; it writes its number first.
                    if ws_client_load(&bucket[way].client) == client:
                        total += count
        return total

    cdef ws_client* find(self, int worker, uint64_t client, bint or_free) noexcept nogil:
        """The client's place in the worker's own row; else a free one if that will do, or NULL."""
        cdef ws_client* bucket = &self.rows[(worker * BUCKETS + <Py_ssize_t>(client & (BUCKETS - 1))) * WAYS]
        cdef ws_client* free = NULL
        cdef int way
        for way in range(WAYS):
            if bucket[way].count == 0:
                if free == NULL:
                    free = &bucket[way]
            elif bucket[way].client == client:
                return &bucket[way]
        return free if or_free else NULL

    cpdef forget(self, int worker):
        """The worker died, and its connections with it."""
        if 0 <= worker < self.workers:
            memset(&self.rows[worker * BUCKETS * WAYS], 0, BUCKETS * WAYS * sizeof(ws_client))

    def count(self, bytes peer not None) -> int:
        """Connections of the client with this address."""
        cdef uint64_t client
        return self.total(client) if self.identify(peer, &client) else 0

    # --- the same for tests -----------------------------------------------------------------------------------------

    def admit(self, int worker, bytes peer not None, int64_t most) -> int:
        """COUNTED (1), UNCOUNTED (2) or REFUSED (3)."""
        cdef uint64_t client
        self.check(worker)
        return <int>self.enter(worker, client, most) if self.identify(peer, &client) else <int>UNCOUNTED

    def give_back(self, int worker, bytes peer not None) -> None:
        """One connection less."""
        cdef uint64_t client
        self.check(worker)
        if self.identify(peer, &client):
            self.leave(worker, client)

    cdef int check(self, int worker) except -1:
        if not 0 <= worker < self.workers:
            raise ValueError(f"found worker {worker}; allowed is 0..{self.workers - 1}")
        return 0
