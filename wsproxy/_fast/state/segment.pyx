"""
The shared-memory state of servers and clusters: weights, down marks, requests in flight, counters.

Made by the supervisor before it forks, mapped by every worker, read and written by ``cluster`` on each request.
Must not know sockets or configuration. A server is found by the digest of its cluster's and its own name, so a
reload keeps the state of servers that stay.

Slots are taken by the supervisor, for the configuration of the start, and later by the one process that compiles others
(``process.loader``). Every process has an index of its own, and takes over that of a configuration with it (``take_index``).
A slot that no configuration has any more is used again once no worker has a request that may touch it (``free_slots``).

Every value has one writer at a time: weights, the round-robin cursor and down marks are changed under the cluster's
robust mutex; in-flight counts have one row a worker. So a worker may die anywhere without
leaving the others stuck, and ``worker_died`` gives its requests back exactly.
"""

import hashlib
import os
from collections import namedtuple

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport write
from wsproxy._fast.base.atomics cimport ws_count, ws_load32, ws_load64, ws_store32, ws_store64, ws_swap_if32
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.base.lock cimport ws_lock_within, ws_mutex_init, ws_unlock
from wsproxy._fast.base.memory cimport ws_map_shared, ws_unmap
from wsproxy._fast.state.board cimport Board, board_size
from wsproxy._fast.state.changes cimport ChangeRing, read_changes
from wsproxy._fast.state.client_counts cimport ClientCounts, counts_size
from wsproxy._fast.state.meters cimport CLUSTER_BLOCK, DEATHS, SERVER_BLOCK, WORKER_BLOCK, Meters
from wsproxy._fast.state.queue cimport GRANTED, MOST_WAITERS, Queue, SharedQueue, queue_forget
from wsproxy._fast.state.takeover cimport (
    BUCKETS, REASONS, ClusterSessions, TakeoverTable, takeovers_size, ws_sessions, ws_takeover,
)


# Requests: given to servers, answered 404 for want of a Route, answered 5xx by wsproxy, and not taken by their server.
Totals = namedtuple("Totals", "served unrouted unserved broken")
# Attempts to take over another configuration, in the words of the history; the last is of those that were in use.
cdef tuple RELOADS = ("in use", "unchanged", "refused", "failed", "undone")
Reloads = namedtuple("Reloads", "in_use unchanged refused failed undone tried_ms taken_ms is_refused")

# Longer than anybody who runs holds a lock, and short enough for a supervisor that has other things to do.
cdef enum:
    PATIENCE_MS = 50
    PAGE = 4096
    # One more where something in the shared memory means something else than before, though its size is the same.
    STATE_VERSION = 1


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


cdef int32_t count_slots(dict index, Py_ssize_t most) except -1:
    """One more than the last slot that ``index`` names; raises for one that there is not."""
    cdef Py_ssize_t at
    cdef Py_ssize_t count = 0
    for at in index.values():
        if not 0 <= at < most:
            raise ValueError(f"found slot {at}; allowed is 0..{most - 1} of this state")
        count = max(count, at + 1)
    return <int32_t>count


def server_key(cluster: str, server: str) -> bytes:
    """The 16 bytes under which a server's slot is found."""
    return hashlib.blake2b(f"{cluster}\0{server}".encode(), digest_size=16).digest()


def cluster_key(cluster: str) -> bytes:
    """The 16 bytes under which a cluster's slot is found."""
    return hashlib.blake2b(cluster.encode(), digest_size=16, person=b"cluster").digest()


def now_ms() -> int:
    """Milliseconds of the clock that down marks are kept in (CLOCK_MONOTONIC, coarse)."""
    return ws_now_ms()


def state_layout(server_capacity: int = 65_536, cluster_capacity: int = 16_384) -> bytes:
    """The 8 bytes that a shared state must begin with for this program to go on with it."""
    sizes = (
        STATE_VERSION, server_capacity, cluster_capacity, MAX_WORKERS, sizeof(ws_header), sizeof(ws_server_slot),
        sizeof(ws_cluster_slot), sizeof(ChangeRing), sizeof(ws_sessions), sizeof(Queue), takeovers_size(BUCKETS),
        sizeof(ws_takeover), counts_size(1), board_size(1),
    )
    return hashlib.blake2b(repr(sizes).encode(), digest_size=8).digest()


cdef inline Py_ssize_t whole_pages(Py_ssize_t size) noexcept:
    return (size + PAGE - 1) // PAGE * PAGE


cdef class SharedState:
    """
    One shared mapping with a slot a server and a slot a cluster.

    Slots are taken in order and pages that no slot uses cost nothing, so the capacity is generous: a reload can add
    servers. ``grows``: a reload may, so the memory is a file without a name that every process forked later can map more of;
    without it all clusters must be known before the first fork. ``fd``: that file, as another program of the same layout
    made it: what stands there goes on to hold.

    Raises: ValueError where ``fd`` is of another layout; it stays the caller's then, and is this object's else.
    """

    def __cinit__(
        self, server_capacity: int = 65_536, cluster_capacity: int = 16_384, *, grows: bool = False, fd: int = -1
    ):
        cdef bytes layout = state_layout(server_capacity, cluster_capacity)
        cdef bint is_new = fd < 0
        cdef struct_stat status
        cdef int worker
        cdef Py_ssize_t servers_at = whole_pages(sizeof(ws_header))
        cdef Py_ssize_t clusters_at = servers_at + server_capacity * sizeof(ws_server_slot)
        cdef Py_ssize_t ring_at = clusters_at + cluster_capacity * sizeof(ws_cluster_slot)
        self.fd = -1
        for worker in range(MAX_WORKERS):
            self.bells[worker] = -1
        self.server_capacity = server_capacity
        self.cluster_capacity = cluster_capacity
        self.server_index = {}
        self.cluster_index = {}
        self.free_servers = []
        self.free_clusters = []
        self.queues = {}
        self.sessions = {}
        self.size = whole_pages(ring_at + sizeof(ChangeRing))
        self.counts_at = self.size + whole_pages(takeovers_size(BUCKETS))
        self.board_at = self.counts_at + whole_pages(counts_size(MAX_WORKERS))
        self.rest_at = self.board_at + whole_pages(board_size(MAX_WORKERS))
        if not is_new:
            if os.pread(fd, 8, 0) != layout or fstat(fd, &status) or status.st_size < self.rest_at:
                raise ValueError("found a shared state of another version; allowed is this one's")
            self.fd = fd
        elif grows:
            self.fd = os.memfd_create("wsproxy-state")
            os.ftruncate(self.fd, self.rest_at)
        self.memory = <char*>ws_map_shared(self.fd, 0, self.size)
        if self.memory == NULL:
            raise MemoryError
        self.header = <ws_header*>self.memory
        self.servers = <ws_server_slot*>(self.memory + servers_at)
        self.clusters = <ws_cluster_slot*>(self.memory + clusters_at)
        self.ring = <ChangeRing*>(self.memory + ring_at)
        self.takeovers = TakeoverTable(BUCKETS, self.fd, self.size if self.fd >= 0 else 0)
        if not is_new:
            self.read_index()
            return
        memcpy(&self.header.layout, <const char*>layout, sizeof(self.header.layout))
        self.header.generation = 1
        if ws_mutex_init(&self.ring.lock):
            raise OSError("cannot make a process-shared robust mutex")

    def __dealloc__(self):
        cdef int worker
        for worker in range(MAX_WORKERS):
            if self.bells[worker] >= 0:
                os.close(self.bells[worker])
        ws_unmap(self.memory, self.size)
        if self.fd >= 0:
            os.close(self.fd)

    cdef ws_server_slot* server_slot(self, bytes key) except NULL:
        """The slot of ``key``, taken if it has none; writes nothing there but whose it is. Only who compiles takes slots."""
        cdef Py_ssize_t index = self.server_index.get(key, -1)
        if index < 0:
            index = self.free_servers.pop() if self.free_servers else self.header.server_count
            if index >= self.server_capacity:
                raise MemoryError(f"found more than {self.server_capacity} servers; allowed is that many in one shared state")
            memcpy(self.servers[index].key, <const char*>key, KEY_BYTES)
            self.header.server_count = max(self.header.server_count, <int32_t>index + 1)
            self.server_index[key] = index
        return &self.servers[index]

    cdef ws_cluster_slot* cluster_slot(self, bytes key) except NULL:
        """The same for a cluster: good once ``open_cluster`` was called."""
        cdef Py_ssize_t index = self.cluster_index.get(key, -1)
        if index < 0:
            index = self.free_clusters.pop() if self.free_clusters else self.header.cluster_count
            if index >= self.cluster_capacity:
                raise MemoryError(
                    f"found more than {self.cluster_capacity} clusters; allowed is that many in one shared state"
                )
            memcpy(self.clusters[index].key, <const char*>key, KEY_BYTES)
            self.header.cluster_count = max(self.header.cluster_count, <int32_t>index + 1)
            self.cluster_index[key] = index
        return &self.clusters[index]

    cdef int open_cluster(self, int cluster) except -1:
        if not self.clusters[cluster].is_open:
            if ws_mutex_init(&self.clusters[cluster].lock):
                raise OSError("cannot make a process-shared robust mutex")
            start_turns(&self.clusters[cluster], int.from_bytes(os.urandom(8), "little"))
            self.clusters[cluster].is_open = 1
        return 0

    def copy_segment(self) -> bytes:
        """What stands in the slots in use, and in the ring of changes: for tests of what changes there."""
        cdef const char* servers = <const char*>self.servers
        cdef const char* clusters = <const char*>self.clusters
        cdef const char* ring = <const char*>self.ring
        return (
            servers[:self.header.server_count * sizeof(ws_server_slot)]
            + clusters[:self.header.cluster_count * sizeof(ws_cluster_slot)] + ring[:sizeof(ChangeRing)]
        )

    def changes(self, uint64_t since=0) -> list[Change]:
        """The last changes of servers' states with a number above ``since``, oldest first; whoever writes goes on."""
        return read_changes(self.ring, since)

    @property
    def log_level(self) -> int:
        """``LogLevel`` of http_plugin.log for all workers; 0: the configured one."""
        return ws_load32(&self.header.log_level)

    @log_level.setter
    def log_level(self, int level) -> None:
        ws_store32(&self.header.log_level, level)

    @property
    def file_log_level(self) -> int:
        """The configured one, as a reload has found it; 0: as at the start."""
        return ws_load32(&self.header.file_log_level)

    @file_log_level.setter
    def file_log_level(self, int level) -> None:
        ws_store32(&self.header.file_log_level, level)

    def log_level_now(self, int at_start) -> int:
        """The level that holds: an operator's, else the last configuration's, else that of the start."""
        return ws_load32(&self.header.log_level) or self.file_log_level or at_start

    @property
    def log_reopens(self) -> int:
        """How often the file was to be opened anew: workers look whether it has changed."""
        return ws_load32(&self.header.log_reopens)

    def reopen_logs(self) -> None:
        """All workers open the file anew, within a moment. Only the supervisor calls this."""
        ws_store32(&self.header.log_reopens, ws_load32(&self.header.log_reopens) + 1)

    @property
    def wants_prober(self) -> bool:
        """Whether the configuration that holds has active probes."""
        return bool(ws_load32(&self.header.wants_prober))

    @wants_prober.setter
    def wants_prober(self, bint wanted) -> None:
        ws_store32(&self.header.wants_prober, wanted)

    @property
    def is_drained(self) -> bool:
        """Whether an operator drains the whole proxy: it is not ready, and connections end with their answers."""
        return bool(ws_load32(&self.header.is_drained))

    @is_drained.setter
    def is_drained(self, bint drained) -> None:
        ws_store32(&self.header.is_drained, drained)

    def twin(self) -> SharedState:
        """Another state with the same slots for the same names, and nothing in them yet: for ``copy_to``."""
        cdef SharedState other = SharedState(self.server_capacity, self.cluster_capacity)
        other.take_index(self.index())
        for key, at in other.cluster_index.items():
            memcpy(other.clusters[<int>at].key, <const char*><bytes>key, KEY_BYTES)
        return other

    def copy_to(self, SharedState other not None) -> None:
        """
        What stands here now, into a ``twin``: looking ahead there changes nothing.

        Takes no lock, so it never waits and nobody waits for it: values that changed meanwhile are the old or the new ones.
        Who waits in queues is not copied.

        Raises: ValueError where ``other`` has a server or a cluster at another place.
        """
        cdef Py_ssize_t index
        for mine, its in ((self.server_index, other.server_index), (self.cluster_index, other.cluster_index)):
            if any(mine.get(key) != at for key, at in its.items()):
                raise ValueError("found other servers or clusters; allowed are those of a twin")
        other.header.maintenance = self.header.maintenance
        for index in other.server_index.values():
            memcpy(&other.servers[index], &self.servers[index], sizeof(ws_server_slot))
        for index in other.cluster_index.values():
            other.clusters[index].maintenance = self.clusters[index].maintenance
            other.clusters[index].cursor = self.clusters[index].cursor
            other.clusters[index].backup_cursor = self.clusters[index].backup_cursor
            other.clusters[index].random = self.clusters[index].random
            other.clusters[index].writer = self.clusters[index].writer
        self.takeovers.copy_to(other.takeovers)

    # --- which slots are whose --------------------------------------------------------------------------------------

    def index(self) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """Which slots servers and clusters have, as this process knows it: what ``take_index`` takes elsewhere."""
        return dict(self.server_index), dict(self.cluster_index)

    def take_index(self, tuple index not None) -> None:
        """From now on names are found as ``index`` says, which comes from whoever took the slots."""
        cdef dict servers = index[0]
        cdef dict clusters = index[1]
        self.header.server_count = max(self.header.server_count, count_slots(servers, self.server_capacity))
        self.header.cluster_count = max(self.header.cluster_count, count_slots(clusters, self.cluster_capacity))
        self.server_index, self.cluster_index = servers, clusters

    def read_index(self) -> None:
        """The same from the slots themselves, for the one that takes slots and is a new process."""
        cdef Py_ssize_t at
        cdef bytes nobody = bytes(KEY_BYTES)
        self.server_index = {self.servers[at].key[:KEY_BYTES]: at for at in range(self.header.server_count)}
        self.cluster_index = {self.clusters[at].key[:KEY_BYTES]: at for at in range(self.header.cluster_count)}
        self.server_index.pop(nobody, None)
        self.cluster_index.pop(nobody, None)
        self.free_servers = sorted(set(range(self.header.server_count)) - set(self.server_index.values()))
        self.free_clusters = sorted(set(range(self.header.cluster_count)) - set(self.cluster_index.values()))

    def keep_slots(self, servers: set[bytes], clusters: set[bytes], int64_t generation) -> None:
        """Those of these keys are the configuration's that is ``generation``; the others have left with it."""
        cdef Py_ssize_t at
        cdef int64_t now = ws_now_ms()
        for key, at in self.server_index.items():
            if key in servers:
                self.servers[at].left_ms = 0
            elif not self.servers[at].left_ms:
                self.servers[at].left_ms, self.servers[at].left_at = now, generation
        for key, at in self.cluster_index.items():
            if key in clusters:
                self.clusters[at].left_ms = 0
            elif not self.clusters[at].left_ms:
                self.clusters[at].left_ms, self.clusters[at].left_at = now, generation

    def free_slots(self, int64_t least_ms) -> int:
        """
        Empties slots that left ``least_ms`` ago or longer and no worker's request can touch; how many servers' these were.

        ``least_ms``: longer than anything is remembered of a server by its slot's number (affinity.takeover_s).
        """
        cdef Py_ssize_t at
        cdef int freed = 0
        cdef int64_t now = ws_now_ms()
        cdef int64_t oldest = self.oldest_generation()
        for key, at in list(self.server_index.items()):
            if (
                self.servers[at].left_ms and now - self.servers[at].left_ms >= least_ms and self.servers[at].left_at <= oldest
                and total_inflight(&self.servers[at]) == 0
            ):
                memset(&self.servers[at], 0, sizeof(ws_server_slot))
                if self.meters is not None:
                    self.meters.empty(SERVER_BLOCK, at)
                del self.server_index[key]
                self.free_servers.append(at)
                freed += 1
        for key, at in list(self.cluster_index.items()):
            if (
                self.clusters[at].left_ms and now - self.clusters[at].left_ms >= least_ms
                and self.clusters[at].left_at <= oldest
            ):
                self.empty_cluster(at)
                del self.cluster_index[key]
                self.free_clusters.append(at)
        return freed

    cdef int empty_cluster(self, Py_ssize_t at) except -1:
        """As if nobody had ever had it; its lock stays."""
        cdef ws_cluster_slot* slot = &self.clusters[at]
        slot.cursor = slot.backup_cursor = slot.writer = slot.told = slot.has_queue = 0
        slot.left_ms = slot.left_at = 0
        memset(slot.key, 0, KEY_BYTES)
        memset(&slot.maintenance, 0, sizeof(ws_maintenance))
        memset(self.sessions_of(at).at, 0, sizeof(ws_sessions))
        if self.meters is not None:
            self.meters.empty(CLUSTER_BLOCK, at)
        return 0

    @property
    def generation(self) -> int:
        """Number of the configuration that holds; the one of the start is 1."""
        return ws_load64(&self.header.generation)

    @generation.setter
    def generation(self, int64_t number) -> None:
        ws_store64(&self.header.generation, number)

    def note_generations(self, int worker_id, int64_t newest, int64_t oldest) -> None:
        """By which generation the worker's new requests go, and by which its oldest one."""
        check_worker(worker_id)
        ws_store64(&self.header.newest[worker_id], newest)
        ws_store64(&self.header.oldest[worker_id], oldest)

    def newest_generation(self, int workers, int first=0) -> int:
        """By which all of ``workers`` workers from ``first`` on take new requests; 0: one does not run yet."""
        check_worker(first + workers - 1)
        return min(ws_load64(&self.header.newest[worker]) for worker in range(first, first + workers))

    def oldest_generation(self) -> int:
        """By which the oldest request goes, over all workers that run, also those of a program that is being replaced."""
        cdef int64_t oldest = 0
        cdef int64_t found
        cdef int worker
        for worker in range(MAX_WORKERS):
            found = ws_load64(&self.header.oldest[worker])
            if found:
                oldest = min(oldest, found) if oldest else found
        return oldest or ws_load64(&self.header.generation)

    # --- what guards a reload ---------------------------------------------------------------------------------------

    def count_answer(self, int status) -> None:
        """wsproxy answered a request by itself."""
        if status == 404:
            ws_count(&self.header.unrouted)
        elif status >= 500:
            ws_count(&self.header.unserved)

    def totals(self) -> Totals:
        """Over all workers, since the start; servers and clusters that were given up long ago have left them."""
        cdef Py_ssize_t at
        cdef int reason
        cdef uint64_t served = 0, broken = 0
        for at in range(self.header.server_count):
            served += <uint64_t>ws_load64(<int64_t*>&self.servers[at].total)
        for at in self.cluster_index.values():
            for reason in range(REASONS - 1):  # the last is an operator's word, and no configuration's fault
                broken += self.sessions_of(at).at.broken[reason]
        return Totals(
            served, ws_load64(<int64_t*>&self.header.unrouted), ws_load64(<int64_t*>&self.header.unserved), broken
        )

    def count_reload(self, str result not None, int64_t wall_ms) -> None:
        """One more of this result, or "undone", at this time since 1970; only the loader calls this, and not of a dry run."""
        ws_count(&self.header.reloads[<Py_ssize_t>RELOADS.index(result)])
        if result != "undone":  # what it is undone by is counted, too
            ws_store64(&self.header.reload_tried_ms, wall_ms)
            ws_store32(&self.header.is_reload_refused, result in ("refused", "failed"))
        if result == "in use":
            ws_store64(&self.header.reload_taken_ms, wall_ms)

    def forget_refused_reload(self) -> None:
        """What is in the files is in use, whatever became of the attempts of before: a new program has read them."""
        ws_store32(&self.header.is_reload_refused, 0)

    @property
    def reloads(self) -> Reloads:
        """How many of each result since the start, and when the last ones were, in ms since 1970; 0: never."""
        cdef int at
        return Reloads(
            *[ws_load64(<int64_t*>&self.header.reloads[at]) for at in range(5)],
            ws_load64(&self.header.reload_tried_ms), ws_load64(&self.header.reload_taken_ms),
            bool(ws_load32(&self.header.is_reload_refused)),
        )

    # --- sessions, queues, bells ------------------------------------------------------------------------------------

    cdef long long place_of(self, Py_ssize_t cluster, bint is_queue) except -2:
        """Where in the file this cluster's sessions, or its queue, begin, and room is made for them; -1: there is no file."""
        cdef long long at, each
        cdef struct_stat status
        if self.fd < 0:
            return -1
        each = whole_pages(sizeof(ws_sessions))
        at = self.rest_at + cluster * each
        if is_queue:
            at = self.rest_at + self.cluster_capacity * each + cluster * whole_pages(sizeof(Queue))
            each = whole_pages(sizeof(Queue))
        if fstat(self.fd, &status) or status.st_size < at + each:
            os.ftruncate(self.fd, at + each)
        return at

    cdef SharedQueue queue_of(self, Py_ssize_t cluster):
        if cluster not in self.queues:
            self.queues[cluster] = SharedQueue(self.fd, max(self.place_of(cluster, True), 0))
        return self.queues[cluster]

    cdef ClusterSessions sessions_of(self, Py_ssize_t cluster):
        if cluster not in self.sessions:
            self.sessions[cluster] = ClusterSessions(self.fd, max(self.place_of(cluster, False), 0))
        return self.sessions[cluster]

    def open_client_counts(self, workers: int) -> None:
        """Makes room to count each client's connections, for workers below this number; once, before the first fork."""
        check_worker(workers - 1)
        self.client_counts = ClientCounts(self.takeovers, workers, self.fd, self.counts_at if self.fd >= 0 else 0)

    def open_board(self, int workers) -> None:
        """Makes what operators ask workers through, for those below this number; once, before the first fork."""
        check_worker(workers - 1)
        self.board = Board(workers, self.fd, self.board_at if self.fd >= 0 else 0)

    def open_meters(self, int workers, int fd=-1) -> None:
        """
        Makes what metrics are counted in, for so many workers; once, before the first fork.

        ``fd``: in this file, which stays the caller's. Raises: ValueError where it has another size.
        """
        check_worker(workers - 1)
        self.meters = Meters(workers, self.server_capacity, self.cluster_capacity, fd)

    def open_bells(self, int workers) -> None:
        """Makes what wakes a worker whose waiter may go on, for workers below this number; once, before the first fork."""
        cdef int worker
        check_worker(workers - 1)
        for worker in range(workers):
            if self.bells[worker] < 0:
                self.bells[worker] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def bell(self, int worker_id) -> int:
        """The eventfd that wakes this worker; -1: none was made."""
        return self.bells[check_worker(worker_id)]

    def take_bell(self, int worker, int fd) -> None:
        """The eventfd that wakes this worker, as another program of ours made it; before the first fork."""
        self.bells[check_worker(worker)] = fd

    @property
    def file(self) -> int:
        """The descriptor of the memory, for a program that takes it over; -1: it has none."""
        return self.fd

    cdef void call(self, int worker) noexcept nogil:
        cdef uint64_t one = 1
        if self.bells[worker] >= 0:
            write(self.bells[worker], &one, sizeof(one))  # fails only when full: then it is awake already

    cdef int recount(self, Py_ssize_t cluster, SharedQueue queue, int worker) except -1:
        """Forgets a dead worker's waiters, and counts the places that are kept for others."""
        cdef Py_ssize_t index
        cdef int32_t ticket
        for index in range(self.header.server_count):
            if self.servers[index].cluster == cluster:
                self.servers[index].granted = 0
        queue_forget(queue.at, worker)
        for ticket in range(1, MOST_WAITERS + 1):
            if queue.at.waiters[ticket].state == GRANTED:
                self.servers[queue.at.waiters[ticket].slot].granted += 1
        return 0

    def worker_started(self, int worker_id) -> bool:
        """
        Clears the row of ``worker_id``: a new process begins with nothing in flight, and nobody waiting.

        False: try again later, before it is forked. A process that does not move holds the lock of a queue, and what the
        predecessor left there would be taken for the new one's.
        """
        self.give_back(worker_id)
        return self.forget_waiters(worker_id)

    def worker_died(self, int worker_id) -> int:
        """
        Gives back what the worker had in flight and the probes it held; the supervisor calls it after reaping.

        Returns the number of requests given back. Waits for nobody: what it does not get to now, ``worker_started`` does.
        """
        cdef int given_back = self.worker_left(worker_id)
        if self.meters is not None:
            self.meters.count(self.meters.workers, WORKER_BLOCK, 0, DEATHS)
        return given_back

    def worker_left(self, int worker_id) -> int:
        """The same for one of another program, which has ended after this one replaced it."""
        cdef int given_back = self.give_back(worker_id)
        self.forget_waiters(worker_id)
        return given_back

    cdef int give_back(self, int worker_id) except -1:
        cdef Py_ssize_t index
        cdef int given_back = 0
        cdef ws_server_slot* slot
        check_worker(worker_id)
        self.note_generations(worker_id, 0, 0)
        for index in range(self.header.server_count):
            slot = &self.servers[index]
            given_back += ws_load32(&slot.inflight[worker_id])
            ws_store32(&slot.inflight[worker_id], 0)
            ws_swap_if32(&slot.probe_by, worker_id + 1, 0)
        if self.client_counts is not None:
            self.client_counts.forget(worker_id)
        if self.meters is not None and worker_id < self.meters.workers:
            self.meters.forget(worker_id, self.header.server_count)
        return given_back

    cdef bint forget_waiters(self, int worker_id) except -1:
        """Takes the worker's requests out of all queues; False where a lock could not be had."""
        cdef bint is_done = True
        cdef int worker
        cdef bint is_any = False
        cdef Py_ssize_t cluster
        for cluster in range(self.header.cluster_count):
            if not (self.clusters[cluster].has_queue and self.clusters[cluster].is_open):
                continue
            is_any = True
            if ws_lock_within(&self.clusters[cluster].lock, PATIENCE_MS):
                self.recount(cluster, self.queue_of(cluster), worker_id)
                ws_unlock(&self.clusters[cluster].lock)
            else:
                is_done = False
        if is_any:
            for worker in range(MAX_WORKERS):
                self.call(worker)  # what was given back is for who waits
        return is_done
