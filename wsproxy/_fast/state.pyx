"""
The shared-memory state of servers and clusters: weights, down marks, requests in flight, counters.

Made by the supervisor before it forks, mapped by every worker, read and written by ``select`` on each request.
Must not know sockets or configuration. A server is found by the digest of its cluster's and its own name, so a
reload keeps the state of servers that stay.

Every value has one writer at a time: weights, the round-robin cursor and down marks are changed under the cluster's
robust mutex; in-flight counts have one row a worker. So a worker may die anywhere without
leaving the others stuck, and ``worker_died`` gives its requests back exactly.
"""

import hashlib
import mmap
import os

from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport write
from wsproxy._fast.changes cimport ChangeRing, read_changes
from wsproxy._fast.client_counts cimport ClientCounts
from wsproxy._fast.lock cimport ws_lock, ws_mutex_init, ws_unlock
from wsproxy._fast.takeover cimport TakeoverTable
from wsproxy._fast.waiting cimport GRANTED, MOST_PLACES, WaitingLine, line_forget


cdef int32_t total_inflight(ws_server_slot* slot) noexcept nogil:
    """Requests running at the server over all workers."""
    cdef int32_t total = 0
    cdef int row
    for row in range(MAX_WORKERS):
        total += ws_load32(&slot.inflight[row])
    return total


cdef void start_turns(ws_cluster_slot* slot, uint64_t random) noexcept nogil:
    """Where its round robins begin, and what its random choices come from."""
    slot.random = random | 1
    slot.cursor = <int32_t>(slot.random >> 33)
    slot.backup_cursor = <int32_t>(slot.random >> 1 & 0x7FFFFFFF)


cdef int check_worker(int worker_id) except -1:
    """Raises for a number that has no row of in-flight counts."""
    if not 0 <= worker_id < MAX_WORKERS:
        raise ValueError(f"found worker {worker_id}; allowed is 0..{MAX_WORKERS - 1}")
    return worker_id


def server_key(cluster: str, server: str) -> bytes:
    """The 16 bytes under which a server's slot is found."""
    return hashlib.blake2b(f"{cluster}\0{server}".encode(), digest_size=16).digest()


def cluster_key(cluster: str) -> bytes:
    """The 16 bytes under which a cluster's slot is found."""
    return hashlib.blake2b(cluster.encode(), digest_size=16, person=b"cluster").digest()


def now_ms() -> int:
    """Milliseconds of the clock that down marks are kept in (CLOCK_MONOTONIC, coarse)."""
    return ws_now_ms()


cdef class SharedState:
    """
    One anonymous shared mapping with a slot a server and a slot a cluster.

    Slots are taken in order and pages that no slot uses cost nothing, so the capacity is generous: a reload can add
    servers.
    """

    def __cinit__(self, server_capacity: int = 65_536, cluster_capacity: int = 16_384):
        cdef unsigned char[::1] view
        cdef Py_ssize_t cluster_bytes
        cdef int worker
        cdef Py_ssize_t server_bytes = server_capacity * sizeof(ws_server_slot)
        self.server_capacity = server_capacity
        self.cluster_capacity = cluster_capacity
        self.server_index = {}
        self.cluster_index = {}
        cluster_bytes = cluster_capacity * sizeof(ws_cluster_slot)
        self.memory = mmap.mmap(-1, server_bytes + cluster_bytes + sizeof(ChangeRing))
        view = self.memory
        self.servers = <ws_server_slot*>&view[0]
        self.clusters = <ws_cluster_slot*>(&view[0] + server_bytes)
        self.ring = <ChangeRing*>(&view[0] + server_bytes + cluster_bytes)
        if ws_mutex_init(&self.ring.lock):
            raise OSError("cannot make a process-shared robust mutex")
        self.takeovers = TakeoverTable()
        self.log_memory = mmap.mmap(-1, 2 * sizeof(int32_t))
        view = self.log_memory
        self.log_wishes = <int32_t*>&view[0]
        self.lines = {}
        for worker in range(MAX_WORKERS):
            self.bells[worker] = -1

    def __dealloc__(self):
        cdef int worker
        for worker in range(MAX_WORKERS):
            if self.bells[worker] >= 0:
                os.close(self.bells[worker])

    cdef ws_server_slot* server_slot(self, bytes key) except NULL:
        """The slot of ``key``, taken into use if it is new. Only the supervisor calls this, before it forks."""
        cdef Py_ssize_t index = self.server_index.get(key, len(self.server_index))
        if index >= self.server_capacity:
            raise MemoryError(f"found more than {self.server_capacity} servers; allowed is that many in one shared state")
        self.server_index[key] = index
        return &self.servers[index]

    cdef ws_cluster_slot* cluster_slot(self, bytes key) except NULL:
        """The slot of ``key``, with its lock made and a random start position if it is new."""
        cdef bint known = key in self.cluster_index
        cdef Py_ssize_t index = self.cluster_index.get(key, len(self.cluster_index))
        if index >= self.cluster_capacity:
            raise MemoryError(f"found more than {self.cluster_capacity} clusters; allowed is that many in one shared state")
        if not known:
            if ws_mutex_init(&self.clusters[index].lock):
                raise OSError("cannot make a process-shared robust mutex")
            self.cluster_index[key] = index
            start_turns(&self.clusters[index], int.from_bytes(os.urandom(8), "little"))
        return &self.clusters[index]

    def changes(self, uint64_t since=0) -> list[Change]:
        """The last changes of servers' states with a number above ``since``, oldest first; whoever writes goes on."""
        return read_changes(self.ring, since)

    @property
    def log_level(self) -> int:
        """``LogLevel`` of http_plugin.log for all workers; 0: the configured one."""
        return ws_load32(&self.log_wishes[0])

    @log_level.setter
    def log_level(self, int level) -> None:
        ws_store32(&self.log_wishes[0], level)

    @property
    def log_reopens(self) -> int:
        """How often the file was to be opened anew: workers look whether it has changed."""
        return ws_load32(&self.log_wishes[1])

    def reopen_logs(self) -> None:
        """All workers open the file anew, within a moment. Only the supervisor calls this."""
        ws_store32(&self.log_wishes[1], ws_load32(&self.log_wishes[1]) + 1)

    def copy_to(self, SharedState other not None) -> None:
        """
        What stands here now, into the state of a plan that was built in the same order: looking ahead there changes nothing.

        Takes no lock, so it never waits and nobody waits for it: values that changed meanwhile are the old or the new ones.
        Who waits in queues is not copied.

        Raises: ValueError where ``other`` has a server or a cluster at another place.
        """
        cdef Py_ssize_t index
        cdef int32_t cluster
        for mine, its in ((self.server_index, other.server_index), (self.cluster_index, other.cluster_index)):
            if any(mine.get(key) != at for key, at in its.items()):
                raise ValueError("found other servers or clusters; allowed are those of the same plan")
        for index in range(len(other.server_index)):
            cluster = other.servers[index].cluster
            memcpy(&other.servers[index], &self.servers[index], sizeof(ws_server_slot))
            other.servers[index].cluster = cluster
        for index in range(len(other.cluster_index)):
            other.clusters[index].cursor = self.clusters[index].cursor
            other.clusters[index].backup_cursor = self.clusters[index].backup_cursor
            other.clusters[index].random = self.clusters[index].random
        self.takeovers.copy_to(other.takeovers)

    cdef WaitingLine waiting_line(self, Py_ssize_t cluster):
        if cluster not in self.lines:
            self.lines[cluster] = WaitingLine()
        return self.lines[cluster]

    def open_client_counts(self, workers: int) -> None:
        """Makes room to count each client's connections, for so many workers; once, before the first fork."""
        check_worker(workers - 1)
        self.client_counts = ClientCounts(self.takeovers, workers)

    def open_bells(self, int workers) -> None:
        """Makes what wakes a worker whose waiter may go on, for so many workers; once, before the first fork."""
        cdef int worker
        check_worker(workers - 1)
        for worker in range(workers):
            if self.bells[worker] < 0:
                self.bells[worker] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def bell(self, int worker_id) -> int:
        """The eventfd that wakes this worker; -1: none was made."""
        return self.bells[check_worker(worker_id)]

    cdef void call(self, int worker) noexcept nogil:
        cdef uint64_t one = 1
        if self.bells[worker] >= 0:
            write(self.bells[worker], &one, sizeof(one))  # fails only when full: then it is awake already

    cdef int recount(self, Py_ssize_t cluster, WaitingLine line, int worker) except -1:
        """Forgets a dead worker's waiters, and counts the places that are kept for others."""
        cdef Py_ssize_t index
        cdef int32_t place
        for index in range(len(self.server_index)):
            if self.servers[index].cluster == cluster:
                self.servers[index].granted = 0
        line_forget(line.at, worker)
        for place in range(1, MOST_PLACES + 1):
            if line.at.places[place].state == GRANTED:
                self.servers[line.at.places[place].slot].granted += 1
        return 0

    def worker_started(self, int worker_id) -> None:
        """Clears the row of ``worker_id``: a new process begins with nothing in flight."""
        self.worker_died(worker_id)

    def worker_died(self, int worker_id) -> int:
        """
        Gives back what the worker had in flight and the probes it held; the supervisor calls it after reaping.

        Returns the number of requests given back.
        """
        cdef Py_ssize_t index
        cdef int given_back = 0
        cdef int worker
        cdef ws_server_slot* slot
        check_worker(worker_id)
        for index in range(len(self.server_index)):
            slot = &self.servers[index]
            given_back += ws_load32(&slot.inflight[worker_id])
            ws_store32(&slot.inflight[worker_id], 0)
            ws_swap_if32(&slot.probe_by, worker_id + 1, 0)
        for cluster, line in self.lines.items():
            ws_lock(&self.clusters[<Py_ssize_t>cluster].lock)
            self.recount(cluster, line, worker_id)
            ws_unlock(&self.clusters[<Py_ssize_t>cluster].lock)
        if self.client_counts is not None:
            self.client_counts.forget(worker_id)
        if self.lines:
            for worker in range(MAX_WORKERS):
                self.call(worker)  # what was given back is for who waits
        return given_back
