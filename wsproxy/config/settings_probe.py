"""
``[probe]`` of wsproxy.toml: which servers are asked whether they are well, by a process of wsproxy's own, and what that decides.

``[[probe.cluster]]`` says of one ServerCluster what is otherwise there. ``probe_of`` joins the two. Read by
``config.settings_file``, used by ``probe``. Pure.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from wsproxy.config.problems import printable

ProbeType = Literal["off", "http", "https", "tcp"]
Initial = Literal["up", "down", "until_probed"]
Expected = tuple[int | str, ...]

SHORTEST_S = 0.05
LONGEST_S = 86400.0
# What a result holds for beyond the next two probes: a prober that is late by less is none that has ended.
SPARE_S = 1.0
# As HAProxy: what no more probes in a row can be waited for.
MOST_IN_A_ROW = 100

_STATUS = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")
_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"(?=.{1,255}$)([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class ProbeClusterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[probe.cluster]]``; what it does not say is as in ``[probe]``."""

    name: Annotated[str, Meta(description="ServerCluster that the other settings are for")]
    type: Annotated[
        ProbeType | None, Meta(description='probe.type of this cluster; "off": it is not probed')
    ] = None
    path: Annotated[str | None, Meta(description="probe.path of this cluster")] = None
    host: Annotated[str | None, Meta(description="probe.host of this cluster")] = None
    status: Annotated[Expected | None, Meta(description="probe.status of this cluster")] = None
    body: Annotated[str | None, Meta(description="probe.body of this cluster")] = None
    interval_s: Annotated[
        Annotated[float, Meta(ge=SHORTEST_S, le=LONGEST_S)] | None,
        Meta(description="probe.interval_s of this cluster"),
    ] = None
    jitter: Annotated[
        Annotated[float, Meta(ge=0.0, le=0.5)] | None,
        Meta(description="probe.jitter of this cluster"),
    ] = None
    timeout_s: Annotated[
        Annotated[float, Meta(ge=SHORTEST_S, le=LONGEST_S)] | None,
        Meta(description="probe.timeout_s of this cluster"),
    ] = None
    rise: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_IN_A_ROW)] | None,
        Meta(description="probe.rise of this cluster"),
    ] = None
    fall: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_IN_A_ROW)] | None,
        Meta(description="probe.fall of this cluster"),
    ] = None
    initial: Annotated[Initial | None, Meta(description="probe.initial of this cluster")] = None
    slow_start_s: Annotated[
        Annotated[float, Meta(ge=0.0, le=LONGEST_S)] | None,
        Meta(description="probe.slow_start_s of this cluster"),
    ] = None


class ProbeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[probe]``: of all ServerClusters."""

    type: Annotated[
        ProbeType,
        Meta(
            description='"http": a page is asked for at the Transport that http requests go to, over TLS where that is an https one; '
            '"https": at the one that https requests go to; "tcp": a connection is made there, with its TLS, and must stay; '
            '"off": no probes'
        ),
    ] = "off"
    path: Annotated[str, Meta(description="path, and query, that is asked for with GET")] = "/"
    host: Annotated[
        str, Meta(description="Host field of the question; empty: host and port of the Transport")
    ] = ""
    status: Annotated[
        Expected,
        Meta(description='answers that are good: 200, or from one to another: "200-399"'),
    ] = ("200-399",)
    body: Annotated[
        str, Meta(description="text that must stand in the first 64 KiB of the page; empty: any")
    ] = ""
    interval_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="time from one probe of a server to its next one",
        ),
    ] = 5.0
    jitter: Annotated[
        float,
        Meta(
            ge=0.0,
            le=0.5,
            description="part of interval_s that it is longer or shorter at random, so that probes do not come in step",
        ),
    ] = 0.1
    timeout_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time that a probe may take, from its start to the answer's last byte",
        ),
    ] = 2.0
    rise: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_IN_A_ROW,
            description="good probes in a row that bring back a server that is down",
        ),
    ] = 2
    fall: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_IN_A_ROW,
            description="failed probes in a row that take a server out of service",
        ),
    ] = 3
    initial: Annotated[
        Initial,
        Meta(
            description='a server that is new: "up" until probes say otherwise, "down" until rise probes were good, '
            '"until_probed": no request goes there before its first probe, which decides'
        ),
    ] = "up"
    slow_start_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long the weight of a server grows that has come back, with probes or without; 0: it has all of it at once",
        ),
    ] = 0.0
    cluster: tuple[ProbeClusterSettings, ...] = ()


def probe_of(probe: ProbeSettings, cluster: str) -> ProbeSettings:
    """What holds for this ServerCluster."""
    own = next((each for each in probe.cluster if each.name == cluster), None)
    if own is None:
        return probe
    said = {
        name: value
        for name in own.__struct_fields__
        if name != "name" and (value := getattr(own, name)) is not None
    }
    return msgspec.structs.replace(probe, **said)


def hold_ms(probe: ProbeSettings) -> int:
    """
    How long a result holds where no other follows: two probes long, and a little: one that comes late, or is not counted, lets no client's request find out that a server is still down.

    RetryInterval, where that is longer, holds besides.
    """
    longest_s = probe.interval_s * (1 + probe.jitter) + probe.timeout_s
    return int(1000 * (2 * longest_s + SPARE_S))


def is_probing(probe: ProbeSettings) -> bool:
    """Whether anything is probed at all."""
    return probe.type != "off" or any(own.type not in (None, "off") for own in probe.cluster)


def expected_ranges(status: Expected) -> tuple[tuple[int, int], ...]:
    """
    From where to where, both included.

    Raises:
        ValueError: one of them is none; says ``found X; allowed is Y``.
    """
    found = []
    for each in status:
        parts = _STATUS.fullmatch(str(each))
        if parts is None or int(parts[2] or parts[1]) < int(parts[1]):
            shown = f'"{printable(each)}"' if isinstance(each, str) else str(each)
            raise ValueError(
                f'found {shown}; allowed is a status from 100 to 599, or a range like "200-399"'
            )
        found.append((int(parts[1]), int(parts[2] or parts[1])))
    if not found:
        raise ValueError('found none; allowed is one status at least, like 200 or "200-399"')
    return tuple(found)


def probe_flaws(probe: ProbeSettings | ProbeClusterSettings) -> list[tuple[str, str]]:
    """What is wrong with these settings, by name; each is known to be of its kind."""
    found = []
    if probe.path is not None and not _PATH.fullmatch(probe.path):
        allowed = "allowed is a path from its first /, of visible ASCII: what else it has as %XX"
        found.append(("path", f'found "{printable(probe.path)}"; {allowed}'))
    if probe.host and not _HOST.fullmatch(probe.host):
        allowed = "allowed is HOST or HOST:PORT, IPv6 in brackets"
        found.append(("host", f'found "{printable(probe.host)}"; {allowed}'))
    if probe.status is not None:
        try:
            expected_ranges(probe.status)
        except ValueError as error:
            found.append(("status", str(error)))
    return found
