"""
Which Servers of a ServerCluster serve, and in which role (PLUGIN.md 1.11).

Driven by ``routing`` for live traffic, ``explain`` for words and ``config.check_failover``. Pure.
"""

from __future__ import annotations

from wsproxy.config.model import ServerCluster


def members_of(cluster: ServerCluster) -> tuple[list[int], list[int]]:
    """Indices of primaries and backups, in their order; a server in neither list is out of service (PLUGIN.md 1.11)."""
    index = {server.name: at for at, server in reversed(list(enumerate(cluster.servers)))}
    if cluster.primary_servers is None and cluster.backup_servers is None:
        return list(range(len(cluster.servers))), []
    primaries = [index[ref.name] for ref in cluster.primary_servers or () if ref.name in index]
    backups = [index[ref.name] for ref in cluster.backup_servers or () if ref.name in index]
    taken = set(primaries)
    return list(dict.fromkeys(primaries)), [at for at in dict.fromkeys(backups) if at not in taken]
