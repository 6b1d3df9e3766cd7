"""
The report of a simulation as one HTML file: tables, and charts of both sides. No script, nothing is loaded.

Driven by ``cli.simulate --html``. Pure: returns the text. Page and charts are those of ``html``; there is no session in it.
"""

from __future__ import annotations

from html import escape

from wsproxy.pluginlog.html import FAILED, MARKED, busiest_of, chart, events, page
from wsproxy.pluginlog.simulate_result import COLUMNS, Sides, SimulationJson, cell, paired, totals
from wsproxy.pluginlog.simulate_side import Side

_EVENTS = (("failures", "failed tries", FAILED), ("marks", "marked down", MARKED))


def write_simulation(result: SimulationJson, sides: Sides) -> str:
    """The whole page."""
    drawn = [("Before", sides.before), ("After", sides.after)]
    if sides.modelled is not None:
        drawn.insert(1, ("Modelled before", sides.modelled))
    busiest = busiest_of(*(side.series for _, side in drawn))
    body = [
        f"<p>{escape(', '.join(result.logs))}: {result.requests} requests, {result.first} to {result.last}; "
        f"before: {escape(result.before_config or 'as the log says')}, after: {escape(result.config)}{escape(_options(result))}</p>",
        *(f"<p>{escape(note)}</p>" for note in result.notes),
        _servers(result),
        _totals(result),
        *(_charts("Requests by server", drawn, "requests", busiest)),
        *(_charts("Most requests in flight", drawn, "in_flight", busiest)),
        *(_charts("Requests by affinity", drawn, "affinity", busiest)),
        "<h2>Failed tries and servers marked down</h2>",
        *(f"<p>{name}</p>{events(side.series, _EVENTS)}" for name, side in drawn),
    ]
    return page("wsproxy simulate", body)


def _options(result: SimulationJson) -> str:
    options = result.options
    given = [
        *(f"--down {each}" for each in options.down),
        *(f"--weight {each}" for each in options.weight),
        *(f"--max-connections {each}" for each in options.max_connections),
        *([f"--rate x{options.rate:g}"] if options.rate != 1 else []),
    ]
    return f" {' '.join(given)}" if given else ""


def _servers(result: SimulationJson) -> str:
    head = "".join(f"<th class='n'>{title}</th>" for title, _ in COLUMNS)
    rows = []
    for name, before, after in paired(result):
        cells = "".join(
            f"<td class='n'>{cell(before, field)} &rarr; {cell(after, field)}</td>"
            for _, field in COLUMNS
        )
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<h2>Servers, before &rarr; after</h2><table><tr><th>server</th>{head}</tr>{''.join(rows)}</table>"


def _totals(result: SimulationJson) -> str:
    sides = [("before", result.before), ("after", result.after)]
    if result.modelled is not None:
        sides.insert(1, ("modelled", result.modelled))
    numbers = [totals(side) for _, side in sides]
    head = "".join(f"<th class='n'>{name}</th>" for name, _ in sides)
    rows = "".join(
        f"<tr><td>{what.replace('  ', '&emsp;')}</td>"
        + "".join(f"<td class='n'>{number[what]}</td>" for number in numbers)
        + "</tr>"
        for what in numbers[0]
    )
    return f"<h2>Totals</h2><table><tr><th></th>{head}</tr>{rows}</table>"


def _charts(title: str, drawn: list[tuple[str, Side]], field: str, busiest: list[str]) -> list[str]:
    return [
        f"<h2>{title}</h2>",
        *(f"<p>{name}</p>{chart(side.series, field, busiest)}" for name, side in drawn),
    ]
