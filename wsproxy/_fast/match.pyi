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
    def match_path(self, host: bytes, port: int, path: bytes) -> Match | None: ...
    def match_route(self, route: int, host: bytes, port: int, path: bytes) -> Match | None: ...
    def count_matches(self, queries: list[tuple[bytes, int, bytes]], rounds: int) -> int: ...
