"""
``wsproxy status`` and ``wsproxy why SERVER``: the servers of the running proxy, and what became of one.

Driven by ``cli.main``. docs/admin.md names every field.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from wsproxy.admin.client import AskError, ask
from wsproxy.admin.control_messages import (
    SERVERS_PATH,
    WHY_PATH,
    MaintenanceStatus,
    ServersAnswer,
    ServerStatus,
    WhyAnswer,
)
from wsproxy.admin.messages import ServerChange
from wsproxy.admin.reloads import HISTORY_PATH, Entry, History
from wsproxy.cli.asking import EXIT_CODES, ago, asking, joined, say, say_json, span
from wsproxy.cli.tables import make_console, print_table, print_text
from wsproxy.config.problems import printable

# The loader may be at work on a large file; its last word is not worth a long wait.
HISTORY_S = 2.0
# From here on tenths say nothing.
MANY_MS = 100.0
_STYLES = {"down": "bold red", "drained": "yellow"}
_HEAD = (
    "server",
    "state",
    "since",
    "weight now/file",
    "in flight",
    "sessions",
    "share %",
    "requests",
    "errors",
    "ms",
)


class StatusJson(ServersAnswer):
    """``reload``: the last attempt to take over a configuration; null: there was none. ``is_refused``: it was, and that is not mended."""

    reload: Entry | None = None
    is_refused: bool = False


@click.command(epilog=EXIT_CODES)
@click.argument("target", required=False, default="", metavar="[SERVER|HOST]")
@asking
def status(target: str, path: Path, is_json: bool) -> None:
    """
    Show all servers of all clusters as all workers see them, or those that SERVER, CLUSTER/SERVER or HOST means.

    Sessions: about how many had a request there in the last half hour. Share: of the requests of its cluster. ms: how long the
    server takes to begin its answer, the mean of the last ones.
    """
    answer = ask(path, "GET", servers_path(target), ServersAnswer)
    try:
        history = ask(path, "GET", HISTORY_PATH, History, answer_s=HISTORY_S)
    except AskError:  # it is at work, or is being started again
        history = History(0, [], [])
    last = history.entries[-1] if history.entries else None
    is_refused = last is not None and last.result in ("refused", "failed")
    if is_json:
        say_json(StatusJson(**msgspec.structs.asdict(answer), reload=last, is_refused=is_refused))
        return
    _print_head(answer)
    _say_drained(answer)
    if is_refused and last is not None:
        console = make_console()
        text = f"the last reload ({last.time}, {last.who}) was {last.result}: generation {last.generation} is in use"
        print_text(console, printable(text), "bold red")
        for problem in last.problems[:3]:
            print_text(console, printable(problem), "red", indent="  ")
    print_servers(answer.servers)


def servers_path(target: str) -> str:
    """What is asked for."""
    return f"{SERVERS_PATH}?target={quote(target)}" if target else SERVERS_PATH


def _print_head(answer: ServersAnswer) -> None:
    say(
        f"wsproxy {answer.version}, pid {answer.pid}, since {answer.started_at}: "
        f"{len(answer.workers)} of {answer.worker_count} workers"
        + (
            f"; {len(answer.retiring)} of the program before finish what they have"
            if answer.retiring
            else ""
        )
    )
    say(
        f"runs {answer.config.path}, generation {answer.config.generation} ({answer.config.digest[:12]})"
    )
    counts = msgspec.structs.asdict(answer.reloads)
    if any(counts.values()):
        say("reloads: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count))


def _say_drained(answer: ServersAnswer) -> None:
    for each in answer.maintenance:
        print_text(make_console(), printable(maintenance_line(each)), "yellow")
    if answer.drained:
        text = "the whole proxy is drained: /ready answers 503, connections end with their answers"
        print_text(make_console(), text, "yellow")


def maintenance_line(status: MaintenanceStatus) -> str:
    """What is to be said of a word that holds."""
    name = status.cluster or "the whole proxy"
    end = f"until {status.until}" if status.until else ""
    said = joined([f"{name} is in maintenance since {status.since}", f"by {status.by}", end])
    return joined([said, status.why], ": ")


def print_servers(servers: list[ServerStatus], title: str = "Servers") -> None:
    """The table, and a line for each that is not simply up."""
    console = make_console()
    rows = [
        (
            printable(f"{each.cluster}/{each.server}"),
            each.state + (" !" if each.state == "drained" and each.marked_down else ""),
            ago(each.since),
            _weight_of(each),
            str(each.in_flight)
            + (f" of {each.max_connections}" if each.max_connections > 0 else ""),
            str(each.sessions),
            f"{each.share * 100:.1f}",
            str(each.requests),
            str(each.errors),
            ms_of(each.latency_ms),
        )
        for each in servers
    ]
    styles = {at: _STYLES[each.state] for at, each in enumerate(servers) if each.state in _STYLES}
    print_table(console, title, _HEAD, rows, names=3, styles=styles)
    for each in servers:
        for line in lines_of(each):
            print_text(console, printable(line), indent="  ")


def _weight_of(server: ServerStatus) -> str:
    now = now_of(server)
    file = str(server.configured_weight)
    return now if now == file else f"{now}/{file}"


def now_of(server: ServerStatus) -> str:
    """Its weight, as far as that has grown."""
    is_growing = server.full_weight_in_s > 0 and server.state == "up"
    return f"{server.weight_now:.1f}" if is_growing else str(server.weight)


def ms_of(latency_ms: float) -> str:
    """Milliseconds; "-": there was no answer."""
    if latency_ms < 0:
        return "-"
    return f"{latency_ms:.1f}" if latency_ms < MANY_MS else f"{latency_ms:.0f}"


def lines_of(server: ServerStatus) -> list[str]:
    """What is to be said of a server that is not simply up."""
    name = f"{server.cluster}/{server.server}"
    lines = []
    if server.state != "up":
        what = {"drain": "drained", "down": "taken down"}.get(server.hold, "marked down")
        end = f"until {server.until}" if server.until else ""
        retry = (
            f"tried again in {span(server.retry_in_s)}"
            if what == "marked down" and server.retry_in_s
            else ""
        )
        said = joined(
            [f"{what} since {server.since}", f"by {server.by}" if server.by else "", end, retry]
        )
        lines.append(joined([f"{name}: {said}", server.why], ": "))
        if server.hold and server.marked_down:
            lines.append(f"{name}: marked down besides: requests failed there")
    if server.full_weight_in_s > 0 and server.state == "up":
        lines.append(
            f"{name}: slow start: weight {now_of(server)} of {server.weight}, all of it in {span(server.full_weight_in_s)}"
        )
    if server.set_by or server.set_at:
        numbers = joined(
            [
                f"weight {server.weight} instead of {server.configured_weight}"
                if server.weight != server.configured_weight
                else "",
                f"MaxConnections {server.max_connections} instead of {server.configured_max_connections}"
                if server.max_connections != server.configured_max_connections
                else "",
            ]
        )
        said = f"{name}: {numbers or 'the numbers of its file'}, set by {server.set_by} at {server.set_at}"
        lines.append(joined([said, server.set_why], ": "))
    return lines


@click.command(epilog=EXIT_CODES)
@click.argument("server", metavar="SERVER|HOST")
@asking
def why(server: str, path: Path, is_json: bool) -> None:
    """
    Show what became of a server: each change of its state, who saw or said it, and the request that met it.

    `grep` for that request's id in the logs. Of all servers together the last 4,096 changes are kept.
    """
    answers = ask(path, "GET", f"{WHY_PATH}?target={quote(server)}", list[WhyAnswer])
    if is_json:
        say_json(answers)
        return
    for answer in answers:
        row = answer.server
        say(
            f"{row.cluster}/{row.server} at {row.address}: {row.state}, since {ago(row.since)} ({row.since})"
        )
        for line in lines_of(row):
            say(f"  {line}")
        for change in answer.changes:
            say(f"  {_change_words(change)}")
        if not answer.changes:
            say("  no change of it is kept")


def _change_words(change: ServerChange) -> str:
    by = f"worker {change.worker}" if change.worker >= 0 else ""
    request = joined([change.request, f"id={change.request_id}" if change.request_id else ""], " ")
    kind = change.kind.replace("_", " ")
    return f"{change.time}  {joined([joined([kind, change.detail], ': '), by, request], '; ')}"
