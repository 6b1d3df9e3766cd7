"""
What a change of plugin-cfg.xml means: each difference by what it is about, with places and a sentence of what comes of it.

Driven by ``cli.diff``; a reload that is only tried uses the same. Pure: two Configs in, changes out. Compared is meaning, not text:
what Routes say is compared as pairs of VirtualHost and Uri and where they lead, whatever groups are called and however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wsproxy.config.attributes import specs_of
from wsproxy.config.diff_changes import ADDED, CHANGED, GONE, Change, change
from wsproxy.config.diff_routes import Requests
from wsproxy.config.diff_words import consequence_of, value_text
from wsproxy.config.merge_clusters import BACKUP, PRIMARY, face_of, roles_of, usable_id
from wsproxy.config.merge_notes import Place
from wsproxy.config.model import (
    Config,
    Element,
    Extra,
    Log,
    Property,
    Server,
    ServerCluster,
    Transport,
    TrustedProxy,
)
from wsproxy.config.problems import quoted, shown

_ROLE_WORDS = ("primary", "backup", "in neither list")
# bookkeeping of generators, without a meaning
_MEANINGLESS = {(Config, "config_hash")}


@dataclass(frozen=True, slots=True)
class Difference:
    """
    ``changes``: in the order of the file, settings, clusters and servers, requests. ``not_compared``: what would take too long.

    Where both are empty the files mean the same.
    """

    changes: tuple[Change, ...]
    not_compared: tuple[str, ...] = ()


def diff(old: Config, new: Config) -> Difference:
    """Every difference, as far as it was looked for."""
    made = _Diff(old, new)
    return Difference(tuple(made.run()), tuple(made.not_compared))


class _Diff:
    """Of two files."""

    def __init__(self, old: Config, new: Config) -> None:
        self._old = old
        self._new = new
        # of the new file -> of the old one, where a cluster with the same servers has another name
        self._renamed: dict[str, str] = {}
        self.not_compared: list[str] = []

    def run(self) -> Iterator[Change]:
        yield from self._attributes(Config, "Config", "", self._old, self._new, "")
        yield from self._log()
        yield from self._named(Property, "Property", self._old.properties, self._new.properties, "")
        yield from self._proxies()
        yield from self._subtrees()
        yield from self._clusters()
        requests = Requests(self._old, self._new, self._renamed)
        yield from requests.run()
        self.not_compared = requests.not_compared

    def _at(self, old: Any, new: Any) -> list[Place]:
        """The lines of an object in both files; None: it is not there."""
        places = []
        if old is not None:
            places.append(Place(self._old.path, old.line))
        if new is not None:
            places.append(Place(self._new.path, new.line))
        return places

    # --- attributes ---------------------------------------------------------------------------------------------------

    def _attributes(
        self, cls: type, element: str, name: str, old: Any, new: Any, who: str
    ) -> Iterator[Change]:
        """Those of one element that is in both files; ``who``: as sentences call it."""
        for field, spec in specs_of(cls).items():
            before, after = getattr(old, field), getattr(new, field)
            is_its_name = field == "name" and cls is not Log  # by which both were found
            if before != after and not is_its_name and (cls, field) not in _MEANINGLESS:
                hidden = shown(spec.name, "").endswith('"***"')
                yield change(
                    CHANGED,
                    element,
                    name,
                    consequence_of(cls, field, before, after, who),
                    self._at(old, new),
                    attribute=spec.name,
                    old="***" if hidden else value_text(before),
                    new="***" if hidden else value_text(after),
                )
        yield from self._extras(element, name, old, new)

    def _extras(self, element: str, name: str, old: Any, new: Any) -> Iterator[Change]:
        """What is not known, and so without effect here; IBM's plug-in may know it."""
        before, after = old.extra or Extra(), new.extra or Extra()
        if before == after:
            return
        mine, theirs = dict(before.attributes), dict(after.attributes)
        for attribute in dict.fromkeys((*mine, *theirs)):
            if mine.get(attribute) == theirs.get(attribute):
                continue
            hidden = shown(attribute, "").endswith('"***"')
            yield change(
                CHANGED,
                element,
                name,
                "no effect in wsproxy, which does not know this attribute",
                self._at(old, new),
                attribute=attribute,
                old="***" if hidden else mine.get(attribute, ""),
                new="***" if hidden else theirs.get(attribute, ""),
            )
        if (before.elements, before.lists) != (after.elements, after.lists):
            consequence = "no effect in wsproxy, which does not know these elements"
            yield change(
                CHANGED, element, name, consequence, self._at(old, new), attribute="(inside)"
            )

    def _named(
        self,
        cls: type,
        element: str,
        old: Sequence[Any],
        new: Sequence[Any],
        of: str,
    ) -> Iterator[Change]:
        """Properties, by their names."""
        before, after = _by_name(old), _by_name(new)
        for name in dict.fromkeys((*before, *after)):
            mine, theirs = before.get(name), after.get(name)
            path = f"{of}/{name}" if of else name
            who = f"{element} {quoted(name)}"
            if mine is not None and theirs is not None:
                yield from self._attributes(cls, element, path, mine, theirs, who)
                continue
            kind = ADDED if mine is None else GONE
            item: Property = theirs if mine is None else mine  # type: ignore[assignment]  # one is there
            hidden = shown(name, "").endswith('"***"')
            value = "***" if hidden else item.value
            consequence = f"{who} is {'set' if kind == ADDED else 'no longer set'}"
            yield change(
                kind,
                element,
                path,
                consequence,
                self._at(mine, theirs),
                **{"new" if kind == ADDED else "old": value},
            )

    def _log(self) -> Iterator[Change]:
        old, new = self._old.log, self._new.log
        if old is not None and new is not None:
            yield from self._attributes(Log, "Log", "", old, new, "http_plugin.log")
        elif old is not None or new is not None:
            kind = ADDED if old is None else GONE
            consequence = (
                "http_plugin.log is written" if old is None else "no http_plugin.log is written"
            )
            yield change(kind, "Log", "", consequence, self._at(old, new))

    def _proxies(self) -> Iterator[Change]:
        before: dict[str, TrustedProxy] = _by_name(self._old.trusted_proxies)
        after: dict[str, TrustedProxy] = _by_name(self._new.trusted_proxies)
        for name in dict.fromkeys((*before, *after)):
            mine, theirs = before.get(name), after.get(name)
            if mine is None:
                trusted = f"private headers from {name} are believed"
                yield change(ADDED, "TrustedProxy", name, trusted, self._at(mine, theirs))
            elif theirs is None:
                trusted = f"private headers from {name} are no longer believed"
                yield change(GONE, "TrustedProxy", name, trusted, self._at(mine, theirs))

    def _subtrees(self) -> Iterator[Change]:
        for element, field in (
            ("RequestMetrics", "request_metrics"),
            ("IntelligentManagement", "intelligent_management"),
        ):
            old: Element | None = getattr(self._old, field)
            new: Element | None = getattr(self._new, field)
            if old != new:
                kind = ADDED if old is None else GONE if new is None else CHANGED
                consequence = "no effect in wsproxy, which does not carry it out"
                yield change(kind, element, "", consequence, self._at(old, new))

    # --- clusters and servers -----------------------------------------------------------------------------------------

    def _clusters(self) -> Iterator[Change]:
        before, after = _by_name(self._old.server_clusters), _by_name(self._new.server_clusters)
        renamed = _renamed(before, after, lambda c: frozenset(map(face_of, c.servers)))
        self._renamed = {new: old for old, new in renamed.items()}
        for name, old in before.items():
            new = after.get(renamed.get(name, name))
            if new is None:
                members = _plural(len(old.servers), "server")
                consequence = f"{name} and its {members} are gone"
                yield change(GONE, "ServerCluster", name, consequence, self._at(old, None))
                continue
            if new.name != name:
                consequence = (
                    f"the cluster {name} is now called {new.name}: "
                    "logs show the new name, and down marks and counts of its servers start anew"
                )
                yield change(
                    CHANGED, "ServerCluster", name, consequence, self._at(old, new),
                    attribute="Name", old=name, new=new.name,
                )  # fmt: skip
            yield from self._cluster(old, new)
        known = {renamed.get(name, name) for name in before}
        for name, new in after.items():
            if name not in known:
                consequence = f"a new cluster {name} with {_plural(len(new.servers), 'server')}"
                yield change(ADDED, "ServerCluster", name, consequence, self._at(None, new))

    def _cluster(self, old: ServerCluster, new: ServerCluster) -> Iterator[Change]:
        if old == new:
            return
        name = new.name
        yield from self._attributes(ServerCluster, "ServerCluster", name, old, new, name)
        yield from self._servers(old, new)
        yield from self._backups(old, new)
        mine, theirs = old.cluster_address, new.cluster_address
        if mine is not None and theirs is not None:
            yield from self._server("ClusterAddress", name, mine, theirs, {})
        elif mine is not None or theirs is not None:
            kind = ADDED if mine is None else GONE
            words = "go to its ClusterAddress" if mine is None else "are balanced among its servers"
            consequence = f"new sessions of {name} {words}"
            yield change(kind, "ClusterAddress", name, consequence, self._at(mine, theirs))

    def _servers(self, old: ServerCluster, new: ServerCluster) -> Iterator[Change]:
        before, after = _by_name(old.servers), _by_name(new.servers)
        renamed = _renamed(before, after, face_of)
        shares = _shares(old), _shares(new)
        for name, mine in before.items():
            theirs = after.get(renamed.get(name, name))
            if theirs is None:
                yield self._gone(old, new, mine)
                continue
            path = f"{new.name}/{theirs.name}"
            if theirs.name != name:
                consequence = f"the server {name} is now called {theirs.name}: logs show the new name, and its down mark and counts start anew"
                yield change(
                    CHANGED, "Server", path, consequence, self._at(mine, theirs),
                    attribute="Name", old=name, new=theirs.name,
                )  # fmt: skip
            words = {"share": (shares[0].get(name, 0.0), shares[1].get(theirs.name, 0.0))}
            yield from self._server("Server", path, mine, theirs, words)
        known = {renamed.get(name, name) for name in before}
        for name, server in after.items():
            if name not in known:
                yield self._added(new, server, shares[1].get(name, 0.0))
        yield from self._roles(old, new, renamed)

    def _gone(self, old: ServerCluster, new: ServerCluster, server: Server) -> Change:
        name = server.name
        role = dict(zip([s.name for s in old.servers], roles_of(old), strict=True))[name]
        if role not in (PRIMARY, BACKUP):
            consequence = f"{name} is gone; it had no requests"
        elif usable_id(server) is None:
            consequence = f"{name} gets no requests any more"
        elif any(s.clone_id == server.clone_id for s in new.servers):
            other = next(s.name for s in new.servers if s.clone_id == server.clone_id)
            consequence = f"sessions of {name} go to {other}, which has its CloneID now"
        else:
            consequence = f"sessions of {name} lose their server: it is gone"
        return change(GONE, "Server", f"{new.name}/{name}", consequence, self._at(server, None))

    def _added(self, cluster: ServerCluster, server: Server, share: float) -> Change:
        roles = dict(zip([s.name for s in cluster.servers], roles_of(cluster), strict=True))
        name = server.name
        if roles[name] == BACKUP:
            words = f"a new backup server of {cluster.name}"
        elif roles[name] != PRIMARY:
            words = "a new server, in neither list: it gets no requests"
        elif not server.load_balance_weight:
            words = "a new server with LoadBalanceWeight 0: it gets no new sessions"
        else:
            words = f"a new server: it gets {_percent(share)} of the new sessions of {cluster.name}"
        path = f"{cluster.name}/{name}"
        return change(ADDED, "Server", path, f"{name} is {words}", self._at(None, server))

    def _roles(
        self, old: ServerCluster, new: ServerCluster, renamed: dict[str, str]
    ) -> Iterator[Change]:
        before = dict(zip([s.name for s in old.servers], roles_of(old), strict=True))
        after = dict(zip([s.name for s in new.servers], roles_of(new), strict=True))
        servers, others = _by_name(old.servers), _by_name(new.servers)
        for name, role in before.items():
            other = renamed.get(name, name)
            if other not in after or after[other] == role:
                continue
            words = (
                "gets new sessions",
                "gets requests only where no primary server can take them, and those of its own sessions",
                "is out of service: it gets no requests, and its sessions lose their server",
            )[after[other]]
            yield change(
                CHANGED, "Server", f"{new.name}/{other}", f"{other} {words}",
                self._at(servers[name], others[other]),
                attribute="role", old=_ROLE_WORDS[role], new=_ROLE_WORDS[after[other]],
            )  # fmt: skip

    def _backups(self, old: ServerCluster, new: ServerCluster) -> Iterator[Change]:
        """Backups take over in their order; that of primaries means little."""
        mine = [ref.name for ref in old.backup_servers or ()]
        theirs = [ref.name for ref in new.backup_servers or ()]
        both = set(mine) & set(theirs)
        before, after = (
            list(dict.fromkeys(n for n in names if n in both)) for names in (mine, theirs)
        )
        if before != after:
            consequence = f"the backup servers of {new.name} take over in another order"
            yield change(
                CHANGED, "BackupServers", new.name, consequence, self._at(old, new),
                attribute="order", old=", ".join(before), new=", ".join(after),
            )  # fmt: skip

    def _server(
        self,
        element: str,
        path: str,
        old: Server,
        new: Server,
        words: dict[str, tuple[float, float]],
    ) -> Iterator[Change]:
        if old == new and len(set(words.get("share", (0.0,)))) == 1:
            return
        for each in self._attributes(Server, element, path, old, new, new.name):
            if each.attribute == "LoadBalanceWeight" and "share" in words:
                before, after = map(_percent, words["share"])
                sentence = f"{new.name} gets {after} of the new sessions of its cluster instead of {before}"
                if before == after:  # all weights of the cluster were multiplied, or nearly so
                    sentence = f"{new.name} has a weight of {each.new} instead of {each.old}, and gets {after} of the new sessions of its cluster, as before"
                yield change(
                    CHANGED, element, path, sentence, each.places,
                    attribute=each.attribute, old=each.old, new=each.new,
                )  # fmt: skip
            else:
                yield each
        before_transports, after_transports = _transports(old), _transports(new)
        for key in dict.fromkeys((*before_transports, *after_transports)):
            mine, theirs = before_transports.get(key), after_transports.get(key)
            name = f"{path}/{key[0]}"
            if mine is None or theirs is None:
                yield self._one_transport(name, new.name, mine, theirs)
                continue
            yield from self._attributes(Transport, "Transport", name, mine, theirs, new.name)
            yield from self._named(Property, "Property", mine.properties, theirs.properties, name)

    def _one_transport(
        self, path: str, server: str, old: Transport | None, new: Transport | None
    ) -> Change:
        if new is not None:
            words = f"{server} can be reached by {new.protocol}, at {new.hostname}:{new.port}"
            return change(ADDED, "Transport", path, words, self._at(old, new))
        assert old is not None
        words = f"{server} can no longer be reached by {old.protocol}, at {old.hostname}:{old.port}"
        return change(GONE, "Transport", path, words, self._at(old, new))


def _by_name(items: Iterable[Any]) -> dict[str, Any]:
    """The first one of each name, which is the one that counts."""
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(item.name, item)
    return found


def _renamed(
    before: dict[str, Any], after: dict[str, Any], what: Callable[[Any], Any]
) -> dict[str, str]:
    """Old name -> new name of what is gone and has come with the same content, where there is one of each."""
    gone: dict[Any, list[str]] = {}
    come: dict[Any, list[str]] = {}
    for names, items, others in ((gone, before, after), (come, after, before)):
        for name, item in items.items():
            if name not in others:
                names.setdefault(what(item), []).append(name)
    return {
        names[0]: come[key][0]
        for key, names in gone.items()
        if len(names) == 1 and len(come.get(key, ())) == 1
    }


def _shares(cluster: ServerCluster) -> dict[str, float]:
    """How much of the new sessions each server gets while all are up."""
    roles = roles_of(cluster)
    total = sum(
        server.load_balance_weight
        for server, role in zip(cluster.servers, roles, strict=True)
        if role == PRIMARY
    )
    return {
        server.name: server.load_balance_weight / total if role == PRIMARY and total else 0.0
        for server, role in zip(cluster.servers, roles, strict=True)
    }


def _transports(server: Server) -> dict[tuple[str, int], Transport]:
    """By their protocol, and which one of it."""
    found: dict[tuple[str, int], Transport] = {}
    counts: dict[str, int] = {}
    for transport in server.transports:
        number = counts[transport.protocol] = counts.get(transport.protocol, 0) + 1
        found[transport.protocol, number] = transport
    return found


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share * 100 == round(share * 100) else f"{share * 100:.1f} %"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
