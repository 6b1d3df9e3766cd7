"""
Why no Route takes a request: no VirtualHost for its host and port, or no Uri for its path; with the nearest there is.

Driven by ``dataplane.slowpath`` (the log), ``explain.explain``, ``dataplane.explained`` and, for ports, ``process.check_start``.
Asks the tables that live traffic is matched with. Pure. Must not cost much: whoever is refused may ask for it thousands of times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from wsproxy.config.model import VirtualHost
from wsproxy.config.problems import listed, nearest
from wsproxy.routing.table import NONE, CompiledRoutes

# Names among which the nearest is looked for: 10 us each.
MOST_COMPARED = 200
# Routes, or Uris, that are looked at for a hint: 0.1 us each. What stands behind them gets none.
MOST_WALKED = 5000
# VirtualHosts that are named.
MOST_NAMED = 4


class Unmatched:
    """Of one configuration."""

    def __init__(self, routes: CompiledRoutes) -> None:
        """Only what a Route leads to counts, and nothing is built: a worker makes this between two requests."""
        self._routes = routes
        self._takes_any_host = NONE in routes.routed_host_groups
        self._host_groups = [group for group in routes.routed_host_groups if group != NONE]

    @property
    def _virtual_hosts(self) -> Iterator[VirtualHost]:
        groups = self._routes.virtual_host_groups
        return (host for group in self._host_groups for host in groups[group].virtual_hosts)

    @property
    def _compared(self) -> Iterator[VirtualHost]:
        return islice(self._virtual_hosts, MOST_COMPARED)

    @property
    def hosts_in_words(self) -> str:
        """The VirtualHosts that there are: ``VirtualHosts: *:80, *:443``."""
        names = list(dict.fromkeys(host.name for host in self._compared))
        if not names:
            return "there is none"
        few = names[:MOST_NAMED]
        more = self._routes.table.vhost_count - len(few)
        return f"VirtualHosts: {', '.join(few)}{f' and {more} more' if more > 0 else ''}"

    def takes_port(self, port: int) -> bool:
        """Whether a request to this port may be for a VirtualHost; 0: a port that nobody knows yet."""
        return self._takes_any_host or any(
            host.port is None or host.port == port for host in self._virtual_hosts
        )

    def why(
        self, host: bytes, port: int, path: bytes, shown: str, *, looks_far: bool = True
    ) -> str:
        """
        The reason in words; ``path`` as it was compared, ``shown``: as it may be shown.

        ``looks_far``: False where it must cost little: then the nearest name is found only where it is the same but for port.
        """
        if not self._routes.rows:
            return "there is no Route"
        wanted = f"{_text(host)}:{port}"
        taking = self._groups_for(host, port)
        if not taking and not self._takes_any_host:
            near = self._nearest_host(_text(host).lower().removesuffix("."), looks_far=looks_far)
            hint = f"; nearest: {near.name}" if near else ""
            return f"no VirtualHost takes {wanted} ({self.hosts_in_words}{hint}){self._elsewhere(path)}"
        names = [self._routes.virtual_host_groups[group].name for group in taking]
        of = f"VirtualHostGroup {_plainly(names)} takes {wanted}, " if names else ""
        near_uri = self._nearest_uri(taking, path) if looks_far else ""
        hint = f" (nearest: {near_uri})" if near_uri else ""
        return f"{of}no Uri takes {shown}{hint}{self._elsewhere(path)}"

    def _groups_for(self, host: bytes, port: int) -> list[int]:
        """VirtualHostGroups that take it, the best first; of very many only the best."""
        most = MOST_COMPARED if len(self._host_groups) <= MOST_COMPARED else 1
        return self._routes.table.vhost_groups(host, port, most)

    def _elsewhere(self, path: bytes) -> str:
        """That a Uri takes the path, for other VirtualHosts."""
        found = self._routes.table.match_uri(NONE, path)
        if found is None:
            return ""
        uri_group, at, _, _ = found
        uri = self._routes.uri_name(uri_group, at)
        groups = [
            self._routes.virtual_host_groups[row[0]].name
            for row in islice(self._routes.rows, MOST_WALKED)
            if row[1] == uri_group and row[0] >= 0
        ]
        names = list(dict.fromkeys(groups))
        return f"; Uri {uri} is for VirtualHostGroup {_plainly(names)}" if names else ""

    def _nearest_host(self, host: str, *, looks_far: bool) -> VirtualHost | None:
        for wanted in (host, "*"):
            for each in self._compared:
                if each.host == wanted:
                    return each
        if not looks_far:
            return None
        by_host: dict[str, VirtualHost] = {}
        for each in self._compared:
            by_host.setdefault(each.host, each)
        likely = nearest(host, by_host)
        return by_host[likely] if likely else None

    def _nearest_uri(self, groups: Sequence[int], path: bytes) -> str:
        """The Uri of their Routes whose first folder is that of the path, or like it."""
        hosts = {*groups, NONE}
        rows = islice(self._routes.rows, MOST_WALKED)
        wanted = dict.fromkeys(row[1] for row in rows if row[1] != NONE and row[0] in hosts)
        uris = (
            (group, at)
            for group in wanted
            for at in range(min(self._routes.table.count_uris(group), MOST_COMPARED))
        )
        by_folder: dict[str, str] = {}
        for group, at in islice(uris, MOST_WALKED):
            name = self._routes.uri_name(group, at)
            if folder := _first_folder(name):
                by_folder.setdefault(folder, name)
            if len(by_folder) >= MOST_COMPARED:
                break
        likely = nearest(_first_folder(_text(path)), by_folder)
        return by_folder[likely] if likely else ""


def _first_folder(path: str) -> str:
    """``app`` of ``/app/*`` and of ``/app``; empty where there is none."""
    return path.removeprefix("/").partition("/")[0].removesuffix("*")


def _plainly(names: Sequence[str]) -> str:
    """One name as it is, several as a list."""
    return names[0] if len(names) == 1 and " " not in names[0] else listed(names)


def _text(data: bytes) -> str:
    return data.decode("latin-1")
