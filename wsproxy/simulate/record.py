"""
What the log itself says happened: the side of a simulation that nothing is simulated on.

Driven by ``result``. Must not decide anything: servers, failures and statuses are the log's, and a server has a request
from its beginning for as long as it took.
"""

from __future__ import annotations

from heapq import heappop, heappush

from wsproxy.simulate.side import BACK, OTHER, SHOWN_EACH, Row, Show, Side
from wsproxy.simulate.traffic import NONE, REFUSED, SERVED, Traffic, has_owner


class Recording:
    """The log's requests, one after the other."""

    def __init__(self, traffic: Traffic) -> None:
        """Nothing counted yet."""
        self._traffic = traffic
        self._routing = traffic.read_by
        self.side = Side("log", traffic.ambiguous_names())
        # Clone ids of servers that are not in the new configuration are known only from the old one.
        self.side.knows_clones = traffic.old is not None
        self._clone_of: dict[tuple[str, str], bytes] = {}
        for cluster in self._routing.world.config.server_clusters:
            for server in cluster.all_servers:
                self.side.row(cluster.name, server.name)  # in this order
                if server.clone_id is not None:
                    self._clone_of[cluster.name, server.name] = server.clone_id.encode()
        self._ends: list[tuple[int, int, Row]] = []

    def run(self, show: Show) -> Side:
        """All of them."""
        traffic = self._traffic
        for count, at in enumerate(traffic.order):
            if count % SHOWN_EACH == 0:
                show("the log", count, len(traffic))
            now_us = traffic.begin_us[at]
            while self._ends and self._ends[0][0] <= now_us:
                self.side.end(heappop(self._ends)[2])
            if at in traffic.failures:
                self._count_failures(at, now_us)
            self._count(at, now_us)
        return self.side

    def _count_failures(self, at: int, now_us: int) -> None:
        cluster, failed, marked = self._traffic.failures[at]
        for server in failed:
            self.side.fail(now_us, self.side.row(cluster, server))
        for server in marked:
            self.side.mark(now_us, self.side.row(cluster, server))

    def _count(self, at: int, now_us: int) -> None:
        traffic, routing, sessions = self._traffic, self._routing, self.side.sessions
        key, born = routing.keys(at)
        clones = routing.clone_lists[routing.clones[at]]
        named = None if key == NONE else self._named(at, clones)
        if key != NONE:
            sessions.meet(key, named, is_foreign=named is None and has_owner(clones))
        said = traffic.said[at]
        if said == REFUSED:
            self.side.refuse(traffic.status[at], is_full=False)
            if key != NONE:
                sessions.refused.add(key)
        elif said == SERVED:
            row = self.side.row(*traffic.places[traffic.place[at]])
            by_affinity = bool(clones) and (
                self._clone_of.get((row.cluster, row.server)) in clones
                or (key != NONE and sessions.owners.get(key) is row)
            )
            self.side.serve(now_us, row, traffic.status[at], by_affinity=by_affinity)
            heappush(self._ends, (now_us + traffic.service_us[at], at, row))
            if not row.server:
                return  # an access log without WAS=
            if born != NONE:
                sessions.begin(born, row)
            if key != NONE and sessions.answer(key, row) is not None:
                sessions.moves[BACK if row is named else OTHER] += 1
        else:
            self.side.unrouted += 1

    def _named(self, at: int, clones: tuple[bytes, ...]) -> Row | None:
        """The server that the first known clone id names."""
        index = self._routing.heads[self._routing.route[at]].cluster
        cluster = self._routing.process.clusters[index]
        server = self._routing.first_known(index, clones)
        if cluster is None or server < 0:
            return None
        return self.side.row(cluster.name, cluster.server_names[server])
