"""
``wsproxy diff OLD NEW``: what a change of plugin-cfg.xml means, and with ``--log`` whose real requests go elsewhere.

Driven by ``cli.main``. Must not decide anything: ``config.diff`` and ``simulate.elsewhere`` do. What it prints: docs/diff.md.
"""

from __future__ import annotations

import gc
import io
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from wsproxy.cli.json_text import json_text
from wsproxy.cli.reading import PLUGIN, of_host, read_all
from wsproxy.cli.tables import make_console, print_text
from wsproxy.config.diff import diff as diff_configs
from wsproxy.config.diff_changes import Kind
from wsproxy.config.model import Config
from wsproxy.config.problems import printable, printable_lines
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import read_settings
from wsproxy.config.xml import load_config
from wsproxy.errors import (
    ConfigRefusedError,
    LogRefusedError,
    NothingComparedError,
    StartError,
)
from wsproxy.logs.access_reader import FORMATS
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.replay import Replay
from wsproxy.replay.verdict import why_nothing
from wsproxy.replay.world import World
from wsproxy.simulate.diff_report import (
    MARKS,
    MOST_SHOWN,
    DiffJson,
    diff_json,
    kind_text,
    parts_of,
    write_diff,
)
from wsproxy.simulate.elsewhere import Comparison, ElsewhereJson
from wsproxy.simulate.result import without_queue

EXIT_DIFFERS = 1
EXIT_UNUSABLE = 2  # a file cannot be used; click uses the same for a wrong command line
EXIT_NOTHING = 3  # the log could be read, and has no request that could be compared

_STYLES: dict[Kind, str] = {"added": "green", "gone": "red", "changed": "yellow"}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="Exit code: 0 same meaning, 1 they differ, or may, 2 a file, a log or an argument cannot be used, "
    "3 the log has no request that can be compared. What every name in the output means: docs/diff.md."
)
@click.argument("old", metavar="OLD", type=_FILE)
@click.argument("new", metavar="NEW", type=_FILE)
@click.option("--log", "logs", multiple=True, metavar="LOG",
              help="An http_plugin.log or an access log: each of its requests is decided with OLD and with NEW. Repeatable; - is standard input.")  # fmt: skip
@click.option("--settings", "settings_file", type=_FILE, metavar="FILE",
              help="A wsproxy.toml, for --log; without it: its defaults.")  # fmt: skip
@click.option("--format", "log_format", type=click.Choice([PLUGIN, *FORMATS]), default=PLUGIN, show_default=True,
              help="What LOG is: http_plugin.log, or an access log with JSESSIONID=.")  # fmt: skip
@of_host
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Also write a report: one file, no network.")  # fmt: skip
def diff(
    old: Path,
    new: Path,
    logs: tuple[str, ...],
    settings_file: Path | None,
    log_format: str,
    host: str,
    html_file: Path | None,
    *,
    is_json: bool,
) -> None:
    """
    Say what the change from the plugin-cfg.xml OLD to NEW means.

    Compared is what the files mean, not their text: other group names, another order or other line breaks are no difference.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    gc.disable()  # a big file is a million objects without a cycle, and they stay to the end
    try:
        configs = [load_config(path, is_part=True).config for path in (old, new)]
        difference = diff_configs(*configs)
        log = _read(configs, logs, settings_file, log_format, host) if logs else None
    except (ConfigRefusedError, LogRefusedError, StartError) as error:
        _refuse(
            str(error), EXIT_NOTHING if isinstance(error, NothingComparedError) else EXIT_UNUSABLE
        )
    result = diff_json((str(old), str(new)), difference, log)
    if html_file is not None:
        _write(html_file, result)
    if is_json:
        click.echo(json_text(result, indent=2))
    else:
        _print(result)
    if not result.same:
        sys.exit(EXIT_DIFFERS)


def _read(
    configs: list[Config],
    logs: tuple[str, ...],
    settings_file: Path | None,
    log_format: str,
    host: str,
) -> ElsewhereJson:
    settings = without_queue(read_settings(settings_file) if settings_file else Settings())
    comparison = Comparison(*(World(config, settings) for config in configs))
    reading = Reading()
    replay = Replay(comparison.traffic.read_by.world, reading, on_end=comparison.add)
    read_all(replay, reading, logs, log_format, host)
    if not len(comparison.traffic):
        why = why_nothing(replay, is_access=log_format != PLUGIN)
        raise NothingComparedError(f"{', '.join(logs)}: nothing can be compared: {why}")
    return comparison.result(logs)


def _write(path: Path, result: DiffJson) -> None:
    try:
        path.write_text(write_diff(result), encoding="utf-8")
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _refuse(why: str, code: int = EXIT_UNUSABLE) -> NoReturn:
    click.echo(f"wsproxy: {printable_lines(why)}", err=True)
    sys.exit(code)


def _print(result: DiffJson) -> None:
    console = make_console()
    for title, changes, more in parts_of(result.changes):
        print_text(console, title, "bold")
        for each in changes:
            print_text(
                console, each.consequence, _STYLES[each.kind], indent="  ", first=MARKS[each.kind]
            )
            print_text(console, f"  {each.what}", "dim", indent="    ")
            print_text(console, f"  {each.where}", "dim", indent="    ")
        if more:
            print_text(console, f"  and {more} more; --json has all", "dim")
        console.print()
    if result.log is not None:
        _print_log(console, result.log)
    for what in result.not_compared:
        print_text(console, f"not compared: {what}", "bold yellow")
    print_text(console, result.sentence, "green" if result.same else "bold red")


def _print_log(console: Console, log: ElsewhereJson) -> None:
    print_text(console, f"Requests of {', '.join(map(printable, log.logs))}", "bold")
    for kind in log.kinds[:MOST_SHOWN]:
        print_text(console, kind_text(kind), "yellow", indent="  ", first="~")
        for each in kind.examples:
            where = f"{printable(each.file)}:{each.line}"
            print_text(console, f"    {where} {printable(each.request)}", "dim", indent="      ")
    if (
        more := len(log.kinds) - MOST_SHOWN + log.more_kinds
        if len(log.kinds) > MOST_SHOWN
        else log.more_kinds
    ):
        print_text(console, f"  and {more} more kinds; --json has them", "dim")
    print_text(console, log.sentence, "bold" if log.elsewhere else "green")
    console.print()
