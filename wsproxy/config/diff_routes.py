"""
Which requests go elsewhere by a change of plugin-cfg.xml: pairs of VirtualHost and Uri, and where they lead.

Driven by ``config.diff``. Pure. Names of groups, how Routes are cut, and Routes that never get a request mean nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from wsproxy.config.diff_changes import ADDED, CHANGED, GONE, Change, change
from wsproxy.config.merge_claims import ANY_HOST, ANY_URI, NO_GROUP, Claim, Claims, Pair
from wsproxy.config.merge_clusters import usable_id
from wsproxy.config.merge_notes import Place
from wsproxy.config.merge_overlaps import MOST_COMPARED, Overlaps
from wsproxy.config.merge_routes import host_text
from wsproxy.config.model import Config, Uri

OLD, NEW = 0, 1
# VirtualHosts and Uris that one sentence names
_NAMED = 3
_NO_URI = Uri("")


# What is said where ``merge_overlaps`` gives up.
ORDER_NOT_COMPARED = f"the order of Routes with the same score: after {MOST_COMPARED:,} comparisons of VirtualHosts and Uris the rest is not looked at"


class Requests:
    """Of two files."""

    def __init__(self, old: Config, new: Config, renamed: dict[str, str]) -> None:
        """``renamed``: clusters of the new file that have another name in the old one."""
        self._claims = Claims((old, new))
        self._claims.read()
        self._renamed = renamed
        self.not_compared: list[str] = []
        hosts, uris = self._claims.hosts.members, self._claims.uris.members
        # classes that some Route has at all: in the old file, in the new one
        self._hosts = [[False, False] for _ in hosts]
        self._uris = [[False, False] for _ in uris]
        for (host, uri), first in self._claims.first.items():
            for side in first:
                self._hosts[host][side] = self._uris[uri][side] = True

    def run(self) -> Iterator[Change]:
        """What is otherwise; afterwards ``not_compared`` says what may be, too."""
        hosts: dict[int, list[Pair]] = {}
        uris: dict[int, list[Pair]] = {}
        moved: dict[tuple[int, str, str], list[Pair]] = {}
        cookies: dict[int, list[Pair]] = {}
        for pair in self._claims.first:
            old, new = self._cluster(pair, OLD), self._cluster(pair, NEW)
            host, uri = pair
            if old == new:
                cookies.setdefault(uri, []).append(pair)
            elif not all(self._hosts[host]):
                hosts.setdefault(host, []).append(pair)
            elif not all(self._uris[uri]):
                uris.setdefault(uri, []).append(pair)
            else:
                moved.setdefault((uri, old, new), []).append(pair)
        yield from self._of_hosts(hosts)
        yield from self._of_uris(uris)
        for (uri, old, new), pairs in moved.items():
            yield from self._moved(uri, old, new, pairs)
        for uri, pairs in cookies.items():
            yield from self._affinity(uri, pairs)
        yield from self._order()

    def _claim(self, pair: Pair, side: int) -> Claim | None:
        number = self._claims.first[pair].get(side)
        return None if number is None else self._claims.routes[side][number]

    def _cluster(self, pair: Pair, side: int) -> str:
        """Where the pair leads; a cluster that is called otherwise now, by its old name. Empty: nowhere."""
        claim = self._claim(pair, side)
        if claim is None:
            return ""
        name = self._claims.inputs[side].server_clusters[claim.owner[1]].name
        return self._renamed.get(name, name) if side == NEW else name

    def _name(self, pair: Pair, side: int) -> str:
        claim = self._claim(pair, side)
        assert claim is not None
        return self._claims.inputs[side].server_clusters[claim.owner[1]].name

    def _uri(self, name: str, pair: Pair, side: int) -> Uri:
        """The Uri itself as it stands in one of the files."""
        claim = self._claim(pair, side)
        if claim is None or claim.uris == NO_GROUP:
            return _NO_URI
        return self._claims.uri_items[side, claim.uris][name]

    def _places(self, name: str, pair: Pair) -> list[Place]:
        """The Uri in both files, or the Route where it names none."""
        places = []
        for side in (OLD, NEW):
            claim = self._claim(pair, side)
            if claim is not None:
                line = self._uri(name, pair, side).line or claim.route.line
                places.append(self._claims.place(side, line))
        return places

    def _on(self, pairs: Iterable[Pair]) -> str:
        names = [
            _host(key)
            for host in dict.fromkeys(p[0] for p in pairs)
            for key in self._claims.hosts.members[host]
        ]
        return _listed(names)

    def _of_hosts(self, hosts: dict[int, list[Pair]]) -> Iterator[Change]:
        """VirtualHosts that only one of the files has."""
        for host, pairs in hosts.items():
            is_new = self._hosts[host][NEW]
            side = NEW if is_new else OLD
            clusters = _listed(dict.fromkeys(self._name(pair, side) for pair in pairs))
            uris = [uri for pair in pairs for uri in self._claims.uris.members[pair[1]]]
            what = "all paths" if ANY_URI in uris else _listed(uris)
            for key in self._claims.hosts.members[host]:
                name = _host(key)
                if is_new:
                    words = f"requests for {name} go to {clusters}: {what}"
                else:
                    words = f"requests for {name} no longer go to {clusters}: {what}"
                places = [self._host_place(pairs[0], side, key)]
                yield change(
                    ADDED if is_new else GONE, "VirtualHost", name, words, places,
                    **{"new" if is_new else "old": clusters},
                )  # fmt: skip

    def _host_place(self, pair: Pair, side: int, key: tuple[str, int | None]) -> Place:
        claim = self._claim(pair, side)
        assert claim is not None
        if key == ANY_HOST:
            return self._claims.place(side, claim.route.line)
        return self._claims.place(side, self._claims.host_items[side, claim.hosts][key].line)

    def _of_uris(self, uris: dict[int, list[Pair]]) -> Iterator[Change]:
        """Uris that only one of the files has."""
        for uri, pairs in uris.items():
            is_new = self._uris[uri][NEW]
            side = NEW if is_new else OLD
            by_cluster: dict[str, list[Pair]] = {}
            for pair in pairs:
                by_cluster.setdefault(self._name(pair, side), []).append(pair)
            for name in self._claims.uris.members[uri]:
                for cluster, some in by_cluster.items():
                    go = "go to" if is_new else "no longer go to"
                    words = f"requests for {_path(name)} on {self._on(some)} {go} {cluster}"
                    yield change(
                        ADDED if is_new else GONE, "Uri", name, words, self._places(name, some[0]),
                        **{"new" if is_new else "old": cluster},
                    )  # fmt: skip

    def _moved(self, uri: int, old: str, new: str, pairs: Sequence[Pair]) -> Iterator[Change]:
        """Both files have VirtualHost and Uri, and lead them elsewhere."""
        to = self._name(pairs[0], NEW) if new else ""
        on = self._on(pairs)
        for name in self._claims.uris.members[uri]:
            path = _path(name)
            if not old:
                kind, words = ADDED, f"requests for {path} on {on} go to {to}"
            elif not new:
                kind, words = GONE, f"requests for {path} on {on} no longer go to {old}"
            else:
                kind = CHANGED
                words = f"requests for {path} on {on} go to {to} instead of {old}{self._sessions(pairs[0])}"
            yield change(
                kind, "Route", f"{name or '(every Uri)'} on {on}", words, self._places(name, pairs[0]),
                attribute="ServerCluster", old=old, new=to,
            )  # fmt: skip

    def _sessions(self, pair: Pair) -> str:
        """What becomes of the sessions of a pair that leads to another cluster."""
        ids = []
        for side in (OLD, NEW):
            claim = self._claim(pair, side)
            assert claim is not None
            cluster = self._claims.inputs[side].server_clusters[claim.owner[1]]
            ids.append({usable_id(server): server.name for server in cluster.servers})
        ids[OLD].pop(None, None)
        lost = [name for clone_id, name in ids[OLD].items() if clone_id not in ids[NEW]]
        if not ids[OLD]:
            return ""
        if not lost:
            return ", which has their servers, too: sessions go on"
        if len(lost) == len(ids[OLD]):
            return ": their sessions lose their servers"
        return f": sessions of {_listed(lost)} lose their server"

    def _affinity(self, uri: int, pairs: Sequence[Pair]) -> Iterator[Change]:
        """Whether sessions are read from the same cookie and path parameter."""
        for name in self._claims.uris.members[uri]:
            told: set[tuple[str, str, str]] = set()
            for pair in pairs:
                old, new = self._uri(name, pair, OLD), self._uri(name, pair, NEW)
                for attribute, before, after, what in (
                    ("AffinityCookie", old.affinity_cookie, new.affinity_cookie, "cookie"),
                    (
                        "AffinityURLIdentifier",
                        old.affinity_url_identifier,
                        new.affinity_url_identifier,
                        "path parameter",
                    ),
                ):
                    if before == after or (attribute, before, after) in told:
                        continue
                    told.add((attribute, before, after))
                    words = f"sessions of {_path(name)} are read from the {what} {after} instead of {before}: those that have only the other one lose their server"
                    yield change(
                        CHANGED, "Uri", name, words, self._places(name, pair),
                        attribute=attribute, old=before, new=after,
                    )  # fmt: skip

    def _order(self) -> Iterator[Change]:
        """Routes that take the same requests with one score, in another order."""
        overlaps = Overlaps(self._claims, self._claims.first)
        told: set[tuple[int, ...]] = set()
        for one, other in overlaps.ties():
            if any(len(self._claims.first[pair]) < 2 for pair in (one, other)):
                continue
            if self._cluster(one, OLD) == self._cluster(other, OLD):
                continue
            before = self._claims.first[one][OLD] < self._claims.first[other][OLD]
            after = self._claims.first[one][NEW] < self._claims.first[other][NEW]
            key = (
                *(self._claims.first[one][side] for side in (OLD, NEW)),
                *(self._claims.first[other][side] for side in (OLD, NEW)),
            )
            if before == after or key in told:
                continue
            told.add(key)
            first, second = (one, other) if after else (other, one)
            yield self._other_order(first, second)
        if overlaps.is_too_large:
            self.not_compared.append(ORDER_NOT_COMPARED)

    def _other_order(self, first: Pair, second: Pair) -> Change:
        """``first``: what comes first now."""
        texts = [
            f"{_path(self._claims.uris.members[pair[1]][0])} on {_host(self._claims.hosts.members[pair[0]][0])}"
            for pair in (first, second)
        ]
        old, new = self._name(second, OLD), self._name(first, NEW)
        words = f"requests that match {texts[0]} as well as {texts[1]} go to {new} instead of {old}: the first Route gets them"
        places = []
        for side in (OLD, NEW):
            for pair in (first, second):
                claim = self._claim(pair, side)
                assert claim is not None
                places.append(self._claims.place(side, claim.route.line))
        return change(
            CHANGED,
            "Route",
            " and ".join(texts),
            words,
            places,
            attribute="order",
            old=old,
            new=new,
        )


def _host(key: tuple[str, int | None]) -> str:
    return "every host" if key == ANY_HOST else host_text(key)


def _path(uri: str) -> str:
    return uri or "every path"


def _listed(names: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
