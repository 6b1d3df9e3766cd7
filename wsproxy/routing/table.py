"""
Compiles a Config into the RouteTable that takes the routing decision.

Driven by ``dataplane`` at start and at each reload, and by explain and replay. Pure. Must not judge the Config:
``config.check`` tells the administrator about what is left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from wsproxy._fast.match import RouteTable
from wsproxy.config.model import Config, Route, ServerCluster, UriGroup, VirtualHostGroup

# "Names none" and "any port" in the rows of a RouteTable.
NONE = -1
ANY_PORT = -1


@dataclass(frozen=True, slots=True)
class CompiledRoutes:
    """The RouteTable of a Config, and what the indices in its answers stand for."""

    table: RouteTable
    clusters: tuple[ServerCluster, ...]
    routes: tuple[Route, ...]  # without those that name something missing
    virtual_host_groups: tuple[VirtualHostGroup, ...]
    uri_groups: tuple[UriGroup, ...]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_NamedT = TypeVar("_NamedT", bound=_Named)


def build_route_table(config: Config, *, exact_first: bool = False) -> CompiledRoutes:
    """
    The Routes of ``config``, ready to match.

    ``exact_first``: the exact match is compared before the score (PLUGIN.md Q1: sources do not say which).
    A Route that names a missing group or cluster is left out (the plug-in's PK12350); where a name is defined
    twice, the first definition counts.
    """
    clusters = first_by_name(config.server_clusters)
    vhost_groups = first_by_name(config.virtual_host_groups)
    uri_groups = first_by_name(config.uri_groups)
    kept: list[Route] = []
    rows: list[tuple[int, int, int]] = []
    for route in config.routes:
        vhost_group = _index(vhost_groups, route.virtual_host_group)
        uri_group = _index(uri_groups, route.uri_group)
        cluster = clusters.get(route.server_cluster)
        if vhost_group is None or uri_group is None or cluster is None:
            continue
        kept.append(route)
        rows.append((vhost_group, uri_group, cluster))
    return CompiledRoutes(
        table=RouteTable(
            [_vhost_rows(group) for group in config.virtual_host_groups],
            [_uri_rows(group) for group in config.uri_groups],
            rows,
            exact_first=exact_first,
        ),
        clusters=config.server_clusters,
        routes=tuple(kept),
        virtual_host_groups=config.virtual_host_groups,
        uri_groups=config.uri_groups,
    )


def build_group_tables(config: Config) -> tuple[RouteTable, RouteTable]:
    """A route for each VirtualHostGroup alone, and one for each UriGroup: for who wants to know why a Route does not match."""
    hosts = [_vhost_rows(group) for group in config.virtual_host_groups]
    uris = [_uri_rows(group) for group in config.uri_groups]
    return (
        RouteTable(hosts, [], [(index, NONE, 0) for index in range(len(hosts))]),
        RouteTable([], uris, [(NONE, index, 0) for index in range(len(uris))]),
    )


def first_by_name(items: Sequence[_NamedT]) -> dict[str, int]:
    """Name -> index of its first definition, which is the one that counts."""
    indices: dict[str, int] = {}
    for index, item in enumerate(items):
        indices.setdefault(item.name, index)
    return indices


def _index(indices: dict[str, int], name: str | None) -> int | None:
    """The index of ``name``; NONE where a Route names nothing, None where the name is missing."""
    return NONE if name is None else indices.get(name)


def _vhost_rows(group: VirtualHostGroup) -> list[tuple[bytes, int]]:
    return [
        (vhost.host.lower().encode(), ANY_PORT if vhost.port is None else vhost.port)
        for vhost in group.virtual_hosts
    ]


def _uri_rows(group: UriGroup) -> list[tuple[bytes, bytes, bytes]]:
    return [
        (uri.name.encode(), uri.affinity_cookie.encode(), uri.affinity_url_identifier.encode())
        for uri in group.uris
    ]
