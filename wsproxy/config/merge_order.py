"""
The order of merged Routes, where it matters: requests that two of them take with one score go to the first one.

Driven by ``config.merge``. Pure. The order that an input has between two such Routes holds; where only different inputs have them,
the narrower VirtualHost comes first (``host:*``, ``*:port``, ``*:*``, none), then the narrower Uri.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from wsproxy.config.merge_claims import (
    ANY_HOST,
    EXACT,
    Claims,
    HostKey,
    Pair,
)
from wsproxy.config.merge_notes import Notes
from wsproxy.config.merge_overlaps import MOST_COMPARED, Overlaps
from wsproxy.config.merge_routes import Node, RouteBuilder, host_text
from wsproxy.config.merge_rules import Rules, called
from wsproxy.config.natural import natural_key
from wsproxy.config.problems import quoted

_Edges = set[tuple[int, int]]


class Order:
    """Of one merge."""

    def __init__(
        self,
        claims: Claims,
        builder: RouteBuilder,
    ) -> None:
        """``builder``: has made the Routes."""
        self._claims = claims
        self._builder = builder
        self._number: dict[Node, int] = {}
        self._width = claims.hosts.widths
        self._overlaps = Overlaps(claims, builder.emitted)

    def sort(self, rules: Rules, notes: Notes) -> list[Node]:
        """The Routes in an order that keeps the meaning; notes what is decided, and refuses what contradicts itself."""
        ties = list(self._overlaps.ties())
        if self._overlaps.is_too_large:
            self._refuse_size(notes)
            return self._builder.nodes
        must, may = self._edges(ties)
        order, left = _topological(len(self._number), must | may)
        if left:  # a Route is to be before and behind another: its pairs have orders of their own
            circle = _circles(len(self._number), must | may)
            sizes = Counter(circle)
            for node, at in list(self._number.items()):
                if sizes[circle[at]] > 1 and len(node.pairs) > 1:
                    self._builder.split(node)
            must, may = self._edges(ties)
            order, left = _topological(len(self._number), must | may)
        if left:  # what only should be goes where it still makes a circle
            circle = _circles(len(self._number), must | may)
            may = {(first, second) for first, second in may if circle[first] != circle[second]}
            order, left = _topological(len(self._number), must | may)
        for one, other in ties:
            self._note_tie(one, other, rules, notes)
        self._note_exact(rules, notes)
        nodes = self._builder.nodes
        if not left:
            return [nodes[at] for at in order]
        _, left = _topological(len(nodes), must)
        first, second = _cycle(left, must)
        self._refuse_order(nodes[first], nodes[second], notes)
        return nodes

    def _edges(self, ties: Iterable[tuple[Pair, Pair]]) -> tuple[_Edges, _Edges]:
        """What must stand before what, and what should."""
        self._number = {node: at for at, node in enumerate(self._builder.nodes)}
        must: _Edges = set()
        may: _Edges = set()
        for node in self._number:
            for pair in node.hidden:
                self._add(must, self._builder.emitted.get(pair), node)
        for one, other in ties:
            self._order(one, other, must, may)
        return must, may

    def _add(self, edges: _Edges, first: Node | None, second: Node | None) -> None:
        if first is not None and second is not None and first is not second:
            edges.add((self._number[first], self._number[second]))

    # --- what comes first ----------------------------------------------------------------------------------------------

    def _order(self, one: Pair, other: Pair, must: _Edges, may: _Edges) -> None:
        first, second = self._builder.emitted[one], self._builder.emitted[other]
        if first is second:
            return
        mine, theirs = self._claims.first[one], self._claims.first[other]
        both = mine.keys() & theirs.keys()
        is_given = False
        for side in both:
            routes = self._claims.routes[side]
            if routes[mine[side]].owner != routes[theirs[side]].owner:
                is_given = True
                self._add(
                    must, *((first, second) if mine[side] < theirs[side] else (second, first))
                )
        if not is_given and first.target is not second.target:
            is_narrower = self._key(one) < self._key(other)
            self._add(may, *((first, second) if is_narrower else (second, first)))

    def _note_tie(self, one: Pair, other: Pair, rules: Rules, notes: Notes) -> None:
        """Two inputs take the same requests with one score: the administrator should know."""
        if self._claims.first[one].keys() & self._claims.first[other].keys():
            return
        if self._key(other) < self._key(one):
            one, other = other, one
        first, second = self._builder.emitted[one], self._builder.emitted[other]
        if first.target is not second.target:
            self._note(one, other, first, second, rules, notes)

    def _key(self, pair: Pair) -> tuple[int, int, tuple[object, ...]]:
        """The narrower one has the smaller key."""
        host, uri = self._claims.hosts.members[pair[0]], self._claims.uris.members[pair[1]]
        text = f"{host_text(host[0])} {uri[0]}"
        return self._width[pair[0]], self._claims.uris.widths[pair[1]], natural_key(text)

    def _note(
        self, one: Pair, other: Pair, first: Node, second: Node, rules: Rules, notes: Notes
    ) -> None:
        hosts, uris = self._claims.hosts.members, self._claims.uris.members
        a, b = (
            f"{quoted(str(uris[pair[1]][0])) if uris[pair[1]][0] else 'every Uri'} on "
            f"{quoted(host_text(hosts[pair[0]][0])) if hosts[pair[0]][0] != ANY_HOST else 'every VirtualHost'}"
            for pair in (one, other)
        )
        found = f"Routes for {a} and for {b}, to {quoted(first.target.base)} and {quoted(second.target.base)}: they overlap"
        places = [first.found[0][0], second.found[0][0]]
        if rules["overlap"] == "refuse":
            notes.refuse("overlap", found, "no overlap, or --rules overlap=narrower", places)
        else:
            done = f"requests of both go to {quoted(first.target.base)}, which is the narrower one"
            notes.decide("overlap", found, done, places)

    def _note_exact(self, rules: Rules, notes: Notes) -> None:
        """One input's ``host:port`` inside another's wildcard: the score decides, and the administrator should know."""
        at: dict[HostKey, int] = {}
        for cls, members in enumerate(self._claims.hosts.members):
            for key in members:
                at[key] = cls
        wider: list[set[int]] = []
        for cls, exact in enumerate(self._claims.hosts.members):
            wild: set[HostKey] = set()
            if self._width[cls] == EXACT:
                wild = {k for host, port in exact for k in ((host, None), ("*", port), ("*", None))}
            wider.append({at[key] for key in wild if key in at})
        told: set[tuple[int, int]] = set()
        for uri, hosts in self._overlaps.hosts_of.items():
            there = set(hosts)
            for host in hosts:
                for other in wider[host] & there - {host}:
                    one, two = (host, uri), (other, uri)
                    first, second = self._builder.emitted[one], self._builder.emitted[two]
                    if first.target is second.target:
                        continue
                    if self._claims.first[one].keys() & self._claims.first[two].keys():
                        continue
                    both = (self._number[first], self._number[second])
                    if both not in told:
                        told.add(both)
                        self._note(one, two, first, second, rules, notes)

    def _refuse_size(self, notes: Notes) -> None:
        inputs = enumerate(self._claims.inputs)
        notes.refuse(
            "too-large",
            f"more than {MOST_COMPARED} pairs of VirtualHosts and Uris that overlap",
            "files whose Routes overlap less",
            [self._claims.place(at, config.line) for at, config in inputs],
        )

    def _refuse_order(self, one: Node, other: Node, notes: Notes) -> None:
        notes.refuse(
            "route-order",
            f"Routes to {called('ServerCluster', one.target.base)} and {called('ServerCluster', other.target.base)} "
            "that take the same requests, in one order in one file and in the other order in another",
            "one order in all files",
            [place for node in (one, other) for place, _ in node.found],
        )


def _topological(count: int, edges: set[tuple[int, int]]) -> tuple[list[int], set[int]]:
    """The numbers in their order as far as edges allow, and those that are in a circle or behind one."""
    after: dict[int, list[int]] = {}
    waits = [0] * count
    for first, second in edges:
        after.setdefault(first, []).append(second)
        waits[second] += 1
    ready = [at for at in range(count) if not waits[at]]
    heapify(ready)
    order = []
    while ready:
        at = heappop(ready)
        order.append(at)
        for other in after.get(at, ()):
            waits[other] -= 1
            if not waits[other]:
                heappush(ready, other)
    return order, set(range(count)) - set(order)


def _circles(count: int, edges: set[tuple[int, int]]) -> list[int]:
    """Of each number the circle that it is in: those that can be reached from each other (Kosaraju)."""
    after: list[list[int]] = [[] for _ in range(count)]
    before: list[list[int]] = [[] for _ in range(count)]
    for first, second in edges:
        after[first].append(second)
        before[second].append(first)
    done: list[int] = []
    seen = [False] * count
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        stack = [(start, iter(after[start]))]
        while stack:
            at, others = stack[-1]
            for other in others:
                if not seen[other]:
                    seen[other] = True
                    stack.append((other, iter(after[other])))
                    break
            else:
                done.append(at)
                stack.pop()
    circle = [-1] * count
    for start in reversed(done):
        if circle[start] >= 0:
            continue
        circle[start] = start
        waiting = [start]
        while waiting:
            for other in before[waiting.pop()]:
                if circle[other] < 0:
                    circle[other] = start
                    waiting.append(other)
    return circle


def _cycle(left: set[int], edges: set[tuple[int, int]]) -> tuple[int, int]:
    """Two neighbours in a circle among these."""
    before: dict[int, int] = {}
    for first, second in sorted(edges):
        if first in left and second in left:
            before.setdefault(second, first)
    at, seen = min(left), set()
    while at not in seen:
        seen.add(at)
        at = before[at]
    return before[at], at
