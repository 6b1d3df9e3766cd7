from collections.abc import Iterable

from typing_extensions import disjoint_base

from wsproxy._fast.changes import Change
from wsproxy._fast.state import SharedState

@disjoint_base
class Cluster:
    name: str
    server_names: tuple[str, ...]
    separator: int
    retry_interval_ms: int

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
    ) -> Cluster: ...
    @property
    def cursors(self) -> tuple[int, int]: ...
    def pick_server(self, worker: int, now_ms: int, tried: Iterable[int] = ()) -> int: ...
    def take_server(self, server: int, worker: int, now_ms: int) -> int: ...
    def find_clone_id(self, clone_id: bytes) -> int: ...
    def release_server(self, server: int, worker: int) -> None: ...
    def set_down(
        self,
        server: int,
        worker: int,
        now_ms: int,
        error: int = 0,
        detail: bytes = b"",
        head: bytes = b"",
    ) -> None: ...
    def set_up(self, server: int, worker: int = -1, head: bytes = b"") -> None: ...
    def set_drained(self, server: int, drained: bool) -> None: ...
    def why_down(self, server: int) -> Change | None: ...
    def server_state(self, server: int) -> dict[str, int]: ...
    def affinity_counts(self) -> dict[str, int]: ...
    def partition_table(self) -> tuple[bytes, bytes]: ...
