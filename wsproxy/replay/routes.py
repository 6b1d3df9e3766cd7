"""
The routing part of a replay: which VirtualHost, Uri and Route the log says, and what the live matcher says to the same.

Driven by ``replay``. Lines repeat themselves (hosts, paths), so what a line says and what comes of it is kept by its text.
"""

from __future__ import annotations

from typing import TypeVar

from wsproxy._fast.logs.heard import Grouped, Matched, Routes
from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.logs.request import LoggedRequest, split_host
from wsproxy._fast.logs.tries import text_of
from wsproxy.logs.messages import Code, Fields, read_fields
from wsproxy.replay.world import World

# Texts whose meaning is kept; a busy site has some thousand paths. Above, all are forgotten and the common ones come back.
MOST_KEPT = 32_768
LONGEST_KEPT = 1024
UNKNOWN_PORT = -1

T = TypeVar("T")


class RouteReader(Routes):
    """What routing lines say, each text once."""

    def __init__(self, world: World) -> None:
        """``world``: whose matcher is asked."""
        super().__init__(
            world.uris, tuple(cluster.name for cluster in world.config.server_clusters)
        )
        self._world = world

    def vhost(self, line: LogLine) -> Matched | None:
        """What a VirtualHost match says; None where the line is cut."""
        try:
            return self.matched[line.text]
        except KeyError:
            return self._keep(self.matched, line.text, self._read_vhost(line))

    def uri(self, line: LogLine) -> Matched | None:
        """What a Uri match says."""
        try:
            return self.matched[line.text]
        except KeyError:
            return self._keep(self.matched, line.text, self._read_uri(line))

    def group(self, line: LogLine) -> Grouped | None:
        """What the choice of a Route says."""
        try:
            return self.grouped[line.text]
        except KeyError:
            return self._keep(self.grouped, line.text, self._read_group(line))

    @staticmethod
    def _keep(kept: dict[bytes, T], text: bytes, found: T) -> T:
        if len(text) > LONGEST_KEPT:
            return found
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[text] = found
        return found

    def _read_vhost(self, line: LogLine) -> Matched | None:
        found = read_fields(Code.VHOST_MATCH, line.text, line.at)
        if found is None:
            return None
        host, port = split_host(found[1])
        ours = self._world.match_vhost(text_of(found[2]), text_of(found[0]), host, port)
        return _compared(found, text_of(found[1]), ours, host, port)

    def _read_uri(self, line: LogLine) -> Matched | None:
        found = read_fields(Code.URI_MATCH, line.text, line.at)
        if found is None:
            return None
        ours = self._world.match_uri(text_of(found[2]), text_of(found[0]), found[1])
        return _compared(found, self._world.told(found[1]), ours, found[1], UNKNOWN_PORT)

    @staticmethod
    def _read_group(line: LogLine) -> Grouped | None:
        found = read_fields(Code.GROUP, line.text, line.at)
        if found is None:
            return None
        return Grouped(text_of(found[0]), *found[1:])

    def find_uri(self, group: str, pattern: str) -> int:
        """See ``World.find_uri``."""
        return self._world.find_uri(group, pattern)

    def rebuild(self, request: LoggedRequest, group: str) -> str:
        """
        Routes a request as live traffic would be; the answer is what had to be assumed for that, or empty.

        A log of LogLevel Detail does not tell the port: it is one with which ``group`` comes out, if there is one.

        Raises:
            ValueError: live traffic would have refused it.
        """
        assert request.uri is not None
        process = request.process
        outcomes: dict[tuple[int, int, int], tuple[int, ReplayedRequest]] = {}
        for port in self._world.ports:
            replayed = ReplayedRequest(
                process.decider, process.view, request.host, port, request.uri, []
            )
            match = replayed.match()
            key = (-1, 0, 0) if match is None else match[1:4]
            outcomes.setdefault(key, (port, replayed))
        chosen = next(iter(outcomes))
        if len(outcomes) > 1:
            chosen = next((key for key in outcomes if self.name_of(key[0]) == group), chosen)
        port, request.replayed = outcomes[chosen]
        request.cluster = chosen[0]
        return "" if len(outcomes) == 1 else f"the log tells no port; with port {port}"

    def number_of(self, group: str) -> int:
        """Index of the cluster of this name; -1: there is none."""
        return self.cluster_names.index(group) if group in self.cluster_names else -1

    def name_of(self, cluster: int) -> str:
        """Of the cluster with this index; empty for none."""
        return self.cluster_names[cluster] if cluster >= 0 else ""


def _compared(
    found: Fields, subject: str, ours: tuple[int, int] | str, host: bytes, port: int
) -> Matched:
    """What a ``Found a match`` line says of ``subject`` beside what the live matcher says."""
    pattern, group = text_of(found[0]), text_of(found[2])
    said = found[3:]
    logged = _said(group, pattern, subject, said)
    return Matched(
        logged, logged if ours == said else _said(group, pattern, subject, ours), host, port
    )


def _said(group: str, pattern: str, subject: str, score: tuple[int, int] | str) -> str:
    """``score``: score and exact match, or why there is none."""
    if isinstance(score, str):
        return f"{group}: {score}"
    return f"{group}: {pattern} for {subject}: {score[0]}/{score[1]}"
