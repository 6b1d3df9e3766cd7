"""
Judges how the parts of one ``Config`` fit together: names that lead nowhere, names used twice, what wsproxy leaves undone.

Driven by ``config.xml`` after reading, and by whatever else makes a Config. Pure: no files, no names resolved, no clock.
An error is what makes the file ambiguous or a Route useless for certain; what IBM's plug-in lives with is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from wsproxy.config.check_cluster import check_cluster, check_key_databases
from wsproxy.config.check_failover import check_failover
from wsproxy.config.check_ids import check_shared_ids
from wsproxy.config.check_overlap import check_overlaps
from wsproxy.config.check_reach import check_reach
from wsproxy.config.check_support import check_support
from wsproxy.config.check_values import check_values
from wsproxy.config.model import (
    Config,
    Route,
    ServerCluster,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.problems import ProblemList, listed, quoted


def check(config: Config, problems: ProblemList, *, is_part: bool = False) -> None:
    """Adds everything that is doubtful about ``config`` to ``problems``; ``is_part``: other files may have what it lacks."""
    _check_duplicates(config, problems)
    _check_routes(config, problems)
    if config.routes:
        _check_unused(config, problems)
    _check_any_route(config, problems, is_part=is_part)
    _check_virtual_hosts(config.virtual_host_groups, problems)
    _check_uris(config.uri_groups, problems)
    unreachable = check_reach(config, problems)
    check_overlaps(config, problems, unreachable)
    routed = {route.server_cluster for route in config.routes}
    for cluster in config.server_clusters:
        check_cluster(cluster, problems, is_routed=cluster.name in routed)
    check_key_databases(config.server_clusters, problems)
    check_failover(config, problems)
    check_shared_ids(config, problems)
    _check_trusted_proxies(config, problems)
    check_values(config, problems)
    check_support(config, problems)


def _check_duplicates(config: Config, problems: ProblemList) -> None:
    clusters: dict[str, ServerCluster] = {}
    for cluster in config.server_clusters:
        first = clusters.setdefault(cluster.name, cluster)
        if cluster.name and first is not cluster:
            problems.error(
                "cluster-duplicate",
                cluster.line,
                f"ServerCluster {quoted(cluster.name)} again (first on line {first.line})",
                "a name of its own for each ServerCluster",
            )
    _check_duplicate_groups("VirtualHostGroup", config.virtual_host_groups, problems)
    _check_duplicate_groups("UriGroup", config.uri_groups, problems)


def _check_duplicate_groups(
    element: str, groups: Sequence[VirtualHostGroup | UriGroup], problems: ProblemList
) -> None:
    firsts: dict[str, VirtualHostGroup | UriGroup] = {}
    for group in groups:
        first = firsts.setdefault(group.name, group)
        if first is group or not group.name:
            continue
        found = f"{element} {quoted(group.name)} again (first on line {first.line})"
        allowed = f"a name of its own for each {element}"
        if _content(first) == _content(group):  # merged by hand, and harmless
            problems.warning(
                "group-duplicate", group.line, f"{found}, with the same content", allowed
            )
        else:
            problems.error("group-duplicate", group.line, f"{found}, with other content", allowed)


def _content(group: VirtualHostGroup | UriGroup) -> list[tuple[str, ...]]:
    if isinstance(group, UriGroup):
        return [(uri.name, uri.affinity_cookie, uri.affinity_url_identifier) for uri in group.uris]
    return [(host.name.lower(),) for host in group.virtual_hosts]


def _check_routes(config: Config, problems: ProblemList) -> None:
    clusters = {cluster.name for cluster in config.server_clusters}
    uri_groups = {group.name for group in config.uri_groups}
    host_groups = {group.name for group in config.virtual_host_groups}
    for route in config.routes:
        _check_reference(route, "ServerCluster", route.server_cluster, clusters, problems)
        _check_reference(route, "UriGroup", route.uri_group, uri_groups, problems)
        _check_reference(route, "VirtualHostGroup", route.virtual_host_group, host_groups, problems)


def _check_reference(
    route: Route, element: str, name: str | None, known: set[str], problems: ProblemList
) -> None:
    # a warning: Liberty writes such a file when an endpoint is paused, and other Routes are good
    if name is None or name in known or (element == "ServerCluster" and not name):
        return
    likely = problems.suggest(name, known)
    problems.warning(
        f"route-{_CODE_WORDS[element]}-unknown",
        route.line,
        f"a Route to {element} {quoted(name)}, which is not in this file: the Route never matches",
        f"{quoted(likely)} (nearest name)" if likely else f"the name of a {element} in this file",
    )


_CODE_WORDS = {"ServerCluster": "cluster", "UriGroup": "uris", "VirtualHostGroup": "hosts"}


def _check_any_route(config: Config, problems: ProblemList, *, is_part: bool) -> None:
    clusters = {cluster.name for cluster in config.server_clusters}
    if any(route.server_cluster in clusters for route in config.routes):
        return
    count = len(config.server_clusters)
    what = "no Route that leads to a ServerCluster of this file" if config.routes else "no Route"
    # Liberty writes Routes that lead nowhere while its endpoint is paused: that passes, so it keeps nobody from starting.
    add = problems.warning if config.routes or is_part else problems.error
    add(
        "no-route",
        config.line,
        f"{what} ({count} ServerCluster{'' if count == 1 else 's'}): no request is forwarded",
        "a Route to one ServerCluster at least",
    )


def _check_unused(config: Config, problems: ProblemList) -> None:
    clusters = {route.server_cluster for route in config.routes}
    uri_groups = {route.uri_group for route in config.routes}
    host_groups = {route.virtual_host_group for route in config.routes}
    for element, code, items, used in (
        ("ServerCluster", "cluster-unrouted", config.server_clusters, clusters),
        ("UriGroup", "uri-group-unused", config.uri_groups, uri_groups),
        ("VirtualHostGroup", "host-group-unused", config.virtual_host_groups, host_groups),
    ):
        for item in items:
            if item.name and item.name not in used:
                problems.warning(
                    code,
                    item.line,
                    f"{element} {quoted(item.name)}, which no Route names",
                    f"a Route with {element}={quoted(item.name)}, or no such {element}",
                )


def _check_virtual_hosts(groups: Sequence[VirtualHostGroup], problems: ProblemList) -> None:
    owners: dict[tuple[str, int | None], VirtualHostGroup] = {}
    for group in groups:
        if not group.virtual_hosts:
            problems.warning(
                "host-group-empty",
                group.line,
                f"VirtualHostGroup {quoted(group.name)} without VirtualHost: its Routes never match",
                "one VirtualHost or more",
            )
        shared: dict[str, list[str]] = {}
        for host, is_repeated in _with_repeated(group.virtual_hosts):
            if is_repeated:
                problems.warning(
                    "virtual-host-duplicate",
                    host.line,
                    f"VirtualHost {quoted(host.name)} twice in VirtualHostGroup {quoted(group.name)}",
                    "each VirtualHost once",
                )
                continue
            owner = owners.setdefault((host.host, host.port), group)
            if owner is not group and owner.name != group.name:
                shared.setdefault(owner.name, []).append(host.name)
        _report_shared(group, shared, problems)


def _with_repeated(hosts: Iterable[VirtualHost]) -> Iterator[tuple[VirtualHost, bool]]:
    seen: set[tuple[str, int | None]] = set()
    for host in hosts:
        if host.name and host.host:  # otherwise it was refused in reading
            yield host, (host.host, host.port) in seen
            seen.add((host.host, host.port))


def _report_shared(
    group: VirtualHostGroup, shared: dict[str, list[str]], problems: ProblemList
) -> None:
    # one message a group: merged files share a dozen aliases between the same two groups
    if shared:
        names = [name for hosts in shared.values() for name in hosts]
        problems.warning(
            "virtual-host-shared",
            group.line,
            f"{listed(names)} in VirtualHostGroup {quoted(group.name)} and also in {listed(shared)}: "
            "the Routes of all of them are compared",
            "each VirtualHost in one group",
        )


def _check_uris(groups: Sequence[UriGroup], problems: ProblemList) -> None:
    for group in groups:
        if not group.uris:
            problems.warning(
                "uri-group-empty",
                group.line,
                f"UriGroup {quoted(group.name)} without Uri: its Routes never match",
                "one Uri or more",
            )
        seen: set[str] = set()
        for uri in group.uris:
            if uri.name and uri.name in seen:
                problems.warning(
                    "uri-duplicate",
                    uri.line,
                    f"Uri {quoted(uri.name)} twice in UriGroup {quoted(group.name)}; the first one counts",
                    "each Uri once",
                )
            seen.add(uri.name)


def _check_trusted_proxies(config: Config, problems: ProblemList) -> None:
    if config.trusted_proxy_enable and not config.trusted_proxies:
        problems.warning(
            "trusted-proxy-none",
            config.line,
            'TrustedProxyEnable="true" without any TrustedProxy: nobody is trusted',
            "a TrustedProxyGroup with a TrustedProxy for each trusted address",
        )
    elif config.trusted_proxies and not config.trusted_proxy_enable:
        problems.warning(
            "trusted-proxy-off",
            config.trusted_proxies[0].line,
            'a TrustedProxy that is not trusted, as Config has no TrustedProxyEnable="true"',
            'TrustedProxyEnable="true" on Config, or no TrustedProxyGroup',
        )
