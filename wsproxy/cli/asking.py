"""
What all commands have in common that ask a running proxy: which one, ``--json``, exit codes, and words that are safe to print.

Used by ``cli.status``, ``hold``, ``numbers``, ``requests``, ``reload`` and ``top``. Must not know what is asked.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from wsproxy.admin.client import RefusedError, find_proxy
from wsproxy.cli.json_text import json_text
from wsproxy.config.problems import printable, printable_lines
from wsproxy.errors import WsproxyError

EXIT_REFUSED = 1
EXIT_NOBODY = 2
EXIT_CODES = (
    "Exit code: 0 done, 1 the proxy refuses it, 2 no proxy answers, or what is given here cannot be used. "
    "What every field of --json means: docs/admin.md."
)

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

_SOCKET = click.option(
    "--socket",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The admin socket of the proxy to ask. Without: of the one that runs here.",
)
_JSON = click.option("--json", "is_json", is_flag=True, help="One JSON object.")


def asking(command: _CommandT) -> _CommandT:
    """
    ``--socket``, ``--json``, and an exit code for what cannot be asked or is refused.

    The command gets ``path``, of the socket to ask, and ``is_json``.
    """

    @functools.wraps(command)
    def run(*args: Any, path: Path | None, **options: Any) -> None:
        try:
            command(*args, path=path or find_proxy(), **options)
        except RefusedError as error:
            fail(str(error), EXIT_REFUSED)
        except WsproxyError as error:
            fail(str(error), EXIT_NOBODY)

    return _SOCKET(_JSON(run))  # type: ignore[return-value]


def fail(text: str, code: int) -> NoReturn:
    """Says why on standard error, and ends."""
    click.echo(printable_lines(text), err=True)
    sys.exit(code)


def say(text: str) -> None:
    """One line for people; names come from elsewhere and are no escape codes."""
    click.echo(printable(text))


def say_json(value: object) -> None:
    """One JSON object."""
    click.echo(json_text(value, indent=2))


def ago(iso: str, now: datetime | None = None) -> str:
    """How long ago that was: ``3 h``; empty where there is no time."""
    if not iso:
        return ""
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(iso)).total_seconds())
    return span(max(seconds, 0))


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def joined(parts: Iterable[str], by: str = ", ") -> str:
    """Those that say something."""
    return by.join(each for each in parts if each)
