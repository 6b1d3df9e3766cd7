"""
Which element of plugin-cfg.xml may stand where, in the order in which IBM's generators write them (PLUGIN.md 1.1).

Driven by ``config.xml`` (reads), ``config.write`` and ``config.fmt``. Attributes stand in ``config.model``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from wsproxy.config.model import (
    Config,
    Element,
    Log,
    Property,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    TrustedProxy,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)


@dataclass(frozen=True, slots=True)
class Part:
    """
    An element where it may stand: which field of the parent takes it, as which class.

    ``cls`` is Element where a subtree is kept whole, and None where an element does nothing but hold its ``parts``.
    """

    field: str
    cls: Any
    parts: Mapping[str, Part]
    is_many: bool = False
    is_old_name: bool = False  # of another Part with the same field


NO_PARTS: Mapping[str, Part] = {}


def _one(field: str, cls: Any, parts: Mapping[str, Part] | None = None) -> Part:
    return Part(field, cls, parts or NO_PARTS)


def _many(
    field: str, cls: Any, parts: Mapping[str, Part] | None = None, *, is_old_name: bool = False
) -> Part:
    return Part(field, cls, parts or NO_PARTS, is_many=True, is_old_name=is_old_name)


_Item = TypeVar("_Item")


def in_order(
    items: Iterable[_Item], parts: Mapping[str, Part], tag_of: Callable[[_Item], str]
) -> list[_Item]:
    """The items as generators order them, those of one kind as they were; what is not known comes last."""
    ranks: dict[str, int] = {}
    fields: dict[str, int] = {}
    for rank, (tag, part) in enumerate(parts.items()):
        ranks[tag] = fields.setdefault(part.field, rank)  # two names of one thing are one kind
    return sorted(items, key=lambda item: ranks.get(tag_of(item), len(ranks)))


ITEMS = "items"  # the one field of an element that does nothing but hold others

_PROPERTIES = {"Property": _many("properties", Property)}
_IN_SERVER = {"Transport": _many("transports", Transport, _PROPERTIES)}
_SERVER_REFS = {"Server": _many(ITEMS, ServerRef)}
_IN_CLUSTER = {
    "Server": _many("servers", Server, _IN_SERVER),
    "ClusterAddress": _one("cluster_address", Server, _IN_SERVER),
    "PrimaryServers": _one("primary_servers", None, _SERVER_REFS),
    "BackupServers": _one("backup_servers", None, _SERVER_REFS),
}
_IN_CONFIG = {
    "Log": _one("log", Log),
    **_PROPERTIES,
    "VirtualHostGroup": _many(
        "virtual_host_groups",
        VirtualHostGroup,
        {"VirtualHost": _many("virtual_hosts", VirtualHost)},
    ),
    "TrustedProxyGroup": _one(
        "trusted_proxies", None, {"TrustedProxy": _many(ITEMS, TrustedProxy)}
    ),
    "ServerCluster": _many("server_clusters", ServerCluster, _IN_CLUSTER),
    "ServerGroup": _many("server_clusters", ServerCluster, _IN_CLUSTER, is_old_name=True),
    "UriGroup": _many("uri_groups", UriGroup, {"Uri": _many("uris", Uri)}),
    "Route": _many("routes", Route),
    "RequestMetrics": _one("request_metrics", Element),
    "IntelligentManagement": _one("intelligent_management", Element),
}
ROOT = "Config"
GRAMMAR = Part("", Config, _IN_CONFIG)
