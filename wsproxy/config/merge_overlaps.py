"""
Pairs of VirtualHost and Uri that one request may match with one score: of their Routes the first one gets it.

Used by ``config.merge_order`` and ``config.diff``. Pure. Equal scores are those of ``_fast.decide.match`` (PLUGIN.md 2.3):
``host:port`` has one more exact match than the others, and a Route without VirtualHostGroup has a score of one less.
Not looked for: a ``host:port`` with a Uri that has text behind its ``*``, against a wildcard with another such Uri of one length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsproxy.config.merge_claims import (
    ANY,
    ANY_URI,
    EXACT,
    NONE_NAMED,
    ONE_HOST,
    ONE_PORT,
    Claims,
    Pair,
)

# Pairs of pairs looked at: a second or two. Real files need some thousands; only files made for it need more.
MOST_COMPARED = 1_000_000
# which VirtualHosts without any in common may take one request with one score; a Route that names none scores two less than host:port
_OVERLAP = {
    EXACT: (NONE_NAMED,),
    ONE_HOST: (ONE_PORT, ANY),
    ONE_PORT: (ONE_HOST, ANY),
    ANY: (ONE_HOST, ONE_PORT),
    NONE_NAMED: (EXACT,),
}


class Overlaps:
    """Of the pairs of several files."""

    def __init__(self, claims: Claims, pairs: Iterable[Pair]) -> None:
        """``pairs``: those that some Route has."""
        self.compared = 0
        self._claims = claims
        self._width = claims.hosts.widths
        # class of Uris -> classes of hosts that it is claimed with
        self.hosts_of: dict[int, list[int]] = {}
        for host, uri in pairs:
            self.hosts_of.setdefault(uri, []).append(host)

    @property
    def is_too_large(self) -> bool:
        """Whether not all of them were found."""
        return self.compared > MOST_COMPARED

    def ties(self) -> Iterator[tuple[Pair, Pair]]:
        """Two pairs of VirtualHosts and Uris that one request may match with one score; each two once. It ends where it ``is_too_large``."""
        near = self._near()
        if self.is_too_large:
            return
        for uri, others in self._uri_ties().items():
            mine = self.hosts_of.get(uri, ())
            for other, shifts in others.items():
                theirs = set(self.hosts_of.get(other, ()))
                for host in mine:
                    self.compared += len(near[host])
                    if self.is_too_large:
                        return
                    for other_host in near[host]:
                        if (
                            other_host in theirs
                            and (uri != other or host < other_host)
                            and self._is_none(host) - self._is_none(other_host) in shifts
                        ):
                            yield (host, uri), (other_host, other)

    def _is_none(self, host: int) -> bool:
        return self._width[host] == NONE_NAMED

    def _near(self) -> list[list[int]]:
        """Class of hosts -> those that one request may match, too, with the same score; itself among them."""
        by_width: dict[int, list[int]] = {}
        for at, width in enumerate(self._width):
            by_width.setdefault(width, []).append(at)
        near = []
        for at, width in enumerate(self._width):
            near.append([at])
            for other in _OVERLAP[width]:
                self.compared += len(by_width.get(other, ()))
                if self.compared > MOST_COMPARED:
                    return near
                near[at] += [each for each in by_width.get(other, ()) if each != at]
        return near

    def _uri_ties(self) -> dict[int, dict[int, set[int]]]:
        """
        Class of Uris -> classes one of whose Uris may score the same for one path, itself included; each pair of classes once.

        With how many characters more it does: no VirtualHost is worth one less than any (PLUGIN.md 2.3).
        """
        # text up to the star, without its last slash -> Uris, and those that a VirtualHost with a shorter one may tie with
        buckets: dict[str, list[tuple[str, int, int]]] = {}
        for cls, members in enumerate(self._claims.uris.members):
            is_hostless = any(map(self._is_none, self.hosts_of.get(cls, ())))
            for name in members:
                if name.count("*") > 1:
                    continue  # never matches
                buckets.setdefault(name.removesuffix("*").removesuffix("/"), []).append(
                    (name, cls, 0)
                )
                for shorter in _shorter(name) if is_hostless else ():
                    buckets.setdefault(shorter.removesuffix("/"), []).append((name, cls, 1))
        ties: dict[int, dict[int, set[int]]] = {
            cls: {cls: {0}} for cls in range(len(self._claims.uris.members))
        }
        for found in buckets.values():
            for at, (name, cls, shift) in enumerate(found):
                for other_name, other, other_shift in found[:at]:
                    if shift == other_shift:
                        is_tie = not shift and cls != other and _tie(name, other_name)
                    elif shift:
                        is_tie = _patterns(other_name)[1] in _shorter(name)
                    else:
                        is_tie = _patterns(name)[1] in _shorter(other_name)
                    if is_tie:
                        low, high = min(cls, other), max(cls, other)
                        difference = shift - other_shift
                        ties[low].setdefault(high, set()).add(
                            difference if cls == low else -difference
                        )
                        if low == high:
                            ties[low][low].add(-difference)
        return ties


def _patterns(uri: str) -> tuple[set[str], str | None]:
    """Paths that it matches whole, and what it matches with anything behind it (PLUGIN.md 1.12)."""
    if uri != ANY_URI and "*" not in uri:
        return {uri}, None
    if uri and not uri.endswith("*"):
        return set(), None
    before = uri.removesuffix("*")
    return ({before[:-1]} if before.endswith("/") else set()), before


def _shorter(uri: str) -> set[str]:
    """What a Uri with one character less may have before its star to match some of the same paths."""
    paths, before = _patterns(uri)
    return {text[:-1] for text in (*paths, before or "") if text}


def _tie(one: str, other: str) -> bool:
    """Whether two Uris may match one path with the same score."""
    (paths, before), (other_paths, other_before) = _patterns(one), _patterns(other)
    return bool(
        paths & other_paths
        or (before is not None and (before == other_before or before in other_paths))
        or (other_before is not None and other_before in paths)
    )
