"""
Several plugin-cfg.xml into one that serves what all of them serve: every attribute is in it, or in the notes on what was decided.

Driven by ``cli.merge``; whatever reads several files uses the same. Pure: Configs in, a Config out. Must not read or write files.
The rules are in ``merge_rules`` (values), ``merge_clusters`` (servers), ``merge_claims``, ``merge_routes`` and ``merge_order``
(requests); docs/merge.md has them with examples. The order of the inputs does not matter: they are taken in that of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wsproxy.config.merge_claims import Claims
from wsproxy.config.merge_clusters import Clusters, Owner, addresses_of, free_name, usable_id
from wsproxy.config.merge_notes import Note, Notes, Place
from wsproxy.config.merge_order import Order
from wsproxy.config.merge_routes import RouteBuilder, Target, Targets
from wsproxy.config.merge_rules import Placed, Rules, called, names_text, settle
from wsproxy.config.model import (
    Config,
    Element,
    Log,
    Property,
    ServerCluster,
    TrustedProxy,
    UriGroup,
    VirtualHostGroup,
)
from wsproxy.config.natural import natural_key


@dataclass(frozen=True, slots=True)
class Merged:
    """One configuration for several; ``notes``: what was decided, ``sources``: the inputs in the order in which they were taken."""

    config: Config
    notes: tuple[Note, ...]
    sources: tuple[str, ...]


def merge(configs: Sequence[Config], rules: Rules | None = None) -> Merged:
    """
    One Config that serves what all of these serve.

    Raises:
        MergeRefusedError: they contradict each other where no rule decides.
    """
    inputs = sorted(configs, key=lambda config: natural_key(config.path))
    return _Merge(inputs, rules or Rules()).run()


class _Merge:
    """One merge, part by part."""

    def __init__(self, inputs: Sequence[Config], rules: Rules) -> None:
        self._inputs = inputs
        self._rules = rules
        self._notes = Notes()
        self._claims = Claims(inputs)
        self._clusters = Clusters(inputs, rules, self._notes)
        self._targets = Targets(self._claims, self._clusters, rules, self._notes)
        # element, place -> the names under which its content is in the merged file
        self._became: dict[tuple[str, Place], dict[str, None]] = {}

    def run(self) -> Merged:
        self._claims.read()
        builder = RouteBuilder(self._claims, self._targets, self._rules, self._notes)
        builder.build()
        builder.add_unused()
        clusters = self._build_clusters()
        self._targets.tell()
        nodes = Order(self._claims, builder).sort(self._rules, self._notes)
        builder.name_groups()
        for group in builder.groups.values():
            for place, _ in group.found:
                self._became.setdefault((group.cls.__name__, place), {})[group.name] = None
        config = replace(
            self._settled(),
            virtual_host_groups=builder.finished_groups(VirtualHostGroup),
            server_clusters=clusters,
            uri_groups=builder.finished_groups(UriGroup),
            routes=(
                *(builder.finished_route(node) for node in nodes),
                *builder.dangling(cluster.name for cluster in clusters),
            ),
        )
        self._account(config)
        self._notes.raise_if_refused()
        return Merged(
            config, tuple(self._notes.decisions), tuple(config.path for config in self._inputs)
        )

    # --- clusters -----------------------------------------------------------------------------------------------------

    def _build_clusters(self) -> tuple[ServerCluster, ...]:
        """Those that Routes lead to, and those that none does, with names of their own."""
        routed = {owner for target in self._targets.all for owner in target.owners}
        alone: list[Owner] = [
            (number, index)
            for number, config in enumerate(self._inputs)
            for index in range(len(config.server_clusters))
            if (number, index) not in routed
        ]
        targets = [*self._targets.all, *self._unrouted(alone)]
        targets.sort(key=lambda target: (min(target.owners), natural_key(target.base)))
        self._name(targets)
        for target in targets:
            for owner in target.owners:
                place = self._clusters.place(owner)
                self._became.setdefault(("ServerCluster", place), {})[target.name] = None
        joined = [self._clusters.join(target.owners, target.name) for target in targets]
        return tuple(self._clusters.rename(cluster) for cluster in joined)

    def _unrouted(self, owners: Iterable[Owner]) -> list[Target]:
        """Clusters that no Route leads to: one for each name and servers, unless there is a routed one."""
        known = {
            (target.base, self._clusters.faces(target.owners)): target
            for target in self._targets.all
        }
        fresh: list[Target] = []
        for owner in owners:
            key = (self._clusters.of(owner).name, self._clusters.faces((owner,)))
            target = known.get(key)
            if target is None:
                target = known[key] = Target(key[0], (owner,))
                fresh.append(target)
            elif owner not in target.owners:
                target.owners = tuple(sorted((*target.owners, owner)))
        return fresh

    def _name(self, targets: Sequence[Target]) -> None:
        """Of several with one name, the one with the most servers keeps it."""
        by_base: dict[str, list[Target]] = {}
        for target in targets:
            by_base.setdefault(target.base, []).append(target)
        taken = set(by_base)
        for base, same in by_base.items():
            same.sort(key=self._size)
            for target in same[1:]:
                target.name = free_name(base, taken)
                taken.add(target.name)
                places = [self._clusters.place(owner) for owner in target.owners]
                places += [self._clusters.place(owner) for owner in same[0].owners]
                found = f"{called('ServerCluster', base)} with other Servers for other requests"
                if self._rules["cluster-name"] == "refuse":
                    way = "the same Servers, or --rules cluster-name=split or join"
                    self._notes.refuse("cluster-name", found, way, places)
                else:
                    done = f"those are in {called('ServerCluster', target.name)}, as no Server may get what no file gives it"
                    self._notes.decide("cluster-name", found, done, places)
            same[0].name = base

    def _size(self, target: Target) -> tuple[int, list[tuple[str, list[Any]]]]:
        servers = [s for owner in target.owners for s in self._clusters.of(owner).servers]
        known = {(usable_id(s) or "", addresses_of(s)) for s in servers}
        return -len(known), sorted((clone, sorted(where)) for clone, where in known)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _settled(self) -> Config:
        """The Config element itself, and what stands in it once."""
        placed: list[Placed] = [(Place(c.path, c.line), c) for c in self._inputs]
        config: Config = settle(Config, "Config", placed, self._rules, self._notes)
        logs = [(Place(c.path, c.log.line), c.log) for c in self._inputs if c.log is not None]
        return replace(
            config,
            path=" + ".join(dict.fromkeys(c.path for c in self._inputs)),
            log=settle(Log, "Log", logs, self._rules, self._notes) if logs else None,
            properties=tuple(self._by_name(Property, "properties")),
            trusted_proxies=tuple(self._by_name(TrustedProxy, "trusted_proxies")),
            request_metrics=self._only_one("RequestMetrics", "request_metrics"),
            intelligent_management=self._only_one(
                "IntelligentManagement", "intelligent_management"
            ),
            unknown=tuple(unknown for c in self._inputs for unknown in c.unknown),
        )

    def _by_name(self, cls: type, field: str) -> Iterator[Any]:
        """One for each name, in the order in which they are met; one that a file has twice stays twice."""
        found: dict[tuple[str, int], list[Placed]] = {}
        for config in self._inputs:
            counts: dict[str, int] = {}
            for item in getattr(config, field):
                counts[item.name] = counts.get(item.name, 0) + 1
                key = (item.name, counts[item.name])
                found.setdefault(key, []).append((Place(config.path, item.line), item))
        for (name, _), items in found.items():
            yield settle(cls, called(cls.__name__, name), items, self._rules, self._notes)

    def _only_one(self, name: str, field: str) -> Element | None:
        """A subtree that is not interpreted: the same in all files that have it."""
        found = [
            (Place(config.path, element.line), element)
            for config in self._inputs
            if (element := getattr(config, field)) is not None
        ]
        if not found:
            return None
        if any(element != found[0][1] for _, element in found):
            places = [place for place, _ in found]
            self._notes.refuse(
                "subtree", f"{name} with other content", f"one {name} for all files", places
            )
        return found[0][1]  # type: ignore[no-any-return]  # getattr

    def _account(self, config: Config) -> None:
        """Notes each name that is no longer in the file."""
        there = {kind: {name for name, _ in named} for kind, named in _names(config).items()}
        for kind, names in there.items():
            lost: dict[str, list[Place]] = {}
            for each in self._inputs:
                for name, line in _names(each)[kind]:
                    if name not in names:
                        lost.setdefault(name, []).append(Place(each.path, line))
            for name, places in lost.items():
                found = dict.fromkeys(n for p in places for n in self._became.get((kind, p), ()))
                now = f"it is in {names_text(found)}" if found else "it is there under another name"
                self._notes.decide("names", f"no {called(kind, name)} any more", now, places)


def _names(config: Config) -> dict[str, list[tuple[str, int]]]:
    return {
        "ServerCluster": [(each.name, each.line) for each in config.server_clusters],
        "Server": [(each.name, each.line) for each in config.all_servers],
        "VirtualHostGroup": [(each.name, each.line) for each in config.virtual_host_groups],
        "UriGroup": [(each.name, each.line) for each in config.uri_groups],
    }
