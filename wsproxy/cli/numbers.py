"""
``wsproxy set`` and ``wsproxy loglevel``: numbers of a server, and the level of http_plugin.log, as long as the proxy runs.

Driven by ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from wsproxy.admin.client import ask
from wsproxy.admin.control_messages import (
    FILE,
    LOG_LEVEL_PATH,
    SET_PATH,
    LogLevelAnswer,
    LogLevelQuestion,
    Numbers,
    WordAnswer,
)
from wsproxy.cli.asking import EXIT_CODES, asking, say, say_json
from wsproxy.cli.hold import print_results

_NAMES = ("weight", "max_connections")


@click.command("set", epilog=EXIT_CODES)
@click.argument("target", metavar="SERVER|HOST")
@click.argument("numbers", nargs=-1, required=True, metavar="weight=N|max_connections=N ...")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept and shown.")
@asking
def set_(target: str, numbers: tuple[str, ...], reason: str, path: Path, is_json: bool) -> None:
    """
    Give SERVER another LoadBalanceWeight or MaxConnections than plugin-cfg.xml does, at once and for all workers.

    `weight=file` takes that back. weight=0: only requests of its sessions. max_connections=-1: no limit.
    """
    found = _read(numbers)
    question = Numbers(target, found.get("weight"), found.get("max_connections"), reason)
    answer = ask(path, "POST", SET_PATH, WordAnswer, question)
    if is_json:
        say_json(answer)
    else:
        print_results(answer)


def _read(numbers: tuple[str, ...]) -> dict[str, int | Literal["file"]]:
    found: dict[str, int | Literal["file"]] = {}
    for text in numbers:
        name, _, value = text.partition("=")
        if name not in _NAMES or name in found:
            raise click.UsageError(
                f"found {text}; allowed is weight=N and max_connections=N, once each"
            )
        if value == FILE:
            found[name] = "file"
            continue
        try:
            found[name] = int(value)
        except ValueError as error:
            msg = f"found {text}; allowed is {name}= with a whole number, or {name}={FILE}"
            raise click.UsageError(msg) from error
    return found


@click.command(epilog=EXIT_CODES)
@click.argument("level", required=False)
@asking
def loglevel(level: str | None, path: Path, is_json: bool) -> None:
    """
    Show the LogLevel of http_plugin.log, or change it for all workers within a moment.

    LEVEL is Error, Warn, Stats, Detail, Debug or Trace, or `file`: what plugin-cfg.xml says. It ends with the process.
    """
    if level is None:
        answer = ask(path, "GET", LOG_LEVEL_PATH, LogLevelAnswer)
    else:
        answer = ask(path, "POST", LOG_LEVEL_PATH, LogLevelAnswer, LogLevelQuestion(level))
    if is_json:
        say_json(answer)
    elif not answer.plugin_log:
        say("no http_plugin.log is written")
    else:
        file = (
            "" if answer.level == answer.configured else f" (plugin-cfg.xml: {answer.configured})"
        )
        say(f"{answer.plugin_log}: {answer.level}{file}")
