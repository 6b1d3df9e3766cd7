from mmap import mmap
from typing import NamedTuple

MAX_PAIRS: int

class Match(NamedTuple):
    route: int
    cluster: int
    score: int
    exact: int
    uri_group: int
    uri: int
    vhost_group: int
    vhost: int
    cookie: bytes
    url_id: bytes

class RouteTable:
    def __new__(
        cls,
        vhost_groups: list[list[tuple[bytes, int]]],
        uri_groups: list[list[tuple[bytes, bytes, bytes]]],
        routes: list[tuple[int, int, int]],
        *,
        max_pairs: int = ...,
        exact_first: bool = ...,
    ) -> RouteTable: ...
    @staticmethod
    def mapped(memory: bytes | bytearray | memoryview | mmap) -> RouteTable: ...
    def flat(self) -> memoryview: ...
    def match_vhost(self, group: int, host: bytes, port: int) -> tuple[int, int, int] | None: ...
    def vhost_groups(self, host: bytes, port: int, most: int) -> list[int]: ...
    def match_uri(self, group: int, path: bytes) -> tuple[int, int, int, int] | None: ...
    def count_uris(self, group: int) -> int: ...
    def uri_text(self, group: int, uri: int) -> bytes: ...
    @property
    def vhost_count(self) -> int: ...
    def match_path(self, host: bytes, port: int, path: bytes) -> Match | None: ...
    def match_route(self, route: int, host: bytes, port: int, path: bytes) -> Match | None: ...
    def count_matches(self, queries: list[tuple[bytes, int, bytes]], rounds: int) -> int: ...
