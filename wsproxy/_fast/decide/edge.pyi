from enum import IntEnum

from wsproxy._fast.decide.compression import Compression
from wsproxy._fast.http.origin import TrustedProxies

class EdgeScheme(IntEnum):
    ANY_SCHEME = 0
    HTTP_ONLY = 1
    HTTPS_ONLY = 2

class EdgeAct(IntEnum):
    EDGE_PASSES = 0
    EDGE_DENIES = 1
    EDGE_REDIRECTS = 2
    EDGE_NO_HOST = 3
    EDGE_FILES = 4
    EDGE_MAINTENANCE = 5

class Edge:
    status: int
    pages: dict[int, tuple[str, bytes]]
    maintenance: tuple[str, bytes] | None
    retry_after_s: int
    def __init__(
        self,
        *,
        ports: tuple[int, ...] = (),
        local_host: bytes = b"",
        scheme: EdgeScheme = ...,
        hosts: tuple[bytes, ...] = (),
        paths: tuple[tuple[bytes, bytes | None], ...] = (),
        clusters: tuple[int, ...] | None = None,
        redirects: bool = False,
        ends_redirects: bool = False,
        to: EdgeScheme = ...,
        to_host: bytes = b"",
        to_port: int = 0,
        to_path: bytes = b"",
        status: int = 308,
        allow: TrustedProxies | None = None,
        deny: TrustedProxies | None = None,
        fields: tuple[tuple[bytes, bytes, bool], ...] = (),
        pages: dict[int, tuple[str, bytes]] | None = None,
        intercepts: tuple[int, ...] = (),
        has_maintenance: bool = False,
        maintenance_on: bool = False,
        maintenance: tuple[str, bytes] | None = None,
        maintenance_allow: TrustedProxies | None = None,
        retry_after_s: int = 0,
        has_files: bool = False,
        has_compress: bool = False,
        compression: Compression | None = None,
    ) -> None: ...

class EdgeTable:
    edges: tuple[Edge, ...]
    def __init__(self, edges: tuple[Edge, ...]) -> None: ...

def ask_edges(
    table: EdgeTable,
    data: bytes,
    *,
    peer: bytes = b"192.0.2.1",
    local_host: bytes = b"127.0.0.1",
    local_port: int = 80,
    secure: bool = False,
    cluster: int = -1,
    is_maintained: bool = False,
) -> tuple[int, EdgeAct, int, bytes]: ...
def edit_own_answer(table: EdgeTable, mask: int, answer: bytes) -> bytes: ...
