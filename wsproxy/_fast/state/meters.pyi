from enum import IntEnum

from typing_extensions import disjoint_base

BLOCK_WORDS: int
BUCKETS: int
HISTOGRAM: int
OWN_CODES: int
CLASSES: int
NO_CLASS: int
CODES: tuple[int, ...]
BOUNDS_US: tuple[int, ...]

class BlockKind(IntEnum):
    WORKER_BLOCK = 0
    CLUSTER_BLOCK = 1
    SERVER_BLOCK = 2

class ServerWord(IntEnum):
    FAILED = 0
    RETRIED_SAME = 7
    RETRIED_OTHER = 8
    MARKED_DOWN = 9
    REUSED = 10
    IDLE = 11
    CONNECT = 12
    FIRST_BYTE = 114
    TOTAL = 199
    ANSWER_BYTES = 267
    BODY_BYTES = 268
    PROBES_OK = 269
    PROBES_FAILED = 270

class TryFailure(IntEnum):
    CONNECT_FAILED = 0
    CLOSED_EARLY_FAILED = 1
    IO_TIMEOUT_FAILED = 2
    BAD_RESPONSE_FAILED = 3
    BUSY_FAILED = 4
    SERVER_ERROR_FAILED = 5
    CUT_FAILED = 6
    TRY_FAILURES = 7

class EdgeAnswer(IntEnum):
    DENIED_ANSWER = 0
    REDIRECTED_ANSWER = 1
    MAINTENANCE_ANSWER = 2
    FILE_ANSWER = 3
    PAGE_ANSWER = 4
    NO_HOST_ANSWER = 5
    EDGE_ANSWERS = 6

class ClusterWord(IntEnum):
    CLUSTER_OWN = 0
    CLUSTER_EDGE = 25
    LEFT_BEFORE = 31
    LEFT_WITHIN = 32
    QUEUED = 33
    QUEUE_SERVED = 34
    QUEUE_VAIN = 35
    QUEUE_LEFT = 36
    QUEUE_FULL = 37
    QUEUE = 38
    CLUSTER_TIME = 140
    CLUSTER_RECEIVE = 208

class WorkerWord(IntEnum):
    WORKER_OWN = 0
    WORKER_EDGE = 25
    REQUESTS = 31
    OPENED = 32
    CLOSED_CLIENTS = 33
    HANDSHAKES = 34
    RESUMED = 35
    HANDSHAKE_FAILED = 36
    REFUSED_CLIENTS = 37
    ACCESS_LOST = 38
    PLUGIN_LOST = 39
    TRACED = 40
    TRACES_LOST = 41
    STARTS = 42
    DEATHS = 43
    SPANS_SENT = 44
    SPANS_LOST = 45
    WORKER_TIME = 140
    WORKER_RECEIVE = 208

@disjoint_base
class Meters:
    workers: int
    servers: int
    clusters: int
    def __new__(cls, workers: int, servers: int, clusters: int, fd: int = -1) -> Meters: ...
    def count(self, worker: int, kind: int, slot: int, word: int, more: int = 1) -> int: ...
    def put(self, worker: int, kind: int, slot: int, word: int, number: int) -> int: ...
    def observe_time(self, worker: int, kind: int, slot: int, word: int, us: int) -> None: ...
    def sums(self, kind: int, slot: int = 0) -> list[int]: ...
