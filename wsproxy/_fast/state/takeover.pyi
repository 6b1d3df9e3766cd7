from mmap import mmap

from typing_extensions import disjoint_base

def siphash(key: bytes, data: bytes) -> int: ...

@disjoint_base
class TakeoverTable:
    memory: mmap
    def __new__(cls, buckets: int = 16_384) -> TakeoverTable: ...
    def find_session(self, cluster: int, session: bytes, now_ms: int) -> int: ...
    def remember_session(
        self, cluster: int, session: bytes, server: int, now_ms: int, until_ms: int
    ) -> bool: ...

@disjoint_base
class ClusterSessions:
    def __new__(cls) -> ClusterSessions: ...
