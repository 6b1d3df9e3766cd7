from enum import IntEnum
from typing import NamedTuple

from wsproxy._fast.decide.cluster import Cluster

class Finding(IntEnum):
    NOTHING_FOUND = 0
    NO_IDS = 1
    OWN_ROUTE = 2
    OTHERS_ID = 3
    UNKNOWN_ID = 4
    OTHER_SEPARATOR = 5
    OTHER_NAME = 6
    OTHER_CASE = 7

class Noticed(NamedTuple):
    finding: int
    cluster: str
    server: str
    clone_id: bytes
    text: bytes
    owner: str
    owner_id: bytes
    name: bytes
    in_path: bool
    separator: int

def learn_from(
    cluster: Cluster, server: int, data: bytes, name: bytes, had_list: bool = False
) -> tuple[int, int, Noticed | None] | None: ...
def misfits_of(
    cluster: Cluster, data: bytes, name: bytes = b"JSESSIONID", url_id: bytes = b"jsessionid"
) -> list[Noticed] | None: ...
