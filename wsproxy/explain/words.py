"""
Why a server was chosen, or not, in words: the same in an explanation, in an answer's fields and to an administrator.

Driven by ``explain`` and ``dataplane.explained``. Pure.
"""

from __future__ import annotations

from typing import Literal

from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.logs.replay import Rule
from wsproxy.config.members import members_of
from wsproxy.config.model import ServerCluster

Role = Literal["primary", "backup", "out of service", "ClusterAddress"]

VERDICTS = {
    Verdict.USABLE: "usable",
    Verdict.PROBE: "down, but RetryInterval is over: the next request tries it",
    Verdict.DOWN: "marked down",
    Verdict.DRAINED: "drained: only requests of sessions that it has",
    Verdict.FULL: "at MaxConnections",
    Verdict.TRIED: "failed this request",
    Verdict.OUT: "taken down by an operator",
}


def roles_of(cluster: ServerCluster) -> list[Role]:
    """Of each of ``all_servers``."""
    roles: list[Role] = ["out of service"] * len(cluster.servers)
    primaries, backups = members_of(cluster)
    for at in primaries:
        roles[at] = "primary"
    for at in backups:
        roles[at] = "backup"
    return roles if cluster.cluster_address is None else [*roles, "ClusterAddress"]


def words_of_none(*, is_full: bool) -> str:
    """Why no server was chosen; ``is_full``: because of MaxConnections."""
    return "every usable server is at MaxConnections" if is_full else "no server is usable"


def words_of_rule(
    rule: int, cluster: ServerCluster, role: Role, verdict: str, *, has_clone_ids: bool
) -> str:
    """The rule that chose a server, which had this ``role`` and ``verdict``; ``has_clone_ids``: the request."""
    if rule == Rule.AFFINITY:
        return "session affinity: the first clone id whose server is usable"
    if rule == Rule.REMEMBERED:
        return "session affinity: the session moved there a moment ago"
    unmet = "none of its clone ids has a usable server, so " if has_clone_ids else ""
    if role == "ClusterAddress":
        return f"{unmet}the ClusterAddress takes requests without affinity"
    if role == "backup":
        return f"{unmet}no primary is usable: a backup"
    if verdict != VERDICTS[Verdict.USABLE]:
        return f"{unmet}a server gets its chance: {verdict}"
    return f"{unmet}regular balancing ({cluster.load_balance}) among the usable servers"
