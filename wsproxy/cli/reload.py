"""
``wsproxy reload``, ``history`` and ``rollback``: which configuration the running proxy goes by.

Driven by ``cli.main``. What they do is ``reload.loader``'s part, in a process of the proxy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from wsproxy.admin.client import ask
from wsproxy.admin.reloads import HISTORY_PATH, RELOAD_PATH, ROLLBACK_PATH, Entry, History
from wsproxy.cli.asking import EXIT_REFUSED, asking, joined, say, say_json

# Longer than the admin process waits for the loader.
ANSWER_S = 120.0
_GOOD = ("in use", "unchanged", "accepted")
_EXIT_CODES = (
    "Exit code: 0 in use, unchanged or (--dry-run) accepted, 1 refused or failed, 2 no proxy answers. "
    "What every field of --json means: docs/admin.md."
)


class _Reload(msgspec.Struct):
    is_dry: bool


class _Rollback(msgspec.Struct):
    to: int


@click.command(epilog=_EXIT_CODES)
@click.option(
    "--dry-run", is_flag=True, help="Only say what would change, and whether it is accepted."
)
@asking
def reload(dry_run: bool, path: Path, is_json: bool) -> None:
    """Read plugin-cfg.xml and wsproxy.toml again, and take them over if they can be used; what is refused changes nothing."""
    _tell(
        ask(path, "POST", RELOAD_PATH, Entry, _Reload(dry_run), answer_s=ANSWER_S), is_json=is_json
    )


@click.command(epilog=_EXIT_CODES)
@click.argument("generation", type=click.IntRange(min=1), required=False, default=None)
@asking
def rollback(generation: int | None, path: Path, is_json: bool) -> None:
    """Return to the configuration before the present one, or to GENERATION; the files stay as they are."""
    question = _Rollback(generation or 0)
    _tell(ask(path, "POST", ROLLBACK_PATH, Entry, question, answer_s=ANSWER_S), is_json=is_json)


@click.command(epilog=_EXIT_CODES)
@asking
def history(path: Path, is_json: bool) -> None:
    """List the attempts to take over a configuration, oldest first: when, who, what became of it."""
    answer = ask(path, "GET", HISTORY_PATH, History, answer_s=ANSWER_S)
    if is_json:
        say_json(answer)
        return
    for entry in answer.entries:
        say(_words(entry))
        for line in entry.problems[:3] if entry.result not in _GOOD else entry.changes[:3]:
            say(f"    {line}")
    kept = ", ".join(map(str, answer.kept))
    back = f"can return to those of: {kept}" if kept else "has none to return to"
    say(f"generation {answer.generation} is in use; `wsproxy rollback` {back}")


def _words(entry: Entry) -> str:
    returned = f"a return to {entry.returned_to}" if entry.returned_to else ""
    took = f"{entry.seconds:g} s"
    return f"{entry.time}  {joined([entry.result, f'generation {entry.generation}', returned, f'by {entry.who}', took])}"


def _tell(entry: Entry, *, is_json: bool) -> None:
    if is_json:
        say_json(entry)
    else:
        say(_words(entry))
        for line in entry.problems:
            say(f"  {line}")
        for line in entry.changes:
            say(f"  {line}")
        if entry.without_effect:
            say(f"  only `wsproxy upgrade` takes over: {', '.join(entry.without_effect)}")
    if entry.result not in _GOOD:
        sys.exit(EXIT_REFUSED)
