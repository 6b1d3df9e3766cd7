"""
What a replay counts: checks by decision and result, and requests by server over time.

Driven by ``replay``; read by ``cli.replay`` and ``html``. Pure; of bounded size whatever the log's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.outcome import DECISIONS, DIFFERS, SAME, UNDECIDED, Result

RESULTS: tuple[Result, ...] = (SAME, DIFFERS, UNDECIDED)
# Seconds of one point; doubled whenever there would be more points than a chart has pixels.
FIRST_STEP_S = 1
MOST_POINTS = 480
# Names of servers that are told apart; a configuration has fewer, but any text may stand in a log.
MOST_NAMES = 4096
OTHERS = "(others)"


@dataclass(slots=True)
class Series:
    """What happened at one server (empty name: unknown) in one step of time."""

    requests: int = 0
    affinity: int = 0
    failures: int = 0
    marks: int = 0
    differences: int = 0
    in_flight: int = 0  # most at once

    def add(self, other: Series) -> None:
        """Both together."""
        self.requests += other.requests
        self.affinity += other.affinity
        self.failures += other.failures
        self.marks += other.marks
        self.differences += other.differences
        self.in_flight = max(self.in_flight, other.in_flight)


@dataclass(slots=True)
class Summary:
    """Counts of one replay."""

    requests: int = 0
    results: dict[Result, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    same: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DECISIONS, 0))
    # and those that came out otherwise
    checks: dict[str, dict[Result, int]] = field(
        default_factory=lambda: {what: dict.fromkeys(RESULTS, 0) for what in DECISIONS}
    )
    statuses: dict[int, int] = field(default_factory=dict)
    processes: int = 0
    first_us: int = 0
    last_us: int = 0
    step_s: int = FIRST_STEP_S
    points: dict[tuple[int, str], Series] = field(default_factory=dict)  # (step, server)
    # (cluster, clone id that no server of it has) -> server of the log -> requests that brought it first
    strangers: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    @property
    def decisions(self) -> int:
        """Checks of any result."""
        others = sum(sum(counts.values()) for counts in self.checks.values())
        return others + sum(self.same.values())

    @property
    def differences(self) -> int:
        """Checks that came out differently."""
        return sum(counts[DIFFERS] for counts in self.checks.values())

    def count_request(
        self,
        time_us: int,
        server: str,
        by_affinity: bool,
        status: int,
        result: Result,
        in_flight: int = 0,
    ) -> None:
        """One request more; ``in_flight`` at its server, where that is known."""
        self.requests += 1
        self.results[result] += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        point = self._point(time_us, server)
        point.requests += 1
        point.affinity += by_affinity
        point.differences += result is DIFFERS
        if in_flight > point.in_flight:
            point.in_flight = in_flight

    def count_failure(self, time_us: int, server: str) -> None:
        """A try that failed."""
        self._point(time_us, server).failures += 1

    def count_mark(self, time_us: int, server: str) -> None:
        """A server was marked down."""
        self._point(time_us, server).marks += 1

    def count_stranger(self, cluster: str, clone: str, server: str) -> None:
        """A request went to this server, and the first clone id that it brought is no server's of the cluster."""
        servers = self.strangers.get((cluster, clone))
        if servers is None:
            if len(self.strangers) >= MOST_NAMES:
                return
            servers = self.strangers[cluster, clone] = {}
        if server in servers or len(servers) < MOST_NAMES:
            servers[server] = servers.get(server, 0) + 1

    def servers(self) -> dict[str, Series]:
        """Each server's counts over all time, by name."""
        totals: dict[str, Series] = {}
        for (_, server), point in sorted(self.points.items()):
            totals.setdefault(server, Series()).add(point)
        return totals

    def _point(self, time_us: int, server: str) -> Series:
        second = time_us // 1_000_000
        if not self.first_us or time_us < self.first_us:
            self.first_us = time_us
        self.last_us = max(self.last_us, time_us)
        key = (second // self.step_s, server)
        point = self.points.get(key)
        if point is None:
            if self._steps() > MOST_POINTS:
                self._coarsen()
                return self._point(time_us, server)
            if server not in self._names:
                if len(self._names) >= MOST_NAMES:
                    return self.points.setdefault((key[0], OTHERS), Series())
                self._names.add(server)
            point = self.points[key] = Series()
        return point

    def _steps(self) -> int:
        """From the first to the last, those in which nothing happened, too: a chart and a timeline have them."""
        first_s, last_s = self.first_us // 1_000_000, self.last_us // 1_000_000
        return last_s // self.step_s - first_s // self.step_s + 1

    def _coarsen(self) -> None:
        """Several steps become one."""
        old, self.points = self.points, {}
        before = self.step_s
        while self._steps() > MOST_POINTS:
            self.step_s *= 2
        for (step, server), point in old.items():
            key = (step // (self.step_s // before), server)
            self.points.setdefault(key, Series()).add(point)


class CountsJson(msgspec.Struct):
    """Checks of one decision by result."""

    same: int
    differs: int
    undecided: int


class LinesJson(msgspec.Struct):
    """Lines of the logs: each is counted once, but ``glued`` records share the line of another."""

    all: int
    records: int
    continued: int
    foreign: int
    blank: int
    glued: int


class ServerJson(msgspec.Struct):
    """One server over all time."""

    server: str
    requests: int
    by_affinity: int
    failed_tries: int
    marked_down: int
    differences: int


class CloneJson(msgspec.Struct):
    """
    A clone id that no server of the cluster has: first in so many requests, ``at_server`` of them at ``server``.

    ``is_lost``: it was that server's, so its sessions are lost.
    """

    cluster: str
    clone_id: str
    requests: int
    server: str
    at_server: int
    is_lost: bool


class SentJson(msgspec.Struct):
    """What ``--against`` did."""

    sent: int
    left_out: int
    same: int
    differs: int
    failed: int


class SummaryJson(msgspec.Struct, kw_only=True, tag_field="type", tag="summary"):
    """The last line of ``--json``; ``same``, ``differs`` and ``undecided`` count requests."""

    requests: int
    same: int
    differs: int
    undecided: int
    processes: int
    lines: LinesJson
    decisions: dict[str, CountsJson]
    servers: list[ServerJson]
    statuses: dict[str, int]
    unknown_clone_ids: list[CloneJson]
    notes: list[str]
    nothing_compared: str
    sent: SentJson | None = None


def summary_json(
    summary: Summary,
    reading: Reading,
    *,
    strangers: list[CloneJson],
    notes: list[str],
    nothing: str,
) -> SummaryJson:
    """The counts as they are printed; the others as ``verdict`` concludes them."""
    return SummaryJson(
        requests=summary.requests,
        same=summary.results[SAME],
        differs=summary.results[DIFFERS],
        undecided=summary.results[UNDECIDED],
        processes=summary.processes,
        lines=LinesJson(
            reading.lines,
            reading.records,
            reading.continued,
            reading.foreign,
            reading.blank,
            reading.glued,
        ),
        decisions={
            what: CountsJson(summary.same[what], counts[DIFFERS], counts[UNDECIDED])
            for what, counts in summary.checks.items()
        },
        servers=[
            ServerJson(
                server,
                total.requests,
                total.affinity,
                total.failures,
                total.marks,
                total.differences,
            )
            for server, total in sorted(summary.servers().items())
        ],
        statuses={str(status): count for status, count in sorted(summary.statuses.items())},
        unknown_clone_ids=strangers,
        notes=notes,
        nothing_compared=nothing,
    )
