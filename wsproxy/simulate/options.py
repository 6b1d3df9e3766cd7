"""
What a simulation changes: servers that are down for a while, weights, MaxConnections, the pace of requests.

Driven by ``cli.simulate``. Pure: reads texts of the command line, returns values; each error names what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from wsproxy.config.find import find_server
from wsproxy.config.model import METADATA_KEY, AttributeSpec, Config, Server
from wsproxy.errors import StartError
from wsproxy.logs.words import LAST_US, time_text

_RATE = re.compile(r"x(\d{1,6}(?:\.\d{1,6})?)")
_DURATION = re.compile(r"(\d{1,9})(s|m|h)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_CLOCK = re.compile(r"(?:(\d{4})-(\d\d)-(\d\d)[T ])?(\d\d):(\d\d)(?::(\d\d))?")
_DAY = timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC)
_DOWN_ALLOWED = (
    "SERVER@TIME+DURATION, as s1@10:32+5m; TIME is HH:MM[:SS] or YYYY-MM-DDTHH:MM[:SS] of the log's clock,"
    " DURATION a number with s, m or h"
)

Changed = Literal["load_balance_weight", "max_connections"]
WEIGHT: Changed = "load_balance_weight"
MAX_CONNECTIONS: Changed = "max_connections"


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that cannot be reached for ``duration_s``; from that clock of the log's first day on, or of ``date``."""

    option: str
    cluster: int
    server: int
    date: tuple[int, int, int] | None
    clock_s: int
    duration_s: int

    def begin_us(self, first_us: int, last_us: int) -> int:
        """
        When it begins, by the log's clock.

        Raises:
            StartError: not while the log lasts.
        """
        first = _moment(first_us)
        day = (
            datetime(*self.date, tzinfo=UTC)
            if self.date
            else first.replace(hour=0, minute=0, second=0, microsecond=0)
        )
        moment = day + timedelta(seconds=self.clock_s)
        if (
            self.date is None
            and _microseconds(moment) + self.duration_s * 1_000_000 < first_us
            and moment <= _LAST - _DAY
        ):
            moment += _DAY  # a log that goes on after midnight
        begin_us = _microseconds(moment)
        if begin_us > last_us or begin_us + self.duration_s * 1_000_000 < first_us:
            raise StartError(
                f"--down {self.option}: found {moment:%Y-%m-%dT%H:%M:%S}; allowed is a time of the log,"
                f" {time_text(first_us)} to {time_text(last_us)}"
            )
        return begin_us


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(min(time_us, LAST_US) // 1_000_000, UTC)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def read_outage(option: str, config: Config) -> Outage:
    """
    The outage of ``--down SERVER@TIME+DURATION``.

    Raises:
        StartError: it is none.
    """
    name, at, rest = option.rpartition("@")
    clock, plus, duration = rest.partition("+")
    found, length = _CLOCK.fullmatch(clock), _DURATION.fullmatch(duration)
    if not (at and plus and name and found and length):
        raise StartError(f"--down: found {option}; allowed is {_DOWN_ALLOWED}")
    year, month, day, hour, minute, second = found.groups(default="0")
    date = (int(year), int(month), int(day)) if found[1] else None
    clock_s = int(hour) * 3600 + int(minute) * 60 + int(second)
    try:
        datetime(*(date or (2000, 1, 1)), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise StartError(f"--down: found {option} ({error}); allowed is {_DOWN_ALLOWED}") from error
    duration_s = int(length[1]) * _UNIT_S[length[2]]
    if duration_s == 0:
        raise StartError(f"--down: found {option}, which lasts no time; allowed is {_DOWN_ALLOWED}")
    return Outage(option, *_find(config, name, "--down"), date, clock_s, duration_s)


def read_rate(option: str) -> float:
    """
    How many times as fast requests come.

    Raises:
        StartError: ``option`` is no such factor.
    """
    found = _RATE.fullmatch(option)
    factor = float(found[1]) if found else 0.0
    if not factor:
        raise StartError(
            f"--rate: found {option}; allowed is xN, as x2: twice as many requests a second, or x0.5: half as many"
        )
    return factor


def change_servers(config: Config, name: str, what: Changed, options: tuple[str, ...]) -> Config:
    """
    The configuration with another value at some servers; ``options`` of ``name`` are SERVER=NUMBER each.

    Raises:
        StartError: one of them is none, names no server, or names one again.
    """
    spec = _spec(what)
    done: set[tuple[int, int]] = set()
    for option in options:
        server, equals, text = option.rpartition("=")
        least = -1 if spec.low is None else spec.low
        allowed = f"SERVER=NUMBER with a {spec.name} from {least} on"
        if not (equals and server and re.fullmatch(r"-?\d{1,9}", text)) or int(text) < least:
            raise StartError(f"{name}: found {option}; allowed is {allowed}, as s1=4")
        at = _find(config, server, name)
        if at in done:
            raise StartError(f"{name}: found {server} twice; allowed is once a server")
        done.add(at)
        config = _change(config, at, what, int(text))
    return config


def _spec(what: Changed) -> AttributeSpec:
    found = next(each for each in fields(Server) if each.name == what)
    spec = found.metadata[METADATA_KEY]
    assert isinstance(spec, AttributeSpec)
    return spec


def _find(config: Config, name: str, option: str) -> tuple[int, int]:
    try:
        return find_server(config, name)
    except StartError as error:
        raise StartError(f"{option}: {error}") from error


def _change(config: Config, at: tuple[int, int], what: Changed, value: int) -> Config:
    clusters = list(config.server_clusters)
    cluster = clusters[at[0]]
    servers = list(cluster.servers)
    if at[1] < len(servers):
        servers[at[1]] = _with(servers[at[1]], what, value)
        clusters[at[0]] = replace(cluster, servers=tuple(servers))
    else:
        assert cluster.cluster_address is not None
        clusters[at[0]] = replace(
            cluster, cluster_address=_with(cluster.cluster_address, what, value)
        )
    return replace(config, server_clusters=tuple(clusters))


def _with(server: Server, what: Changed, value: int) -> Server:
    if what == "load_balance_weight":
        return replace(server, load_balance_weight=value)
    return replace(server, max_connections=value)
