from enum import IntEnum

from typing_extensions import disjoint_base

from wsproxy._fast.state.segment import SharedState

class NoServer(IntEnum):
    NONE_REACHABLE = -1
    ALL_FULL = -2
    WAITS = -3

class Verdict(IntEnum):
    USABLE = 0
    PROBE = 1
    DOWN = 2
    DRAINED = 3
    FULL = 4
    TRIED = 5
    OUT = 6

@disjoint_base
class Balancer:
    name: str
    server_names: tuple[str, ...]
    separator: int
    retry_interval_ms: int
    queue_size: int

    def __new__(
        cls,
        state: SharedState,
        name: str,
        servers: list[tuple[str, str | None, int, int]],
        primaries: list[int],
        backups: list[int],
        *,
        cluster_address: int = -1,
        random: bool = False,
        ignore_affinity_requests: bool = True,
        balance_backups: bool = False,
        last_chance: bool = True,
        separator: str = ":",
        retry_interval_s: float = 60,
        queue_size: int = 0,
        affinity_waits: bool = True,
    ) -> Balancer: ...
    def apply(self) -> None: ...
    def weight_now(self, server: int) -> int: ...
    def slots(self) -> tuple[int, list[int]]: ...
    @property
    def cursors(self) -> tuple[int, int]: ...
