"""
Lets the requests of a log run through the live decisions in virtual time.

Driven by ``result`` with the ``Traffic`` of the logs. Servers are chosen by ``_fast.logs.replay``, failures judged by
``routing.retry``; here is only what stands for the world: a clock, servers that take their time and may be away, browsers that
bring the cookie they got last. Must not decide anything, read a clock or be random: the same seed gives the same counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from heapq import heappop, heappush

from wsproxy._fast.decide.balance import NoServer, Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.logs.replay import ReplayedRequest, Rule
from wsproxy._fast.logs.simulate import start_cluster
from wsproxy.errors import StartError
from wsproxy.routing.retry import Failure, Next, Try, decide_retry, decide_status
from wsproxy.simulate.options import Outage
from wsproxy.simulate.probing import Probes
from wsproxy.simulate.side import (
    BACK,
    DOWN,
    FULL,
    OTHER,
    SHOWN_EACH,
    Cause,
    Row,
    Show,
    Side,
)
from wsproxy.simulate.traffic import NONE, Routing, Traffic, has_owner

# The virtual clock begins here: 0 would say "up" in a down mark.
BASE_MS = 1000
# The longest that it may run: the years of a log have four digits, and milliseconds must fit 64 bits.
MOST_US = 10_000 * 366 * 86_400 * 1_000_000
# Clone ids that a session keeps: as many as are looked at in one request (MAX_CLONE_IDS of _fast.decide.affinity).
MOST_CLONES = 64
_LAST_AFFINITY = int(Rule.REMEMBERED)
_CAUSES: dict[int, Cause] = {Verdict.DOWN: DOWN, Verdict.FULL: FULL}

# What connecting to a server that is away comes to; nothing was sent, so nothing else of a Try matters.
_UNREACHED = Try(
    failure=Failure.CONNECT,
    reused_connection=False,
    replayable=True,
    io_timeout_marks_down=False,
    timeout_retries=0,
    io_timeout_retry=-1,
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is tried, besides the configuration."""

    outages: tuple[Outage, ...] = ()
    rate: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class _Running:
    """A request that a server has."""

    request: ReplayedRequest
    cluster: Cluster
    server: int
    row: Row
    key: int


@dataclass(slots=True)
class _Away:
    """Servers that cannot be reached: (cluster, server) -> when, by the virtual clock."""

    times: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)

    def has(self, cluster: int, server: int, now_us: int) -> bool:
        return any(begin <= now_us < end for begin, end in self.times.get((cluster, server), ()))


class Simulation:
    """One run of the traffic through one configuration."""

    def __init__(self, traffic: Traffic, routing: Routing, scenario: Scenario) -> None:
        """
        Everything up and idle, the clock at the first request.

        Raises:
            StartError: a server is to be down when the log has no requests, or the clock would run too long.
        """
        self._traffic = traffic
        self._routing = routing
        self._scenario = scenario
        self._error_status = routing.world.settings.retry.error_status
        self._decider, self._view = routing.process.decider, routing.process.view
        self._clusters = routing.process.clusters
        self._sessions_of: dict[
            int, tuple[bytes, ...]
        ] = {}  # key -> clone ids that its browser has
        self._ends: list[tuple[int, int, _Running]] = []
        order = traffic.order
        self._first_us = traffic.begin_us[order[0]] if order else 0
        last_us = traffic.begin_us[order[-1]] if order else 0
        if (last_us - self._first_us) / scenario.rate > MOST_US:
            raise StartError(
                f"--rate: found x{scenario.rate:g}; allowed is one with which the log's requests come within 10000 years"
            )
        self._away = _Away()
        for outage in scenario.outages:
            begin_us = self._virtual_us(outage.begin_us(self._first_us, last_us))
            when = (begin_us, begin_us + outage.duration_s * 1_000_000)
            self._away.times.setdefault((outage.cluster, outage.server), []).append(when)
        self.side = Side("simulation", traffic.ambiguous_names())
        self._rows = [
            []
            if cluster is None
            else [self.side.row(cluster.name, server) for server in cluster.server_names]
            for cluster in self._clusters
        ]
        for cluster in filter(None, self._clusters):
            start_cluster(cluster, self._draw(f"turns {cluster.name}"), self._draw("sessions"))
        self._probes = Probes(
            routing.world.config,
            self._clusters,
            routing.world.settings.probe,
            self._away.times,
            self._draw,
            self._first_us,
            BASE_MS,
        )

    def _draw(self, what: str) -> int:
        text = f"{self._scenario.seed} {what}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

    def _virtual_us(self, time_us: int) -> int:
        """When something of the log happens here: sooner, where requests come faster."""
        return self._first_us + int((time_us - self._first_us) / self._scenario.rate)

    def run(self, show: Show) -> Side:
        """All of the traffic, to the end of its last request."""
        begin_us = self._traffic.begin_us
        for count, at in enumerate(self._traffic.order):
            if count % SHOWN_EACH == 0:
                show("simulating", count, len(self._traffic))
            now_us = self._virtual_us(begin_us[at])
            self._pass_time(now_us)
            self._begin(at, now_us)
        if self._ends:
            self._pass_time(max(end[0] for end in self._ends))
        return self.side

    def _begin(self, at: int, now_us: int) -> None:
        routing = self._routing
        if routing.route[at] == NONE:
            self.side.unrouted += 1
            return
        head = routing.heads[routing.route[at]]
        key, born = routing.keys(at)
        clones = self._clones_of(key, routing.clone_lists[routing.clones[at]])
        session_id = b"" if key == NONE else routing.sessions[routing.session[at]]
        request = ReplayedRequest(
            self._decider,
            self._view,
            head.host,
            head.port,
            head.path,
            head.cookies(session_id, clones),
        )
        cluster = self._clusters[head.cluster]
        rows = self._rows[head.cluster]
        named = routing.first_known(head.cluster, clones)
        if key != NONE:
            self.side.sessions.meet(
                key,
                rows[named] if named >= 0 else None,
                is_foreign=named < 0 and has_owner(clones),
            )
        server, rule = self._try_servers(request, cluster, head.cluster, now_us)
        if server < 0 or cluster is None:
            request.finish()
            is_full = server == NoServer.ALL_FULL
            self.side.refuse(decide_status(503, self._error_status, full=is_full), is_full=is_full)
            if key != NONE and clones:
                self.side.sessions.refused.add(key)
            return
        row = rows[server]
        self.side.serve(now_us, row, self._traffic.status[at], by_affinity=rule <= _LAST_AFFINITY)
        if born != NONE:
            self._begin_session(born, cluster, server, row)
        if key != NONE:
            if not clones:
                self._begin_session(key, cluster, server, row)
            self._note_answer(key, cluster, row, server == named, rows, now_us)
        running = _Running(request, cluster, server, row, key)
        heappush(self._ends, (now_us + self._traffic.service_us[at], at, running))

    def _clones_of(self, key: int, logged: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The clone ids that the browser has by now; none for a session that has not begun here yet."""
        if key == NONE:
            return logged
        clones = self._sessions_of.get(key)
        if clones is None:
            clones = () if key in self._routing.births else logged
            self._sessions_of[key] = clones
        return clones

    def _try_servers(
        self, request: ReplayedRequest, cluster: Cluster | None, index: int, now_us: int
    ) -> tuple[int, int]:
        """(server, rule) of the one that can be reached; negative: none, and why."""
        now_ms = self._ms(now_us)
        while True:
            server, rule = request.choose(now_ms, -1)
            if server < 0 or cluster is None or not self._away.has(index, server, now_us):
                return server, rule
            row = self._rows[index][server]
            self.side.fail(now_us, row)
            ruling = decide_retry(_UNREACHED)
            if ruling.mark_down:
                if cluster.server_state(server)["down_until_ms"] <= now_ms:
                    self.side.mark(now_us, row)
                cluster.set_down(server, 0, now_ms)
            request.fail()
            if ruling.next is not Next.OTHER_SERVER:
                return NoServer.NONE_REACHABLE, Rule.NONE

    def _begin_session(self, key: int, cluster: Cluster, server: int, row: Row) -> None:
        clone = self._routing.clone_of(cluster.name, server)
        self._sessions_of[key] = () if clone is None else (clone,)
        self.side.sessions.begin(key, row)

    def _note_answer(
        self, key: int, cluster: Cluster, row: Row, is_named: bool, rows: list[Row], now_us: int
    ) -> None:
        before = self.side.sessions.answer(key, row)
        if before is None:
            return
        cause = BACK
        if not is_named:
            verdict = cluster.judge_server(rows.index(before), self._ms(now_us))
            cause = _CAUSES.get(verdict, OTHER)
        self.side.sessions.moves[cause] += 1

    def _pass_time(self, now_us: int) -> None:
        """To this time: requests end and servers are probed, in their order."""
        while (next_us := self._probes.next_us) is not None and next_us <= now_us:
            self._end_until(next_us)
            probed, is_news = self._probes.ask(self._away.has, self._ms(next_us))
            if is_news:
                index, server = probed.at
                self.side.mark(next_us, self._rows[index][server])
        self._end_until(now_us)

    def _end_until(self, now_us: int) -> None:
        """Requests that are over by now: their servers live, and have put their clone ids into the cookie."""
        ends = self._ends
        while ends and ends[0][0] <= now_us:
            end_us, _, running = heappop(ends)
            running.cluster.set_up(running.server, 0, b"", self._ms(end_us))
            running.request.finish()
            self.side.end(running.row)
            if running.key != NONE:
                clone = self._routing.clone_of(running.cluster.name, running.server)
                clones = self._sessions_of[running.key]
                if clone is not None and clone not in clones and len(clones) < MOST_CLONES:
                    self._sessions_of[running.key] = (*clones, clone)

    def _ms(self, now_us: int) -> int:
        return (now_us - self._first_us) // 1000 + BASE_MS
