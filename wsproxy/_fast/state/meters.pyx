"""
What metrics are made of: counters and histograms of requests, servers, clusters and workers, in shared memory.

Made with the shared state before the fork, in a file of its own; each worker counts in the row of its number, the process
beside the workers adds the rows up (``tell.exposition``), which costs the workers nothing. One writer a word: an addition
and no lock, and a sum over all rows that is exact. A row stays when its worker dies, and the next one goes on counting there.

Blocks are found by the number of a slot of ``segment``, which a server keeps for as long as a configuration has it. Must not
know names.
"""

import os

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from wsproxy._fast.base.atomics cimport ws_read
from wsproxy._fast.base.memory cimport ws_map_shared, ws_unmap

# Answers that wsproxy gives itself, each in a word; the last one has all others.
CODES = (
    200, 206, 301, 302, 303, 304, 307, 308, 400, 403, 404, 405, 408, 412, 413, 414, 416, 417, 431, 500, 502, 503, 504, 505, 0,
)
BOUNDS_US = tuple(ws_bounds_us[at] for at in range(BUCKETS - 1))

cdef int[25] codes
for at, code in enumerate(CODES):
    codes[at] = code


cdef int code_index(int status) noexcept nogil:
    cdef int at
    for at in range(OWN_CODES - 1):
        if codes[at] == status:
            return at
    return OWN_CODES - 1


cdef class Meters:
    """
    Rows of blocks for ``workers`` workers, and one for everybody else; pages that nobody wrote to cost nothing.

    ``fd``: an empty file without a name, or one that another program of ours has counted in: its counts go on. It stays the
    caller's. Raises: ValueError where it has another size, so that its words may be others.
    """

    def __cinit__(self, int workers, Py_ssize_t servers, Py_ssize_t clusters, int fd=-1):
        cdef bint is_own = fd < 0
        cdef Py_ssize_t found
        if workers < 1 or servers < 0 or clusters < 0:
            raise ValueError(f"found {workers} workers, {servers} servers, {clusters} clusters; allowed is 1 worker or more")
        self.workers, self.servers, self.clusters = workers, servers, clusters
        self.row_words = (1 + clusters + servers) * BLOCK_WORDS
        self.size = (workers + 1) * self.row_words * sizeof(uint64_t)
        # A file: of anonymous memory some kernels want to know beforehand that there is room for all of it.
        if is_own:
            fd = os.memfd_create("wsproxy-meters")
        try:
            found = os.lseek(fd, 0, os.SEEK_END)
            if found not in (0, self.size):
                raise ValueError(f"found meters of {found} bytes; allowed are {self.size}")
            os.ftruncate(fd, self.size)
            self.memory = <char*>ws_map_shared(fd, 0, self.size)
        finally:
            if is_own:
                os.close(fd)
        if self.memory == NULL:
            raise MemoryError

    def __dealloc__(self):
        ws_unmap(self.memory, self.size)

    cdef Py_ssize_t block_at(self, int kind, Py_ssize_t slot) except -1:
        """In a row, in words."""
        if kind == WORKER_BLOCK and slot == 0:
            return 0
        if kind == CLUSTER_BLOCK and 0 <= slot < self.clusters:
            return (1 + slot) * BLOCK_WORDS
        if kind == SERVER_BLOCK and 0 <= slot < self.servers:
            return (1 + self.clusters + slot) * BLOCK_WORDS
        raise ValueError(
            f"found block {kind} of slot {slot}; allowed are slots 0..{self.clusters - 1} of clusters and "
            f"0..{self.servers - 1} of servers"
        )

    cdef int add_up(self, int kind, Py_ssize_t slot, uint64_t* sums) except -1:
        cdef Py_ssize_t at = self.block_at(kind, slot)
        cdef const uint64_t* block
        cdef int row, word
        memset(sums, 0, BLOCK_WORDS * sizeof(uint64_t))
        for row in range(self.workers + 1):
            block = self.row(row) + at
            for word in range(BLOCK_WORDS):
                sums[word] += ws_read(&block[word])
        return 0

    cdef int empty(self, int kind, Py_ssize_t slot) except -1:
        cdef Py_ssize_t at = self.block_at(kind, slot)
        cdef int row
        for row in range(self.workers + 1):
            memset(self.row(row) + at, 0, BLOCK_WORDS * sizeof(uint64_t))
        return 0

    cdef int forget(self, int worker, Py_ssize_t servers) except -1:
        cdef uint64_t* row = self.row(self.check(worker))
        cdef Py_ssize_t slot
        row[<int>CLOSED_CLIENTS] = row[<int>OPENED]
        for slot in range(min(servers, self.servers)):
            self.server_block(worker, slot)[<int>IDLE] = 0
        return 0

    cdef int check(self, int worker) except -1:
        if not 0 <= worker <= self.workers:
            raise ValueError(f"found worker {worker}; allowed is 0..{self.workers}")
        return worker

    # --- for who counts in Python, and for tests ---------------------------------------------------------------------

    cpdef int count(self, int worker, int kind, Py_ssize_t slot, int word, int64_t more=1) except -1:
        """So many more, in the worker's row; ``worker`` equal to ``workers``: of no worker."""
        ws_add_own(self.word_at(worker, kind, slot, word), <uint64_t>more)
        return 0

    cpdef int put(self, int worker, int kind, Py_ssize_t slot, int word, int64_t number) except -1:
        """A number that is no counter."""
        cdef uint64_t* at = self.word_at(worker, kind, slot, word)
        ws_add_own(at, <uint64_t>number - at[0])
        return 0

    def observe_time(self, int worker, int kind, Py_ssize_t slot, int word, int64_t us) -> None:
        """A length of time in the histogram that begins with ``word``."""
        self.word_at(worker, kind, slot, word + BUCKETS)
        observe(self.word_at(worker, kind, slot, word), 0, us)

    cdef uint64_t* word_at(self, int worker, int kind, Py_ssize_t slot, int word) except NULL:
        if not 0 <= word < BLOCK_WORDS:
            raise ValueError(f"found word {word}; allowed is 0..{BLOCK_WORDS - 1}")
        return self.row(self.check(worker)) + self.block_at(kind, slot) + word

    def sums(self, int kind, Py_ssize_t slot=0) -> list[int]:
        """The words of a block, added up over all rows."""
        cdef uint64_t found[BLOCK_WORDS]
        self.add_up(kind, slot, found)
        return [found[word] for word in range(BLOCK_WORDS)]
