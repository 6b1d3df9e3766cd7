"""
From what the inputs say about requests to Routes that say all of it: which cluster each pair of VirtualHost and Uri goes to.

Driven by ``config.merge``. Pure. A pair that one input has keeps its cluster; one that several have goes to a cluster with the
servers of all. A Route stays as it is where all its pairs go to one cluster; else it is split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wsproxy.config.merge_claims import (
    ANY_HOST,
    ANY_URI,
    Claim,
    Claims,
    HostKey,
    Pair,
)
from wsproxy.config.merge_clusters import Clusters, Face, Owner, free_name
from wsproxy.config.merge_notes import Notes, Place
from wsproxy.config.merge_rules import Placed, Rules, called, settle
from wsproxy.config.model import Route, Uri, UriGroup, VirtualHost, VirtualHostGroup
from wsproxy.config.natural import natural_key
from wsproxy.config.problems import quoted

Owners = tuple[Owner, ...]


@dataclass(slots=True, eq=False)
class Target:
    """A cluster of the output; ``owners``: those of the inputs whose servers it has."""

    base: str
    owners: Owners
    name: str = ""


@dataclass(slots=True, eq=False)
class Group:
    """A VirtualHostGroup or UriGroup of the output, with everything that inputs say of it and of its items."""

    cls: type
    base: str
    first: tuple[int, int]  # where it comes from: input, number of the group
    found: list[Placed] = field(default_factory=list)
    items: dict[Any, list[Placed]] = field(default_factory=dict)
    name: str = ""

    def add(self, place: Place, group: Any, items: Iterable[tuple[Any, Any]]) -> None:
        """One more that says the same."""
        self.found.append((place, group))
        for key, item in items:
            self.items.setdefault(key, []).append((Place(place.file, item.line), item))


@dataclass(slots=True, eq=False)
class Node:
    """A Route of the output; ``pairs``: what it takes, ``hidden``: what an earlier Route has already, ``sides``: inputs that have it, if it takes nothing."""

    target: Target
    hosts: Group | None
    uris: Group | None
    found: list[Placed]
    hidden: list[Pair]
    claim: Claim
    pairs: list[Pair] = field(default_factory=list)
    sides: set[int] = field(default_factory=set)


class Targets:
    """Which cluster of the output a set of clusters of the inputs becomes."""

    def __init__(self, claims: Claims, clusters: Clusters, rules: Rules, notes: Notes) -> None:
        """Nothing decided yet."""
        self._claims = claims
        self._clusters = clusters
        self._rules = rules
        self._notes = notes
        self._kept: dict[Owners, Owners] = {}
        self._targets: dict[tuple[str, frozenset[Face]], Target] = {}
        self._of: dict[Owners, Target] = {}
        self._same_name: dict[str, list[Owner]] = {}
        for number, config in enumerate(claims.inputs):
            for index, cluster in enumerate(config.server_clusters):
                self._same_name.setdefault(cluster.name, []).append((number, index))
        self._shared: dict[Owners, dict[Pair, None]] = {}

    @property
    def all(self) -> list[Target]:
        """Every one, in the order in which they were met."""
        return list(dict.fromkeys(self._targets.values()))

    def of_pair(self, pair: Pair) -> Target:
        """The cluster that takes the pair."""
        owners = self._claims.owners(pair)
        if len(owners) > 1:
            self._shared.setdefault(owners, {})[pair] = None
        return self.of(owners)

    def of(self, owners: Owners) -> Target:
        """The cluster that these become."""
        found = self._of.get(owners)
        if found is None:
            kept = self.kept(owners)
            if self._rules["cluster-name"] == "join":
                names = dict.fromkeys(self._clusters.of(owner).name for owner in kept)
                kept = tuple(sorted(o for name in names for o in self._same_name[name]))
            base = min((self._clusters.of(owner).name for owner in kept), key=natural_key)
            key = (base, self._clusters.faces(kept))
            found = self._targets.get(key)
            if found is None:
                found = self._targets[key] = Target(base, kept)
            else:
                found.owners = tuple(sorted({*found.owners, *kept}))
            self._of[owners] = found
        return found

    def kept(self, owners: Owners) -> Owners:
        """Those of them that get the requests: all, or with ``shared-uri=keep`` those of the first name."""
        if self._rules["shared-uri"] != "keep" or len(owners) == 1:
            return owners
        found = self._kept.get(owners)
        if found is None:
            name = min((self._clusters.of(owner).name for owner in owners), key=natural_key)
            found = tuple(owner for owner in owners if self._clusters.of(owner).name == name)
            self._kept[owners] = found
        return found

    def tell(self) -> None:
        """Notes which clusters claimed the same requests, and what became of that."""
        for owners, pairs in self._shared.items():
            names = list(dict.fromkeys(self._clusters.of(owner).name for owner in owners))
            places = [self._clusters.place(owner) for owner in owners]
            target = self._of[owners]
            what = self._sample(pairs)
            if len(names) > 1:
                found = f"ServerClusters {', '.join(map(quoted, names))} for {what}"
                if self._rules["shared-uri"] == "refuse":
                    self._notes.refuse(
                        "shared-uri",
                        found,
                        "one of them, or --rules shared-uri=join or keep",
                        places,
                    )
                elif self._rules["shared-uri"] == "keep":
                    done = f"{quoted(target.base)} gets these requests, the first name of them"
                    self._notes.decide("shared-uri", found, done, places)
                else:
                    done = f"they become one ServerCluster {quoted(target.name)} with all their servers"
                    self._notes.decide("shared-uri", found, done, places)
            elif any(self._clusters.of(o) != self._clusters.of(owners[0]) for o in owners):
                self._notes.decide(
                    "cluster-name",
                    f"{called('ServerCluster', names[0])} in {len(owners)} files for {what}, not the same in all",
                    f"it is one ServerCluster {quoted(target.name)} with the servers of all",
                    places,
                )

    def _sample(self, pairs: Iterable[Pair]) -> str:
        """The first Uri and VirtualHost of these, and how many more there are."""
        hosts = [
            h for cls in dict.fromkeys(p[0] for p in pairs) for h in self._claims.hosts.members[cls]
        ]
        uris = [
            u for cls in dict.fromkeys(p[1] for p in pairs) for u in self._claims.uris.members[cls]
        ]
        on = (
            "every VirtualHost" if ANY_HOST in hosts else _few("VirtualHost", map(host_text, hosts))
        )
        return f"{'every Uri' if ANY_URI in uris else _few('Uri', uris)} on {on}"


def _few(element: str, names: Iterable[str]) -> str:
    first, *others = names
    more = f" (and {len(others)} more)" if others else ""
    return f"{called(element, first)}{more}"


def host_text(key: Any) -> str:
    """A VirtualHost as it is compared, as text."""
    host, port = key
    text = f"[{host}]" if ":" in host else host
    return f"{text}:{'*' if port is None else port}"


class RouteBuilder:
    """Makes the Routes of the output, and the groups that they name."""

    def __init__(self, claims: Claims, targets: Targets, rules: Rules, notes: Notes) -> None:
        """Nothing made yet."""
        self._claims = claims
        self._targets = targets
        self._rules = rules
        self._notes = notes
        self.nodes: list[Node] = []
        self.emitted: dict[Pair, Node] = {}
        self.groups: dict[tuple[type, str, frozenset[Any]], Group] = {}
        # Routes that take nothing, by what they name and which one of its kind in its file it is
        self._idle: dict[tuple[Target, Group | None, Group | None, int], Node] = {}

    def build(self) -> None:
        """All Routes of all inputs."""
        for claims in self._claims.routes:
            for number, claim in enumerate(claims):
                self._take(number, claim)

    def _take(self, number: int, claim: Claim) -> None:
        side = claim.owner[0]
        own: list[Pair] = []
        hidden: list[Pair] = []
        is_lost = False  # some of it, to a cluster of another name (shared-uri=keep)
        targets: dict[Pair, Target] = {}
        for pair in self._claims.pairs_of(claim):
            if self._claims.first[pair][side] != number:
                hidden.append(pair)
                continue
            target = self._targets.of_pair(pair)
            if claim.owner in self._targets.kept(self._claims.owners(pair)):
                own.append(pair)
                targets[pair] = target
            else:
                is_lost = True
        fresh = [pair for pair in own if pair not in self.emitted]
        for pair in own:
            if pair in self.emitted:
                self._say_again(claim, pair)
        if is_lost:
            self._split(claim, fresh, targets)
        elif not own:
            if hidden:
                self._note_hidden(claim)
            self._emit_idle(claim, hidden)
        elif len(fresh) == len(own) and len(set(targets.values())) == 1:
            self._emit(claim, targets[own[0]], own, hidden, is_whole=True)
        else:
            self._split(claim, fresh, targets)

    def _split(self, claim: Claim, fresh: Sequence[Pair], targets: dict[Pair, Target]) -> None:
        """Routes for what of a Route is not in the output yet: one for each cluster and set of hosts."""
        hosts_of: dict[tuple[Target, int], list[int]] = {}
        for pair in fresh:
            hosts_of.setdefault((targets[pair], pair[1]), []).append(pair[0])
        uris_of: dict[tuple[Target, tuple[int, ...]], list[int]] = {}
        for (target, uri), hosts in hosts_of.items():
            uris_of.setdefault((target, tuple(hosts)), []).append(uri)
        for (target, hosts_together), uris in uris_of.items():
            pairs = [(host, uri) for uri in uris for host in hosts_together]
            self._emit(claim, target, pairs, (), is_whole=False)

    def _emit(
        self,
        claim: Claim,
        target: Target,
        pairs: Sequence[Pair],
        hidden: Sequence[Pair],
        *,
        is_whole: bool,
    ) -> None:
        side = claim.owner[0]
        hosts = list(dict.fromkeys(host for host, _ in pairs))
        uris = list(dict.fromkeys(uri for _, uri in pairs))
        node = Node(
            target,
            self._hosts(side, claim.hosts, None if is_whole else hosts),
            self._uris(side, claim.uris, None if is_whole else uris),
            [(self._claims.place(side, claim.route.line), claim.route)],
            list(hidden),
            claim,
            list(pairs),
        )
        self.nodes.append(node)
        for pair in pairs:
            self.emitted.setdefault(pair, node)

    def split(self, node: Node) -> None:
        """Makes a Route for each pair of this one, in its place: their order is another one each."""
        at = self.nodes.index(node)
        rest = self.nodes[at + 1 :]
        del self.nodes[at:]
        for pair in node.pairs:
            del self.emitted[pair]
            self._emit(node.claim, node.target, [pair], (), is_whole=False)
            self.nodes[-1].found = node.found
        for group in (node.hosts, node.uris):
            if group is not None and not any(
                group in (n.hosts, n.uris) for n in [*self.nodes, *rest]
            ):
                self._forget(group)
        self.nodes += rest

    def _forget(self, group: Group) -> None:
        """A group that no Route names any more; what inputs say of its items goes to those that have them now."""
        self.groups = {key: each for key, each in self.groups.items() if each is not group}
        for other in self.groups.values():
            if other.cls is group.cls and other.base == group.base:
                other.found += [each for each in group.found if each not in other.found]
                for key, found in group.items.items():
                    known = other.items.get(key)
                    if known is not None:
                        known += [each for each in found if each not in known]

    def _emit_idle(self, claim: Claim, hidden: Sequence[Pair]) -> None:
        """A Route that takes nothing, once for all files that have it."""
        side = claim.owner[0]
        target = self._targets.of((claim.owner,))
        hosts = self._hosts(side, claim.hosts, None)
        uris = self._uris(side, claim.uris, None)
        number = 0
        placed = (self._claims.place(side, claim.route.line), claim.route)
        while (node := self._idle.get((target, hosts, uris, number))) is not None:
            if side not in node.sides:
                node.sides.add(side)
                node.found.append(placed)
                return
            number += 1
        node = Node(target, hosts, uris, [placed], list(hidden), claim, sides={side})
        self._idle[target, hosts, uris, number] = node
        self.nodes.append(node)

    def _hosts(self, side: int, number: int, classes: Sequence[int] | None) -> Group | None:
        group = self._claims.group_of_hosts((side, number))
        if group is None:
            return None
        items = self._claims.host_items[side, number]
        if classes is not None:
            wanted = {key for cls in classes for key in self._claims.hosts.members[cls]}
            items = {key: item for key, item in items.items() if key in wanted}
        return self.group(VirtualHostGroup, side, number, group, items)

    def _uris(self, side: int, number: int, classes: Sequence[int] | None) -> Group | None:
        group = self._claims.group_of_uris((side, number))
        if group is None:
            return None
        items = self._claims.uri_items[side, number]
        if classes is not None:
            wanted = {key for cls in classes for key in self._claims.uris.members[cls]}
            items = {key: item for key, item in items.items() if key in wanted}
        return self.group(UriGroup, side, number, group, items)

    def group(self, cls: type, side: int, number: int, group: Any, items: dict[Any, Any]) -> Group:
        """The group of the output for these items of a group of an input: one for all that have its name and content."""
        content = frozenset(
            (key, item.affinity_cookie, item.affinity_url_identifier)
            if isinstance(item, Uri)
            else key
            for key, item in items.items()
        )
        found = self.groups.get((cls, group.name, content))
        if found is None:
            found = Group(cls, group.name, (side, number))
            self.groups[cls, group.name, content] = found
        if all(each is not group for _, each in found.found):
            found.add(self._claims.place(side, group.line), group, items.items())
        return found

    def _say_again(self, claim: Claim, pair: Pair) -> None:
        """The pair is in the output already: what this input says beyond that is added."""
        side, node = claim.owner[0], self.emitted[pair]
        place = self._claims.place(side, claim.route.line)
        if all(each is not claim.route for _, each in node.found):
            node.found.append((place, claim.route))
        for group, mine, items, members in (
            (
                node.hosts,
                self._claims.group_of_hosts((side, claim.hosts)),
                self._claims.host_items[side, claim.hosts],
                self._claims.hosts.members[pair[0]],
            ),
            (
                node.uris,
                self._claims.group_of_uris((side, claim.uris)),
                self._claims.uri_items[side, claim.uris],
                self._claims.uris.members[pair[1]],
            ),
        ):
            if group is None or mine is None:
                continue
            if all(each is not mine for _, each in group.found):
                group.found.append((self._claims.place(side, mine.line), mine))
            for key in members:
                item = items[key]  # type: ignore[index]  # a host of hosts, a Uri of Uris
                known = group.items.setdefault(key, [])
                if all(each is not item for _, each in known):
                    known.append((self._claims.place(side, item.line), item))

    def _note_hidden(self, claim: Claim) -> None:
        self._notes.decide(
            "shadowed",
            f"a Route to {called('ServerCluster', claim.route.server_cluster)} all of whose requests earlier Routes of its file take",
            "kept, behind them",
            [self._claims.place(claim.owner[0], claim.route.line)],
        )

    # --- groups -------------------------------------------------------------------------------------------------------

    def add_unused(self) -> None:
        """Groups that no Route names are kept."""
        for side, config in enumerate(self._claims.inputs):
            for at, host_group in enumerate(config.virtual_host_groups):
                if (side, at) not in self._claims.host_items:
                    hosts: dict[HostKey, VirtualHost] = {}
                    for host in host_group.virtual_hosts:
                        hosts.setdefault((host.host.lower(), host.port), host)
                    self.group(VirtualHostGroup, side, at, host_group, hosts)
            for at, uri_group in enumerate(config.uri_groups):
                if (side, at) not in self._claims.uri_items:
                    uris: dict[str, Uri] = {}
                    for uri in uri_group.uris:
                        uris.setdefault(uri.name, uri)
                    self.group(UriGroup, side, at, uri_group, uris)

    def name_groups(self) -> None:
        """Each a name of its own."""
        for cls in (VirtualHostGroup, UriGroup):
            groups = [group for group in self.groups.values() if group.cls is cls]
            taken: set[str] = set()
            bases = {group.base for group in groups}
            for group in groups:
                group.name = group.base
                if group.name in taken:
                    group.name = free_name(group.base, taken | bases)
                    self._notes.decide(
                        "group-name",
                        f"{called(cls.__name__, group.base)} with other content",
                        f"this one is {quoted(group.name)}",
                        [place for place, _ in group.found],
                    )
                taken.add(group.name)

    def finished_groups(self, cls: type) -> tuple[Any, ...]:
        """The groups of one kind, in the order of the inputs."""
        groups = [group for group in self.groups.values() if group.cls is cls]
        groups.sort(key=lambda group: group.first)
        return tuple(self._finish(group) for group in groups)

    def _finish(self, group: Group) -> Any:
        of = called(group.cls.__name__, group.base)
        item_cls: type = VirtualHost if group.cls is VirtualHostGroup else Uri
        items = tuple(
            found[0][1]
            if len(found) == 1
            else settle(
                item_cls,
                f"{called(item_cls.__name__, found[0][1].name)} of {of}",
                found,
                self._rules,
                self._notes,
            )
            for found in group.items.values()
        )
        merged = settle(group.cls, of, group.found, self._rules, self._notes)
        field_name = "virtual_hosts" if group.cls is VirtualHostGroup else "uris"
        return replace(merged, name=group.name, **{field_name: items})

    def dangling(self, clusters: Iterable[str]) -> tuple[Route, ...]:
        """Routes that name what their file does not have: kept where no other file has it, so that they still lead nowhere."""
        known = {
            "ServerCluster": set(clusters),
            "VirtualHostGroup": {g.name for g in self.groups.values() if g.cls is VirtualHostGroup},
            "UriGroup": {g.name for g in self.groups.values() if g.cls is UriGroup},
        }
        own = [
            {
                "ServerCluster": {item.name for item in config.server_clusters},
                "VirtualHostGroup": {item.name for item in config.virtual_host_groups},
                "UriGroup": {item.name for item in config.uri_groups},
            }
            for config in self._claims.inputs
        ]
        kept: dict[tuple[str, str | None, str | None], list[Placed]] = {}
        for side, route in self._claims.dangling:
            place = self._claims.place(side, route.line)
            missing = [
                (element, name)
                for element, name in (
                    ("ServerCluster", route.server_cluster),
                    ("VirtualHostGroup", route.virtual_host_group),
                    ("UriGroup", route.uri_group),
                )
                if name is not None and name not in own[side][element]
            ]
            if any(name not in known[element] for element, name in missing):
                key = (route.server_cluster, route.virtual_host_group, route.uri_group)
                kept.setdefault(key, []).append((place, route))
                continue
            self._notes.decide(
                "dangling",
                f"a Route that names {' and '.join(called(*each) for each in missing)}, which its own file does not have",
                "left out, as it never matched, and would with the other files",
                [place],
            )
        return tuple(
            settle(Route, "a Route", found, self._rules, self._notes) for found in kept.values()
        )

    def finished_route(self, node: Node) -> Route:
        """The Route itself; clusters and groups have their names."""
        route: Route = settle(Route, "a Route", node.found, self._rules, self._notes)
        return replace(
            route,
            server_cluster=node.target.name,
            virtual_host_group=node.hosts.name if node.hosts else None,
            uri_group=node.uris.name if node.uris else None,
        )
