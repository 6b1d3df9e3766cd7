"""
The report of a replay as one HTML file: what it comes to, charts, and the requests that differ.

Driven by ``cli.replay --html``. Pure: returns the text. Everything that comes from a log is escaped.
"""

from __future__ import annotations

from wsproxy.logs.words import count_of, short_names, span_text
from wsproxy.replay.charts import (
    DIFFERING,
    FAILED,
    MARKED,
    busiest_of,
    chart,
    escape,
    events,
    notes,
    numbers,
    page,
    proportions,
    section,
    table,
    verdict,
)
from wsproxy.replay.outcome import SAME, Others
from wsproxy.replay.summary import Summary, SummaryJson

# Differences listed in the file; the rest is in --json.
MOST_LISTED = 500
MOST_KINDS = 15


def write_report(summary: SummaryJson, series: Summary, others: Others, logs: list[str]) -> str:
    """The whole page; ``others``: requests that are not the same."""
    busiest = busiest_of(series)
    when = span_text(series.first_us, series.last_us) or "the log has no times"
    lead = (
        f"<p class='dim'>{escape(', '.join(logs))}<br>{count_of(summary.requests, 'request')} of"
        f" {count_of(summary.processes, 'process')}, {when}</p>"
    )
    body = [
        _verdict(summary),
        notes(summary.notes),
        _kinds(others),
        section("Decisions", _decisions(summary)),
        section("Servers", _servers(summary)),
        section("Requests by server", chart(series, "requests", busiest)),
        section("Requests by affinity", chart(series, "affinity", busiest)),
        section(
            "Failed tries and servers marked down",
            events(
                series, (("failures", "failed tries", FAILED), ("marks", "marked down", MARKED))
            ),
        ),
        section(
            "Requests that differ",
            events(series, (("differences", "requests that differ", DIFFERING),)),
        ),
        _listed(others, short_names(logs)),
    ]
    return page("wsproxy replay", lead, list(filter(None, body)))


def _verdict(summary: SummaryJson) -> str:
    if summary.nothing_compared:
        return verdict(f"Nothing was compared: {summary.nothing_compared}", "bad")
    text = f"{summary.same} same, {summary.differs} differ, {summary.undecided} not decidable from the log"
    lost = any(each.is_lost for each in summary.unknown_clone_ids)
    kind = "bad" if summary.differs or lost else "" if summary.same else "open"
    parts = [
        (summary.same, "--good-bar"),
        (summary.differs, "--bad-bar"),
        (summary.undecided, "--open-bar"),
    ]
    return verdict(text, kind, proportions(parts))


def _decisions(summary: SummaryJson) -> str:
    rows = [
        f"<tr><td>{what}</td>{numbers(counts.same)}{numbers(counts.differs, shown='differs')}"
        f"{numbers(counts.undecided, shown='undecided')}<td class='w'>"
        f"{proportions([(counts.same, '--good-bar'), (counts.differs, '--bad-bar'), (counts.undecided, '--open-bar')])}</td></tr>"
        for what, counts in summary.decisions.items()
        if counts.same or counts.differs or counts.undecided
    ]
    if not rows:
        return "<p class='dim'>None: the log has no request.</p>"
    return table(("decision", "same", "differs", "not decidable", ""), rows)


def _servers(summary: SummaryJson) -> str:
    rows = [
        f"<tr><td class='w'>{escape(each.server or '(not told)')}</td>"
        f"{numbers(each.requests, each.by_affinity, each.failed_tries, each.marked_down)}"
        f"{numbers(each.differences, shown='differs')}</tr>"
        for each in summary.servers
    ]
    if not rows:
        return "<p class='dim'>None: the log names no server.</p>"
    head = ("server", "requests", "by affinity", "failed tries", "marked down", "differences")
    return table(head, rows)


def _kinds(others: Others) -> str:
    """What differs, each kind once."""
    kinds = others.kinds.most_common()
    if not kinds:
        return ""
    rows = [
        f"<tr><td class='differs'>{what}</td><td class='w'>{_both(logged, ours)}"
        f"{f'<span class=dim>{escape(note)}</span>' if note else ''}</td>{numbers(count)}</tr>"
        for (what, logged, ours, note), count in kinds[:MOST_KINDS]
    ]
    more = len(kinds) - len(rows)
    rest = f"<p class='dim'>and {more} more kinds</p>" if more > 0 else ""
    return section(
        "What differs, by kind", table(("decision", "", "requests"), rows, names=2), rest
    )


def _both(logged: str, ours: str) -> str:
    if not logged and not ours:
        return ""
    return f"log <code>{escape(logged) or '-'}</code><br>wsproxy <code>{escape(ours) or '-'}</code><br>"


def _listed(others: Others, names: dict[str, str]) -> str:
    if not others.kept:
        return ""
    rows = []
    for outcome in others.kept[:MOST_LISTED]:
        first, last = outcome.lines
        where = f"{names.get(outcome.file, outcome.file)}:{first}" + (
            f"-{last}" if last > first else ""
        )
        port = f":{outcome.port}" if outcome.port else ""
        checks = "<br>".join(
            f"<span class='{check.result}'>{check.what}</span> line {check.line}: log <code>{escape(check.logged) or '-'}</code>,"
            f" wsproxy <code>{escape(check.ours) or '-'}</code> <span class='dim'>{escape(check.note)}</span>"
            for check in outcome.checks
            if check.result != SAME
        )
        asked = f"{outcome.method} {outcome.host}{port}{outcome.uri}".strip()
        rows.append(
            f"<tr><td>{escape(outcome.time.replace('T', ' ')) or '<span class=dim>no time</span>'}<br>"
            f"<code class='dim'>{escape(where)}</code></td>"
            f"<td class='w'><code>{escape(asked)}</code><br>{checks}</td></tr>"
        )
    more = others.count - len(rows)
    rest = f"<p class='dim'>{more} more.</p>" if more > 0 else ""
    return section("Requests", table(("when, where", "request"), rows, names=2), rest)
