"""
``wsproxy fmt FILE``: the canonical form of a plugin-cfg.xml, for version control.

Driven by ``cli.main``. Must not know how a file looks: ``config.fmt`` does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from wsproxy.cli.text_diff import unified
from wsproxy.cli.writing import write_whole
from wsproxy.config.fmt import format_config
from wsproxy.config.problems import ProblemList, printable, printable_lines
from wsproxy.config.xml_tree import MAX_FILE_BYTES, read_bytes
from wsproxy.errors import ConfigRefusedError

EXIT_DIFFERS = 1  # --check, and the file is not in its canonical form
EXIT_REFUSED = 2  # the file cannot be used or written; click uses the same for a wrong command line
STANDARD = "-"


@click.command(
    epilog="Exit code: 0 done, 1 FILE is not in canonical form (with --check), 2 it cannot be used or not be written. "
    "What the form is: docs/fmt.md."
)
@click.argument("file", type=click.Path())
@click.option(
    "--check",
    "is_check",
    is_flag=True,
    help="Write nothing; exit with 1 and show what would change where something would.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(),
    metavar="OUT",
    help="Write to OUT, whole or not at all.",
)
@click.option("--in-place", is_flag=True, help="Write to FILE itself, where something changes.")
@click.pass_context
def fmt(ctx: click.Context, file: str, *, is_check: bool, out: str | None, in_place: bool) -> None:
    """
    Write the plugin-cfg.xml FILE in its canonical form: one order, one layout, comments kept, the same meaning.

    The form goes to standard output, or where -o or --in-place says. FILE - is standard input. A file with errors is refused.
    """
    if is_check + in_place + (out is not None) > 1:
        raise click.UsageError("only one of --check, --output and --in-place can be had at a time")
    if in_place and file == STANDARD:
        raise click.UsageError("--in-place needs a file")
    try:
        data = _read(file)
        text = format_config(data, file)
    except ConfigRefusedError as refused:
        _refuse(ctx, printable_lines(str(refused)))
    wanted = text.encode()
    if is_check:
        if data != wanted:
            _show(data, text, printable(file))
            ctx.exit(EXIT_DIFFERS)
        return
    if in_place and data == wanted:
        return  # untouched: whoever watches the file has nothing to read
    target = file if in_place else out
    if target is None or target == STANDARD:
        sys.stdout.buffer.write(wanted)
        return
    try:
        write_whole(Path(target), wanted)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _refuse(ctx, f"{printable(target)}: cannot be written ({reason}); it is as it was")


def _read(file: str) -> bytes:
    if file == STANDARD:
        return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    return read_bytes(file, ProblemList(file))


def _refuse(ctx: click.Context, text: str) -> NoReturn:
    click.echo(text, err=True)
    ctx.exit(EXIT_REFUSED)


def _show(data: bytes, wanted: str, name: str) -> None:
    old = data.decode("utf-8", errors="replace")
    lines = list(unified(old, wanted, name, f"{name} (canonical)"))
    if not lines:
        lines = [f"{name}: the same text in other bytes than UTF-8"]
    for line in lines:
        click.echo("\t".join(map(printable, line.split("\t"))))
