"""
``wsproxy simulate LOG... --config NEW.xml``: the traffic of a log through another configuration, or with a server away.

Driven by ``cli.main``. Must not decide anything: ``simulate`` does. What it prints is described in docs/simulate.md.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import NoReturn

import click

from wsproxy.cli.json_text import json_text
from wsproxy.cli.reading import PLUGIN, of_host, progress, read_all
from wsproxy.cli.tables import make_console, print_table, print_text
from wsproxy.config.model import Config
from wsproxy.config.problems import printable, printable_lines
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import read_settings
from wsproxy.config.several import load_several
from wsproxy.errors import (
    ConfigRefusedError,
    LogRefusedError,
    NothingComparedError,
    StartError,
)
from wsproxy.logs.access_reader import FORMATS
from wsproxy.logs.plugin_reader import Reading
from wsproxy.logs.words import count_of, span_of
from wsproxy.replay.replay import Replay
from wsproxy.replay.verdict import why_nothing
from wsproxy.replay.world import World
from wsproxy.simulate.html import write_simulation
from wsproxy.simulate.options import (
    MAX_CONNECTIONS,
    WEIGHT,
    change_servers,
    read_outage,
    read_rate,
)
from wsproxy.simulate.result import (
    COLUMNS,
    OptionsJson,
    Sides,
    SimulationJson,
    by_server,
    cell,
    result_json,
    simulate_all,
    totals,
    without_queue,
)
from wsproxy.simulate.simulation import Scenario
from wsproxy.simulate.traffic import Traffic

EXIT_WORSE = 1
EXIT_UNUSABLE = (
    2  # a log or a configuration cannot be used; click uses the same for a wrong command line
)
EXIT_NOTHING = 3  # the log could be read, and has no request that could be simulated

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NAMED = click.Path(exists=True, path_type=Path)


@click.command(
    epilog="SERVER is a Server's Name, or CLUSTER/SERVER where several clusters use it. "
    "Exit code: 0 nothing fails that did not before, 1 more requests are refused or unrouted, or more sessions broken, "
    "2 a log, a configuration or an argument cannot be used, 3 the log has no request that can be simulated. What every name in the output means: docs/simulate.md."
)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option("--config", "config_file", type=_NAMED, required=True, metavar="NEW.xml",
              help="The plugin-cfg.xml to be tried.")  # fmt: skip
@click.option(
    "--before", "before_file", type=_NAMED, metavar="OLD.xml",
    help="The plugin-cfg.xml that was in force when LOG was written: the log is read with it, and it is simulated too.",
)  # fmt: skip
@click.option("--settings", "settings_file", type=_FILE, metavar="FILE",
              help="A wsproxy.toml; without it: its defaults.")  # fmt: skip
@click.option(
    "--down", multiple=True, metavar="SERVER@TIME+DURATION",
    help="The server cannot be reached for that long: s1@10:32+5m. TIME is HH:MM[:SS] of the log's day, or a full date; "
    "DURATION a number with s, m or h. Repeatable.",
)  # fmt: skip
@click.option("--weight", multiple=True, metavar="SERVER=NUMBER",
              help="Another LoadBalanceWeight. Repeatable.")  # fmt: skip
@click.option("--max-connections", multiple=True, metavar="SERVER=NUMBER",
              help="Another MaxConnections. Repeatable.")  # fmt: skip
@click.option("--rate", default="x1", show_default=True, metavar="xN",
              help="N times as many requests a second, each taking as long as before.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Where round robins begin and what Random draws: the same seed gives the same result.")  # fmt: skip
@click.option("--format", "log_format", type=click.Choice([PLUGIN, *FORMATS]), default=PLUGIN, show_default=True,
              help="What LOG is: http_plugin.log, or an access log with JSESSIONID=, WAS= and D= (PLUGIN: D=%D).")  # fmt: skip
@of_host
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Also write a report with charts: one file, no network.")  # fmt: skip
def simulate(
    logs: tuple[str, ...],
    config_file: Path,
    before_file: Path | None,
    settings_file: Path | None,
    log_format: str,
    host: str,
    html_file: Path | None,
    is_json: bool,
    rate: str,
    seed: int,
    **changes: tuple[str, ...],
) -> None:
    """
    Let the requests of LOG run through another configuration in virtual time, and compare with what LOG says happened.

    LOG is what `wsproxy replay` reads, best at LogLevel Trace. The code that decides is that of live traffic; how long each
    request takes is in the log. Nothing is sent.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        settings = read_settings(settings_file) if settings_file else Settings()
        config = load_several([config_file]).config
        scenario = Scenario(
            tuple(read_outage(each, config) for each in changes["down"]), read_rate(rate), seed
        )
        config = _changed(config, changes)
        old = load_several([before_file]).config if before_file else None
        traffic = Traffic(
            World(config, without_queue(settings)),
            None if old is None else World(old, without_queue(settings)),
        )
        _read(traffic, logs, log_format, host)
        with progress() as show:
            sides = simulate_all(traffic, scenario, show)
    except (ConfigRefusedError, LogRefusedError, StartError) as error:
        _refuse(
            str(error), EXIT_NOTHING if isinstance(error, NothingComparedError) else EXIT_UNUSABLE
        )
    names = (logs, str(config_file), str(before_file) if before_file else None)
    options = OptionsJson(
        changes["down"], changes["weight"], changes["max_connections"], scenario.rate, seed
    )
    result = result_json(sides, traffic, options, names, has_queue=settings.queue.size > 0)
    _print(result, is_json=is_json)
    if html_file is not None:
        _write(html_file, result, sides)
    if result.is_worse:
        sys.exit(EXIT_WORSE)


def _changed(config: Config, changes: dict[str, tuple[str, ...]]) -> Config:
    config = change_servers(config, "--weight", WEIGHT, changes["weight"])
    return change_servers(config, "--max-connections", MAX_CONNECTIONS, changes["max_connections"])


def _read(traffic: Traffic, logs: tuple[str, ...], log_format: str, host: str) -> None:
    reading = Reading()
    replay = Replay(traffic.read_by.world, reading, on_end=traffic.add)
    read_all(replay, reading, logs, log_format, host)
    traffic.close()
    if not len(traffic):
        why = why_nothing(replay, is_access=log_format != PLUGIN)
        raise NothingComparedError(f"{', '.join(logs)}: nothing can be simulated: {why}")


def _write(path: Path, result: SimulationJson, sides: Sides) -> None:
    try:
        path.write_text(write_simulation(result, sides), encoding="utf-8")
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _refuse(why: str, code: int = EXIT_UNUSABLE) -> NoReturn:
    click.echo(f"wsproxy: {printable_lines(why)}", err=True)
    sys.exit(code)


def _print(result: SimulationJson, *, is_json: bool) -> None:
    if is_json:
        click.echo(json_text(result, indent=2))
        return
    console = make_console()
    for name, meaning in result.meaning.items():
        print_text(console, f"{name + ':':10}{printable(meaning)}", indent=" " * 10)
    console.print()
    head = ("server", "", *(title for title, _ in COLUMNS))
    rows = [
        (printable(name) if at == 0 else "", side, *(cell(server, field) for _, field in COLUMNS))
        for name, sides in by_server(result)
        for at, (side, server) in enumerate(sides)
    ]
    print_table(console, "Servers", head, rows, names=2)
    numbers = [totals(side) for _, side in result.sides]
    print_table(
        console, "Totals", ("", *(name for name, _ in result.sides)),
        [(what, *(number[what] for number in numbers)) for what in numbers[0]],
    )  # fmt: skip
    for note in result.notes:
        print_text(console, f"note: {printable(note)}", indent="  ")
    when = span_of(result.first, result.last) or "the log has no times"
    print_text(console, f"{count_of(result.requests, 'request')}, {when}")
    print_text(console, result.sentence, "bold red" if result.is_worse else "green")
