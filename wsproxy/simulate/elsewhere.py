"""
Whose real requests go elsewhere by another configuration: each request of a log is decided by both, with the live code.

Driven by ``cli.diff --log``, which reads the log with ``Comparison.add``. Must not decide anything: Routes and clone ids are looked up
by ``traffic``. A turn is not compared: where no clone id decides, only the cluster is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from wsproxy._fast.logs.request import LoggedRequest
from wsproxy._fast.logs.tries import text_of
from wsproxy.config.merge_clusters import face_of
from wsproxy.config.model import Config, Server, ServerCluster
from wsproxy.errors import NothingComparedError
from wsproxy.logs.words import count_of, time_text
from wsproxy.replay.world import World
from wsproxy.simulate.traffic import NONE, Routing, Traffic

# Requests of one kind that are shown.
MOST_EXAMPLES = 3
# Kinds that are told apart: more there are only where a log was made for it.
MOST_KINDS = 1000

What = Literal["cluster", "no route", "new route", "server", "session lost", "session found"]
CLUSTER: What = "cluster"
NO_ROUTE: What = "no route"
NEW_ROUTE: What = "new route"
SERVER: What = "server"
LOST: What = "session lost"
FOUND: What = "session found"

# What each is, to people.
MEANING: dict[What, str] = {
    CLUSTER: "go to another cluster",
    NO_ROUTE: "find no route any more",
    NEW_ROUTE: "find a route now",
    SERVER: "go to another server by their session",
    LOST: "lose the server of their session",
    FOUND: "find the server of their session again",
}


class ExampleJson(msgspec.Struct):
    """One request; ``request`` without session ids."""

    file: str
    line: int
    time: str
    request: str


class KindJson(msgspec.Struct):
    """Requests that go elsewhere in one way; ``old`` and ``new``: CLUSTER or CLUSTER/SERVER, empty: nowhere."""

    what: What
    old: str
    new: str
    requests: int
    sessions: int
    examples: list[ExampleJson]


class ElsewhereJson(msgspec.Struct):
    """What a log says: ``elsewhere`` of ``requests``, and which."""

    logs: tuple[str, ...]
    requests: int
    elsewhere: int
    sessions: int
    sessions_elsewhere: int
    left_out: int
    kinds: list[KindJson]
    more_kinds: int
    sentence: str


@dataclass(slots=True)
class _Kind:
    requests: int = 0
    sessions: set[int] = field(default_factory=set)
    examples: list[ExampleJson] = field(default_factory=list)


class Comparison:
    """Of one log and two configurations."""

    def __init__(self, old: World, new: World) -> None:
        """Nothing read yet."""
        self.traffic = Traffic(new, old)
        self._old, self._new = self.traffic.old, self.traffic.new
        self._kinds: dict[tuple[What, str, str], _Kind] = {}
        self._more: set[tuple[What, str, str]] = set()
        self._sessions: set[int] = set()
        self._moved: set[int] = set()
        self._elsewhere = 0

    def add(self, request: LoggedRequest) -> None:
        """One more request that a replay has put together; it may be used up by this."""
        example = self._example(request)
        before = len(self.traffic)
        self.traffic.add(request)
        if len(self.traffic) > before:
            self._compare(before, example)

    def _example(self, request: LoggedRequest) -> ExampleJson:
        uri = self._world.told(request.uri or b"")
        port = f":{request.port}" if request.port > 0 else ""
        asked = f"{text_of(request.method)} {text_of(request.host)}{port}{uri}".strip()
        return ExampleJson(request.file, request.first, time_text(request.time_us), asked)

    @property
    def _world(self) -> World:
        return self.traffic.read_by.world

    def _compare(self, at: int, example: ExampleJson) -> None:
        assert self._old is not None
        old, new = _place(self._old, at), _place(self._new, at)
        session = self._old.session[at]
        if session != NONE:
            self._sessions.add(session)
        what = _difference(old, new)
        if what is None:
            return
        self._elsewhere += 1
        if session != NONE:
            self._moved.add(session)
        key = (what, old.name, new.name)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                self._more.add(key)
                return
            kind = self._kinds[key] = _Kind()
        kind.requests += 1
        if session != NONE:
            kind.sessions.add(session)
        if len(kind.examples) < MOST_EXAMPLES:
            kind.examples.append(example)

    def result(self, logs: tuple[str, ...]) -> ElsewhereJson:
        """
        What it comes to, the most requests first.

        Raises:
            NothingComparedError: no request could be decided by both.
        """
        count = len(self.traffic)
        if not count:
            raise NothingComparedError(f"{', '.join(logs)}: no request that can be compared")
        kinds = [
            KindJson(what, old, new, kind.requests, len(kind.sessions), kind.examples)
            for (what, old, new), kind in self._kinds.items()
        ]
        kinds.sort(key=lambda kind: (-kind.requests, kind.old, kind.new))
        return ElsewhereJson(
            logs, count, self._elsewhere, len(self._sessions), len(self._moved), self.traffic.left_out,
            kinds, len(self._more), self._sentence(count),
        )  # fmt: skip

    def _sentence(self, count: int) -> str:
        requests = f"{self._elsewhere or 'none'} of {count_of(count, 'request')}"
        goes = "goes" if self._elsewhere <= 1 else "go"
        sessions = f"{len(self._moved) or 'none'} of {count_of(len(self._sessions), 'session')}"
        of = f", {sessions} among them" if self._sessions else ""
        return f"{requests} {goes} elsewhere{of}."


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a configuration sends a request: ``server`` is the one of its session, None where turns decide."""

    cluster: ServerCluster | None
    server: Server | None
    has_ids: bool

    @property
    def name(self) -> str:
        """CLUSTER, CLUSTER/SERVER or nothing."""
        if self.cluster is None:
            return ""
        return (
            self.cluster.name if self.server is None else f"{self.cluster.name}/{self.server.name}"
        )


def _place(routing: Routing, at: int) -> _Place:
    head = routing.route[at]
    if head == NONE:
        return _Place(None, None, has_ids=False)
    index = routing.heads[head].cluster
    config: Config = routing.world.config
    cluster = config.server_clusters[index]
    clones = routing.clone_lists[routing.clones[at]]
    server = routing.first_known(index, clones)
    return _Place(
        cluster, None if server < 0 else cluster.all_servers[server], has_ids=bool(clones)
    )


def _difference(old: _Place, new: _Place) -> What | None:
    """How the request goes elsewhere; None: it does not."""
    if old.cluster is None or new.cluster is None:
        return (
            None if old.cluster is new.cluster else NEW_ROUTE if old.cluster is None else NO_ROUTE
        )
    if old.server is not None and new.server is not None:
        # the same process, whatever it and its cluster are called
        same = face_of(old.server) == face_of(new.server)
        return None if same else SERVER
    if old.server is not None:
        return LOST
    if new.server is not None:
        return FOUND
    faces = [{face_of(server) for server in each.servers} for each in (old.cluster, new.cluster)]
    return None if old.cluster.name == new.cluster.name or faces[0] == faces[1] else CLUSTER
