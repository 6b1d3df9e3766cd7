"""
What ``wsproxy replay`` prints for people: requests that differ, tables, and what it comes to.

Driven by ``cli.replay``. Must not judge anything. What every name means is in docs/replay.md.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from wsproxy.cli.tables import Row, make_console, print_table, print_text
from wsproxy.config.problems import printable
from wsproxy.logs.words import count_of, short_names, span_text
from wsproxy.replay.against import Answered
from wsproxy.replay.outcome import DIFFERS, SAME, UNDECIDED, Others, RequestOutcome
from wsproxy.replay.summary import Summary, SummaryJson

_STYLES = {SAME: "green", DIFFERS: "bold red", UNDECIDED: "yellow"}
_INDENT = "  "
# More of them are read in the report.
MOST_KINDS = 10


def print_replay(
    result: SummaryJson,
    summary: Summary,
    logs: tuple[str, ...],
    others: Others,
    answers: list[Answered],
    show: int,
) -> None:
    """All of it; of ``others`` and ``answers`` the first ``show``."""
    console = make_console()
    names = short_names(logs)
    for outcome in others.kept[:show]:
        _print_request(console, outcome, names)
    shown = min(show, len(others.kept))
    if others.count > shown:
        more = f"... and {others.count - shown} more (--show N, --html FILE, --json)"
        console.print(Text(more, style="dim"))
    for answer in answers[:show]:
        where = f"{printable(names.get(answer.file, answer.file))}:{answer.line}: {printable(answer.method)} {printable(answer.uri)}"
        said = f"{answer.what}: log {printable(answer.logged)}, proxy {printable(answer.answered)}"
        print_text(console, f"{where}: {said}", "red", indent=_INDENT)
    if (others.count or answers) and show:
        console.print()
    _print_kinds(console, others)
    _print_tables(console, result)
    _print_counts(console, result, summary)
    for note in result.notes:
        print_text(console, f"note: {printable(note)}", "yellow", indent=_INDENT)
    verdict, style = verdict_of(result)
    print_text(console, verdict, style)


def verdict_of(result: SummaryJson) -> tuple[str, str]:
    """The last sentence, and how it looks."""
    if result.nothing_compared:
        return f"nothing was compared: {result.nothing_compared}", _STYLES[DIFFERS]
    counts = f"requests: {result.same} same, {result.differs} differ, {result.undecided} not decidable from the log"
    if result.differs or any(each.is_lost for each in result.unknown_clone_ids):
        return counts, _STYLES[DIFFERS]
    return counts, _STYLES[SAME if result.same else UNDECIDED]


def _print_kinds(console: Console, others: Others) -> None:
    kinds = others.kinds.most_common()
    if not kinds:
        return
    console.print(Text("What differs, in how many requests", style="bold"))
    for (what, logged, ours, note), count in kinds[:MOST_KINDS]:
        both = (
            f": log {printable(logged) or '-'}, wsproxy {printable(ours) or '-'}"
            if logged or ours
            else ""
        )
        said = f"{count:7} {what}{both}" + (f" ({printable(note)})" if note else "")
        print_text(console, said, "red", indent=" " * 8)
    if len(kinds) > MOST_KINDS:
        console.print(
            Text(f"        and {len(kinds) - MOST_KINDS} more kinds (--html FILE)", style="dim")
        )
    console.print()


def _print_tables(console: Console, result: SummaryJson) -> None:
    rows: list[Row] = []
    styles: dict[int, str] = {}
    for what, counts in result.decisions.items():
        if counts.same or counts.differs or counts.undecided:
            if counts.differs:
                styles[len(rows)] = "red"
            rows.append((what, str(counts.same), str(counts.differs), str(counts.undecided)))
    if rows:
        print_table(
            console,
            "Decisions",
            ("decision", "same", "differs", "not decidable"),
            rows,
            styles=styles,
        )
    else:
        print_text(console, "Decisions: none, the log has no request.")
    servers = [
        (
            printable(each.server) or "(not told)", str(each.requests), str(each.by_affinity),
            str(each.failed_tries), str(each.marked_down), str(each.differences),
        )
        for each in result.servers
    ]  # fmt: skip
    if servers:
        head = ("server", "requests", "by affinity", "failed tries", "marked down", "differences")
        print_table(console, "Servers", head, servers)
    else:
        print_text(console, "Servers: none, the log names no server.")


def _print_counts(console: Console, result: SummaryJson, summary: Summary) -> None:
    lines = result.lines
    print_text(
        console,
        f"{count_of(lines.all, 'line')}: {count_of(lines.records, 'record')}, {lines.continued} continued,"
        f" {lines.foreign} foreign, {lines.blank} blank",
    )
    said = f"{count_of(result.requests, 'request')} of {count_of(result.processes, 'process')}"
    if result.requests:
        said += f", {span_text(summary.first_us, summary.last_us) or 'the log has no times'}"
    print_text(console, said)
    sent = result.sent
    if sent is not None:
        print_text(
            console,
            f"sent {sent.sent}, left out {sent.left_out}; same {sent.same}, differs {sent.differs}, no answer {sent.failed}",
        )


def _print_request(console: Console, outcome: RequestOutcome, names: dict[str, str]) -> None:
    first, last = outcome.lines
    where = f"{printable(names.get(outcome.file, outcome.file))}:{first}" + (
        f"-{last}" if last > first else ""
    )
    who = (
        f" {outcome.pid} {outcome.tid}" if outcome.pid.strip("0") or outcome.tid.strip("0") else ""
    )
    port = f":{outcome.port}" if outcome.port else ""
    at = f" {outcome.time}" if outcome.time else ""
    method = f"{printable(outcome.method)} " if outcome.method else ""
    console.print(Text.assemble((outcome.result, _STYLES[outcome.result]), f" {where}{at}{who}"))
    console.print(Text(f"{_INDENT}{method}{printable(outcome.host)}{port}{printable(outcome.uri)}"))
    for check in outcome.checks:
        if check.result == SAME:
            continue
        line = f" line {check.line}" if check.line else ""
        note = f" ({printable(check.note)})" if check.note else ""
        said = f"log {printable(check.logged) or '-'}, wsproxy {printable(check.ours) or '-'}{note}"
        print_text(
            console,
            f"{_INDENT}{check.what}{line}: {said}",
            _STYLES[check.result],
            indent=_INDENT * 2,
        )
