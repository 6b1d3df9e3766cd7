"""
What happened on one side of a simulation: load of each server, and what became of sessions.

Filled by ``simulation``, for what the log says and for what would be; the names are those of docs/simulate.md. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from wsproxy.logs.words import time_text
from wsproxy.replay.outcome import SAME
from wsproxy.replay.summary import Summary

Source = Literal["log", "simulation"]
# Why a session moved: to the server that its first clone id names; its server was down, or at MaxConnections; neither.
Cause = Literal["back", "down", "full", "other"]
BACK: Cause = "back"
DOWN: Cause = "down"
FULL: Cause = "full"
OTHER: Cause = "other"
# Is told what is going on, how much of it is done, and of how much; so often.
Show = Callable[[str, int, int], None]
SHOWN_EACH = 4096


class ServerJson(msgspec.Struct):
    """One server; ``share`` of its cluster's requests."""

    cluster: str
    server: str
    requests: int
    share: float
    by_affinity: int
    sessions: int
    failed_tries: int
    marked_down: int
    peak_in_flight: int


class TimelineJson(msgspec.Struct):
    """Each server in steps: requests that began, most in flight; ``start`` is when the first step begins."""

    start: str
    step_s: int
    requests: dict[str, list[int]]
    in_flight: dict[str, list[int]]


class SideJson(msgspec.Struct):
    """One side; counts are of requests unless their name says otherwise."""

    source: Source
    served: int
    refused: int
    refused_full: int | None
    unrouted: int
    by_affinity: int
    failed_tries: int
    marked_down: int
    peak_in_flight: int
    sessions: int
    sessions_born: int
    sessions_moved: int
    sessions_broken: int
    sessions_refused: int
    sessions_unknown_clone: int | None
    moves: dict[Cause, int]
    statuses: dict[str, int]
    servers: list[ServerJson]
    timeline: TimelineJson


@dataclass(slots=True, eq=False)
class Row:
    """One server so far."""

    cluster: str
    server: str
    label: str
    requests: int = 0
    by_affinity: int = 0
    failed_tries: int = 0
    marked_down: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    sessions: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Sessions:
    """Who answered each session last, and what happened to it. Sessions are numbers."""

    owners: dict[int, Row] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    born: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    unknown_clone: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    moves: dict[Cause, int] = field(
        default_factory=lambda: dict.fromkeys((BACK, DOWN, FULL, OTHER), 0)
    )

    def begin(self, session: int, row: Row) -> None:
        """An answer of this server begins the session."""
        self.seen.add(session)
        self.born.add(session)
        self.owners[session] = row

    def meet(self, session: int, named: Row | None, *, is_foreign: bool) -> None:
        """
        A request of the session came.

        ``named``: the server of its first clone id that is known; ``is_foreign``: it has clone ids, and none is.
        """
        if session not in self.seen:
            self.seen.add(session)
            if named is not None:
                self.owners.setdefault(session, named)
            elif is_foreign:
                self.unknown_clone.add(session)

    def answer(self, session: int, row: Row) -> Row | None:
        """The server answers; the one that the session moves away from, or None."""
        before = self.owners.get(session)
        self.owners[session] = row
        row.sessions.add(session)
        if before is None or before is row:
            return None
        self.moved.add(session)
        return before


class Side:
    """One side so far."""

    def __init__(self, source: Source, ambiguous: frozenset[str]) -> None:
        """``ambiguous``: names that servers of several clusters have."""
        self.source = source
        self.rows: dict[tuple[str, str], Row] = {}
        self.series = Summary()
        self.sessions = Sessions()
        self.knows_clones = True  # whether it is known which clone ids there are
        self.served = 0
        self.refused = 0
        self.refused_full = 0
        self.unrouted = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.statuses: dict[int, int] = {}
        self._ambiguous = ambiguous

    def row(self, cluster: str, server: str) -> Row:
        """The row of this server, new at first."""
        row = self.rows.get((cluster, server))
        if row is None:
            label = f"{cluster}/{server}" if server in self._ambiguous else server
            row = self.rows[cluster, server] = Row(
                cluster, server, label if server else f"{cluster}/(unknown)"
            )
        return row

    def serve(self, now_us: int, row: Row, status: int, *, by_affinity: bool) -> None:
        """A request begins at the server; ``status`` is what it will answer."""
        self.served += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        row.requests += 1
        row.by_affinity += by_affinity
        row.in_flight += 1
        row.peak_in_flight = max(row.peak_in_flight, row.in_flight)
        self.series.count_request(now_us, row.label, by_affinity, status, SAME, row.in_flight)
        self._count_status(status)

    def end(self, row: Row) -> None:
        """A request is over."""
        self.in_flight -= 1
        row.in_flight -= 1

    def fail(self, now_us: int, row: Row) -> None:
        """A try at the server fails."""
        row.failed_tries += 1
        self.series.count_failure(now_us, row.label)

    def mark(self, now_us: int, row: Row) -> None:
        """The server is marked down."""
        row.marked_down += 1
        self.series.count_mark(now_us, row.label)

    def refuse(self, status: int, *, is_full: bool) -> None:
        """No server takes a request; ``is_full``: because of MaxConnections."""
        self.refused += 1
        self.refused_full += is_full
        self._count_status(status)

    def _count_status(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def as_json(self) -> SideJson:
        """The counts as they are printed."""
        sessions = self.sessions
        of_cluster: dict[str, int] = {}
        for row in self.rows.values():
            of_cluster[row.cluster] = of_cluster.get(row.cluster, 0) + row.requests
        broken = sessions.refused | (sessions.unknown_clone if self.knows_clones else set())
        return SideJson(
            source=self.source,
            served=self.served,
            refused=self.refused,
            refused_full=self.refused_full if self.source == "simulation" else None,
            unrouted=self.unrouted,
            by_affinity=sum(row.by_affinity for row in self.rows.values()),
            failed_tries=sum(row.failed_tries for row in self.rows.values()),
            marked_down=sum(row.marked_down for row in self.rows.values()),
            peak_in_flight=self.peak_in_flight,
            sessions=len(sessions.seen),
            sessions_born=len(sessions.born),
            sessions_moved=len(sessions.moved),
            sessions_broken=len(broken),
            sessions_refused=len(sessions.refused),
            sessions_unknown_clone=len(sessions.unknown_clone) if self.knows_clones else None,
            moves=sessions.moves,
            statuses={str(status): count for status, count in sorted(self.statuses.items())},
            servers=[
                ServerJson(
                    cluster=row.cluster,
                    server=row.server,
                    requests=row.requests,
                    share=round(row.requests / (of_cluster[row.cluster] or 1), 4),
                    by_affinity=row.by_affinity,
                    sessions=len(row.sessions),
                    failed_tries=row.failed_tries,
                    marked_down=row.marked_down,
                    peak_in_flight=row.peak_in_flight,
                )
                for row in self.rows.values()
            ],
            timeline=self._timeline(),
        )

    def _timeline(self) -> TimelineJson:
        series = self.series
        first = series.first_us // 1_000_000 // series.step_s
        count = series.last_us // 1_000_000 // series.step_s - first + 1 if series.points else 0
        requests = {row.label: [0] * count for row in self.rows.values()}
        in_flight = {row.label: [0] * count for row in self.rows.values()}
        for (step, label), point in series.points.items():
            if label in requests:  # not the rest of a log that names thousands
                requests[label][step - first] = point.requests
                in_flight[label][step - first] = point.in_flight
        start = time_text(first * series.step_s * 1_000_000) if series.points else ""
        return TimelineJson(start, series.step_s, requests, in_flight)
