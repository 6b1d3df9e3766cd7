from enum import IntEnum
from mmap import mmap

from typing_extensions import disjoint_base

def siphash(key: bytes, data: bytes) -> int: ...

class Telling(IntEnum):
    TOLD_OTHERS = 0
    NOT_READ = 1
    NOT_POSTED = 2
    LEARNT = 3
    KNEW_BETTER = 4
    UNKNOWN_HERE = 5
    NOT_BELIEVED = 6

NOW_KNOWN: int
KEPT_OURS: int

@disjoint_base
class TakeoverTable:
    memory: mmap
    def __new__(cls, buckets: int = 16_384) -> TakeoverTable: ...
    def share(self, secret: bytes) -> None: ...
    @property
    def is_shared(self) -> bool: ...
    def take_news(self, most: int) -> list[tuple[int, int, int]]: ...
    def learn(
        self, key: int, server: int, now_ms: int, until_ms: int, *, wins_tie: bool = False
    ) -> int: ...
    def count_news(self, what: int, many: int) -> None: ...
    def news_counts(self) -> list[int]: ...
    def find_session(self, cluster: int, session: bytes, now_ms: int) -> int: ...
    def session_key(self, cluster: int, session: bytes) -> int: ...
    def remember_session(
        self, cluster: int, session: bytes, server: int, now_ms: int, until_ms: int
    ) -> bool: ...

@disjoint_base
class ClusterSessions:
    def __new__(cls) -> ClusterSessions: ...
