"""
The server choice of PLUGIN 3.4, 4 and 5.2 over plain lists: weighted round robin, down marks, probes, limits, backups.

Driven by tests/unit/_fast, which feeds it the same calls as ``Cluster``. Must not share code with ``wsproxy/_fast``.
Weights: divided by their greatest common divisor, one less a request, at or below zero passed over; when no usable server is
above zero each gets the smallest multiple of its own start weight that lifts at least one usable server (Q6), and none
rises above its start weight. Backups in order, or balanced the same way among themselves. A last chance for what is down.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

USABLE, PROBE, DOWN, DRAINED, FULL, TRIED, OUT = range(7)
NONE_REACHABLE, ALL_FULL = -1, -2
LEAST_WEIGHT = -1_000_000


@dataclass
class Server:
    """One member with its present state."""

    start_weight: int = 0
    most_connections: int = -1
    weight: int = 0
    down_until: int | None = None
    probe_by: int | None = None
    hold: int = 0  # 1: drained, 2: taken down
    running: dict[int, int] = field(default_factory=dict)  # worker -> requests

    @property
    def inflight(self) -> int:
        return sum(self.running.values())


@dataclass
class WeightedCluster:
    """``rows``: (LoadBalanceWeight, MaxConnections); ``start``, ``backup_start``: where the first turns begin."""

    rows: list[tuple[int, int]]
    primaries: list[int]
    backups: list[int]
    start: int = 0
    backup_start: int = 0
    ignore_affinity_requests: bool = True
    balance_backups: bool = False
    last_chance: bool = True
    retry_interval: int = 60_000
    cluster_address: int | None = None
    servers: list[Server] = field(init=False)

    def __post_init__(self) -> None:
        self.servers = [Server(most_connections=most) for _, most in self.rows]
        for group in (self.primaries, self.backups if self.balance_backups else []):
            divisor = math.gcd(*(self.rows[index][0] for index in group)) or 1
            for index in group:
                server = self.servers[index]
                server.start_weight = server.weight = self.rows[index][0] // divisor

    @property
    def members(self) -> list[int]:
        return self.primaries + self.backups

    def judge(
        self, index: int, now: int, tried: Collection[int] = (), *, has_session: bool = False
    ) -> int:
        server = self.servers[index]
        if index in tried:
            return TRIED
        if server.hold == 1 and not has_session:
            return DRAINED
        if server.hold == 2:
            return OUT
        if 0 < server.most_connections <= server.inflight:
            return FULL
        if server.down_until is None:
            return USABLE
        if now >= server.down_until and server.probe_by is None:
            return PROBE
        return DOWN

    def is_usable(self, index: int, now: int, tried: Collection[int]) -> bool:
        return self.judge(index, now, tried) in (USABLE, PROBE)

    def pick_last_chance(self, now: int, tried: Collection[int]) -> int | None:
        """Of the down servers that new sessions may get and that nobody probes, the one whose last failure is longest ago."""
        weighted = self.primaries + (self.backups if self.balance_backups else [])
        down = [
            index
            for index in self.members
            if self.judge(index, now, tried) == DOWN
            and (index not in weighted or self.servers[index].start_weight > 0)
            and (index not in self.primaries or self.cluster_address is None)
            and (self.servers[index].probe_by is None or len(self.members) == 1)
        ]
        return min(down, key=lambda index: self.servers[index].down_until or 0, default=None)

    def enter(self, index: int, worker: int, *, probe: bool) -> None:
        server = self.servers[index]
        if probe:
            server.probe_by = worker
        server.running[worker] = server.running.get(worker, 0) + 1

    def take(self, index: int, worker: int, now: int) -> int:
        """Affinity: this server or none; the only server is tried though it is marked down (PQ71608, Q9)."""
        verdict = self.judge(index, now, has_session=True)
        if verdict == DOWN and self.members == [index] and self.last_chance:
            verdict = USABLE
        if verdict in (USABLE, PROBE):
            self.enter(index, worker, probe=verdict == PROBE)
            server = self.servers[index]
            if not self.ignore_affinity_requests and server.weight > LEAST_WEIGHT:
                server.weight -= 1
        return verdict

    def pick(self, worker: int, now: int, tried: Collection[int] = ()) -> int:
        """Regular balancing."""
        if self.cluster_address is not None:
            if self.cluster_address not in tried and not self.servers[self.cluster_address].hold:
                self.enter(self.cluster_address, worker, probe=False)
                return self.cluster_address
            chosen = None
        else:
            chosen, self.start = self.go_round(self.primaries, self.start, now, tried)
        if chosen is None and self.balance_backups:
            chosen, self.backup_start = self.go_round(self.backups, self.backup_start, now, tried)
        elif chosen is None:
            usable = (index for index in self.backups if self.is_usable(index, now, tried))
            chosen = next(usable, None)
        if chosen is None and any(self.judge(each, now, tried) == FULL for each in self.members):
            return ALL_FULL
        probe = chosen is not None and self.judge(chosen, now, tried) == PROBE
        if chosen is None and self.last_chance:
            chosen, probe = self.pick_last_chance(now, tried), len(self.members) > 1
        if chosen is None:
            return NONE_REACHABLE
        self.enter(chosen, worker, probe=probe)
        return chosen

    def go_round(
        self, group: list[int], start: int, now: int, tried: Collection[int]
    ) -> tuple[int | None, int]:
        """The next of ``group`` by weight, and where to go on."""
        usable = [
            index
            for index in group
            if self.servers[index].start_weight > 0 and self.is_usable(index, now, tried)
        ]
        if not usable:
            return None, start
        if all(self.servers[index].weight <= 0 for index in usable):
            self.readjust(group, usable)
        for step in range(len(group)):
            position = (start + step) % len(group)
            index = group[position]
            if index in usable and self.servers[index].weight > 0:
                self.servers[index].weight -= 1
                return index, position + 1
        raise AssertionError("readjusting lifted no usable server")

    def readjust(self, group: list[int], usable: list[int]) -> None:
        multiple = 1
        while not any(
            self.servers[index].weight + multiple * self.servers[index].start_weight > 0
            for index in usable
        ):
            multiple += 1
        for index in group:
            server = self.servers[index]
            raised = server.weight + multiple * server.start_weight
            server.weight = min(raised, server.start_weight)

    def release(self, index: int, worker: int) -> None:
        server = self.servers[index]
        server.running[worker] -= 1
        if server.probe_by == worker:
            server.probe_by = None

    def set_down(self, index: int, now: int) -> None:
        until = now + self.retry_interval
        for other, server in enumerate(self.servers):
            # no two failures at the same time: the last one is the last to get a last chance
            if other != index and server.down_until is not None and server.down_until >= until:
                until = server.down_until + 1
        self.servers[index].down_until = until
        self.servers[index].probe_by = None

    def set_up(self, index: int) -> None:
        server = self.servers[index]
        if server.down_until is not None:
            server.down_until = server.probe_by = None

    def worker_died(self, worker: int) -> int:
        given_back = 0
        for server in self.servers:
            given_back += server.running.pop(worker, 0)
            if server.probe_by == worker:
                server.probe_by = None
        return given_back
