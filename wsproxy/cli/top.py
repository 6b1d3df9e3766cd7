"""
``wsproxy top``: the servers of the running proxy, again and again, with what happens between two looks.

Driven by ``cli.main``. On a terminal in place, by rich; else one table, or with ``--json`` one line, after the other.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wsproxy.admin.client import ask
from wsproxy.admin.control_messages import ServersAnswer, ServerStatus
from wsproxy.cli.asking import EXIT_CODES, ago, asking
from wsproxy.cli.json_text import json_text
from wsproxy.cli.status import ms_of, now_of, servers_path
from wsproxy.config.problems import printable

_STYLES = {"up": "", "down": "bold red", "drained": "yellow"}
# A look costs the proxy some milliseconds, in a process beside its workers.
LEAST_S = 0.2


class Rate(msgspec.Struct):
    """
    Of a server, since the look before; -1 in the first one. ``share``: of the requests of its cluster in that time.

    ``latency_ms``: the mean of the answers that began in that time; -1: none did. ``weight_now``: as far as it has grown.
    """

    cluster: str
    server: str
    state: str
    requests_per_s: float
    errors_per_s: float
    share: float
    in_flight: int
    sessions: int
    weight: int
    latency_ms: float
    weight_now: float


class Look(msgspec.Struct):
    """One line of ``--json``."""

    time: float
    servers: list[Rate]


@click.command(epilog=EXIT_CODES)
@click.argument("target", required=False, default="", metavar="[SERVER|HOST]")
@click.option(
    "--every", "every_s", type=click.FloatRange(min=LEAST_S), default=1.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
@click.option(
    "--count",
    type=click.IntRange(min=0),
    default=0,
    help="So many looks, then end; 0: until Ctrl-C.",
)
@asking
def top(target: str, every_s: float, count: int, path: Path, is_json: bool) -> None:
    """
    Show requests and errors a second, share, requests in flight and sessions of each server, live; the busiest first.

    ms: how long the answers of that time took to begin; -: there was none.

    With --json one line for each look.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    is_live = console.is_terminal and not is_json
    before: dict[tuple[str, str], ServerStatus] = {}
    seen_at = 0.0
    done = 0
    with Live(console=console, auto_refresh=False, screen=is_live) if is_live else _Plain() as live:
        try:
            while True:
                answer = ask(path, "GET", servers_path(target), ServersAnswer)
                now = time.monotonic()
                rates = _rates(answer.servers, before, now - seen_at)
                if is_json:
                    click.echo(json_text(Look(round(time.time_ns() / 1e9, 3), rates)))
                elif isinstance(live, Live):
                    live.update(_table(answer, rates), refresh=True)
                else:
                    console.print(_table(answer, rates))
                before = {(each.cluster, each.server): each for each in answer.servers}
                seen_at = now
                done += 1
                if done == count:
                    return
                sys.stdout.flush()
                time.sleep(every_s)
        except KeyboardInterrupt:
            return


class _Plain:
    """What is not live."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_error: object) -> None:
        return None


def _rates(
    servers: list[ServerStatus], before: dict[tuple[str, str], ServerStatus], seconds: float
) -> list[Rate]:
    more: dict[tuple[str, str], int] = {}
    of_cluster: dict[str, int] = {}
    for each in servers:
        old = before.get((each.cluster, each.server))
        count = max(each.requests - old.requests, 0) if old else 0
        more[each.cluster, each.server] = count
        of_cluster[each.cluster] = of_cluster.get(each.cluster, 0) + count
    rates = []
    for each in servers:
        old = before.get((each.cluster, each.server))
        count, total = more[each.cluster, each.server], of_cluster[each.cluster]
        errors = max(each.errors - old.errors, 0) if old else 0
        rates.append(
            Rate(
                each.cluster,
                each.server,
                each.state,
                round(count / seconds, 1) if old else -1.0,
                round(errors / seconds, 1) if old else -1.0,
                round(count / total, 4) if old and total else -1.0,
                each.in_flight,
                each.sessions,
                each.weight,
                _latency(each, old) if old else -1.0,
                each.weight_now,
            )
        )
    return rates


def _latency(now: ServerStatus, old: ServerStatus) -> float:
    answers = now.answers - old.answers
    return (
        round((now.latency_total_ms - old.latency_total_ms) / answers, 3) if answers > 0 else -1.0
    )


def _table(answer: ServersAnswer, rates: list[Rate]) -> Table:
    title = f"pid {answer.pid}, {len(answer.workers)} of {answer.worker_count} workers, generation {answer.config.generation}"
    table = Table(title=Text(title), box=None, pad_edge=False, title_justify="left")
    table.add_column("server", overflow="fold")
    for name in ("state", "since"):
        table.add_column(name, no_wrap=True)
    for name in ("req/s", "err/s", "share %", "ms", "in flight", "sessions", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    # A terminal may have fewer lines than there are servers.
    rows = sorted(
        zip(rates, answer.servers, strict=True),
        key=lambda row: (-row[0].in_flight, -row[0].requests_per_s),
    )
    for rate, server in rows:
        table.add_row(
            Text(printable(f"{rate.cluster}/{rate.server}")),
            rate.state,
            ago(server.since),
            _number(rate.requests_per_s),
            _number(rate.errors_per_s),
            _number(rate.share * 100 if rate.share >= 0 else -1.0),
            ms_of(rate.latency_ms),
            str(rate.in_flight),
            str(rate.sessions),
            now_of(server),
            style=_STYLES[rate.state],
        )
    return table


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 0 else "-"
