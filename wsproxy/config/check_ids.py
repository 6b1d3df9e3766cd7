"""
Finds CloneIDs that several ServerClusters share: one Server behind two Routes, or two Servers that answer to one name.

Driven by ``config.check``. Pure. A CloneID is looked for in the cookies that a cluster's Uris name, so that is what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from wsproxy.config.model import Config, Server, ServerCluster, Uri
from wsproxy.config.problems import ProblemList, listed, quoted

_USUAL = Uri("/*").affinity_cookie  # of a Route that names no UriGroup
_OTHER_COOKIE = "clone-id-other-cookie"
_OTHER_SERVER = "clone-id-other-server"


def check_shared_ids(config: Config, problems: ProblemList) -> None:
    """Adds one warning for each cluster and the first one that has its CloneIDs, of those that Routes lead to."""
    cookies = _cookies_of(config)
    owners: dict[str, tuple[Server, ServerCluster]] = {}
    # code and the two clusters -> the ids that they share
    found: dict[tuple[str, int, int], list[str]] = {}
    routed = [cluster for cluster in config.server_clusters if cluster.name in cookies]
    numbers = {id(cluster): at for at, cluster in enumerate(routed)}
    for at, cluster in enumerate(routed):
        for server in cluster.servers:
            if not server.clone_id:
                continue
            owner, first = owners.setdefault(server.clone_id, (server, cluster))
            if first is cluster:
                continue
            code = _judge(owner, server, cookies[first.name], cookies[cluster.name])
            if code:
                found.setdefault((code, numbers[id(first)], at), []).append(server.clone_id)
    for (code, first_at, at), ids in found.items():
        _report(code, routed[first_at], routed[at], ids, cookies, problems)


def _cookies_of(config: Config) -> dict[str, frozenset[str]]:
    """ServerCluster -> the cookies in which its Routes look for session ids; only of clusters with a Route."""
    of_group: dict[str | None, frozenset[str]] = {
        group.name: frozenset([uri.affinity_cookie for uri in group.uris])
        for group in config.uri_groups
    }
    of_group[None] = frozenset((_USUAL,))
    found: dict[str, frozenset[str]] = {}
    for route in config.routes:
        more = of_group.get(route.uri_group, frozenset())
        found[route.server_cluster] = found.get(route.server_cluster, frozenset()) | more
    return found


def _judge(one: Server, other: Server, ours: frozenset[str], theirs: frozenset[str]) -> str:
    """The code of what is doubtful about one CloneID on two Servers; empty: nothing."""
    is_same = not _addresses(one).isdisjoint(_addresses(other))
    shares_cookie = not ours.isdisjoint(theirs)
    if is_same == shares_cookie or not (ours and theirs):
        return ""
    return _OTHER_COOKIE if is_same else _OTHER_SERVER


def _addresses(server: Server) -> set[tuple[str, int]]:
    return {(each.hostname.lower(), each.port) for each in server.transports}


def _report(
    code: str,
    first: ServerCluster,
    second: ServerCluster,
    ids: list[str],
    cookies: Mapping[str, frozenset[str]],
    problems: ProblemList,
) -> None:
    shared = (
        f"CloneID {listed(ids)} in ServerCluster {quoted(first.name)} and in {quoted(second.name)}"
    )
    ours, theirs = cookies[first.name], cookies[second.name]
    if code == _OTHER_COOKIE:
        problems.warning(
            code,
            second.line,
            f"{shared}, the same Servers, with other cookies ({listed(sorted(ours))} and {listed(sorted(theirs))}): "
            "a session that begins under the Uris of one is not found under those of the other",
            "the AffinityCookie that the Servers write, in both UriGroups; this where each application has its own",
        )
        return
    problems.warning(
        code,
        second.line,
        f"{shared}, other Servers, with one cookie ({listed(sorted(ours & theirs))}): a browser that has a session with one of them "
        "is sent to its namesake, where there is no such session",
        "a CloneID of its own for each Server",
    )
