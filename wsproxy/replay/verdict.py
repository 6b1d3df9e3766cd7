"""
What a replay comes to as a whole: whether anything was compared, and what only many requests together tell.

Driven by ``cli.replay`` and ``cli.simulate`` when the log is read. Pure; must not judge a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.model import Config
from wsproxy.logs.words import count_of, listed
from wsproxy.replay.outcome import BESIDE, SAME
from wsproxy.replay.replay import Replay
from wsproxy.replay.summary import OTHERS, CloneJson, Summary

TAKE_TRACE = (
    'set LogLevel="Trace" in plugin-cfg.xml for some minutes (docs/migrating-from-ihs.md, step 2)'
)
# Where each request is open in one decision or another.
NOT_ENOUGH = "the log tells of no request all that decides (--undecided prints what is missing)"
# Requests of one clone id that must have gone to one server before it is taken for that server's: fewer may do so by chance.
LEAST_OF_CLONE = 10
# And so many of them did, while the server has no more than so many of the others.
MOSTLY = 0.9
HARDLY_MORE = 0.6
# Notes on single clone ids: the cookies of another site may bring hundreds.
MOST_SAID = 5


@dataclass(frozen=True, slots=True)
class Conclusion:
    """``nothing``: why nothing was compared, and what to do; empty: something was."""

    nothing: str
    notes: list[str]
    strangers: list[CloneJson]

    @property
    def lost(self) -> int:
        """Requests whose sessions are lost, as far as no single one tells."""
        return sum(each.requests for each in self.strangers if each.is_lost)


def conclude(replay: Replay, config: Config, *, is_access: bool) -> Conclusion:
    """The whole of it, after ``replay.end``; ``is_access``: of an access log."""
    summary = replay.summary
    known = {server.name for cluster in config.server_clusters for server in cluster.all_servers}
    seen = {name for name in summary.servers() if name not in ("", OTHERS)}
    unknown = sorted(seen - known)
    notes = []
    if unknown:
        of = f"of the log's {count_of(len(seen), 'server')}"
        whose = f"none {of} is" if len(unknown) == len(seen) else f"{len(unknown)} {of} are not"
        name = PurePath(config.path).name
        notes.append(
            f"{whose} in {name} ({listed(unknown)}): was it in force when the log was written?"
        )
    strangers = _strangers(summary, config)
    notes += [_said(each) for each in strangers[:MOST_SAID]]
    if len(strangers) > MOST_SAID:
        notes.append(
            f"{len(strangers) - MOST_SAID} more clone ids are no Server's (--json has them)"
        )
    told = _compared(summary) and (replay.tries.names_servers or not is_access)
    found = summary.results[SAME] or summary.differences or any(each.is_lost for each in strangers)
    tries = replay.tries
    nothing = ""
    if told and not found and (not is_access or (tries.names_hosts and tries.names_sessions)):
        nothing = NOT_ENOUGH
    elif not (told and found):
        nothing = why_nothing(replay, is_access=is_access)
    return Conclusion(nothing, notes, strangers)


def _compared(summary: Summary) -> int:
    """Checks of requests with the configuration that could be decided."""
    return sum(
        summary.same[what] + counts["differs"]
        for what, counts in summary.checks.items()
        if what not in BESIDE
    )


def why_nothing(replay: Replay, *, is_access: bool) -> str:
    """What the log lacks; without a full stop."""
    summary = replay.summary
    if is_access:
        if not replay.tries.names_servers:
            return 'no line has WAS=host:port: add WAS=%{WAS}e and JSESSIONID=\\"%{JSESSIONID}C\\" to the LogFormat (docs/replay.md)'
        if not replay.tries.names_hosts:
            return "no line tells its host: say --host HOST:PORT (docs/replay.md)"
        if not replay.tries.names_sessions:
            return 'no line has JSESSIONID=: add JSESSIONID=\\"%{JSESSIONID}C\\" to the LogFormat (docs/replay.md)'
        return "its requests could not be read"
    if summary.requests == 0:
        return f"there is no request in it: LogLevel Error and Warn tell of failures only; {TAKE_TRACE}"
    level = LogLevel(replay.most_level)
    if level < LogLevel.DETAIL:
        return f"LogLevel {level.name.capitalize()} tells no URIs: {TAKE_TRACE}"
    return f"its requests have no beginning, or none that could be read: {TAKE_TRACE}"


def _strangers(summary: Summary, config: Config) -> list[CloneJson]:
    totals = {name: total.requests for name, total in summary.servers().items()}
    members = {
        cluster.name: [server.name for server in cluster.servers]
        for cluster in config.server_clusters
    }
    found = []
    for (cluster, clone), servers in summary.strangers.items():
        requests = sum(servers.values())
        server = max(servers, key=lambda name: servers[name])
        most = servers[server]
        # what it has of the cluster's other requests: one that has nearly all of them has these by its turn, too
        of = sum(totals.get(name, 0) for name in members[cluster]) - requests
        its = totals.get(server, 0) - most
        is_lost = (
            requests >= LEAST_OF_CLONE and most >= MOSTLY * requests and its <= HARDLY_MORE * of
        )
        found.append(CloneJson(cluster, clone, requests, server, most, is_lost))
    return sorted(found, key=lambda each: (not each.is_lost, -each.requests))


def _said(each: CloneJson) -> str:
    said = f"no Server of {each.cluster} has the clone id {each.clone_id}, which {count_of(each.requests, 'request')} brought"
    if not each.is_lost:
        return said
    at = "all" if each.at_server == each.requests else str(each.at_server)
    return f"{said}; {at} of them went to {each.server}: sessions of that clone id are lost"
