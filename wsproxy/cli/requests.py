"""
``wsproxy requests`` and ``wsproxy kill REQUEST``: what the workers do just now, and the end of one of these.

Driven by ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

import click

from wsproxy.admin.client import ask
from wsproxy.admin.control_messages import (
    KILL_PATH,
    REQUESTS_PATH,
    KillAnswer,
    KillQuestion,
    RequestsAnswer,
)
from wsproxy.cli.asking import EXIT_CODES, asking, joined, say, say_json, span
from wsproxy.cli.tables import make_console, print_table
from wsproxy.config.problems import printable

_HEAD = ("id", "server", "phase", "client", "request", "age")


@click.command(epilog=EXIT_CODES)
@asking
def requests(path: Path, is_json: bool) -> None:
    """
    List the requests that run, the oldest first: id, age, server, phase.

    The id is that of all logs. Method and path are shown as far as no session id can stand there.
    """
    answer = ask(path, "GET", REQUESTS_PATH, RequestsAnswer)
    if is_json:
        say_json(answer)
        return
    rows = [
        (
            each.id,
            printable(joined([each.cluster, each.server], "/")) or "-",
            each.phase,
            printable(each.client),
            printable(each.request) or "-",
            span(each.age_s) if each.age_s >= 0 else "-",
        )
        for each in answer.requests
    ]
    print_table(make_console(), f"{answer.total} requests", _HEAD, rows, names=5)
    if answer.total > len(rows):
        say(f"and {answer.total - len(rows)} that began later")
    for worker in answer.silent:
        say(f"worker {worker} does not answer: it is stopped, or waits for something")


@click.command(epilog=EXIT_CODES)
@click.argument("request_id", metavar="REQUEST")
@asking
def kill(request_id: str, path: Path, is_json: bool) -> None:
    """End REQUEST, an id as `wsproxy requests` shows it: the connections of client and server are cut."""
    answer = ask(path, "POST", KILL_PATH, KillAnswer, KillQuestion(request_id))
    if is_json:
        say_json(answer)
    else:
        say(f"request {answer.id} is ended")
