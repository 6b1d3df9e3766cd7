"""
``wsproxy bench``: wsproxy beside other proxies on this machine, with the same work for all of them.

Driven by ``cli.main``. Parses arguments and prints; ends with 1 where a proxy failed or gave a bad answer, with 2 where it could
not begin.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console

from wsproxy.bench import processes as bench_processes
from wsproxy.bench import report
from wsproxy.bench.bed import own_config, write_configuration
from wsproxy.bench.compare import compared
from wsproxy.bench.floor import FLOOR
from wsproxy.bench.html import write_page
from wsproxy.bench.logged import LoggedRequests, SizedReplay
from wsproxy.bench.machine import TooFewCoresError, assign_cores, commit
from wsproxy.bench.measure import Plan, Scripts, programs_needed, run_scenario
from wsproxy.bench.open_loop import Script
from wsproxy.bench.programs import MissingProgramsError, ensure
from wsproxy.bench.proxies import OURS, PROXIES, Proxy, choose, of_checkout, of_program
from wsproxy.bench.results import Results
from wsproxy.bench.scenarios import LOG, SCENARIOS, Scenario
from wsproxy.bench.site import Site, count_servers, read_site
from wsproxy.bench.tls import paths as certificate_paths
from wsproxy.cli.reading import PLUGIN, of_host, read_all
from wsproxy.config.model import Config, Log
from wsproxy.config.problems import printable_lines
from wsproxy.config.settings import Settings
from wsproxy.config.several import load_several
from wsproxy.errors import WsproxyError
from wsproxy.logs.access_reader import FORMATS
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.world import World
from wsproxy.simulate.options import read_rate
from wsproxy.simulate.result import without_queue
from wsproxy.simulate.traffic import Traffic

RESULTS_DIRECTORY = Path("wsproxy-bench")
FULL_ROUNDS = 5
FULL_WARMUP_SECONDS = 1
# long enough to prove that everything works, far too short to compare
SMOKE = Plan(rounds=1, seconds=1, warmup_seconds=0)
SMOKE_SCENARIO = "small"
USUAL = tuple(name for name, scenario in SCENARIOS.items() if scenario.is_usual)
ALL_SCENARIOS = SCENARIOS | {LOG.name: LOG}
CANNOT_BEGIN = 2
FIRST_PORT = 20001  # in configurations that are only written
WIDTH_IN_A_FILE = 190  # no cell of the table wraps


class ResultsError(WsproxyError):
    """A file that is to be shown or compared with has no results."""


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
    metavar="NAME",
    help=f"of: {', '.join(SCENARIOS)}; default: {', '.join(USUAL)}. Repeatable.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), help=f"rounds of each proxy (default {FULL_ROUNDS})"
)
@click.option(
    "--seconds", type=click.IntRange(1, 300), help="length of a round (default: the scenario's own)"
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Workers, threads or processes of each proxy, each on a core of its own; one more core is for the load.")  # fmt: skip
@click.option("--only", metavar="NAMES", help=f"comma-separated, of: {', '.join(PROXIES)}")
@click.option(
    "--with", "others", multiple=True, metavar="PROXY=PATH",
    help="One more build of a proxy, as nginx=/opt/nginx/sbin/nginx: measured beside the others, named for its version. Repeatable.",
)  # fmt: skip
@click.option(
    "--log", "logs", multiple=True, type=click.Path(exists=True, dir_okay=False), metavar="LOG",
    help="Measure with the requests of an access log or http_plugin.log: paths, sizes, sessions and pace; then once more with a "
    "server killed half-way. Needs PLUGIN_CFG. Repeatable.",
)  # fmt: skip
@click.option("--format", "log_format", type=click.Choice([PLUGIN, *FORMATS]), default=PLUGIN, show_default=True,
              help="What LOG is: http_plugin.log, or an access log (D=%D in it: the time each took).")  # fmt: skip
@of_host
@click.option("--rate", default="x1", show_default=True, metavar="xN",
              help="N times as many requests a second as in LOG.")  # fmt: skip
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
@click.option("--write", "write_to", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write each proxy's configuration into DIR, say what it cannot express, and end: nothing is started.")  # fmt: skip
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Also write a report with charts: one file, no network.")  # fmt: skip
@click.option("--compare", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="OLD.json",
              help="Say what changed since this kept result, beyond noise.")  # fmt: skip
@click.option("--markdown", is_flag=True, help="print Markdown instead of tables")
def bench(
    plugin_cfg: Path | None,
    names: tuple[str, ...],
    only: str | None,
    others: tuple[str, ...],
    logs: tuple[str, ...],
    against: Path | None,
    smoke: bool,
    show: Path | None,
    **more: Any,
) -> None:
    """
    Measure wsproxy, nginx, HAProxy, httpd and others side by side, with equal duties that are proved first.

    The configuration of each proxy is made of PLUGIN_CFG; without it, of a small one with one cluster of two servers.
    """
    try:
        old = read_results(more["compare"]) if more["compare"] else None
        told = _Told(more["directory"], more["markdown"], more["html_file"], old)
        if show is not None:
            told.show(read_results(show))
            told.end()
            return
        if more["write_to"] is None:
            told.check(keeps=not smoke)
    except (OSError, ResultsError) as error:
        _cannot_begin(error)
    chosen = (LOG.name,) if logs else names or ((SMOKE_SCENARIO,) if smoke else USUAL)
    scenarios = [ALL_SCENARIOS[name] for name in chosen]
    signal.signal(signal.SIGTERM, _leave)  # so that what we started is ended on SIGTERM too
    try:
        proxies = _proxies(chosen, only, others, against, more["workers"])
        config = load_several([plugin_cfg]).config if plugin_cfg else None
        if more["write_to"] is not None:
            # What is written names its own folder, and is used from anywhere.
            folder = more["write_to"].absolute()
            _write(scenarios[0], proxies[scenarios[0].name], config, folder)
            return
        requests = _read_log(config, logs, more) if logs else None
        ensure(
            program
            for scenario in scenarios
            for program in programs_needed(scenario, proxies[scenario.name])
        )
        cores = assign_cores(os.sched_getaffinity(0), more["workers"])
        os.sched_setaffinity(
            0, os.sched_getaffinity(0) - cores.proxies
        )  # we too stay away from the proxy
        for scenario in scenarios:
            plan = _plan(scenario, more["rounds"], more["seconds"], smoke=smoke)
            results = run_scenario(
                scenario,
                proxies[scenario.name],
                plan,
                cores,
                say=lambda line: click.echo(line, err=True),
                config=config,
                scripts=_scripts(requests, plan.seconds, read_rate(more["rate"]))
                if requests
                else None,
            )
            if requests is not None:
                results.method.left_out.extend(requests.said)
            told.take(results, keeps=not smoke)
    except (
        MissingProgramsError,
        TooFewCoresError,
        bench_processes.StartError,
        WsproxyError,
        OSError,
        ValueError,  # the log has nothing for this plugin-cfg.xml
    ) as error:
        _cannot_begin(error)
    told.end()
    sys.exit(0 if told.is_good else 1)


def _cannot_begin(error: Exception) -> NoReturn:
    click.echo(f"cannot begin: {printable_lines(str(error))}", err=True)
    sys.exit(CANNOT_BEGIN)


@dataclass(slots=True)
class _Told:
    """What is done with results: printed, kept, compared, drawn."""

    directory: Path
    markdown: bool
    html_file: Path | None
    old: Results | None  # of an earlier run
    is_good: bool = True
    found: list[Results] = field(default_factory=list)

    def check(self, *, keeps: bool) -> None:
        """Before half an hour is spent: what is to be written can be. Raises: OSError."""
        if keeps:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        if self.html_file is not None:
            self.html_file.open("ab").close()

    def take(self, results: Results, *, keeps: bool) -> None:
        """One scenario is over."""
        self.is_good = self.is_good and results.is_good
        self.show(results)
        if keeps:
            click.echo(f"  kept in {_keep(results, self.directory)}")

    def show(self, results: Results) -> None:
        """To a terminal, or as Markdown; with what changed since an earlier run of the same scenario."""
        self.found.append(results)
        console = Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_FILE)
        if self.markdown:
            click.echo(report.markdown(results))
        else:
            report.print_results(results, console)
        if self.old is not None and self.old.scenario == results.scenario:
            for line in compared(self.old, results):
                click.echo(f"  {line}")

    def end(self) -> None:
        """All scenarios are over."""
        if self.html_file is not None:
            self.html_file.write_text(write_page(self.found), encoding="utf-8")
            click.echo(f"  report: {self.html_file}")


def read_results(path: Path) -> Results:
    """
    A file that was kept. I/O.

    Raises: ResultsError, OSError.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except msgspec.DecodeError as error:
        msg = f"{path}: {error}; allowed is a file that wsproxy bench kept"
        raise ResultsError(msg) from error


def _proxies(
    chosen: tuple[str, ...],
    only: str | None,
    others: tuple[str, ...],
    against: Path | None,
    workers: int,
) -> dict[str, list[Proxy]]:
    """Of each scenario."""
    try:
        proxies = {
            name: choose(OURS if only is None and against else only, name) for name in chosen
        }
        built = [of_program(other) for other in others]
    except KeyError as error:
        msg = f"no proxy is called {error}; there are: {', '.join(PROXIES)}"
        raise click.BadParameter(msg, param_hint="--only or --with") from error
    if against is not None:
        built.append(of_checkout(against, commit(against)))
    if FLOOR.find() is None:  # a compiler is no reason to have no figures at all
        click.echo("floor: left out, there is no C compiler (cc)", err=True)
    has_floor = FLOOR.find() is not None and workers == 1  # it is one process
    return {
        name: [
            *(each for each in several if each.program is not FLOOR or has_floor),
            *(each for each in built if name not in each.never_in),
        ]
        for name, several in proxies.items()
    }


def _write(
    scenario: Scenario, proxies: list[Proxy], config: Config | None, directory: Path
) -> None:
    """Of this scenario; ports are the first ones from FIRST_PORT on. Raises: ValueError, OSError."""
    found = config or own_config()
    ports = range(FIRST_PORT, FIRST_PORT + count_servers(found))
    site = read_site(found, ports, Log(name="http_plugin.log"))
    for number, proxy in enumerate(each for each in proxies if each.say is not None):
        own = directory / proxy.name
        own.mkdir(parents=True, exist_ok=True)
        port = ports.stop + number
        _, cannot = write_configuration(proxy, port, site, scenario, certificate_paths(own), own)
        click.echo(f"{own}: port {port}")
        for sentence in cannot:
            click.echo(f"  {proxy.name} cannot express: {sentence}")
    for note in site.notes:
        click.echo(note)


def _read_log(config: Config | None, logs: tuple[str, ...], more: dict[str, Any]) -> LoggedRequests:
    """Raises: WsproxyError."""
    if config is None:
        msg = "a log needs the plugin-cfg.xml that its requests are routed by: wsproxy bench PLUGIN_CFG --log LOG"
        raise click.UsageError(msg)
    world = World(config, without_queue(Settings()))
    requests = LoggedRequests(Traffic(world))
    reading = Reading()
    read_all(SizedReplay(world, reading, requests), reading, logs, more["log_format"], more["host"])
    requests.traffic.close()
    return requests


def _scripts(requests: LoggedRequests, seconds: int, rate: float) -> Scripts:
    def make(site: Site, port: int) -> Script:
        return requests.script(site, port, seconds, rate)

    return make


def _plan(scenario: Scenario, rounds: int | None, seconds: int | None, *, smoke: bool) -> Plan:
    base = SMOKE if smoke else Plan(FULL_ROUNDS, scenario.seconds, FULL_WARMUP_SECONDS)
    return Plan(rounds or base.rounds, seconds or base.seconds, base.warmup_seconds)


def _keep(results: Results, directory: Path) -> Path:
    """Writes ``<date and minute>-<scenario>.json``: a second run on a day must not overwrite the first."""
    directory.mkdir(parents=True, exist_ok=True)
    minute = results.started[:16].replace(":", "")
    path = directory / f"{minute}-{results.scenario}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return path


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
