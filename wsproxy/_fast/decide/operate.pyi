from typing import Final, NamedTuple

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import SharedState

class Said(NamedTuple):
    hold: Hold
    who: str
    why: str
    since_ms: int
    until_ms: int
    weight: int | None
    limit: int | None
    file_weight: int
    file_limit: int
    numbers_who: str
    numbers_why: str
    numbers_ms: int

class Sessions(NamedTuple):
    seen: int
    last_ms: int

class Latency(NamedTuple):
    answers: int
    total_ms: float
    recent_ms: float

class Growth(NamedTuple):
    part: float
    left_ms: int

AS_FILE: Final[object]

def hold_server(
    cluster: Cluster,
    server: int,
    hold: int,
    *,
    who: bytes = b"",
    why: bytes = b"",
    words: bytes = b"",
    until_wall_ms: int = 0,
    said_ms: int = 0,
) -> bool: ...
def set_numbers(
    cluster: Cluster,
    server: int,
    *,
    weight: object = None,
    limit: object = None,
    who: bytes = b"",
    why: bytes = b"",
    said_ms: int = 0,
) -> bool: ...
def apply_numbers(cluster: Cluster) -> None: ...
def clear_mark(cluster: Cluster, server: int, *, who: bytes = b"", why: bytes = b"") -> bool: ...
def take_mark(
    cluster: Cluster,
    server: int,
    is_down: bool,
    *,
    is_operator: bool = False,
    age_ms: int = 0,
    error: int = 0,
    detail: bytes = b"",
) -> bool: ...
def end_holds(cluster: Cluster) -> int: ...
def said_of(cluster: Cluster, server: int) -> Said: ...
def sessions_of(cluster: Cluster, server: int) -> Sessions: ...
def latency_of(cluster: Cluster, server: int) -> Latency: ...
def note_answer(cluster: Cluster, server: int, us: int) -> None: ...
def growth_of(cluster: Cluster, server: int, now_ms: int) -> Growth: ...
def numbers_of_file(cluster: Cluster, server: int) -> tuple[int, int]: ...
def record_word(
    state: SharedState, kind: int, cluster: bytes, server: bytes, text: bytes
) -> None: ...
