"""A simulation of an access log or a plug-in log that a test writes, up to the result as it is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wsproxy.config.model import Config
from wsproxy.config.settings import Settings
from wsproxy.config.xml import parse_config
from wsproxy.logs.access_reader import read_record
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World
from wsproxy.simulate.options import (
    MAX_CONNECTIONS,
    WEIGHT,
    change_servers,
    read_outage,
    read_rate,
)
from wsproxy.simulate.result import (
    OptionsJson,
    Sides,
    SimulationJson,
    result_json,
    simulate_all,
    without_queue,
)
from wsproxy.simulate.side import ServerJson, SideJson
from wsproxy.simulate.simulation import Scenario
from wsproxy.simulate.traffic import Traffic


def make_xml(*servers: str, cluster: str = 'RetryInterval="60"') -> str:
    """A cluster ``c`` of servers s1, s2...; each argument is more attributes of one."""
    rows = "".join(
        f'<Server Name="s{at}" CloneID="k{at}" {more}><Transport Hostname="h{at}" Port="9080"/></Server>'
        for at, more in enumerate(servers, 1)
    )
    return (
        '<Config><VirtualHostGroup Name="v"><VirtualHost Name="*:80"/></VirtualHostGroup>'
        f'<ServerCluster Name="c" {cluster}>{rows}</ServerCluster>'
        '<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup>'
        '<Route VirtualHostGroup="v" UriGroup="u" ServerCluster="c"/></Config>'
    )


TWO = make_xml("", "")


def read_xml(text: str) -> Config:
    return parse_config(text.encode(), "plugin-cfg.xml").config


@dataclass
class AccessLog:
    """Lines of an access log; the clock begins at 10:00."""

    lines: list[str] = field(default_factory=list)

    def add(
        self, second: float, session: str = "", server: int = 1, took_s: float | None = 0.1,
        status: int = 200, path: str = "/a/x",
    ) -> None:  # fmt: skip
        """A request; ``session`` is the whole value of its cookie."""
        whole = int(second)
        clock = f"{10 + whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        self.lines.append(
            f'h - - [21/Nov/2026:{clock} +0000] "GET {path} HTTP/1.1" {status} 5'
            + (f' JSESSIONID="{session}"' if session else "")
            + (f" WAS=h{server}:9080" if server else "")
            + (f" D={int(took_s * 1e6)}" if took_s is not None else "")
        )


@dataclass
class Simulated:
    """What came out."""

    traffic: Traffic
    sides: Sides
    result: SimulationJson

    @property
    def before(self) -> SideJson:
        return self.result.before

    @property
    def after(self) -> SideJson:
        return self.result.after

    def requests(self, side: SideJson | None = None) -> dict[str, int]:
        """By server."""
        return {each.server: each.requests for each in (side or self.after).servers}

    def server(self, name: str, side: SideJson | None = None) -> ServerJson:
        return next(each for each in (side or self.after).servers if each.server == name)


def simulated(
    log: AccessLog | Path,
    new: str = TWO,
    *,
    old: str | None = None,
    down: tuple[str, ...] = (),
    weight: tuple[str, ...] = (),
    max_connections: tuple[str, ...] = (),
    rate: str = "x1",
    seed: int = 0,
    settings: Settings | None = None,
) -> Simulated:
    settings = settings or Settings()
    config = read_xml(new)
    outages = tuple(read_outage(each, config) for each in down)
    config = change_servers(config, "--weight", WEIGHT, weight)
    config = change_servers(config, "--max-connections", MAX_CONNECTIONS, max_connections)
    scenario = Scenario(outages, read_rate(rate), seed)
    traffic = Traffic(
        World(config, without_queue(settings)),
        None if old is None else World(read_xml(old), without_queue(settings)),
    )
    reading = Reading()
    replay = Replay(traffic.read_by.world, reading, on_end=traffic.add)
    if isinstance(log, Path):
        for lines in read_logs([str(log)], reading, wanted_only=True):
            replay.take(lines)
    else:
        for number, line in enumerate(log.lines, 1):
            record = read_record(number, line.encode(), "common")
            assert record is not None, line
            replay.take_access(record, b"www", 80)
    replay.end()
    traffic.close()
    sides = simulate_all(traffic, scenario, lambda _what, _done, _of: None)
    result = result_json(
        sides,
        traffic,
        OptionsJson(down, weight, max_connections, scenario.rate, seed),
        ((str(log) if isinstance(log, Path) else "access.log",), "new.xml", old and "old.xml"),
        has_queue=settings.queue.size > 0,
    )
    return Simulated(traffic, sides, result)
