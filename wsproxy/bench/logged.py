"""
The requests of a user's log as a script: their paths, sessions, times, service times and sizes, for servers that are stubs.

Driven by ``cli.bench --log``; fed by ``replay.replay`` through ``LoggedRequests.add``, as a simulation is. Session ids of the log are not
sent: each session gets one of ours, of the server that the log says. What a log does not tell is assumed, and said.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field

from wsproxy._fast.logs.request import LoggedRequest
from wsproxy.bench import traffic
from wsproxy.bench.open_loop import OK, Script, spell
from wsproxy.bench.site import HOST_NAME, LOOPBACK, Cluster, Member, Site
from wsproxy.logs.access_reader import AccessRecord
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World
from wsproxy.simulate.traffic import NONE, Traffic

# A page of an application in round numbers, where the log has no size.
ASSUMED_SIZE = 8192
# A form, where a body was sent: no log says how long it was.
ASSUMED_BODY = traffic.upload_body(512)
WITH_BODY = (b"POST", b"PUT", b"PATCH")
METHODS = (b"GET", b"HEAD", b"DELETE", b"OPTIONS", *WITH_BODY)
# Of an answer: what is larger takes longer than a run, and a log may say any number.
MOST_SIZE = 1 << 30
MOST_REQUESTS = 200_000  # in memory, with their heads
# What a proxy answers by itself when servers fail: a stub that did would be tried again elsewhere.
_OWN_STATUSES = (502, 503, 504)
_SWITCHED = 101
_TARGET = re.compile(rb"/[!-~]*")
_HOST = re.compile(r"[a-z0-9.-]+")


@dataclass(slots=True)
class LoggedRequests:
    """What is kept beside ``Traffic``: what was asked for, and how large the answer was; by the order in which they came."""

    traffic: Traffic
    targets: list[bytes] = field(default_factory=list)
    methods: list[bytes] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("q"))
    size: int = NONE  # of the record that is being read
    assumed_sizes: int = 0
    left_out: int = 0
    said: list[str] = field(default_factory=list)  # what the reader must know of the last script

    def add(self, request: LoggedRequest) -> None:
        """One more request that a replay has put together."""
        target, method = request.uri or b"", request.method
        before = len(self.traffic)
        self.traffic.add(request)
        if len(self.traffic) > before:
            self.targets.append(target)
            self.methods.append(method)
            self.sizes.append(min(self.size, MOST_SIZE))

    def script(self, site: Site, port: int, seconds: float, rate: float) -> Script:
        """
        The busiest ``seconds`` of the log as they are sent to ``port``, ``rate`` times as many a second.

        Raises: ValueError where nothing of it can be sent.
        """
        routed = [at for at in self.traffic.order if self._can_be_sent(at)]
        self.left_out = len(self.traffic) - len(routed)
        if not routed:
            msg = "no request of the log has a Route to a server of plugin-cfg.xml"
            raise ValueError(msg)
        begin = self.traffic.begin_us
        first, after = busiest([begin[at] for at in routed], int(seconds * rate * 1e6))
        script, self.assumed_sizes = Script(), 0
        numbers: dict[bytes, int] = {}
        for at in routed[first : min(after, first + MOST_REQUESTS)]:
            self._add_to(
                script, numbers, site, port, at, int((begin[at] - begin[routed[first]]) / rate)
            )
        self.said = self._notes(script)
        return script

    def _can_be_sent(self, at: int) -> bool:
        head = self.traffic.new.route[at]
        return (
            head != NONE
            and self.traffic.status[at] != _SWITCHED
            and (not self.methods[at] or self.methods[at] in METHODS)
            and _TARGET.fullmatch(self.targets[at]) is not None
        )

    def _add_to(
        self, script: Script, numbers: dict[bytes, int], site: Site, port: int, at: int, due_us: int
    ) -> None:
        routing = self.traffic.new
        head = routing.heads[routing.route[at]]
        cluster = site.clusters[head.cluster]
        owner, cookie = self._session(cluster, head.cookie.decode("latin-1"), at)
        size, status = self.sizes[at], self.traffic.status[at]
        if size < 0:
            self.assumed_sizes += 1
            size = ASSUMED_SIZE
        if status < OK or status in _OWN_STATUSES:
            status = OK
        method = self.methods[at] or b"GET"
        host = head.host.decode("latin-1").lower()
        service_us = max(0, self.traffic.service_us[at])
        request = spell(
            host if _HOST.fullmatch(host) and host != LOOPBACK else HOST_NAME,
            port,
            self.targets[at].decode("latin-1"),
            cookie,
            method=method.decode(),
            say=f"{service_us} {size} {status}",
            body=ASSUMED_BODY if method in WITH_BODY else b"",
        )
        number = numbers.setdefault(request, len(script.requests))
        if number == len(script.requests):
            script.requests.append(request)
        script.add(due_us, number, owner.port if owner else 0, service_us, status)

    def _session(self, cluster: Cluster, name: str, at: int) -> tuple[Member | None, str]:
        """Whose session it is, and the Cookie field."""
        routing = self.traffic.new
        session = routing.session[at]
        clones = [clone.decode("latin-1") for clone in routing.clone_lists[routing.clones[at]]]
        if session == NONE and not clones:
            return None, traffic.cookie(at % traffic.SESSIONS)
        known = {member.clone_id: member for member in cluster.members if member.clone_id}
        owner = next((known[clone] for clone in clones if clone in known), None)
        number = session if session != NONE else at % traffic.SESSIONS
        if owner is None and cluster.owners:
            owner = cluster.owners[number % len(cluster.owners)]
        if owner is None or owner.clone_id is None:
            return None, traffic.cookie(number)
        text = traffic.session_cookie(number, name, cluster.separator, [owner.clone_id])
        return owner, traffic.cookie(number, text)

    def _notes(self, script: Script) -> list[str]:
        seen = self.traffic
        found = [
            f"{len(script):,} of the log's {len(seen):,} requests, its busiest {script.seconds:.0f} s",
            "latency is what comes on top of the log's service times, from when a request was due",
        ]
        if self.left_out:
            found.append(
                f"{self.left_out:,} requests are left out: no Route, an upgrade, or no text of a request"
            )
        if seen.assumed:
            found.append(
                f"{seen.assumed:,} requests of the log tell no service time: the median of their server, {seen.assumed_us:,} us where it has none"
            )
        if self.assumed_sizes:
            found.append(f"answers whose size the log does not tell have {ASSUMED_SIZE:,} bytes")
        if seen.is_spread:
            found.append("the log's clock has whole seconds: requests are spread over each")
        if not any(script.owner):
            found.append("the log has no sessions: no affinity was asked for")
        return found


class SizedReplay(Replay):
    """A replay that tells sizes of answers, which no decision depends on."""

    def __init__(self, world: World, reading: Reading, requests: LoggedRequests) -> None:
        """Nothing read yet."""
        super().__init__(world, reading, on_end=requests.add)
        self._requests = requests

    def take_access(self, record: AccessRecord, host: bytes, port: int) -> None:
        """As any replay, with the size noted first."""
        self._requests.size = record.size
        super().take_access(record, host, port)


def busiest(begin_us: list[int], length_us: int) -> tuple[int, int]:
    """First index and the one after the last of the stretch of this length with most requests; the earliest of several."""
    best = (0, 0)
    for first, start in enumerate(begin_us):
        after = bisect_left(begin_us, start + length_us, first)
        if after - first > best[1] - best[0]:
            best = (first, after)
        if after == len(begin_us):
            break
    return best
