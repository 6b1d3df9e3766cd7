"""
The routing part of a replay: which VirtualHost, Uri and Route the log says, and what the live matcher says to the same.

Driven by ``replay``. Lines repeat themselves (hosts, paths), so what a line says and what comes of it is kept by its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from wsproxy._fast.logged import LoggedRequest
from wsproxy._fast.loglines import LogLine
from wsproxy._fast.logtries import text_of
from wsproxy._fast.replay import ReplayedRequest
from wsproxy.pluginlog.messages import Code, Fields, read_fields
from wsproxy.pluginlog.world import World

# Texts whose meaning is kept; a busy site has some thousand paths. Above, all are forgotten and the common ones come back.
MOST_KEPT = 32_768
LONGEST_KEPT = 1024
UNKNOWN_PORT = -1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Matched:
    """A ``Found a match`` line and the live matcher's word on it; ``port`` of the request where it says that."""

    logged: str
    ours: str
    host: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Grouped:
    """A ``Setting the server group`` line."""

    group: str
    score: int
    exact: int
    cookie: bytes
    url: bytes


class RouteReader:
    """What routing lines say, each text once."""

    def __init__(self, world: World) -> None:
        """``world``: whose matcher is asked."""
        self._world = world
        # By the text of the line; ``_fast.logfollow`` looks here before it asks.
        self.matched: dict[bytes, Matched | None] = {}
        self.grouped: dict[bytes, Grouped | None] = {}

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
        return _compared(found, ours, host, port)

    def _read_uri(self, line: LogLine) -> Matched | None:
        found = read_fields(Code.URI_MATCH, line.text, line.at)
        if found is None:
            return None
        ours = self._world.match_uri(text_of(found[2]), text_of(found[0]), found[1])
        return _compared(found, ours, found[1], UNKNOWN_PORT)

    @staticmethod
    def _read_group(line: LogLine) -> Grouped | None:
        found = read_fields(Code.GROUP, line.text, line.at)
        if found is None:
            return None
        return Grouped(text_of(found[0]), *found[1:])

    def rebuild(self, request: LoggedRequest, group: str = "") -> str:
        """
        Routes the request as live traffic would be; the answer is what had to be assumed for that, or empty.

        A log of LogLevel Detail does not tell the port: then it is one with which ``group`` comes out, if there is one.

        Raises:
            ValueError: live traffic would have refused it.
        """
        assert request.uri is not None
        if request.port != UNKNOWN_PORT:
            request.replayed = ReplayedRequest(
                request.process.engine, request.host, request.port, request.uri, []
            )
            request.cluster = request.replayed.cluster
            return ""
        outcomes: dict[tuple[int, int, int], tuple[int, ReplayedRequest]] = {}
        for port in self._world.ports:
            replayed = ReplayedRequest(request.process.engine, request.host, port, request.uri, [])
            match = replayed.match()
            key = (-1, 0, 0) if match is None else match[1:4]
            outcomes.setdefault(key, (port, replayed))
        chosen = next(iter(outcomes))
        if len(outcomes) > 1:
            chosen = next((key for key in outcomes if self.name_of(key[0]) == group), chosen)
        port, request.replayed = outcomes[chosen]
        request.cluster = chosen[0]
        return "" if len(outcomes) == 1 else f"the log tells no port; with port {port}"

    def name_of(self, cluster: int) -> str:
        """Of the cluster with this index; empty for none."""
        return self._world.config.server_clusters[cluster].name if cluster >= 0 else ""


def _compared(found: Fields, ours: tuple[int, int] | str, host: bytes, port: int) -> Matched:
    """What a ``Found a match`` line says beside what the live matcher says."""
    pattern, subject, group = (text_of(text) for text in found[:3])
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


def split_host(text: bytes) -> tuple[bytes, int]:
    """Host without brackets, and port (-1 none)."""
    if b":" not in text:
        return text, UNKNOWN_PORT
    host, colon, port = text.rpartition(b":")
    if (
        not colon
        or not port.isdigit()
        or len(port) > 5
        or (b":" in host and not host.endswith(b"]"))
    ):
        host, port = text, b"-1"
    if host.startswith(b"[") and host.endswith(b"]"):
        host = host[1:-1]
    return host, int(port)
