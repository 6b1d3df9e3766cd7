"""
Why a server was chosen, or not, in words: the same in an explanation, in an answer's fields and to an administrator.

Driven by ``explain`` and ``dataplane.explained``. Pure.
"""

from __future__ import annotations

from typing import Literal

from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.decide import ChosenBy
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


# ``{balance}``: LoadBalance, ``{verdict}``: what the server was found to be; see ``words_of_rule``.
RULES = {
    ChosenBy.BY_NOBODY: "no server was chosen",
    ChosenBy.BY_AFFINITY: "session affinity: the first clone id whose server is usable",
    ChosenBy.BY_TAKEOVER: "session affinity: the session moved there a moment ago",
    ChosenBy.BY_WEIGHT: "regular balancing ({balance}) among the usable servers",
    ChosenBy.BY_RANDOM: "regular balancing ({balance}) among the usable servers",
    ChosenBy.BY_BACKUP: "no primary is usable: a backup",
    ChosenBy.BY_CLUSTER_ADDRESS: "the ClusterAddress takes requests without affinity",
    ChosenBy.BY_RETRY: "a server gets its chance: {verdict}",
    ChosenBy.BY_LAST_CHANCE: "a server gets its chance: {verdict}",
    ChosenBy.BY_FALLBACK: "no Route matches: the fallback takes it",
}
_VERDICT_OF = {ChosenBy.BY_RETRY: Verdict.PROBE, ChosenBy.BY_LAST_CHANCE: Verdict.DOWN}


def words_of_rule(by: int, load_balance: str, *, verdict: str = "", is_unmet: bool) -> str:
    """
    The rule that chose a server, ``decide.ChosenBy``, which the decision itself noted.

    ``verdict``: more words than its own for one that is down; ``is_unmet``: the request has clone ids, and none of their servers
    was usable.
    """
    rule = ChosenBy(by)
    unmet = "none of its clone ids has a usable server, so " if is_unmet else ""
    verdict = verdict or VERDICTS[_VERDICT_OF.get(rule, Verdict.USABLE)]
    return unmet + RULES[rule].format(balance=load_balance, verdict=verdict)
