"""
A simulation from the logs' traffic to what is printed: all sides, and each server's on one line.

Driven by ``cli.simulate``; the names are those of docs/simulate.md. Must not print or read files.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wsproxy.config.settings import Settings
from wsproxy.pluginlog.replay import time_text
from wsproxy.pluginlog.simulate import Scenario, Simulation
from wsproxy.pluginlog.simulate_record import Recording
from wsproxy.pluginlog.simulate_side import ServerJson, Show, Side, SideJson
from wsproxy.pluginlog.simulate_traffic import Traffic


class OptionsJson(msgspec.Struct):
    """What was tried, as it was given."""

    down: tuple[str, ...]
    weight: tuple[str, ...]
    max_connections: tuple[str, ...]
    rate: float
    seed: int


class SimulationJson(msgspec.Struct, kw_only=True, tag_field="type", tag="simulation"):
    """The whole of ``--json``."""

    logs: tuple[str, ...]
    config: str
    before_config: str | None
    options: OptionsJson
    requests: int
    left_out: int
    assumed_service_times: int
    first: str
    last: str
    before: SideJson
    modelled: SideJson | None
    after: SideJson
    notes: list[str]

    @property
    def is_worse(self) -> bool:
        """Whether requests or sessions fail that did not before."""
        before = self.modelled or self.before
        after = self.after
        return (
            after.refused > before.refused
            or after.unrouted > before.unrouted
            or after.sessions_broken > before.sessions_broken
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """What the charts are drawn from; ``modelled``: the old configuration, simulated."""

    before: Side
    modelled: Side | None
    after: Side


def simulate_all(traffic: Traffic, scenario: Scenario, show: Show) -> Sides:
    """
    All sides of the traffic, which is closed.

    Raises:
        StartError: a server is to be down when the log has no requests.
    """
    after = Simulation(traffic, traffic.new, scenario)  # raises before anything takes long
    modelled = None
    if traffic.old is not None:
        modelled = Simulation(traffic, traffic.old, Scenario(seed=scenario.seed))
    return Sides(
        Recording(traffic).run(show),
        None if modelled is None else modelled.run(show),
        after.run(show),
    )


def without_queue(settings: Settings) -> Settings:
    """The settings as far as they can be simulated: nobody waits."""
    queue = msgspec.structs.replace(settings.queue, size=0)
    return msgspec.structs.replace(settings, queue=queue)


def result_json(
    sides: Sides,
    traffic: Traffic,
    options: OptionsJson,
    names: tuple[tuple[str, ...], str, str | None],
    *,
    has_queue: bool,
) -> SimulationJson:
    """All of it; ``names``: of the logs, of the new and of the old configuration."""
    order = traffic.order
    return SimulationJson(
        logs=names[0],
        config=names[1],
        before_config=names[2],
        options=options,
        requests=len(traffic),
        left_out=traffic.left_out,
        assumed_service_times=traffic.assumed,
        first=time_text(traffic.begin_us[order[0]]),
        last=time_text(traffic.begin_us[order[-1]]),
        before=sides.before.as_json(),
        modelled=None if sides.modelled is None else sides.modelled.as_json(),
        after=sides.after.as_json(),
        notes=_notes(traffic, sides, has_queue=has_queue),
    )


def _notes(traffic: Traffic, sides: Sides, *, has_queue: bool) -> list[str]:
    notes = []
    born, seen = len(sides.after.sessions.born), len(sides.after.sessions.seen)
    if traffic.left_out:
        notes.append(
            f"{traffic.left_out} requests left out: the log does not tell their URI, or it would be refused"
        )
    if traffic.assumed:
        notes.append(
            f"{traffic.assumed} service times are not in the log: assumed is the median of their server,"
            f" where it tells none {traffic.assumed_us / 1000:g} ms"
        )
    if traffic.is_spread:
        notes.append(
            "the log's clock has whole seconds: the requests of each are spread evenly over it"
        )
    if seen > born:
        notes.append(
            f"{seen - born} of {seen} sessions began before the log, or it does not show how:"
            " they stay with the clone ids that they came with, whatever the weights"
        )
    if traffic.new.nameless:
        notes.append(
            f"{traffic.new.nameless} requests bring clone ids and no session that can be told from others"
            " (masked below Trace, or tracked by SSL id): each is taken for itself"
        )
    if has_queue:
        notes.append("[queue] is not simulated: who would wait is refused")
    return notes


def paired(result: SimulationJson) -> list[tuple[str, ServerJson, ServerJson]]:
    """(name, before, after) of each server, in the new configuration's order; CLUSTER/SERVER where there are several."""
    before = {(each.cluster, each.server): each for each in result.before.servers}
    after = {(each.cluster, each.server): each for each in result.after.servers}
    keys = list(dict.fromkeys([*after, *before]))
    is_long = len({cluster for cluster, _ in keys}) > 1
    return [
        (
            f"{cluster}/{server or '(unknown)'}" if is_long or not server else server,
            before.get((cluster, server), _nothing(cluster, server)),
            after.get((cluster, server), _nothing(cluster, server)),
        )
        for cluster, server in keys
    ]


def _nothing(cluster: str, server: str) -> ServerJson:
    return ServerJson(cluster, server, 0, 0.0, 0, 0, 0, 0, 0)


# Column of the table of servers -> field of ServerJson.
COLUMNS = (
    ("requests", "requests"),
    ("share", "share"),
    ("by affinity", "by_affinity"),
    ("sessions", "sessions"),
    ("failed tries", "failed_tries"),
    ("marked down", "marked_down"),
    ("peak in flight", "peak_in_flight"),
)


def cell(server: ServerJson, name: str) -> str:
    """A value of the table of servers."""
    value = getattr(server, name)
    return f"{value * 100:.1f}%" if name == "share" else str(value)


def totals(side: SideJson) -> dict[str, str]:
    """The table of totals: what it is, and the number; a dash where the side cannot know."""
    moves = side.moves
    return {
        "requests served": str(side.served),
        "by affinity": str(side.by_affinity),
        "refused (no server takes them)": str(side.refused),
        "  of these all at MaxConnections": _or_dash(side.refused_full),
        "no route": str(side.unrouted),
        "failed tries": str(side.failed_tries),
        "servers marked down": str(side.marked_down),
        "peak in flight": str(side.peak_in_flight),
        "sessions": str(side.sessions),
        "  begun in the log": str(side.sessions_born),
        "  moved": str(side.sessions_moved),
        "  broken: unknown clone id": _or_dash(side.sessions_unknown_clone),
        "  broken: refused": str(side.sessions_refused),
        "moves of sessions": str(sum(moves.values())),
        **{f"  {cause}": str(count) for cause, count in moves.items()},
        "answers 503": str(side.statuses.get("503", 0)),
    }


def _or_dash(count: int | None) -> str:
    return "-" if count is None else str(count)
