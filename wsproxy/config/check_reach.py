"""
Finds Routes that no request takes as another Route always wins, and Uris that no VirtualHost leads to.

Driven by ``config.check``. Pure. The score decides between Routes (PLUGIN.md 2.3): one literal more in the Uri counts more than the
place in the file, and a host of which the port is given more than a wildcard. So a wider Route wins only where scores are equal and
it comes first: ``*:*`` before ``*:80``, ``/a/*`` before ``/a``. Only what is certain is told: one Route that has all of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

from wsproxy.config.model import Config, Route, VirtualHost
from wsproxy.config.patterns import HostAndPort, virtual_host_doubt
from wsproxy.config.problems import ProblemList, listed, quoted

# Elements looked at in all: a tenth of a second. Real files need some thousands; only a file made for it needs more
MAX_COMPARISONS = 500_000

Rank = tuple[int, int]  # score and exact match, as a Route's are added up
Host = tuple[str, int | None] | None  # None: the Route names no VirtualHostGroup
_Uri = str | None  # None: the Route names no UriGroup
_Element = TypeVar("_Element")
_ANY_HOST = ("*", None)
_ALL_PATHS = "/*"


def check_reach(config: Config, problems: ProblemList) -> frozenset[int]:
    """Adds what no request reaches; the indices of the Routes that are told of."""
    reach = _Reach(config)
    beaten = dict(reach.beaten())
    for at, winner in beaten.items():
        _report(config.routes[at], config.routes[winner], problems)
    _check_uri_groups(config, reach, problems)
    return frozenset(beaten)


def _report(loser: Route, winner: Route, problems: ProblemList) -> None:
    has_same_end = loser.server_cluster == winner.server_cluster
    end = "the same one" if has_same_end else quoted(winner.server_cluster)
    add = problems.note if has_same_end else problems.warning
    add(
        "route-unreachable",
        loser.line,
        f"a Route to ServerCluster {quoted(loser.server_cluster)} that no request takes: the Route on line {winner.line} takes all of its "
        f"VirtualHosts and Uris, with the same score or a higher one, to {end}",
        "no such Route" if has_same_end else "this Route before the other one, or no such Route",
    )


def _check_uri_groups(config: Config, reach: _Reach, problems: ProblemList) -> None:
    named: set[str] = set()
    reached: set[str] = set()
    for route in config.routes:
        if route.uri_group is not None and route.server_cluster in reach.clusters:
            named.add(route.uri_group)
            if reach.has_hosts(route):
                reached.add(route.uri_group)
    lost = named - reached
    seen: set[str] = set()
    for group in config.uri_groups:
        if group.uris and group.name in lost and group.name not in seen:
            problems.warning(
                "uri-group-unreached",
                group.line,
                f"Uri {listed([uri.name for uri in group.uris])} of UriGroup {quoted(group.name)}, which no VirtualHost leads to: "
                "each of its Routes names a VirtualHostGroup that is missing, empty or never matches",
                "a Route for it with a VirtualHostGroup that requests can match",
            )
        seen.add(group.name)


class _Reach:
    """Which requests each Route of one configuration may take."""

    def __init__(self, config: Config) -> None:
        self._routes = config.routes
        self.clusters = {cluster.name for cluster in config.server_clusters}
        self._budget = _Budget()
        self._hosts: _Groups[Host] = _Groups(_wider_hosts, self._budget)
        self._uris: _Groups[_Uri] = _Groups(_wider_uris, self._budget)
        self._hosts.add(None, [None])
        self._uris.add(None, [None])
        for hosts in config.virtual_host_groups:
            self._hosts.add(
                hosts.name, [(h.host, h.port) for h in hosts.virtual_hosts if _is_possible(h)]
            )
        for uris in config.uri_groups:
            self._uris.add(uris.name, [uri.name for uri in uris.uris if uri.name.count("*") < 2])

    def has_hosts(self, route: Route) -> bool:
        """Whether its VirtualHostGroup is there and can match."""
        return self._hosts.class_of(route.virtual_host_group) is not None

    def beaten(self) -> Iterator[tuple[int, int]]:
        """Index of each Route that never wins, and of the one that always does instead."""
        places: dict[tuple[int, int], list[int]] = {}
        pairs: list[tuple[int, tuple[int, int]]] = []
        for at, route in enumerate(self._routes):
            hosts = self._hosts.class_of(route.virtual_host_group)
            uris = self._uris.class_of(route.uri_group)
            if hosts is not None and uris is not None and route.server_cluster in self.clusters:
                pairs.append((at, (hosts, uris)))
                places.setdefault((hosts, uris), []).append(at)
        for at, pair in pairs:
            winner = self._winner(at, pair, places)
            if winner is not None:
                yield at, winner
            if self._budget.is_spent:
                return

    def _winner(
        self, at: int, pair: tuple[int, int], places: dict[tuple[int, int], list[int]]
    ) -> int | None:
        for hosts, more_host in self._hosts.covering(pair[0]):
            for uris, more_uri in self._uris.covering(pair[1]):
                self._budget.spend(1)
                found = places.get((hosts, uris))
                more = (more_host[0] + more_uri[0], more_host[1] + more_uri[1])
                # neither less, whichever of the two routing.prefer compares first
                if not found or found[0] == at or min(more) < 0:
                    continue
                # the first of its kind: where scores are equal it is before all others
                if more != (0, 0) or found[0] < at:
                    return found[0]
        return None


@dataclass(slots=True)
class _Budget:
    """What may still be compared."""

    left: int = MAX_COMPARISONS

    def spend(self, count: int) -> None:
        self.left -= count

    @property
    def is_spent(self) -> bool:
        return self.left < 0


@dataclass(slots=True)
class _Groups(Generic[_Element]):
    """
    VirtualHostGroups or UriGroups by what is in them: groups with the same content are one class.

    ``wider``: what takes all that one element takes, and how much more or less it scores for it.
    """

    wider: Callable[[_Element], Iterable[tuple[_Element, Rank]]]
    budget: _Budget
    by_name: dict[str | None, int] = field(default_factory=dict)
    classes: list[frozenset[_Element]] = field(default_factory=list)
    numbers: dict[frozenset[_Element], int] = field(default_factory=dict)
    having: dict[_Element, list[int]] = field(default_factory=dict)  # element -> classes
    covers: dict[int, list[tuple[int, Rank]]] = field(default_factory=dict)

    def add(self, name: str | None, elements: Iterable[_Element]) -> None:
        """A group; of two with one name the first counts, and one in which nothing can match is none."""
        content = frozenset(elements)
        if name in self.by_name or not content:
            return
        number = self.numbers.setdefault(content, len(self.classes))
        if number == len(self.classes):
            self.classes.append(content)
            for element in content:
                self.having.setdefault(element, []).append(number)
        self.by_name[name] = number

    def class_of(self, name: str | None) -> int | None:
        """The class of the group of this name; None where there is none that can match."""
        return self.by_name.get(name)

    def covering(self, number: int) -> list[tuple[int, Rank]]:
        """The classes that take all that this one takes, itself too; with the least that they score more."""
        found = self.covers.get(number)
        if found is None:
            found = self.covers[number] = [
                (each, least)
                for each in self._candidates(number)
                if (least := self._least(number, each)) is not None
            ]
        return found

    def _candidates(self, number: int) -> list[int]:
        """Whoever covers the class covers its rarest element."""
        rarest: list[list[int]] = []
        fewest = MAX_COMPARISONS
        for element in self.classes[number]:
            self.budget.spend(1)
            found = [self.having[wide] for wide, _ in self.wider(element) if wide in self.having]
            count = sum(map(len, found))
            if count < fewest:
                rarest, fewest = found, count
            if count == 1 or self.budget.is_spent:
                break
        self.budget.spend(fewest)
        return [] if self.budget.is_spent else list(dict.fromkeys(chain.from_iterable(rarest)))

    def _least(self, number: int, other: int) -> Rank | None:
        least: Rank | None = None
        having = self.classes[other]
        self.budget.spend(len(self.classes[number]))
        if self.budget.is_spent:
            return None
        for element in self.classes[number]:
            more = max((more for wide, more in self.wider(element) if wide in having), default=None)
            if more is None:
                return None
            least = more if least is None else (min(least[0], more[0]), min(least[1], more[1]))
        return least


def _is_possible(host: VirtualHost) -> bool:
    return bool(host.host) and virtual_host_doubt(HostAndPort(host.host, host.port)) is None


def _host_rank(host: Host) -> Rank:
    if host is None:
        return 0, 0
    return 1, int(host[0] != "*" and host[1] is not None)


def _wider_hosts(host: Host) -> Iterator[tuple[Host, Rank]]:
    name, port = host or _ANY_HOST
    for wide in dict.fromkeys((host, (name, port), (name, None), ("*", port), _ANY_HOST, None)):
        yield wide, _less(_host_rank(wide), _host_rank(host))


def _uri_rank(uri: _Uri) -> Rank:
    if uri is None:
        return 0, 0
    before, star, after = uri.partition("*")
    literal = len(before.encode())
    return (literal + len(after.encode()), literal) if star else (literal, literal)


def _wider_uris(uri: _Uri) -> Iterator[tuple[_Uri, Rank]]:
    rank = _uri_rank(uri)
    yield uri, (0, 0)
    if uri is None or uri == "*":
        yield _ALL_PATHS, _less(_uri_rank(_ALL_PATHS), rank)
    elif "*" not in uri:
        yield f"{uri}*", (0, 0)
        yield f"{uri}/*", (0, 0)  # takes the folder's own path, and scores it like the path itself
    if uri is None:
        yield "*", (0, 0)
    else:
        yield None, _less((0, 0), rank)


def _less(one: Rank, other: Rank) -> Rank:
    return one[0] - other[0], one[1] - other[1]
