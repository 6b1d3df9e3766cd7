"""
``wsproxy upgrade``: another program takes over from the running one, without a refused connection.

Driven by ``cli.main``. What it does is the supervisor's part (``process.upgrade``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from wsproxy.admin.client import ask
from wsproxy.admin.upgrade_desk import ANSWER_S
from wsproxy.admin.upgrades import UPGRADE_PATH, UpgradeResult
from wsproxy.cli.asking import EXIT_REFUSED, asking, fail, say, say_json

_MORE_S = 10.0


@click.command(
    epilog="Exit code: 0 the new program has taken over, 1 it has not and the old one goes on (or was killed meanwhile), 2 no proxy answers. "
    "What every field of --json means: docs/admin.md."
)
@asking
def upgrade(path: Path, is_json: bool) -> None:
    """
    Replace the running program: its command line is run anew, with the code and the wsproxy.toml that are there now.

    Returns when the new one is the proxy: it serves new connections, and the old one finishes what it has.
    """
    answer = ask(path, "POST", UPGRADE_PATH, UpgradeResult, answer_s=ANSWER_S + _MORE_S)
    if is_json:
        say_json(answer)
        if answer.result != "in use":
            sys.exit(EXIT_REFUSED)
    elif answer.result == "in use":
        say(f"pid {answer.pid} has taken over after {answer.seconds:g} s")
    else:
        fail(
            f"the new program does not come up, pid {answer.pid} goes on:\n{answer.why}",
            EXIT_REFUSED,
        )
