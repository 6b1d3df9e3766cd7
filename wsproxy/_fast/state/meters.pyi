from enum import IntEnum

from typing_extensions import disjoint_base

BLOCK_WORDS: int
BUCKETS: int
OWN_CODES: int
CODES: tuple[int, ...]
BOUNDS_US: tuple[int, ...]

class BlockKind(IntEnum):
    WORKER_BLOCK = 0
    CLUSTER_BLOCK = 1
    SERVER_BLOCK = 2

class ServerWord(IntEnum):
    ANSWERED = 0
    FAILED = 5
    RETRIED_SAME = 12
    RETRIED_OTHER = 13
    MARKED_DOWN = 14
    REUSED = 15
    IDLE = 16
    CONNECT = 17
    FIRST_BYTE = 34
    TOTAL = 51
    ANSWER_BYTES = 68
    BODY_BYTES = 69
    PROBES_OK = 70
    PROBES_FAILED = 71

class TryFailure(IntEnum):
    CONNECT_FAILED = 0
    CLOSED_EARLY_FAILED = 1
    IO_TIMEOUT_FAILED = 2
    BAD_RESPONSE_FAILED = 3
    BUSY_FAILED = 4
    SERVER_ERROR_FAILED = 5
    CUT_FAILED = 6
    TRY_FAILURES = 7

class ClusterWord(IntEnum):
    CLUSTER_OWN = 0
    LEFT_BEFORE = 16
    LEFT_WITHIN = 17
    QUEUED = 18
    QUEUE_SERVED = 19
    QUEUE_VAIN = 20
    QUEUE_LEFT = 21
    QUEUE_FULL = 22
    QUEUE = 24

class WorkerWord(IntEnum):
    WORKER_OWN = 0
    REQUESTS = 16
    OPENED = 17
    CLOSED_CLIENTS = 18
    HANDSHAKES = 19
    RESUMED = 20
    HANDSHAKE_FAILED = 21
    REFUSED_CLIENTS = 22
    ACCESS_LOST = 23
    PLUGIN_LOST = 24
    TRACED = 25
    REQUEST = 26
    TRACES_LOST = 43
    STARTS = 44
    DEATHS = 45
    SPANS_SENT = 46
    SPANS_LOST = 47

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
