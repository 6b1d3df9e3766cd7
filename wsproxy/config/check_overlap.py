"""
Finds requests that two Routes claim alike: the same Uri on the same VirtualHost, leading to different ServerClusters.

Driven by ``config.check``. Pure. A Route's score decides among different patterns (PLUGIN.md 2.2); equal patterns have
equal scores, so the order in the file decides, which nobody means.
"""

from __future__ import annotations

from collections.abc import Collection

from wsproxy.config.model import Config, Route
from wsproxy.config.problems import ProblemList, quoted

# VirtualHosts looked at in all: a tenth of a second. Real files need some thousands; only a file made for it needs more
MAX_COMPARISONS = 500_000
_ANY = "*"  # a Route that names no group: every host, every path

# VirtualHost as compared -> the first Route that has it
_Claims = dict[tuple[str, int | None], Route]


def check_overlaps(
    config: Config, problems: ProblemList, unreachable: Collection[int] = ()
) -> None:
    """
    Adds one warning for each pair of Routes of which the later one loses something to the earlier one.

    ``unreachable``: the indices of Routes that lose everything, which was told.
    """
    told = {config.routes[at].line for at in unreachable}
    hosts: dict[str | None, list[tuple[str, int | None]]] = {
        group.name: [(host.host, host.port) for host in group.virtual_hosts]
        for group in config.virtual_host_groups
    }
    hosts[None] = [(_ANY, None)]
    lost: dict[tuple[int, int], tuple[Route, Route, str, int]] = {}
    compared = 0
    for name, routes in _routes_by_uri(config).items():
        if len({route.server_cluster for route in routes}) < 2:
            continue
        claims: _Claims = {}
        for route in routes:
            mine = hosts.get(route.virtual_host_group, [])
            compared += len(mine)
            if compared > MAX_COMPARISONS:
                break
            winner = _claim(claims, mine, route)
            if winner is not None:
                first = lost.get((winner.line, route.line))
                lost[winner.line, route.line] = (
                    (winner, route, first[2], first[3] + 1) if first else (winner, route, name, 1)
                )
    for winner, loser, uri, count in lost.values():
        if loser.line not in told:
            _report(winner, loser, uri, count, problems)


def _routes_by_uri(config: Config) -> dict[str, list[Route]]:
    """Uri name -> Routes that have it, in file order; only Routes whose ServerCluster exists."""
    clusters = {cluster.name for cluster in config.server_clusters}
    names: dict[str | None, list[str]] = {
        group.name: list(dict.fromkeys(uri.name for uri in group.uris))
        for group in config.uri_groups
    }
    names[None] = [_ANY]
    routes: dict[str, list[Route]] = {}
    compared = 0
    for route in config.routes:
        if route.server_cluster not in clusters:
            continue
        mine = names.get(route.uri_group, [])
        compared += len(mine)
        if compared > MAX_COMPARISONS:
            break
        for name in mine:
            routes.setdefault(name, []).append(route)
    return routes


def _claim(claims: _Claims, hosts: list[tuple[str, int | None]], route: Route) -> Route | None:
    """Notes the hosts for ``route``; the earlier Route to another cluster that has one of them, if any."""
    winner: Route | None = None
    for host in hosts:
        earlier = claims.setdefault(host, route)
        if winner is None and earlier.server_cluster != route.server_cluster:
            winner = earlier
    return winner


def _report(winner: Route, loser: Route, uri: str, count: int, problems: ProblemList) -> None:
    more = f" and {count - 1} more" if count > 1 else ""
    what = f"Uri {quoted(uri)}{more}" if loser.uri_group is not None else "every Uri"
    problems.warning(
        "route-overlap",
        loser.line,
        f"a Route to {quoted(loser.server_cluster)} for {what} on a VirtualHost that the Route on line "
        f"{winner.line} sends to {quoted(winner.server_cluster)} already; the first one wins",
        "each pair of VirtualHost and Uri in one Route",
    )
