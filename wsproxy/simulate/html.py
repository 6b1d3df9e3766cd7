"""
The report of a simulation as one HTML file: what it comes to, tables, and charts of all sides.

Driven by ``cli.simulate --html``. Pure: returns the text. Page and charts are those of ``replay.charts``; there is no session in it.
"""

from __future__ import annotations

from wsproxy.logs.words import count_of, span_of
from wsproxy.replay.charts import (
    FAILED,
    MARKED,
    busiest_of,
    chart,
    escape,
    events,
    notes,
    numbers,
    page,
    section,
    table,
    tallest,
    verdict,
)
from wsproxy.simulate.result import (
    COLUMNS,
    Sides,
    SimulationJson,
    by_server,
    cell,
    totals,
)
from wsproxy.simulate.side import Side

_EVENTS = (("failures", "failed tries", FAILED), ("marks", "marked down", MARKED))


def write_simulation(result: SimulationJson, sides: Sides) -> str:
    """The whole page."""
    all_sides = {"before": sides.before, "modelled": sides.modelled, "after": sides.after}
    drawn = [(name, side) for name, side in all_sides.items() if side is not None]
    busiest = busiest_of(*(side.series for _, side in drawn))
    when = span_of(result.first, result.last) or "the log has no times"
    meaning = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in result.meaning.items()
    )
    lead = f"<p class='dim'>{escape(', '.join(result.logs))}<br>{count_of(result.requests, 'request')}, {when}</p>"
    body = [
        verdict(result.sentence, "bad" if result.is_worse else ""),
        f"<section><dl>{meaning}</dl></section>",
        notes(result.notes),
        section("Servers", _servers(result)),
        section("Totals", _totals(result)),
        section("Requests by server", *_charts(drawn, "requests", busiest)),
        section("Most requests in flight", *_charts(drawn, "in_flight", busiest)),
        section("Requests by affinity", *_charts(drawn, "affinity", busiest)),
        section(
            "Failed tries and servers marked down",
            *(f"<h3>{name}</h3>{events(side.series, _EVENTS)}" for name, side in drawn),
        ),
    ]
    return page("wsproxy simulate", lead, list(filter(None, body)))


def _servers(result: SimulationJson) -> str:
    rows = []
    for name, sides in by_server(result):
        for at, (side, server) in enumerate(sides):
            cells = numbers(*(cell(server, field) for _, field in COLUMNS))
            kind = "first" if at == 0 else ""
            title = f"<td class='w'>{escape(name) if at == 0 else ''}</td>"
            rows.append(f"<tr class='{kind}'>{title}<td class='dim'>{side}</td>{cells}</tr>")
    return table(("server", "", *(title for title, _ in COLUMNS)), rows, names=2, kind="sides")


def _totals(result: SimulationJson) -> str:
    counted = [totals(side) for _, side in result.sides]
    rows = [
        f"<tr><td class='w'>{what.replace('  ', '&emsp;')}</td>{numbers(*(number[what] for number in counted))}</tr>"
        for what in counted[0]
    ]
    return table(("", *(name for name, _ in result.sides)), rows)


def _charts(drawn: list[tuple[str, Side]], field: str, busiest: list[str]) -> list[str]:
    """One for each side, all of one scale."""
    most = max(tallest(side.series, field) for _, side in drawn)
    return [
        f"<h3>{name}</h3>{chart(side.series, field, busiest, most=most)}" for name, side in drawn
    ]
