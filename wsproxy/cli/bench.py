"""
``wsproxy bench``: wsproxy beside other proxies on this machine, with the same work for all of them.

Driven by ``cli.main``. Parses arguments and prints; ends with 1 where a proxy failed or gave a bad answer, with 2 where it could
not begin.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click
import msgspec
from rich.console import Console

from wsproxy.bench import report
from wsproxy.bench.floor import FLOOR
from wsproxy.bench.machine import TooFewCoresError, assign_cores, commit
from wsproxy.bench.measure import Plan, programs_needed, run_scenario
from wsproxy.bench.processes import StartError
from wsproxy.bench.programs import MissingProgramsError, ensure
from wsproxy.bench.proxies import OURS, PROXIES, choose, of_checkout
from wsproxy.bench.results import Results
from wsproxy.bench.scenarios import SCENARIOS, Scenario
from wsproxy.config.several import load_several
from wsproxy.errors import ConfigRefusedError

RESULTS_DIRECTORY = Path("wsproxy-bench")
FULL_ROUNDS = 5
FULL_WARMUP_SECONDS = 1
# long enough to prove that everything works, far too short to compare
SMOKE = Plan(rounds=1, seconds=1, warmup_seconds=0)
SMOKE_SCENARIO = "small"
USUAL = tuple(name for name, scenario in SCENARIOS.items() if scenario.is_usual)
CANNOT_BEGIN = 2
WIDTH_IN_A_FILE = 190  # no cell of the table wraps


@click.command(
    epilog="Everything runs on 127.0.0.1: the servers that PLUGIN_CFG names are never asked, stubs take their place. "
    "Exit code: 0 all did their duty and no answer was bad, 1 a proxy failed or gave a bad answer, 2 it could not begin. "
    "How to read the figures, also for a real network card: docs/bench.md."
)
@click.argument(
    "plugin_cfg", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--scenario",
    "names",
    multiple=True,
    type=click.Choice(list(SCENARIOS)),
    help=f"repeatable; default: {', '.join(USUAL)}",
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), help=f"rounds of each proxy (default {FULL_ROUNDS})"
)
@click.option(
    "--seconds", type=click.IntRange(1, 300), help="length of a round (default: the scenario's own)"
)
@click.option("--only", metavar="NAMES", help=f"comma-separated, of: {', '.join(PROXIES)}")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="another checkout of wsproxy, built there: measured beside ours, as wsproxy-against",
)
@click.option(
    "--smoke", is_flag=True, help="one short round to see that everything works; keeps no results"
)
@click.option(
    "--results",
    "directory",
    type=click.Path(path_type=Path),
    default=RESULTS_DIRECTORY,
    show_default=True,
    help="where results are kept",
)
@click.option(
    "--show",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="print a kept result and end",
)
@click.option("--markdown", is_flag=True, help="print Markdown instead of tables")
def bench(
    plugin_cfg: Path | None,
    names: tuple[str, ...],
    rounds: int | None,
    seconds: int | None,
    only: str | None,
    against: Path | None,
    smoke: bool,
    directory: Path,
    show: Path | None,
    markdown: bool,
) -> None:
    """
    Measure wsproxy, nginx, HAProxy, httpd and others side by side, with equal duties that are proved first.

    The configuration of each proxy is made of PLUGIN_CFG; without it, of a small one with one cluster of two servers.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_FILE)
    if show is not None:
        _show(msgspec.json.decode(show.read_bytes(), type=Results), console, markdown)
        return
    chosen = names or ((SMOKE_SCENARIO,) if smoke else USUAL)
    try:
        proxies = {
            name: choose(OURS if only is None and against else only, name) for name in chosen
        }
    except KeyError as error:
        msg = f"no proxy is called {error}; there are: {', '.join(PROXIES)}"
        raise click.BadParameter(msg, param_hint="--only") from error

    if against is not None:
        other = of_checkout(against, commit(against))
        proxies = {name: [*several, other] for name, several in proxies.items()}
    if FLOOR.find() is None:  # a compiler is no reason to have no figures at all
        click.echo("floor: left out, there is no C compiler (cc)", err=True)
        proxies = {
            name: [proxy for proxy in several if proxy.program is not FLOOR]
            for name, several in proxies.items()
        }
    signal.signal(signal.SIGTERM, _leave)  # so that what we started is ended on SIGTERM too
    is_good = True
    try:
        config = load_several([plugin_cfg]).config if plugin_cfg else None
        ensure(
            program
            for name, several in proxies.items()
            for program in programs_needed(SCENARIOS[name], several)
        )
        cores = assign_cores(os.sched_getaffinity(0))
        os.sched_setaffinity(
            0, os.sched_getaffinity(0) - {cores.proxy}
        )  # we too stay away from the proxy
        for name in chosen:
            results = run_scenario(
                SCENARIOS[name],
                proxies[name],
                _plan(SCENARIOS[name], rounds, seconds, smoke=smoke),
                cores,
                say=lambda line: click.echo(line, err=True),
                config=config,
            )
            _show(results, console, markdown)
            is_good = is_good and results.is_good
            if not smoke:
                console.print(f"  kept in {_keep(results, directory)}", highlight=False)
    except (MissingProgramsError, TooFewCoresError, StartError, ConfigRefusedError) as error:
        click.echo(f"cannot begin: {error}", err=True)
        sys.exit(CANNOT_BEGIN)
    sys.exit(0 if is_good else 1)


def _plan(scenario: Scenario, rounds: int | None, seconds: int | None, *, smoke: bool) -> Plan:
    base = SMOKE if smoke else Plan(FULL_ROUNDS, scenario.seconds, FULL_WARMUP_SECONDS)
    return Plan(rounds or base.rounds, seconds or base.seconds, base.warmup_seconds)


def _show(results: Results, console: Console, markdown: bool) -> None:
    if markdown:
        click.echo(report.markdown(results))
    else:
        report.print_results(results, console)


def _keep(results: Results, directory: Path) -> Path:
    """Writes ``<date and minute>-<scenario>.json``: a second run on a day must not overwrite the first."""
    directory.mkdir(parents=True, exist_ok=True)
    minute = results.started[:16].replace(":", "")
    path = directory / f"{minute}-{results.scenario}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return path


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
