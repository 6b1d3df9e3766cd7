from enum import IntEnum

from wsproxy._fast.decide.cluster import Cluster

class ProbeNews(IntEnum):
    NO_NEWS = 0
    NOT_YET_DOWN = 1
    WENT_DOWN = 2
    STAYS_DOWN = 3
    NOT_YET_UP = 4
    CAME_BACK = 5
    NOBODYS = 6

def watch_servers(
    cluster: Cluster,
    now_ms: int,
    *,
    probed: bool,
    initial: str = "up",
    hold_ms: int = 0,
    slow_start_ms: int = 0,
) -> list[int]: ...
def note_probe(
    cluster: Cluster,
    server: int,
    ok: bool,
    now_ms: int,
    *,
    rise: int,
    fall: int,
    hold_ms: int,
    error: int = 0,
    detail: bytes = b"",
) -> ProbeNews: ...
def is_found_ill(cluster: Cluster, server: int) -> bool: ...
def probe_state(cluster: Cluster, server: int) -> dict[str, int]: ...
