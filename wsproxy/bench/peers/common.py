"""
What a proxy's module gives: values for its template, files beside it, and what it cannot express.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from wsproxy.bench.site import Cluster, Member, Rule, Site


@dataclass(frozen=True, slots=True)
class Said:
    """A site in the words of one proxy; ``cannot`` is what it has no words for, a sentence each."""

    values: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    cannot: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy runs: its port on 127.0.0.1, whether clients come by TLS, its directory; connections to keep to each server."""

    port: int
    has_tls: bool
    directory: str
    pool_size: int


Say = Callable[[Site, Place], Said]


def key_of(cluster: Cluster, cookie: str) -> str:
    """Of a cluster with the cookie that carries its sessions: a word in any proxy's file."""
    return f"{cluster.key}_{re.sub('[^A-Za-z0-9]', '_', cookie)}"


def affinity_of(site: Site, rule: Rule) -> str:
    """Where a rule leads."""
    return key_of(site.clusters[rule.cluster], rule.cookie)


def scaled(cluster: Cluster, most: int) -> dict[str, int]:
    """Weights of its members, in the same proportion, none above ``most`` and none that was not 0 below 1."""
    largest = max((member.weight for member in cluster.members), default=0)
    by = min(1.0, most / largest) if largest else 1.0
    return {
        member.key: max(1, round(member.weight * by)) if member.weight else 0
        for member in cluster.members
    }


def takers(cluster: Cluster, weights: dict[str, int]) -> list[Member]:
    """Who takes new sessions, backups too: those whose weight is not 0, unless it is 0 for all."""
    return [member for member in cluster.members if weights[member.key]] or list(cluster.members)


def are_equal(cluster: Cluster) -> bool:
    """Whether all members have one weight, so that nothing needs to be said."""
    return len({member.weight for member in cluster.members}) == 1


def path_pattern(rule: Rule) -> str:
    """A regular expression for the whole path."""
    if rule.is_exact:
        return f"^{re.escape(rule.prefix)}$"
    if rule.suffix:
        return f"^{re.escape(rule.prefix)}.*{re.escape(rule.suffix)}$"
    if rule.is_folder:
        return f"^{re.escape(rule.prefix[:-1])}(/|$)"
    return f"^{re.escape(rule.prefix)}"


def cannot_of_all(site: Site) -> Iterator[str]:
    """What none of the peers has words for."""
    if any(cluster.owners for cluster in site.clusters):
        yield "a session in a URL (;jsessionid=): only cookies are read"
        yield "several clone ids in a cookie: only the first one is looked at"
    if any(cluster.members and not are_equal(cluster) for cluster in site.clusters):
        yield "weights that go down with each request and are filled up together (IBM's order): shares are the same, the order is not"
