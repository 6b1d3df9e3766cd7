"""
A simulation from the logs' traffic to what is printed: all sides, and each server's on one line.

Driven by ``cli.simulate``; the names are those of docs/simulate.md. Must not print or read files.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wsproxy.config.settings import Settings
from wsproxy.logs.words import count_of, listed, short_names, time_text
from wsproxy.simulate.record import Recording
from wsproxy.simulate.side import ServerJson, Show, Side, SideJson
from wsproxy.simulate.simulation import Scenario, Simulation
from wsproxy.simulate.traffic import Traffic


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
    meaning: dict[str, str]
    notes: list[str]
    sentence: str = ""

    @property
    def sides(self) -> list[tuple[str, SideJson]]:
        """Each side that there is, with its name."""
        sides = {"before": self.before, "modelled": self.modelled, "after": self.after}
        return [(name, side) for name, side in sides.items() if side is not None]

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
    result = SimulationJson(
        logs=names[0],
        config=names[1],
        before_config=names[2],
        options=options,
        requests=len(traffic),
        left_out=traffic.left_out,
        assumed_service_times=traffic.assumed,
        first=time_text(traffic.begin_us[order[0]]) if traffic.has_times else "",
        last=time_text(traffic.begin_us[order[-1]]) if traffic.has_times else "",
        before=sides.before.as_json(),
        modelled=None if sides.modelled is None else sides.modelled.as_json(),
        after=sides.after.as_json(),
        meaning=_meaning(options, names),
        notes=_notes(traffic, sides, options, has_queue=has_queue),
    )
    result.sentence = _sentence(result)
    return result


def option_text(options: OptionsJson) -> str:
    """What was tried besides the configuration, as it was given; with a blank before it, or empty."""
    given = [
        *(f"--down {each}" for each in options.down),
        *(f"--weight {each}" for each in options.weight),
        *(f"--max-connections {each}" for each in options.max_connections),
        *([f"--rate x{options.rate:g}"] if options.rate != 1 else []),
    ]
    return "".join(f" {each}" for each in given)


def _meaning(
    options: OptionsJson, names: tuple[tuple[str, ...], str, str | None]
) -> dict[str, str]:
    logs, new, old = names
    short = short_names((*logs, new, *([old] if old else [])))
    meaning = {"before": f"what {listed(short[log] for log in logs)} says happened"}
    if old:
        meaning["modelled"] = f"its requests through {short[old]}, simulated"
    meaning["after"] = f"its requests through {short[new]}{option_text(options)}, simulated"
    return meaning


def _sentence(result: SimulationJson) -> str:
    """What it comes to: sessions first, then requests where some fail."""
    before, after = result.modelled or result.before, result.after
    if after.sessions:
        moved = _share(
            after.sessions_moved, after.sessions, "session", "moves", before.sessions_moved
        )
        broken = _some(after.sessions_broken, "breaks", before.sessions_broken)
        parts = [f"{moved}, {broken}"]
    else:
        parts = ["no session can be told from the others" if result.requests else "no session"]
    if after.refused or before.refused:
        parts.append(
            _share(after.refused, result.requests, "request", "is refused", before.refused)
        )
    if after.unrouted or before.unrouted:
        parts.append(
            _share(after.unrouted, result.requests, "request", "finds no route", before.unrouted)
        )
    return "; ".join(parts) + "."


def _share(count: int, of: int, what: str, verb: str, before: int) -> str:
    return _some(count, verb, before, f" of {count_of(of, what)}")


def _some(count: int, verb: str, before: int, of: str = "") -> str:
    word, _, rest = verb.partition(" ")
    if count > 1:
        verb = " ".join(filter(None, ("are" if word == "is" else word.removesuffix("s"), rest)))
    was = f" ({before} before)" if before and before != count else ""
    return f"{count or 'none'}{of} {verb}{was}"


def _notes(traffic: Traffic, sides: Sides, options: OptionsJson, *, has_queue: bool) -> list[str]:
    notes = []
    failed = [
        row.label for row in sides.before.rows.values() if row.failed_tries or row.marked_down
    ]
    if failed:
        less = " but for --down" if options.down else ""
        notes.append(
            f"{listed(failed)} failed in the log ({count_of(sum(row.failed_tries for row in sides.before.rows.values()), 'failed try')},"
            f" {count_of(sum(row.marked_down for row in sides.before.rows.values()), 'down mark')});"
            f" simulated, every server is up{less}"
        )
    born, seen = len(sides.after.sessions.born), len(sides.after.sessions.seen)
    if traffic.left_out:
        notes.append(
            f"{count_of(traffic.left_out, 'request')} left out: the log does not tell their URI, or it would be refused"
        )
    if traffic.assumed:
        notes.append(
            f"{count_of(traffic.assumed, 'service time')} not in the log: assumed is the median of their server,"
            f" where it tells none {traffic.assumed_us / 1000:g} ms"
        )
    if not traffic.has_times:
        notes.append("the log has no times: its requests are spread over one second")
    elif traffic.is_spread:
        notes.append(
            "the log's clock has whole seconds: the requests of each are spread evenly over it"
        )
    if seen > born:
        notes.append(
            f"{seen - born} of {count_of(seen, 'session')} began before the log, or it does not show how:"
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


def by_server(result: SimulationJson) -> list[tuple[str, list[tuple[str, ServerJson]]]]:
    """Each server's (name, sides), in the new configuration's order; CLUSTER/SERVER where there are several."""
    sides = [
        (name, {(each.cluster, each.server): each for each in side.servers})
        for name, side in result.sides
    ]
    keys = list(dict.fromkeys(key for _, servers in reversed(sides) for key in servers))
    is_long = len({cluster for cluster, _ in keys}) > 1
    return [
        (
            f"{cluster}/{server or '(unknown)'}" if is_long or not server else server,
            [
                (name, servers.get((cluster, server), _nothing(cluster, server)))
                for name, servers in sides
            ],
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
    ("peak", "peak_in_flight"),
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
