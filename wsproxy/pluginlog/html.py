"""
The report of a replay as one HTML file: tables, and charts as inline SVG. No script, nothing is loaded.

Driven by ``cli.replay --html``; its page and charts also by ``simulate_html``. Pure: returns the text. Everything
that comes from a log is escaped.
"""

from __future__ import annotations

from collections import Counter
from html import escape

from wsproxy.pluginlog.outcome import SAME, RequestOutcome
from wsproxy.pluginlog.summary import Series, Summary, SummaryJson

WIDTH, HEIGHT = 960, 180
LEFT, BOTTOM = 48, 20
# Differences listed in the file; the rest is in --json.
MOST_LISTED = 500
# Series of one chart: beyond that, colours cannot be told apart.
MOST_SERVERS = 12
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2",
    "#7f7f7f", "#bcbd22", "#17becf", "#393b79", "#637939", "#8c6d31",
)  # fmt: skip
FAILED, MARKED, _DIFFERS = "#d62728", "#6a3d9a", "#d62728"  # seen on white and on black
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1000px;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
td.n,th.n{text-align:right}.differs{color:#b00020}.undecided{color:#8a6d00}.same{color:#1b6e2d}
code{font-size:.9em;overflow-wrap:anywhere}figure{margin:0}figcaption span{margin-right:1rem;white-space:nowrap}
@media (prefers-color-scheme:dark){body{background:#16181b;color:#ddd}td,th{border-color:#444}text{fill:#ddd}.differs{color:#ff8a94}
.undecided{color:#e6c84d}.same{color:#7bd48f}}
"""


def write_report(
    summary: SummaryJson, series: Summary, others: list[RequestOutcome], logs: list[str]
) -> str:
    """The whole page."""
    busiest = busiest_of(series)
    verdict = f"{summary.same} same, {summary.differs} differ, {summary.undecided} not decidable from the log"
    body = [
        f"<p>{escape(', '.join(logs))}: {summary.requests} requests of {summary.processes} processes: {escape(verdict)}</p>",
        _decisions(summary),
        "<h2>Requests by server</h2>",
        chart(series, "requests", busiest),
        "<h2>Requests by affinity</h2>",
        chart(series, "affinity", busiest),
        "<h2>Failed tries and servers marked down</h2>",
        events(series, (("failures", "failed tries", FAILED), ("marks", "marked down", MARKED))),
        "<h2>Requests that differ</h2>",
        events(series, (("differences", "requests that differ", _DIFFERS),)),
        _servers(summary),
        _listed(others),
    ]
    return page("wsproxy replay", body)


def page(title: str, body: list[str]) -> str:
    """The whole file; ``body`` is HTML."""
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _decisions(summary: SummaryJson) -> str:
    rows = [
        f"<tr><td>{what}</td><td class='n'>{counts.same}</td><td class='n {'differs' if counts.differs else ''}'>{counts.differs}</td>"
        f"<td class='n'>{counts.undecided}</td></tr>"
        for what, counts in summary.decisions.items()
        if counts.same or counts.differs or counts.undecided
    ]
    head = "<tr><th>decision</th><th class='n'>same</th><th class='n'>differs</th><th class='n'>not decidable</th></tr>"
    return f"<h2>Decisions</h2><table>{head}{''.join(rows)}</table>"


def _servers(summary: SummaryJson) -> str:
    rows = [
        f"<tr><td>{escape(each.server or '(none)')}</td>"
        + "".join(
            f"<td class='n'>{number}</td>"
            for number in (
                each.requests, each.by_affinity, each.failed_tries, each.marked_down, each.differences,
            )
        )
        + "</tr>"
        for each in summary.servers
    ]  # fmt: skip
    names = ("requests", "by affinity", "failed tries", "marked down", "differences")
    head = "<tr><th>server</th>" + "".join(f"<th class='n'>{name}</th>" for name in names) + "</tr>"
    return f"<h2>Servers</h2><table>{head}{''.join(rows)}</table>"


def _listed(others: list[RequestOutcome]) -> str:
    if not others:
        return ""
    rows = []
    for outcome in others[:MOST_LISTED]:
        where = f"{outcome.file}:{outcome.lines[0]}-{outcome.lines[1]}"
        checks = "<br>".join(
            f"<span class='{check.result}'>{check.what}</span> line {check.line}: log <code>{escape(check.logged) or '-'}</code>,"
            f" wsproxy <code>{escape(check.ours) or '-'}</code> {escape(check.note)}"
            for check in outcome.checks
            if check.result != SAME
        )
        rows.append(
            f"<tr><td>{escape(outcome.time)}<br><code>{escape(where)}</code></td>"
            f"<td><code>{escape(outcome.host + outcome.uri)}</code><br>{checks}</td></tr>"
        )
    more = f"<p>{len(others) - MOST_LISTED} more.</p>" if len(others) > MOST_LISTED else ""
    return f"<h2>What differs</h2><table>{''.join(rows)}</table>{more}"


def _steps(series: Summary) -> tuple[int, int]:
    """First step and number of steps."""
    first = series.first_us // 1_000_000 // series.step_s
    return first, series.last_us // 1_000_000 // series.step_s - first + 1


def busiest_of(*sides: Summary) -> list[str]:
    """The servers that have a colour of their own, the same in each chart of a page."""
    requests: Counter[str] = Counter()
    for series in sides:
        requests.update({name: total.requests for name, total in series.servers().items()})
    return [name for name, _ in requests.most_common(MOST_SERVERS)]


def chart(series: Summary, field: str, busiest: list[str]) -> str:
    """Stacked bars, a colour a server; those that are not among the ``busiest`` share grey."""
    totals = series.servers()
    if not any(getattr(total, field) for total in totals.values()):
        return "<p>None.</p>"
    colours = dict(zip(busiest, _COLOURS, strict=False))
    first, count = _steps(series)
    bars: dict[int, list[tuple[str, int]]] = {}
    for (step, server), point in sorted(series.points.items()):
        number = getattr(point, field)
        if number:
            bars.setdefault(step - first, []).append((colours.get(server, "#bbbbbb"), number))
    most = max(sum(number for _, number in bar) for bar in bars.values())
    drawn = []
    for step, bar in bars.items():
        base = 0
        for colour, number in bar:
            drawn.append(_bar(step, count, base, number, most, colour))
            base += number
    legend = "".join(
        f"<span><svg width='10' height='10'><rect width='10' height='10' fill='{colour}'/></svg> "
        f"{escape(name or '(none)')} {getattr(totals[name], field)}</span> "
        for name, colour in colours.items()
        if name in totals and getattr(totals[name], field)
    )
    return _figure(drawn, most, series, legend)


def events(series: Summary, rows: tuple[tuple[str, str, str], ...]) -> str:
    """Bars side by side: for each of ``rows`` its count in (name of the field, title, colour)."""
    first, count = _steps(series)
    sums: dict[int, Series] = {}
    for (step, _), point in series.points.items():
        sums.setdefault(step - first, Series()).add(point)
    most = max((getattr(point, name) for point in sums.values() for name, _, _ in rows), default=0)
    if not most:
        return "<p>None.</p>"
    drawn = [
        _bar(step, count, 0, getattr(point, name), most, colour, share=1 / (1 + at))
        for step, point in sorted(sums.items())
        for at, (name, _, colour) in enumerate(rows)
        if getattr(point, name)
    ]
    legend = " ".join(
        f"<span><svg width='10' height='10'><rect width='10' height='10' fill='{colour}'/></svg> {title} "
        f"{sum(getattr(point, name) for point in sums.values())}</span>"
        for name, title, colour in rows
    )
    return _figure(drawn, most, series, legend)


def _bar(
    step: int, count: int, base: int, number: int, most: int, colour: str, share: float = 1.0
) -> str:
    width = (WIDTH - LEFT) / count
    scale = (HEIGHT - BOTTOM - 10) / most
    left = LEFT + step * width
    top = HEIGHT - BOTTOM - (base + number) * scale
    return (
        f"<rect x='{left:.2f}' y='{top:.2f}' width='{max(width * 0.92 * share, 0.8):.2f}' height='{max(number * scale, 0.5):.2f}'"
        f" fill='{colour}'/>"
    )


def _figure(drawn: list[str], most: int, series: Summary, legend: str) -> str:
    floor = HEIGHT - BOTTOM
    start, end = (_clock(moment) for moment in (series.first_us, series.last_us))
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' width='100%' role='img' font-size='11' fill='#555'>"
        f"<line x1='{LEFT}' x2='{WIDTH}' y1='{floor}' y2='{floor}' stroke='#999'/>"
        f"<text x='{LEFT - 4}' y='14' text-anchor='end'>{most}</text><text x='{LEFT - 4}' y='{floor}' text-anchor='end'>0</text>"
        f"<text x='{LEFT}' y='{HEIGHT - 5}'>{start}</text><text x='{WIDTH}' y='{HEIGHT - 5}' text-anchor='end'>{end}</text>"
        f"{''.join(drawn)}</svg><figcaption>{legend} <span>per {series.step_s} s</span></figcaption></figure>"
    )


def _clock(time_us: int) -> str:
    second = time_us // 1_000_000
    return f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
