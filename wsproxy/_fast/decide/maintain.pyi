from typing import NamedTuple

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState

class Maintenance(NamedTuple):
    who: str
    why: str
    since_ms: int
    until_ms: int

def maintain(
    state: SharedState,
    cluster: Cluster | None,
    is_on: bool,
    *,
    who: bytes = b"",
    why: bytes = b"",
    words: bytes = b"",
    until_wall_ms: int = 0,
    said_ms: int = 0,
) -> bool: ...
def count_maintenance(state: SharedState, clusters: list[Cluster]) -> int: ...
def maintenance_of(state: SharedState, cluster: Cluster | None) -> Maintenance | None: ...
def is_in_maintenance(state: SharedState, cluster: Cluster | None) -> bool: ...
