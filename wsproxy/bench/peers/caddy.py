"""
A site for Caddy: a ``handle`` block for each rule in order of rank, and in it one for each owner, found by a regular expression.

Pure. Written for 2.6, which Debian has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wsproxy.bench.peers.common import Place, Said, affinity_of, are_equal, cannot_of_all, key_of
from wsproxy.bench.site import ANY, Cluster, Rule, Site


def say(site: Site, place: Place) -> Said:
    """Values for ``Caddyfile``."""
    snippets = [_cluster(site.clusters[at], cookie) for at, cookie in site.affinities]
    handles: list[str] = []
    for at, (host, rules) in enumerate(site.rules.items()):
        for position, rule in enumerate(rules):
            handles += _handle(f"h{at}r{position}", host, rule, affinity_of(site, rule))
    values = {
        "cluster_snippets": "\n".join(snippets),
        "handle_blocks": "\n".join(handles),
        "idle_connections": str(place.pool_size),
    }
    return Said(values, cannot=tuple(_cannot(site)))


def _cannot(site: Site) -> Iterator[str]:
    yield from cannot_of_all(site)
    if any(not are_equal(cluster) for cluster in site.clusters if cluster.members):
        yield "LoadBalanceWeight: 2.6 has no weights"
    members = [member for cluster in site.clusters for member in cluster.members]
    if any(member.is_backup for member in members):
        yield "BackupServers for new sessions: they get none at all; sessions of a server that is down go to them"
    if any(member.most > 0 for member in members):
        yield "MaxConnections"


def _cluster(cluster: Cluster, cookie: str) -> str:
    lines = [f"({key_of(cluster, cookie)}) {{"]
    all_servers = [f"127.0.0.1:{member.port}" for member in cluster.members]
    policy = "random" if cluster.is_random else "round_robin"
    for member in cluster.members:
        if member.clone_id:
            own = f"127.0.0.1:{member.port}"
            others = [server for server in all_servers if server != own]
            separator = cluster.separator
            pattern = f"(?:^|; ){re.escape(cookie)}=[^{separator};]*{re.escape(separator)}{re.escape(member.clone_id)}(?:{re.escape(separator)}|;|$)"
            lines.append(f"\t@{member.key} header_regexp Cookie `{pattern}`")
            lines.append(f"\thandle @{member.key} {{")
            lines += _proxy([own, *others], "first", cluster.retry_interval_s)
            lines.append("\t}")
    lines.append("\thandle {")
    lines += _proxy(
        [f"127.0.0.1:{member.port}" for member in cluster.primaries],
        policy,
        cluster.retry_interval_s,
    )
    return "\n".join([*lines, "\t}", "}"])


def _proxy(servers: list[str], policy: str, retry_s: int) -> Iterator[str]:
    yield f"\t\treverse_proxy {' '.join(servers)} {{"
    yield f"\t\t\tlb_policy {policy}"
    yield "\t\t\tlb_try_duration 5s"
    yield "\t\t\tlb_try_interval 10ms"
    yield f"\t\t\tfail_duration {max(retry_s, 1)}s"
    yield "\t\t\timport private"
    yield "\t\t}"


def _handle(name: str, host: str, rule: Rule, snippet: str) -> Iterator[str]:
    yield f"\t\t@{name} {{"
    if host != ANY:
        yield f"\t\t\thost {host}"
    if rule.is_exact:
        yield f'\t\t\tpath "{rule.prefix}"'
    elif rule.suffix and rule.prefix:
        yield f"\t\t\tpath_regexp `^{re.escape(rule.prefix)}.*{re.escape(rule.suffix)}$`"
    elif rule.suffix:
        yield f'\t\t\tpath "*{rule.suffix}"'
    elif rule.is_folder:
        yield f'\t\t\tpath "{rule.prefix[:-1]}" "{rule.prefix}*"'
    else:
        yield f'\t\t\tpath "{rule.prefix}*"'
    yield "\t\t}"
    yield f"\t\thandle @{name} {{"
    yield f"\t\t\timport {snippet}"
    yield "\t\t}"
