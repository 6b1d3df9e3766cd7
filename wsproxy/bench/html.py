"""
The report of a run as one HTML file: charts and tables of each scenario, how it was measured, what was not equal.

Driven by ``cli.bench --html``. Pure: returns the text. Page and tables are those of ``replay.charts``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from wsproxy.bench import report
from wsproxy.bench.proxies import OURS
from wsproxy.bench.results import Measurement, Paced, Results, Spread, spread
from wsproxy.replay.charts import (
    escape,
    legend_entry,
    notes,
    numbers,
    page,
    section,
    table,
    verdict,
)

WIDTH, NAMES, ROW, GAP = 960, 170, 26, 130
HEIGHT, LEFT, TOP, BOTTOM = 220, 56, 12, 24
US_COLOUR, PEER_COLOUR, MEASURE_COLOUR = "#4e79a7", "#9aa0a6", "#59a14f"
SYSTEM_SHADE = 0.55
# Lines of a chart over time
LINES = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#d4a72c", "#e15759", "#76b7b2", "#9c755f")
WINDOW_S = 0.5
MOST_LINES = len(LINES)


def write_page(found: list[Results]) -> str:
    """The whole page; one section a scenario, in the order in which they were measured."""
    first = found[0]
    lead = "".join(f"<p class='dim'>{escape(sentence)}</p>" for sentence in _lead(first))
    body = [_verdict(found), notes(_common(found))]
    body += [
        section(f"{results.scenario}: {results.title}", *_scenario(results)) for results in found
    ]
    body.append(section("How it was measured", *_method(found)))
    return page("wsproxy bench", lead, [part for part in body if part])


def _lead(results: Results) -> Iterator[str]:
    machine = results.machine
    yield f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib:,} MiB; {machine.system}, Linux {machine.kernel}"
    yield f"started {results.started}, commit {results.commit}"
    if results.method.configuration:
        yield f"configuration of all proxies: {results.method.configuration}"


def _verdict(found: list[Results]) -> str:
    failed = sum(len(results.failures) for results in found)
    if failed:
        return verdict(
            f"{failed} times a proxy did not do its duty or broke: it is not compared there", "bad"
        )
    if not all(results.is_good for results in found):
        return verdict("All did their duty; some answers were bad: see the tables", "open")
    return verdict(
        "All proxies did the same duties, proved before they were measured; no answer was bad", ""
    )


def _common(found: list[Results]) -> list[str]:
    """What is true of every scenario, once."""
    said = [sentence for results in found for sentence in results.method.left_out]
    who: dict[str, list[str]] = {}
    for results in found:
        for name, sentences in results.method.cannot.items():
            for sentence in sentences:
                who.setdefault(sentence, []).append(name)
    said += [
        f"{', '.join(dict.fromkeys(names))} cannot express: {sentence}"
        for sentence, names in who.items()
    ]
    return list(dict.fromkeys(said))


def _scenario(results: Results) -> Iterator[str]:
    common = {*results.method.left_out}
    if results.measurements:
        yield "<h3>CPU time a request, us: user and, paler, system</h3>"
        yield bars(_cpu_rows(results))
        ratios = report.ratio_rows(results)
        if ratios:
            yield f"<h3>{OURS} by each, round by round (below 1 is better, but for requests/s)</h3>"
            yield _table(("by", *(figure.heading for figure in report.RATIOS)), ratios)
        yield "<h3>All figures: median (lowest-highest)</h3>"
        yield _table(*_figures(results))
    if results.held:
        yield "<h3>Memory a connection, KiB: idle and, paler, what more it takes while its answer is awaited</h3>"
        yield bars(_held_rows(results))
        yield _table(tuple(report.HELD), report.held_rows(results))
    for phase in report.phases(results):
        yield f"<h3>{escape(report.paced_title(results, phase))}</h3>"
        runs = [each for each in results.paced if each.phase == phase]
        yield f"<p class='dim'>latency from when a request was due: p99, and, paler, p99.9; us</p>{bars(_latency_rows(runs))}"
        yield f"<p class='dim'>p99 of each half second, us (logarithmic); a cross: requests failed</p>{timeline(runs)}"
        headings = ("proxy", *(figure.heading for figure in report.PACED_FIGURES))
        yield _table(headings, report.paced_rows(results, phase))
    for sentence in report.remarks(results):
        is_of_all = sentence in common or " cannot express: " in sentence
        if not is_of_all and not any(
            sentence == f"{name}: {note}" for name, note in results.method.notes.items()
        ):
            yield f"<p class='dim'>{escape(sentence)}</p>"


def _figures(results: Results) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heading and rows; user and system time are in the chart."""
    headings = ["proxy", *(figure.heading for figure in report.FIGURES), "bad answers"]
    shown = [at for at, heading in enumerate(headings) if heading not in ("user", "system")]
    rows = [[row[at] for at in shown] for row in report.rows(results)]
    return tuple(headings[at] for at in shown), rows


def _method(found: list[Results]) -> Iterator[str]:
    first = found[0]
    sentences = list(
        dict.fromkeys(
            sentence for results in found for sentence in report.method_sentences(results)
        )
    )
    notes_of = {name: note for results in found for name, note in results.method.notes.items()}
    for title, lines in (
        ("Duties of every proxy", first.method.duties),
        ("Proxies", [f"{name}: {note}" for name, note in notes_of.items()]),
        ("Method", sentences),
    ):
        yield f"<h3>{title}</h3>{''.join(f'<p>{escape(line)}</p>' for line in lines)}"


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    cells = [f"<tr><td>{escape(row[0])}</td>{numbers(*map(escape, row[1:]))}</tr>" for row in rows]
    return table(head, cells)


Row = tuple[str, float, float, Spread | None]
"""Name, the dark part of the bar, the pale part behind it, and the range of both together."""


def _cpu_rows(results: Results) -> list[Row]:
    def median(rounds: list[Measurement], figure: Callable[[Measurement], float]) -> float:
        return spread(map(figure, rounds)).median

    rows: list[Row] = []
    for name in results.proxies:
        rounds = results.of(name)
        user, system = (
            median(rounds, lambda m: m.cpu_user_us),
            median(rounds, lambda m: m.cpu_system_us),
        )
        if user + system:
            rows.append((name, user, system, spread(m.cpu_us for m in rounds)))
    return rows


def _held_rows(results: Results) -> list[Row]:
    rows: list[Row] = []
    for name in dict.fromkeys(each.proxy for each in results.held):
        rounds = [each for each in results.held if each.proxy == name]
        idle = max(0.0, spread(each.idle_kib for each in rounds).median)
        rows.append(
            (name, idle, max(0.0, spread(each.active_kib for each in rounds).median - idle), None)
        )
    return rows


def _latency_rows(runs: list[Paced]) -> list[Row]:
    rows: list[Row] = []
    for name in dict.fromkeys(each.proxy for each in runs):
        own = [each for each in runs if each.proxy == name]
        p99 = spread(each.p99_us for each in own).median
        rows.append((name, p99, max(0.0, spread(each.p999_us for each in own).median - p99), None))
    return rows


def bars(rows: list[Row]) -> str:
    """One below the other, the number at its end and a line from the lowest to the highest."""
    if not rows:
        return "<p class='dim'>None.</p>"
    most = max(max(dark + pale, each.high if each else 0) for _, dark, pale, each in rows) or 1.0
    scale = (WIDTH - NAMES - GAP) / most
    drawn = []
    for at, (name, dark, pale, each) in enumerate(rows):
        y = at * ROW + 4
        colour = _colour(name)
        end = NAMES + (dark + pale) * scale
        drawn.append(
            f"<text x='{NAMES - 8}' y='{y + 13}' text-anchor='end'>{escape(name)}</text>"
            f"<rect x='{NAMES}' y='{y}' width='{dark * scale:.1f}' height='18' fill='{colour}'/>"
            f"<rect x='{NAMES + dark * scale:.1f}' y='{y}' width='{pale * scale:.1f}' height='18' fill='{colour}' fill-opacity='{SYSTEM_SHADE}'/>"
        )
        if each is not None and each.low != each.high:
            low, high = NAMES + each.low * scale, NAMES + each.high * scale
            drawn.append(
                f"<path d='M{low:.1f} {y + 9}H{high:.1f}' style='stroke:var(--text)' stroke-width='1.5'/>"
            )
            end = max(end, high)
        drawn.append(f"<text x='{end + 8:.1f}' y='{y + 13}'>{_number(dark, pale, each)}</text>")
    return f"<figure><svg viewBox='0 0 {WIDTH} {len(rows) * ROW + 4}' width='100%' role='img'>{''.join(drawn)}</svg></figure>"


def timeline(runs: list[Paced]) -> str:
    """A line a proxy of its first round: p99 of each half second on a logarithmic scale; crosses where requests failed."""
    first = {each.proxy: each for each in reversed(runs)}
    # ours first: it has the colour that it has in the bars
    names = sorted(dict.fromkeys(each.proxy for each in runs), key=lambda name: name != OURS)
    names = names[:MOST_LINES]
    values = [window.p99_us for name in names for window in first[name].windows if window.requests]
    if not values:
        return "<p class='dim'>None.</p>"
    top = len(str(max(values)))  # the power of ten above it
    bottom = min(2, top - 1)
    count = max(len(first[name].windows) for name in names)
    floor = HEIGHT - BOTTOM

    def x_of(at: int) -> float:
        return LEFT + (at + 0.5) * (WIDTH - LEFT) / count

    def y_of(us: int) -> float:
        return floor - (max(_log10(us), bottom) - bottom) / (top - bottom) * (floor - TOP)

    drawn = []
    for power in range(bottom, top + 1):
        y = y_of(10**power)
        drawn.append(
            f"<line class='grid' x1='{LEFT}' x2='{WIDTH}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{_us(10**power)}</text>"
        )
    for at, anchor in ((0, "start"), (count // 2, "middle"), (count, "end")):
        x = LEFT + at * (WIDTH - LEFT) / count
        drawn.append(
            f"<text x='{x:.0f}' y='{HEIGHT - 7}' text-anchor='{anchor}'>{at * WINDOW_S:g} s</text>"
        )
    legend: list[str] = []
    for name, colour in reversed([*zip(names, LINES, strict=False)]):
        windows = first[name].windows
        points = " ".join(
            f"{x_of(at):.1f},{y_of(window.p99_us):.1f}"
            for at, window in enumerate(windows)
            if window.requests
        )
        width = 2.4 if name == OURS else 1.4
        drawn.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='{width}'/>"
        )
        for at, window in enumerate(windows):
            if window.errors:
                x, y = x_of(at), y_of(window.p99_us)
                drawn.append(
                    f"<path d='M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8' stroke='{colour}' stroke-width='2'/>"
                )
        legend.insert(
            0,
            legend_entry(colour, name, f"{first[name].errors:,} errors"),
        )
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' width='100%' role='img'>{''.join(drawn)}</svg>"
        f"<figcaption>{''.join(legend)}</figcaption></figure>"
    )


def _colour(name: str) -> str:
    if name.startswith(OURS):
        return US_COLOUR
    return MEASURE_COLOUR if name in ("floor", "direct") else PEER_COLOUR


def _number(dark: float, pale: float, each: Spread | None) -> str:
    if each is not None:
        return f"{each.median:,.1f}"
    decimals = 0 if dark + pale >= 1000 else 1
    return f"{dark:,.{decimals}f} / {dark + pale:,.{decimals}f}"


def _us(us: int) -> str:
    return (
        f"{us // 1_000_000} s"
        if us >= 1_000_000
        else f"{us // 1000} ms"
        if us >= 1000
        else f"{us} us"
    )


def _log10(us: int) -> float:
    return math.log10(max(us, 1))
