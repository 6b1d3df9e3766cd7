"""
Writes http_plugin.log as the plug-in does, for tests: the words are those of ``logs.messages``.

A ``PluginLog`` only writes what it is told; what ``drive`` writes comes from the live code, so its replay must find no
difference.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from wsproxy._fast.logs.lines import read_lines
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.logs.request import Process
from wsproxy.config.xml import parse_config
from wsproxy.logs.messages import SHAPES, Code, Shape, shape_of
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.outcome import RequestOutcome
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World

CONFIG = """<?xml version="1.0" encoding="ISO-8859-1"?>
<Config>
  <VirtualHostGroup Name="default_host"><VirtualHost Name="*:80"/><VirtualHost Name="*:443"/></VirtualHostGroup>
  <ServerCluster Name="shop" RetryInterval="60">
    <Server Name="n_s1" CloneID="k1"><Transport Hostname="h1" Port="9080"/><Transport Hostname="h1" Port="9443" Protocol="https"/></Server>
    <Server Name="n_s2" CloneID="k2"><Transport Hostname="h2" Port="9080"/><Transport Hostname="h2" Port="9443" Protocol="https"/></Server>
    <Server Name="n_s3" CloneID="k3"><Transport Hostname="h3" Port="9080"/><Transport Hostname="h3" Port="9443" Protocol="https"/></Server>
    <PrimaryServers><Server Name="n_s1"/><Server Name="n_s2"/></PrimaryServers>
    <BackupServers><Server Name="n_s3"/></BackupServers>
  </ServerCluster>
  <ServerCluster Name="small">
    <Server Name="n_m1" CloneID="m1" MaxConnections="2"><Transport Hostname="h4" Port="9080"/></Server>
    <Server Name="n_m2" CloneID="m2" MaxConnections="2"><Transport Hostname="h5" Port="9080"/></Server>
  </ServerCluster>
  <UriGroup Name="shop_uris"><Uri Name="/shop/*"/><Uri Name="*.jsp"/></UriGroup>
  <UriGroup Name="small_uris"><Uri Name="/small/*" AffinityCookie="SID"/></UriGroup>
  <Route VirtualHostGroup="default_host" UriGroup="shop_uris" ServerCluster="shop"/>
  <Route VirtualHostGroup="default_host" UriGroup="small_uris" ServerCluster="small"/>
</Config>
"""


def make_world(config: str = CONFIG) -> World:
    return World(parse_config(config.encode(), "plugin-cfg.xml").config)


@dataclass
class PluginLog:
    """Lines so far; ``second`` is the time of the next one."""

    pid: int = 0xB60
    tid: int = 0xB94
    second: int = 0
    is_new: bool = True
    lines: list[str] = field(default_factory=list)

    def stamp(self) -> str:
        clock = f"{self.second // 3600:02d}:{self.second // 60 % 60:02d}:{self.second % 60:02d}"
        if self.is_new:
            return f"[21/Nov/2026:{clock}.{len(self.lines) % 100000:05d}]"
        return f"[Sat Nov 21 {clock} 2026]"

    def raw(self, level: str, text: str, tid: int | None = None) -> None:
        tid = self.tid if tid is None else tid
        self.lines.append(f"{self.stamp()} {self.pid:08x} {tid:08x} - {level}: {text}")

    def write(self, code: Code, *, tid: int | None = None, **fields: object) -> None:
        shape = pick_shape(code, fields)
        text = shape.text(**fields)
        self.raw(shape.level.name, text if shape.component else f"   {text}", tid)

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    # --- a request in one go ---

    def routed(
        self, uri: str, cluster: str = "shop", pattern: str = "/shop/*", tid: int | None = None
    ) -> None:
        """From its beginning to the choice of the Route."""
        score = len(pattern) - 1
        self.write(Code.BEGIN, tid=tid)
        self.write(Code.REQUEST_IS, host="www.example.com", uri=uri, tid=tid)
        self.write(
            Code.VHOST_MATCH, pattern="*:443", subject="www.example.com:443", group="default_host",
            score=1, exact=0, tid=tid,
        )  # fmt: skip
        self.write(
            Code.URI_MATCH, pattern=pattern, subject=uri, group=f"{cluster}_uris", score=score,
            exact=score, tid=tid,
        )  # fmt: skip
        cookie = "SID" if cluster == "small" else "JSESSIONID"
        self.write(
            Code.GROUP, group=cluster, score=score + 1, exact=score, cookie=cookie,
            url="jsessionid", tid=tid,
        )  # fmt: skip

    def served(
        self,
        server: str,
        host: str,
        port: int = 9443,
        cookie: str = "",
        status: int = 200,
        tid: int | None = None,
    ) -> None:
        """From the choice of the server to its answer."""
        self.write(Code.TRANSPORT, case=3, host=host, port=port, tid=tid)
        if cookie:
            self.write(Code.COOKIE, value=cookie, tid=tid)
        self.write(Code.STATUS_LINE, minor=1, status=status, reason="x", tid=tid)

    def named(self, server: str, current: int = 0, most: int = -1, tid: int | None = None) -> None:
        self.write(Code.MAX_CONNECTIONS, server=server, current=current, most=most, tid=tid)

    def failed(self, server: str, host: str, tid: int | None = None) -> None:
        """A try that could not connect."""
        self.write(Code.CONNECT_FAILED, host=host, errno=111, port=4711, tid=tid)
        self.write(Code.MARKING, server=server, tid=tid)
        self.write(Code.FAILED_TRY, server=server, host=host, tid=tid)

    def counters(
        self, server: str, failed: int, affinity: int, total: int, tid: int | None = None
    ) -> None:
        self.write(
            Code.COUNTERS,
            server=server,
            pending=0,
            failed=failed,
            affinity=affinity,
            total=total,
            tid=tid,
        )

    def simple(
        self, server: str = "n_s1", host: str = "h1", clone: str = "", uri: str = "/shop/a"
    ) -> None:
        """A whole request that is served at once."""
        self.routed(uri)
        if clone:
            self.write(Code.PARSING, value=f"0000sessionsession:{clone}")
        self.named(server)
        self.served(
            server, host, cookie=f"a=b; JSESSIONID=0000sessionsession:{clone}" if clone else ""
        )
        self.write(Code.END)


def pick_shape(code: Code, fields: dict[str, object]) -> Shape:
    """The first wording that has exactly these fields."""
    for shape in SHAPES:
        if shape.code is code and all("{" + name in shape.template for name in fields):
            return shape
    return shape_of(code)


@dataclass
class Replayed:
    """What a replay of a text says."""

    replay: Replay
    reading: Reading
    outcomes: list[RequestOutcome]

    def only(self) -> RequestOutcome:
        assert len(self.outcomes) == 1, self.outcomes
        return self.outcomes[0]

    def others(self) -> list[tuple[str, str, str]]:
        """(what, log, wsproxy) of all that differs."""
        return [
            (check.what, check.logged, check.ours)
            for outcome in self.outcomes
            for check in outcome.checks
            if check.result == "differs"
        ]

    def undecided(self) -> list[tuple[str, str]]:
        return [
            (check.what, check.note)
            for outcome in self.outcomes
            for check in outcome.checks
            if check.result == "undecided"
        ]


def replay_path(path: Path, world: World | None = None, *, shared: bool | None = None) -> Replayed:
    reading = Reading()
    outcomes: list[RequestOutcome] = []
    replay = Replay(
        world or make_world(), reading, outcomes.append, only_other=False, shared=shared
    )
    for lines in read_logs([str(path)], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    return Replayed(replay, reading, outcomes)


class Traffic:
    """Random requests of some threads over servers that fail and return: decided by live code, written as the plug-in would."""

    def __init__(self, seed: int, log: PluginLog, threads: int = 4) -> None:
        self.rng = random.Random(seed)
        self.log = log
        self.world = make_world()
        self.process: Process = self.world.new_process()
        self.broken: set[str] = set()
        self.counts: dict[str, list[int]] = {}
        self.threads = threads
        self.running: dict[int, tuple[ReplayedRequest, str]] = {}

    def step(self) -> None:
        """A server changes, time passes, a request begins or ends."""
        kind = self.rng.randrange(20)
        if kind == 0:
            self.broken ^= {self.rng.choice(["n_s1", "n_s2", "n_s3", "n_m1"])}
        elif kind == 1:
            self.log.second += self.rng.choice([0, 1, 30, 70])
        tid = self.rng.randrange(self.threads)
        if tid in self.running:
            self.end(tid)
        else:
            self.begin(tid)

    def now_ms(self) -> int:
        # what the reader makes of the stamp of the line before
        return read_lines(self.log.lines[-1].encode(), [])[0].time_us // 1000

    def begin(self, tid: int) -> None:
        """Up to the answer, over all servers that fail."""
        small = self.rng.random() < 0.3
        cluster, name = ("small", "SID") if small else ("shop", "JSESSIONID")
        uri = f"/{cluster}/{self.rng.randrange(50)}"
        clones = self.rng.choices(["k1", "k2", "k3", "m1", "m2", "gone"], k=self.rng.randrange(3))
        value = "0000session:" + ":".join(clones) if clones else ""
        cookies = [f"{name}={value}".encode()] if value else []
        self.log.routed(uri, cluster, f"/{cluster}/*", tid=tid)
        request = ReplayedRequest(
            self.process.decider, self.process.view, b"www.example.com", 443, uri.encode(), cookies
        )
        if value:
            self.log.write(Code.PARSING, value=value, tid=tid)
        while True:
            server, rule = request.choose(self.now_ms(), -1)
            if server < 0:
                self.log.write(Code.NO_SERVER, tid=tid)
                self.log.write(Code.FAILED, tid=tid)
                request.finish()
                return
            found = self.world.config.server_clusters[int(small)].servers[server]
            place = self.process.find(found.name.encode(), int(small))
            assert place is not None
            host, _, port = place.addresses[0].rpartition(":")
            count = place.cluster.server_state(server)["inflight"] - 1
            self.log.named(found.name, count, found.max_connections, tid=tid)
            self.log.write(Code.TRANSPORT, case=3, host=host, port=int(port), tid=tid)
            counts = self.counts.setdefault(found.name, [0, 0, 0])
            counts[1] += rule == 0
            if found.name not in self.broken:
                place.cluster.set_up(server)
                self.running[tid] = (request, found.name)
                if value:
                    self.log.write(Code.COOKIE, value=f"a=b; {name}={value}", tid=tid)
                self.log.write(Code.STATUS_LINE, minor=1, status=200, reason="OK", tid=tid)
                return
            counts[0] += 1
            place.cluster.set_down(server, 0, self.now_ms())
            self.log.failed(found.name, host, tid=tid)
            request.fail()

    def end(self, tid: int) -> None:
        request, name = self.running.pop(tid)
        counts = self.counts[name]
        counts[2] += 1
        failed, affinity, total = counts
        self.log.counters(name, failed, affinity, total, tid=tid)
        self.log.write(Code.END, tid=tid)
        request.finish()
