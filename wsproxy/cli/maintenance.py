"""
``wsproxy maintenance``: a page instead of the servers of a cluster, or of all, by an operator's word.

Driven by ``cli.main``. What it means is ``admin.control``'s part; docs/edge.md shows it at work.
"""

from __future__ import annotations

from pathlib import Path

import click

from wsproxy.admin.client import ask
from wsproxy.admin.control_messages import (
    MAINTENANCE_PATH,
    MaintenanceAnswer,
    MaintenanceWord,
)
from wsproxy.cli.asking import EXIT_CODES, asking, say, say_json
from wsproxy.cli.hold import Length
from wsproxy.cli.status import maintenance_line


@click.command(epilog=EXIT_CODES)
@click.argument("words", metavar="[CLUSTER] on|off", nargs=-1, required=True)
@click.option("--all", "is_all", is_flag=True, help="The whole proxy instead of a cluster.")
@click.option(
    "--for", "for_s", type=Length(), default=0.0, metavar="TIME",
    help="It ends by itself after this time: 90s, 30m, 2h.",
)  # fmt: skip
@click.option("--reason", default="", metavar="TEXT", help="Why; kept and shown.")
@asking
def maintenance(
    words: tuple[str, ...], is_all: bool, for_s: float, reason: str, path: Path, is_json: bool
) -> None:
    """
    Show the maintenance page instead of the servers of CLUSTER, or with --all of every cluster; off: end that.

    It holds at once, for all workers, for requests that begin from now on: 503 with Retry-After. The page, and who is served all
    the same, are in [[edge]] of wsproxy.toml. It survives a reload, and a restart where admin.state_file is set.
    """
    *names, wanted = words
    if wanted not in ("on", "off") or len(names) != (0 if is_all else 1):
        found = " ".join([*words, *(["--all"] if is_all else [])])
        raise click.UsageError(f"found {found}; allowed is CLUSTER on|off, or --all on|off")
    word = MaintenanceWord(wanted == "on", "" if is_all else names[0], reason, for_s)
    answer = ask(path, "POST", MAINTENANCE_PATH, MaintenanceAnswer, word)
    if is_json:
        say_json(answer)
        return
    whole = "the whole proxy" if is_all else names[0]
    say(f"maintenance of {whole}: {wanted}" + ("" if answer.changed else " (as before)"))
    for each in answer.maintenance:
        say(f"  {maintenance_line(each)}")
    for warning in answer.warnings:
        say(f"warning: {warning}")
