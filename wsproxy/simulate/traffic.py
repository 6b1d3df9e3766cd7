"""
The requests of a log as a simulation needs them: when, for how long, for which cluster and session. Some 70 bytes each.

Filled by ``replay.replay`` through ``Traffic.add``; read by ``simulation``. What a request is routed to does not depend on time, so it is
asked of the live code here, once. Session ids stay in here: what comes out of a simulation is counts.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low

from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.logs.request import LoggedRequest, Process
from wsproxy._fast.logs.simulate import read_affinity
from wsproxy._fast.tell.mask import MASKED
from wsproxy.logs.words import NO_TIME_US
from wsproxy.replay.world import World

# Service time where no request of the log tells one: what a page of an application takes, in round numbers.
ASSUMED_SERVICE_US = 100_000
SECOND_US = 1_000_000
# In front of a session id, as app servers write it: without one, four digits of the id itself could be taken for it.
_CACHE_ID = b"0000"
# A session that nothing tells from others: its value is one of sessions that are tracked by SSL id (PLUGIN 3.3).
_NAMELESS = b"SSLJSESSION=SESSIONMANAGEMENTAFFINI"
# What a session outside any cluster has in place of a clone id (PLUGIN 3.1): it has no owner.
_STAND_ALONE = b"-1"
NONE = -1

SERVED, REFUSED, UNROUTED = range(3)  # what the log says of a request


@dataclass(frozen=True, slots=True)
class Head:
    """A request of one kind: what the live code routes all of its kind by; ``cluster`` is where they go."""

    host: bytes
    port: int
    path: bytes
    cookie: bytes
    cluster: int
    separator: bytes

    def cookies(self, session_id: bytes, clone_ids: tuple[bytes, ...]) -> list[bytes]:
        """Cookie fields that bring this session with these clone ids."""
        if not clone_ids:
            return []
        ids = self.separator.join(clone_ids)
        if not session_id:
            return [b"%b%b%b" % (_NAMELESS, self.separator, ids)]
        return [b"%b=%b%b%b%b" % (self.cookie, _CACHE_ID, session_id, self.separator, ids)]


@dataclass(slots=True)
class Routing:
    """Each request's route, session and clone ids by one configuration; -1 where it has none."""

    world: World
    process: Process = field(init=False)
    heads: list[Head] = field(default_factory=list)
    sessions: list[bytes] = field(default_factory=list)
    clone_lists: list[tuple[bytes, ...]] = field(default_factory=lambda: [()])
    route: array[int] = field(default_factory=lambda: array("i"))
    session: array[int] = field(default_factory=lambda: array("i"))
    clones: array[int] = field(default_factory=lambda: array("i"))
    born: array[int] = field(
        default_factory=lambda: array("i")
    )  # the session that its answer began
    births: set[int] = field(default_factory=set)  # keys of these sessions
    nameless: int = 0  # requests whose session cannot be told from others
    _clones: dict[tuple[str, int], bytes | None] = field(default_factory=dict)
    _heads: dict[tuple[int, bytes, bytes], int] = field(default_factory=dict)
    _sessions: dict[bytes, int] = field(default_factory=dict)
    _lists: dict[tuple[bytes, ...], int] = field(default_factory=lambda: {(): 0})

    def __post_init__(self) -> None:
        """One state for all processes of the log: that of wsproxy's workers."""
        self.process = self.world.new_process()
        for cluster in self.world.config.server_clusters:
            for at, server in enumerate(cluster.all_servers):
                clone = None if server.clone_id is None else server.clone_id.encode()
                self._clones[cluster.name, at] = clone

    def clone_of(self, cluster: str, server: int) -> bytes | None:
        """The clone id of this server of the cluster."""
        return self._clones[cluster, server]

    def key(self, cluster: int, session: int) -> int:
        """A session in a cluster, as one number: a cookie may go to several."""
        return session * len(self.process.clusters) + cluster

    def keys(self, at: int) -> tuple[int, int]:
        """(session of the request, session that its answer begins), in its cluster; -1: none."""
        head, session, born = self.route[at], self.session[at], self.born[at]
        if head == NONE:
            return NONE, NONE
        cluster = self.heads[head].cluster
        return (
            NONE if session == NONE else self.key(cluster, session),
            NONE if born == NONE else self.key(cluster, born),
        )

    def first_known(self, cluster: int, clones: tuple[bytes, ...]) -> int:
        """The server that the first known one of these clone ids names; -1: none is known."""
        built = self.process.clusters[cluster]
        if built is not None:
            for clone in clones:
                server = built.find_clone_id(clone)
                if server >= 0:
                    return server
        return NONE

    def add(self, request: LoggedRequest, replayed: ReplayedRequest) -> None:
        """
        One more request; ``replayed`` is the same as routed by this configuration.

        Raises:
            ValueError: live traffic would have refused it.
        """
        match = replayed.match()
        session = born = NONE
        clones: tuple[bytes, ...] = ()
        head = NONE
        if match is not None:
            cluster, cookie = match[1], match[4]
            head = self._head(replayed, (cluster, cookie, match[5]))
            replayed.bring(_cookies_of(request, cookie))
            session_id, clones = read_affinity(replayed)
            session = self._session(session_id, clones)
            for value in request.set_cookies:
                if value.startswith(cookie + b"="):
                    # with a clone id in any case: not every server writes its own
                    stem = value.partition(b";")[0].rstrip().replace(b'"', b"")
                    replayed.bring([stem + self.heads[head].separator + _STAND_ALONE])
                    new = read_affinity(replayed)[0]
                    if new and new != session_id:
                        born = self._session(new, ())
            if born != NONE:
                self.births.add(self.key(cluster, born))
        self.route.append(head)
        self.session.append(session)
        self.clones.append(self._list(clones))
        self.born.append(born)

    def _head(self, replayed: ReplayedRequest, key: tuple[int, bytes, bytes]) -> int:
        at = self._heads.get(key)
        if at is None:
            at = self._heads[key] = len(self.heads)
            cluster = self.world.config.server_clusters[key[0]]
            self.heads.append(
                Head(
                    replayed.host, replayed.port, replayed.path, key[1], key[0],
                    cluster.clone_separator.encode(),
                )
            )  # fmt: skip
        return at

    def _session(self, session_id: bytes, clones: tuple[bytes, ...]) -> int:
        if not session_id or MASKED in session_id:
            self.nameless += bool(clones)
            return NONE
        at = self._sessions.get(session_id)
        if at is None:
            at = self._sessions[session_id] = len(self.sessions)
            self.sessions.append(session_id)
        return at

    def _list(self, clones: tuple[bytes, ...]) -> int:
        at = self._lists.get(clones)
        if at is None:
            at = self._lists[clones] = len(self.clone_lists)
            self.clone_lists.append(clones)
        return at


def _cookies_of(request: LoggedRequest, name: bytes) -> list[bytes]:
    """Its Cookie fields; where the log has none, one with the values that it says were parsed."""
    if request.cookies:
        return request.cookies
    assert request.uri is not None
    return [b"%b=%b" % (name, value) for value in request.values if value not in request.uri]


def has_owner(clones: tuple[bytes, ...]) -> bool:
    """Whether these clone ids say that the session is some server's."""
    return any(clone != _STAND_ALONE for clone in clones)


class Traffic:
    """The requests of the logs; columns by the order in which they were added, until ``close``."""

    def __init__(self, new: World, old: World | None = None) -> None:
        """``new``: by which they will be simulated; ``old``: in force when the log was written, None: not known."""
        self.new = Routing(new)
        self.old = None if old is None else Routing(old)
        self.read_by = self.old or self.new
        self.begin_us = array("q")
        self.service_us = array("q")
        self.status = array("i")
        self.said = array("b")
        self.place = array("i")
        self.places: list[tuple[str, str]] = []  # (cluster, server)
        self.failures: dict[int, tuple[str, tuple[str, ...], tuple[str, ...]]] = {}
        self.order: Sequence[int] = ()
        self.left_out = 0
        self.assumed = 0
        self.assumed_us = 0  # of requests whose server is not known, or tells no time
        self.is_spread = False
        self.has_times = True
        self._places: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """How many."""
        return len(self.begin_us)

    def ambiguous_names(self) -> frozenset[str]:
        """Names that servers of several clusters have, in the log or in a configuration."""
        pairs = set(self.places)
        for routing in filter(None, (self.new, self.old)):
            for cluster in routing.world.config.server_clusters:
                pairs.update((cluster.name, server.name) for server in cluster.all_servers)
        counts = Counter(server for _, server in pairs)
        return frozenset(name for name, count in counts.items() if count > 1)

    def add(self, request: LoggedRequest) -> None:
        """One more request that a replay has put together; it may be used up by this."""
        if request.uri is None or request.replayed is None:
            self.left_out += 1
            return
        read = request.replayed
        try:
            if self.old is None:
                self.new.add(request, read)
            else:
                self.old.add(request, read)
                process = self.new.process
                self.new.add(
                    request,
                    ReplayedRequest(
                        process.decider, process.view, read.host, read.port, read.target, []
                    ),
                )
        except ValueError:
            self._trim()
            self.left_out += 1
            return
        begin_us = request.try_us or request.time_us
        knows = request.has_begun and request.end_us >= begin_us and not request.gave_up
        cluster = self._cluster_of(request)
        self.begin_us.append(request.time_us)
        self.service_us.append(request.end_us - begin_us if knows and request.end_us else NONE)
        self.status.append(request.status_seen)
        if request.gave_up:
            said = REFUSED
        elif request.cluster < 0 and not request.server_name:
            said = UNROUTED
        else:
            said = SERVED
        self.said.append(said)
        self.place.append(self._place((cluster, request.server_name)) if said == SERVED else NONE)
        if request.failed_at or request.marked:
            self.failures[len(self.begin_us) - 1] = (cluster, request.failed_at, request.marked)

    def _cluster_of(self, request: LoggedRequest) -> str:
        """The cluster of its server: as the log calls it, unless the configuration's has a server of that name."""
        routed = ""
        if request.cluster >= 0:
            cluster = self.read_by.world.config.server_clusters[request.cluster]
            routed = cluster.name
            if any(server.name == request.server_name for server in cluster.all_servers):
                return routed
        return request.group or routed

    def close(self) -> None:
        """The log is over: puts the requests in order, and decides on times that it does not tell."""
        begin = self.begin_us
        count = len(begin)
        in_order = all(begin[at] <= begin[at + 1] for at in range(count - 1))
        order = range(count) if in_order else sorted(range(count), key=begin.__getitem__)
        self.order = order
        self._assume()
        self.has_times = any(time_us > NO_TIME_US for time_us in begin)
        if count and not any(time_us % SECOND_US for time_us in begin):
            self.is_spread = True
            self._spread(order)

    def _trim(self) -> None:
        """A request that only one of the configurations refuses is in none."""
        for routing in filter(None, (self.new, self.old)):
            del routing.route[len(self) :], routing.session[len(self) :]
            del routing.clones[len(self) :], routing.born[len(self) :]

    def _assume(self) -> None:
        by_place: dict[int, array[int]] = {}
        for place, service_us in zip(self.place, self.service_us, strict=True):
            if service_us >= 0:
                by_place.setdefault(place, array("q")).append(service_us)
        known = array("q", (each for times in by_place.values() for each in times))
        self.assumed_us = median_low(known) if known else ASSUMED_SERVICE_US
        medians = {place: median_low(times) for place, times in by_place.items()}
        del known, by_place
        for at, service_us in enumerate(self.service_us):
            if service_us < 0:
                self.service_us[at] = medians.get(self.place[at], self.assumed_us)
                self.assumed += 1

    def _spread(self, order: Sequence[int]) -> None:
        """A clock of whole seconds lets all requests of a second begin at once: they are spread evenly over it."""
        same: list[int] = []
        for at in order:
            if same and self.begin_us[same[0]] != self.begin_us[at]:
                self._spread_second(same)
                same = []
            same.append(at)
        self._spread_second(same)

    def _spread_second(self, same: list[int]) -> None:
        for position, at in enumerate(same):
            self.begin_us[at] += position * SECOND_US // len(same)

    def _place(self, key: tuple[str, str]) -> int:
        at = self._places.get(key)
        if at is None:
            at = self._places[key] = len(self.places)
            self.places.append(key)
        return at
