"""
Which requests each input gives to which ServerCluster: pairs of VirtualHost and Uri, in classes of those that always go together.

Driven by ``config.merge_routes``. Pure. What decides within one file is the live matcher's (``_fast.decide.match``): of two Routes
with the same pair the first one; here is only which pairs there are.
Hosts that stand in the same groups of all inputs are one class, and so are Uris: nothing here grows with hosts times Uris.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wsproxy.config.merge_clusters import Owner
from wsproxy.config.merge_notes import Place
from wsproxy.config.model import Config, Route, Uri, UriGroup, VirtualHost, VirtualHostGroup

HostKey = tuple[str, int | None]
Pair = tuple[int, int]  # class of hosts, class of Uris
ANY_HOST: HostKey = ("", -1)  # of a Route without VirtualHostGroup
ANY_URI = ""  # of a Route without UriGroup: no Uri has this name, as Name is required
NO_GROUP = -1
KeyT = TypeVar("KeyT", HostKey, str)


@dataclass(frozen=True, slots=True)
class Claim:
    """A Route that leads somewhere, with its groups by their index in the file; NO_GROUP: it names none."""

    route: Route
    owner: Owner
    hosts: int
    uris: int


@dataclass(slots=True)
class Classes(Generic[KeyT]):
    """Items by the groups that they stand in, and by how wide they are."""

    # class -> its items, as they are compared
    members: list[list[KeyT]] = field(default_factory=list)
    # (input, group) -> its classes, in the order of its items
    of_group: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    widths: list[int] = field(default_factory=list)

    def build(
        self,
        groups: Iterable[tuple[tuple[int, int], Iterable[KeyT]]],
        width_of: Callable[[KeyT], int],
    ) -> None:
        """``groups``: (input, group) and its items."""
        groups_of: dict[KeyT, dict[tuple[int, int], None]] = {}
        for key, items in groups:
            self.of_group[key] = []
            for item in items:
                groups_of.setdefault(item, {})[key] = None
        numbers: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        for item, of in groups_of.items():
            membership = tuple(of)
            width = width_of(item)
            number = numbers.setdefault((width, membership), len(numbers))
            if number == len(self.members):
                self.members.append([])
                self.widths.append(width)
                for key in membership:
                    self.of_group[key].append(number)
            self.members[number].append(item)


@dataclass(slots=True)
class Claims:
    """All that the inputs say about requests."""

    inputs: Sequence[Config]
    routes: list[list[Claim]] = field(default_factory=list)  # of each input, in its order
    dangling: list[tuple[int, Route]] = field(
        default_factory=list
    )  # input, Route that names what is not there
    hosts: Classes[HostKey] = field(default_factory=lambda: Classes[HostKey]())
    uris: Classes[str] = field(default_factory=lambda: Classes[str]())
    # pair -> input -> number of its Route that has it first
    first: dict[Pair, dict[int, int]] = field(default_factory=dict)
    host_items: dict[tuple[int, int], dict[HostKey, VirtualHost]] = field(default_factory=dict)
    uri_items: dict[tuple[int, int], dict[str, Uri]] = field(default_factory=dict)

    def read(self) -> None:
        """Reads all inputs."""
        for number, config in enumerate(self.inputs):
            self.routes.append(list(self._claims(number, config)))
        used_hosts = {(c.owner[0], c.hosts): None for claims in self.routes for c in claims}
        used_uris = {(c.owner[0], c.uris): None for claims in self.routes for c in claims}
        for key in used_hosts:
            self.host_items[key] = _hosts_of(self.group_of_hosts(key))
        for key in used_uris:
            self.uri_items[key] = _uris_of(self.group_of_uris(key))
        self.hosts.build(
            (
                (key, self.host_items[key] if key[1] != NO_GROUP else (ANY_HOST,))
                for key in used_hosts
            ),
            host_width,
        )
        self.uris.build(
            ((key, self.uri_items[key] if key[1] != NO_GROUP else (ANY_URI,)) for key in used_uris),
            uri_width,
        )
        for number, claims in enumerate(self.routes):
            for at, claim in enumerate(claims):
                for pair in self.pairs_of(claim):
                    self.first.setdefault(pair, {}).setdefault(number, at)

    def _claims(self, number: int, config: Config) -> Iterator[Claim]:
        clusters = _first_by_name(cluster.name for cluster in config.server_clusters)
        hosts = _first_by_name(group.name for group in config.virtual_host_groups)
        uris = _first_by_name(group.name for group in config.uri_groups)
        for route in config.routes:
            cluster = clusters.get(route.server_cluster)
            host = _at(hosts, route.virtual_host_group)
            uri = _at(uris, route.uri_group)
            if cluster is None or host is None or uri is None:
                self.dangling.append((number, route))
            else:
                yield Claim(route, (number, cluster), host, uri)

    def group_of_hosts(self, key: tuple[int, int]) -> VirtualHostGroup | None:
        """The VirtualHostGroup itself; None for a Route that names none."""
        return None if key[1] == NO_GROUP else self.inputs[key[0]].virtual_host_groups[key[1]]

    def group_of_uris(self, key: tuple[int, int]) -> UriGroup | None:
        """The UriGroup itself."""
        return None if key[1] == NO_GROUP else self.inputs[key[0]].uri_groups[key[1]]

    def pairs_of(self, claim: Claim) -> Iterator[Pair]:
        """Every pair of the Route, in the order of its groups."""
        hosts = self.hosts.of_group[claim.owner[0], claim.hosts]
        for uris in self.uris.of_group[claim.owner[0], claim.uris]:
            for host in hosts:
                yield host, uris

    def place(self, number: int, line: int) -> Place:
        """A line of an input."""
        return Place(self.inputs[number].path, line)

    def owners(self, pair: Pair) -> tuple[Owner, ...]:
        """Which cluster of each input has this pair, by the order of inputs."""
        return tuple(
            self.routes[number][at].owner for number, at in sorted(self.first[pair].items())
        )


# how wide a VirtualHost is: ``host:port``, which scores higher than the others; then wildcards, the narrower one first
EXACT, ONE_HOST, ONE_PORT, ANY, NONE_NAMED = range(5)


def host_width(key: HostKey) -> int:
    """Which of these it is."""
    host, port = key
    if key == ANY_HOST:
        return NONE_NAMED
    if host != "*":
        return EXACT if port is not None else ONE_HOST
    return ANY if port is None else ONE_PORT


def uri_width(uri: str) -> int:
    """``/x`` is narrower than ``/x/*``, and that than ``/x*`` and what has text behind its ``*``."""
    if "*" not in uri and uri != ANY_URI:
        return 0
    return 1 if uri.endswith("/*") else 2


def _first_by_name(names: Iterable[str]) -> dict[str, int]:
    """Name -> index of its first definition, which is the one that counts."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        found.setdefault(name, index)
    return found


def _at(indices: dict[str, int], name: str | None) -> int | None:
    return NO_GROUP if name is None else indices.get(name)


def _hosts_of(group: VirtualHostGroup | None) -> dict[HostKey, VirtualHost]:
    hosts: dict[HostKey, VirtualHost] = {}
    for host in group.virtual_hosts if group else ():
        hosts.setdefault((host.host.lower(), host.port), host)
    return hosts


def _uris_of(group: UriGroup | None) -> dict[str, Uri]:
    uris: dict[str, Uri] = {}
    for uri in group.uris if group else ():
        uris.setdefault(uri.name, uri)
    return uris
