"""
The report of a drill as one HTML file: what was promised, what was measured, and a picture of each step.

Driven by ``cli.ha_drill``. Pure: returns the text. The page is that of ``replay.charts``.
"""

from __future__ import annotations

from wsproxy.ha.pair.drill import CUT_S, QUIET_S, Drill, Result
from wsproxy.replay.charts import escape, page, section, table, verdict

WIDTH, HEIGHT = 960, 150
LEFT, TOP, BOTTOM = 96, 10, 24
# Two strips below the requests, one a node.
STRIP, GAP = 14, 6
_LOST, _GOOD, _FIRST, _SECOND = "#e15759", "#4e79a7", "#59a14f", "#f28e2b"
# Drawn no higher than the limit of a request.
_LEAST_S = 0.01


def report(drill: Drill) -> str:
    """The whole page."""
    first, second = drill.nodes
    versions = " and ".join(dict.fromkeys(each for each in drill.versions if each)) or "unknown"
    lead = (
        f"<p class='dim'>{escape(first)} and {escape(second)}, wsproxy {escape(versions)}, {escape(drill.began)}<br>"
        f"{drill.rate} requests a second to {escape(drill.url)}, each on a connection of its own; lost is what has no 2xx within {drill.limit_s:g} s. "
        f"VRRP's adverts come every {drill.advert_s:g} s.</p>"
    )
    body = [
        _verdict(drill),
        section("Promised and measured", _table(drill)),
        *(
            section(_capital(each.title), _picture(drill, each))
            for each in drill.results
            if each.dots
        ),
    ]
    return page("wsproxy ha drill", lead, body)


def _verdict(drill: Drill) -> str:
    done = [each for each in drill.results if not each.skipped]
    kept = sum(each.is_kept for each in done)
    if not done:
        return verdict("Nothing was measured", "bad")
    skipped = len(drill.results) - len(done)
    text = f"{kept} of {len(done)} promises kept" + (f", {skipped} not tried" if skipped else "")
    return verdict(text, "bad" if kept < len(done) else "open" if skipped else "")


def _table(drill: Drill) -> str:
    rows = []
    for each in drill.results:
        if each.skipped:
            rows.append(f"<tr><td>{escape(each.title)}</td><td>{escape(each.promise.text)}</td><td class='w undecided' colspan='5'>not tried: {escape(each.skipped)}</td></tr>")  # fmt: skip
            continue
        result = "<span class='same'>kept</span>" if each.is_kept else f"<span class='differs'>not kept: {escape(each.broken)}</span>"  # fmt: skip
        rows.append(
            f"<tr><td>{escape(each.title)}</td><td>{escape(each.promise.text)}</td><td class='n'>{each.lost} of {each.sent}</td>"
            f"<td class='n'>{each.outage_s:.2f} s</td><td class='n'>{each.slowest_s * 1000:.0f} ms</td><td>{'yes' if each.has_moved else 'no'}</td><td class='w'>{result}</td></tr>"
        )
    head = ("failure", "promised", "lost", "without answers", "slowest answer", "address moved", "")
    return table(head, rows, names=2)


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _picture(drill: Drill, result: Result) -> str:
    """Requests over time, lost ones as full bars; below, who says that it holds the address."""
    start = min(result.dots[0].at_s, -QUIET_S)
    end = max(max(each.at_s for each in result.dots), CUT_S / 2)
    width = WIDTH - LEFT - 10
    scale = width / (end - start)
    base = HEIGHT - 1
    most_s = max((each.took_s for each in result.dots if not each.is_lost), default=_LEAST_S)
    most_s = max(most_s, _LEAST_S)

    def x(at_s: float) -> float:
        return LEFT + (at_s - start) * scale

    parts = [f"<line class='grid' x1='{LEFT}' x2='{WIDTH - 10}' y1='{base}' y2='{base}'/>"]
    word = "told" if result.name.startswith("planned") else "failure"
    parts += [_mark(x(at), at, word) for at in range(int(start), int(end) + 1)]
    for dot in result.dots:
        height = (base - TOP) * (1.0 if dot.is_lost else dot.took_s / most_s)
        colour = _LOST if dot.is_lost else _GOOD
        parts.append(f"<line x1='{x(dot.at_s):.1f}' x2='{x(dot.at_s):.1f}' y1='{base}' y2='{base - max(height, 2):.1f}' stroke='{colour}' stroke-width='1.4'/>")  # fmt: skip
    parts.append(f"<text x='{LEFT - 8}' y='{TOP + 10}' text-anchor='end'>{most_s * 1000:.0f} ms</text>")  # fmt: skip
    parts.append(f"<line x1='{x(0):.1f}' x2='{x(0):.1f}' y1='{TOP}' y2='{base}' stroke='currentColor' stroke-dasharray='3 3'/>")  # fmt: skip
    top = HEIGHT + BOTTOM
    for row, (node, colour) in enumerate(zip(drill.nodes, (_FIRST, _SECOND), strict=True)):
        y = top + row * (STRIP + GAP)
        parts.append(f"<text x='{LEFT - 8}' y='{y + 11}' text-anchor='end'>{escape(node)}</text>")
        parts.append(f"<rect class='grid' x='{LEFT}' y='{y}' width='{width}' height='{STRIP}' fill='none'/>")  # fmt: skip
        for begin_s, end_s in _stretches(result, row):
            left, right = max(x(begin_s), LEFT), min(x(end_s), WIDTH - 10)
            if right > left:
                parts.append(f"<rect x='{left:.1f}' y='{y}' width='{right - left:.1f}' height='{STRIP}' fill='{colour}'/>")  # fmt: skip
    height = top + 2 * (STRIP + GAP)
    label = f"{result.title}: {result.lost} of {result.sent} requests lost, {result.outage_s:.2f} s without answers"
    swatch = "<svg width='10' height='10' aria-hidden='true'><rect width='10' height='10' fill='{}'/></svg> {}"  # fmt: skip
    caption = "".join(
        f"<span>{swatch.format(colour, words)}</span>"
        for colour, words in ((_GOOD, "a good answer, by how long it took"), (_LOST, "a lost request"), (_FIRST, f"{escape(drill.nodes[0])} holds the address"), (_SECOND, f"{escape(drill.nodes[1])} does"))
    )  # fmt: skip
    return (
        f"<p>{result.lost} of {result.sent} requests lost, {result.outage_s:.2f} s without answers; promised: {escape(result.promise.text)}.{_whys(result)}</p><figure>"
        f"<svg viewBox='0 0 {WIDTH} {height}' width='100%' role='img' aria-label='{escape(label)}'>{''.join(parts)}</svg><figcaption>{caption}</figcaption></figure>"
    )


def _whys(result: Result) -> str:
    if not result.whys:
        return ""
    return f" <span class='dim'>Lost because of: {escape('; '.join(result.whys))}.</span>"


def _mark(x: float, at: int, word: str) -> str:
    text = word if at == 0 else f"{at:+d} s"
    return f"<text x='{x:.1f}' y='{HEIGHT + 14}' text-anchor='middle'>{text}</text>"


def _stretches(result: Result, row: int) -> list[tuple[float, float]]:
    """When a node said that it holds the address, from and to; a sample counts until the next one."""
    found: list[tuple[float, float]] = []
    for sample, following in zip(result.held, [*result.held[1:], None], strict=True):
        if not (sample.second if row else sample.first):
            continue
        until = following.at_s if following is not None else sample.at_s
        if found and found[-1][1] == sample.at_s:
            found[-1] = (found[-1][0], until)
        else:
            found.append((sample.at_s, until))
    return found
