"""
Charts of counts over time as inline SVG, and the page around them: one file, no script, nothing is loaded.

Driven by ``html`` here and in ``simulate``. Pure: returns text. Everything that comes from a log is escaped. Colours are seen on a
light and on a dark page; text and lines take theirs from the page.
"""

from __future__ import annotations

import html
from collections import Counter

from wsproxy.config.problems import printable
from wsproxy.logs.words import NO_TIME_US
from wsproxy.replay.summary import Series, Summary

WIDTH, HEIGHT = 960, 190
LEFT, TOP, BOTTOM = 46, 12, 24
# Series of one chart: beyond that, colours cannot be told apart.
MOST_SERVERS = 12
_COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#d4a72c",
    "#9c755f", "#ff9da7", "#6b8fd6", "#8cd17d", "#d37295", "#a0cbe8",
)  # fmt: skip
_REST = "#9aa0a6"
FAILED, MARKED, DIFFERING = "#e15759", "#8f63c9", "#e15759"
# Times below a chart, with its ends.
_TICKS = 6

_STYLE = """
:root{--page:#f6f7f9;--card:#fff;--text:#1d232b;--dim:#5d6875;--line:#dde1e6;--good:#1a7f37;--bad:#c4242f;--open:#8a6100;
--good-soft:#e3f4e6;--bad-soft:#fdeaea;--open-soft:#fbf2d9;--good-bar:#3da35d;--bad-bar:#d9434e;--open-bar:#e3b341}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1c2127;--text:#e4e8ec;--dim:#98a3af;--line:#323a43;
--good:#6fd08c;--bad:#ff8a8f;--open:#e5c558;--good-soft:#173020;--bad-soft:#3a1d20;--open-soft:#352c12;--good-bar:#4fae6c;--bad-bar:#ee6f76;--open-bar:#cfa93c}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;margin:0;color:var(--text);background:var(--page);color-scheme:light dark}
main{max-width:1060px;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.45rem;margin:0}h2{font-size:1.05rem;margin:0 0 .6rem}h3{font-size:.9rem;margin:1rem 0 .2rem;color:var(--dim);font-weight:600}
p{margin:.3rem 0}.dim{color:var(--dim)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.2rem;margin-top:1rem;overflow-x:auto}
.verdict{border-left:6px solid var(--good-bar);background:var(--good-soft);font-size:1.05rem;font-weight:600}
.verdict.bad{border-color:var(--bad-bar);background:var(--bad-soft)}.verdict.open{border-color:var(--open-bar);background:var(--open-soft)}
.notes{border-left:6px solid var(--open-bar)}.notes p{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem 1.2rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;white-space:nowrap}
tr:last-child td{border-bottom:0}th{color:var(--dim);font-weight:600;font-size:.85rem;white-space:normal;vertical-align:bottom}
td.w{white-space:normal;overflow-wrap:anywhere;width:100%}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.zero{color:var(--dim);opacity:.55}
tr.first td{border-top:1px solid var(--line)}tr.more td{border-bottom:0}.sides td{border-bottom:0}
.differs{color:var(--bad);font-weight:600}.undecided{color:var(--open);font-weight:600}.same{color:var(--good)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .9rem;margin:0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
figure{margin:0}svg{display:block}svg text{fill:var(--dim);font-size:11px}.grid{stroke:var(--line)}
figcaption{font-size:.85rem;color:var(--dim);margin-top:.3rem}figcaption span{margin-right:1rem;white-space:nowrap;display:inline-block}
figcaption svg{display:inline-block;vertical-align:-1px}figcaption b{color:var(--text);font-weight:600}
.bar{height:10px;border-radius:5px;overflow:hidden;margin-top:.6rem;width:100%}td .bar{height:8px;margin-top:.45rem;max-width:22rem}
td:last-child,th:last-child{padding-right:0}
"""


def escape(text: str) -> str:
    """The text as part of a page: without markup, and without what changes the direction of what follows or is no text."""
    return html.escape(printable(text))


def page(title: str, lead: str, body: list[str]) -> str:
    """The whole file; ``lead`` and ``body`` are HTML."""
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><main>\n<h1>{escape(title)}</h1>\n{lead}\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of the page; ``parts`` are HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def verdict(text: str, kind: str, more: str = "") -> str:
    """What it comes to; ``kind``: empty where all is well, else ``bad`` or ``open``."""
    return f"<section class='verdict {kind}'>{escape(text)}{more}</section>"


def legend_entry(colour: str, name: str, number: str) -> str:
    """What a colour stands for in a chart, and how many there are; ``number`` is HTML."""
    return f"<span><svg width='10' height='10'><rect width='10' height='10' rx='2' fill='{colour}'/></svg> {escape(name)} <b>{number}</b></span>"


def notes(texts: list[str]) -> str:
    """What the reader must know; empty where there is nothing."""
    if not texts:
        return ""
    return f"<section class='notes'><h2>Notes</h2>{''.join(f'<p>{escape(text)}</p>' for text in texts)}</section>"


def numbers(*values: object, shown: str = "") -> str:
    """Cells of a table; a 0 steps back, ``shown`` is the class of the others."""
    return "".join(
        f"<td class='n {'zero' if str(value) in ('0', '-', '0.0%') else shown}'>{value}</td>"
        for value in values
    )


def table(head: tuple[str, ...], rows: list[str], *, names: int = 1, kind: str = "") -> str:
    """``names``: columns of text; the others are numbers."""
    titles = "".join(
        f"<th{'' if at < names else ' class=n'}>{escape(name)}</th>" for at, name in enumerate(head)
    )
    return f"<table class='{kind}'><tr>{titles}</tr>{''.join(rows)}</table>"


def proportions(parts: list[tuple[int, str]]) -> str:
    """A bar with a part for each (number, colour)."""
    total = sum(number for number, _ in parts)
    if not total:
        return ""
    drawn, left = [], 0.0
    for number, colour in parts:
        width = 100 * number / total
        drawn.append(
            f"<rect x='{left:.2f}' y='0' width='{width:.2f}' height='10' style='fill:var({colour})'/>"
        )
        left += width
    return (
        f"<svg class='bar' viewBox='0 0 100 10' preserveAspectRatio='none'>{''.join(drawn)}</svg>"
    )


def busiest_of(*sides: Summary) -> list[str]:
    """The servers that have a colour of their own, the same in each chart of a page."""
    requests: Counter[str] = Counter()
    for series in sides:
        requests.update({name: total.requests for name, total in series.servers().items()})
    return [name for name, _ in requests.most_common(MOST_SERVERS)]


def chart(series: Summary, field: str, busiest: list[str], *, most: int = 0) -> str:
    """Stacked bars, a colour a server; those that are not among the ``busiest`` share grey. ``most``: the least height."""
    totals = series.servers()
    if not any(getattr(total, field) for total in totals.values()):
        return "<p class='dim'>None.</p>"
    colours = dict(zip(busiest, _COLOURS, strict=False))
    first, count = _steps(series)
    bars: dict[int, list[tuple[str, int]]] = {}
    for (step, server), point in sorted(series.points.items()):
        number = getattr(point, field)
        if number:
            bars.setdefault(step - first, []).append((colours.get(server, _REST), number))
    most = max(most, tallest(series, field))
    drawn = []
    for step, bar in bars.items():
        base = 0
        for colour, number in bar:
            drawn.append(_bar(step, count, base, number, most, colour))
            base += number
    named = [
        (name or "(not told)", colour, getattr(totals[name], field))
        for name, colour in colours.items()
        if name in totals
    ]
    rest = [getattr(total, field) for name, total in totals.items() if name not in colours]
    if rest:
        named.append(("others", _REST, max(rest) if field == "in_flight" else sum(rest)))
    return _figure(drawn, most, series, named)


def tallest(series: Summary, field: str) -> int:
    """The height of the highest bar that ``chart`` draws."""
    sums: Counter[int] = Counter()
    for (step, _), point in series.points.items():
        sums[step] += getattr(point, field)
    return max(sums.values(), default=0)


def events(series: Summary, rows: tuple[tuple[str, str, str], ...]) -> str:
    """Bars side by side: for each of ``rows`` its count in (name of the field, title, colour)."""
    first, count = _steps(series)
    sums: dict[int, Series] = {}
    for (step, _), point in series.points.items():
        sums.setdefault(step - first, Series()).add(point)
    most = max((getattr(point, name) for point in sums.values() for name, _, _ in rows), default=0)
    if not most:
        return "<p class='dim'>None.</p>"
    drawn = [
        _bar(step, count, 0, getattr(point, name), most, colour, part=(at, len(rows)))
        for step, point in sorted(sums.items())
        for at, (name, _, colour) in enumerate(rows)
        if getattr(point, name)
    ]
    named = [
        (title, colour, sum(getattr(point, name) for point in sums.values()))
        for name, title, colour in rows
    ]
    return _figure(drawn, most, series, named)


def _steps(series: Summary) -> tuple[int, int]:
    """First step and number of steps."""
    first = series.first_us // 1_000_000 // series.step_s
    return first, series.last_us // 1_000_000 // series.step_s - first + 1


def _bar(
    step: int,
    count: int,
    base: int,
    number: int,
    most: int,
    colour: str,
    part: tuple[int, int] = (0, 1),
) -> str:
    """``part``: which of how many beside each other."""
    width = (WIDTH - LEFT) / count
    each = width * 0.9 / part[1]
    scale = (HEIGHT - BOTTOM - TOP) / most
    left = LEFT + step * width + part[0] * each
    top = HEIGHT - BOTTOM - (base + number) * scale
    return (
        f"<rect x='{left:.2f}' y='{top:.2f}' width='{max(each, 0.8):.2f}' height='{max(number * scale, 0.5):.2f}'"
        f" fill='{colour}'/>"
    )


def _figure(drawn: list[str], most: int, series: Summary, named: list[tuple[str, str, int]]) -> str:
    floor = HEIGHT - BOTTOM
    grid = []
    for number in sorted({0, most // 2, most}):
        y = floor - number * (floor - TOP) / most
        grid.append(
            f"<line class='grid' x1='{LEFT}' x2='{WIDTH}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{number}</text>"
        )
    legend = "".join(
        legend_entry(colour, name, str(number)) for name, colour, number in named if number
    )
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' width='100%' role='img'>{''.join(grid)}{_times(series)}{''.join(drawn)}</svg>"
        f"<figcaption>{legend}<span>a bar is {series.step_s} s</span></figcaption></figure>"
    )


def _times(series: Summary) -> str:
    """Times along the chart, for a log that has some."""
    if series.first_us <= NO_TIME_US:
        return ""
    first, count = _steps(series)
    found, said = [], set()
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        text = _clock((first + share * count) * series.step_s)
        if text in said:
            continue
        said.add(text)
        anchor = "start" if tick == 0 else "end" if tick == _TICKS - 1 else "middle"
        x = LEFT + share * (WIDTH - LEFT)
        found.append(f"<text x='{x:.0f}' y='{HEIGHT - 7}' text-anchor='{anchor}'>{text}</text>")
    return "".join(found)


def _clock(second: float) -> str:
    whole = int(second)
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
