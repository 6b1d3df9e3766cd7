"""
Compiles a Config into the RouteTable that takes the routing decision.

Driven by ``dataplane`` at start and at each reload, and by explain and replay. Pure. Must not judge the Config:
``config.check`` tells the administrator about what is left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from mmap import mmap
from typing import Any, Protocol, TypeVar

from wsproxy._fast.decide.match import RouteTable
from wsproxy.config.model import Config, Route, ServerCluster, UriGroup, VirtualHostGroup

# "Names none" and "any port" in the rows of a RouteTable.
NONE = -1
ANY_PORT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteNames:
    """What the indices in a RouteTable's answers stand for, but for the Uris: those are in the table."""

    clusters: tuple[ServerCluster, ...]
    routes: tuple[Route, ...]  # without those that name something missing
    # of each: VirtualHostGroup, UriGroup (NONE: all), cluster
    rows: tuple[tuple[int, int, int], ...]
    routed_host_groups: tuple[int, ...]  # each VirtualHostGroup of the rows once, NONE among them
    virtual_host_groups: tuple[VirtualHostGroup, ...]
    uri_group_names: tuple[str, ...]
    affinity_cookies: frozenset[str]  # AffinityCookie of all Uris
    affinity_url_identifiers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRoutes(RouteNames):
    """The RouteTable of a Config, and what the indices in its answers stand for."""

    table: RouteTable

    @classmethod
    def mapped(
        cls, memory: bytes | bytearray | memoryview | mmap, names: RouteNames
    ) -> CompiledRoutes:
        """
        Those that another process compiled: ``memory`` has what its ``table.flat()`` gave, ``names`` is what its ``names`` were.

        Takes the same time for any number of Uris. ``memory`` is kept, and must not be written to any more (``RouteTable.mapped``).

        Raises:
            ValueError: ``memory`` is no such table.
        """
        return cls(table=RouteTable.mapped(memory), **_fields(names))

    @property
    def names(self) -> RouteNames:
        """All but the table, for whoever maps that."""
        return RouteNames(**_fields(self))

    def uri_name(self, group: int, uri: int) -> str:
        """A Uri of a UriGroup that a Route names, as the file has it."""
        return self.table.uri_text(group, uri).decode()


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
    uris = [uri for group in config.uri_groups for uri in group.uris]
    return CompiledRoutes(
        table=RouteTable(*group_rows(config), rows, exact_first=exact_first),
        clusters=config.server_clusters,
        routes=tuple(kept),
        rows=tuple(rows),
        routed_host_groups=tuple(dict.fromkeys(row[0] for row in rows)),
        virtual_host_groups=config.virtual_host_groups,
        uri_group_names=tuple(group.name for group in config.uri_groups),
        affinity_cookies=frozenset(uri.affinity_cookie for uri in uris),
        affinity_url_identifiers=frozenset(uri.affinity_url_identifier for uri in uris),
    )


def group_rows(
    config: Config,
) -> tuple[list[list[tuple[bytes, int]]], list[list[tuple[bytes, bytes, bytes]]]]:
    """The VirtualHostGroups and the UriGroups as a RouteTable takes them."""
    return (
        [_vhost_rows(group) for group in config.virtual_host_groups],
        [_uri_rows(group) for group in config.uri_groups],
    )


def first_by_name(items: Sequence[_NamedT]) -> dict[str, int]:
    """Name -> index of its first definition, which is the one that counts."""
    indices: dict[str, int] = {}
    for index, item in enumerate(items):
        indices.setdefault(item.name, index)
    return indices


def _fields(names: RouteNames) -> dict[str, Any]:
    return {each.name: getattr(names, each.name) for each in fields(RouteNames)}


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
