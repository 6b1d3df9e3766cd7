"""
``wsproxy check FILE``: every problem of a plugin-cfg.xml, and of a start with it, for people or (``--json``) for machines.

Driven by ``cli.main``. Must not judge anything: ``config.xml``, ``config.check`` and ``process.check_start`` do.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import msgspec
from rich.console import Console
from rich.text import Text

from wsproxy.cli.json_text import json_text
from wsproxy.cli.run import parse_listen
from wsproxy.cli.sarif import sarif_log
from wsproxy.config.address import Address
from wsproxy.config.check_support import DEFAULT_ESI_CODE
from wsproxy.config.codes import code_flaw
from wsproxy.config.model import Config
from wsproxy.config.problems import MAX_PROBLEMS, printable
from wsproxy.errors import Counts, Problem, Severity
from wsproxy.process.check_start import check_start, load_files

EXIT_STRICT = 1  # warnings, and --strict was given
EXIT_REFUSED = 2  # a file cannot be used; click uses the same for a wrong command line

# What generators write into every file whether anybody uses it or not: told, but nothing that --strict could ask to be mended.
NOT_STRICT = frozenset((DEFAULT_ESI_CODE,))

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


class ProblemJson(msgspec.Struct):
    """One problem in ``--json``; ``text`` is the line that people see."""

    severity: Severity
    code: str
    file: str
    line: int
    found: str
    allowed: str
    text: str


class CountsJson(msgspec.Struct):
    """How much a configuration holds: ``hosts`` are VirtualHosts, ``servers`` those of all clusters."""

    clusters: int
    servers: int
    hosts: int
    uris: int
    routes: int


class ReportJson(msgspec.Struct):
    """
    What ``--json`` prints; ``counts`` is null where plugin-cfg.xml was refused.

    ``left_out``: how many problems are not listed; ``ignored``: how many nobody wants to hear of.
    """

    file: str
    settings: str | None
    status: Literal["clean", "warnings", "refused"]
    errors: int
    warnings: int
    notes: int
    ignored: int
    left_out: int
    counts: CountsJson | None
    problems: list[ProblemJson]


def _known_codes(
    _ctx: click.Context, _param: click.Parameter, codes: tuple[str, ...]
) -> tuple[str, ...]:
    for code in codes:
        if flaw := code_flaw(code):
            raise click.BadParameter(flaw)
    return codes


@click.command()
@click.argument("file", type=click.Path())
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(),
    metavar="FILE",
    help="A wsproxy.toml: it is checked, too, and so is all that `wsproxy run` with both files would need on this machine: "
    "certificates, keyrings, logs, ports.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    callback=parse_listen,
    help="The same as for `wsproxy run`; checks a start, as --settings does.",
)
@click.option(
    "--run",
    "is_start",
    is_flag=True,
    help="Check a start without settings: what `wsproxy run FILE` would need on this machine.",
)
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="CODE",
    callback=_known_codes,
    help="Do not tell warnings and notes of this code, only count them; may be repeated. Adds to check.ignore of the settings.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object (docs/check.md).")
@click.option("--sarif", "is_sarif", is_flag=True, help="Print SARIF 2.1.0, for CI systems.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 where there are warnings, but for those that every generated file gets (esi-default).",
)
@click.pass_context
def check(
    ctx: click.Context,
    file: str,
    *,
    settings_file: str | None,
    listen: tuple[Address, ...],
    is_start: bool,
    ignored: tuple[str, ...],
    is_json: bool,
    is_sarif: bool,
    strict: bool,
) -> None:
    """
    Read the plugin-cfg.xml FILE and report every problem in it.

    FILE alone is judged as it would be on any machine. With --settings, --listen or --run everything is checked that
    `wsproxy run` would: what that says, this has said.

    Notes are what may well be meant and is good to know: they do not count for --strict.

    Exit status: 0 the files can be used, 1 they can but have warnings (with --strict), 2 one is refused.
    """
    if is_json and is_sarif:
        raise click.UsageError("only one of --json and --sarif can be had at a time")
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a terminal that knows only ASCII must not stop the report
        sys.stdout.reconfigure(errors="backslashreplace")
    is_start = is_start or bool(settings_file or listen)
    found = find_all(file, settings_file, listen, ignored, is_start=is_start)
    report = as_json(found)
    if is_json:
        click.echo(json_text(report, indent=2))
    elif is_sarif:
        files = [file, settings_file] if settings_file else [file]
        log = sarif_log(found.problems, report.left_out, is_refused=report.errors > 0, files=files)
        click.echo(json_text(log, indent=2))
    else:
        _print_for_people(report)
    if report.status == "refused":
        ctx.exit(EXIT_REFUSED)
    usual = sum(problem.code in NOT_STRICT for problem in report.problems)
    if strict and report.warnings > usual:
        ctx.exit(EXIT_STRICT)


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that can be said about the files at these paths; ``config`` None: plugin-cfg.xml is refused."""

    file: str
    settings_file: str | None
    config: Config | None
    problems: tuple[Problem, ...]
    counts: Counts


def find_all(
    file: str,
    settings_file: str | None = None,
    listen: tuple[Address, ...] = (),
    ignored: tuple[str, ...] = (),
    *,
    is_start: bool = False,
) -> Found:
    """Everything that can be said about the files at these paths; does I/O, raises nothing."""
    files = load_files([Path(file)], Path(settings_file) if settings_file else None, ignored)
    problems, counts = files.problems + files.notes, files.counts
    config = None if files.config is None else files.config.config
    if is_start and config is not None and files.settings is not None:
        start = check_start(config, files.settings, listen, is_trial=True, ignored=files.ignored)
        problems += start.problems
        errors, warnings = len(start.errors), len(start.problems) - len(start.errors)
        counts += Counts(errors, warnings, ignored=start.ignored)
    return Found(file, settings_file, config, _most(problems), counts)


def as_json(found: Found) -> ReportJson:
    """The same for machines."""
    counts = found.counts
    of_all = counts.errors + counts.warnings + counts.notes
    return ReportJson(
        file=printable(found.file),
        settings=printable(found.settings_file) if found.settings_file else None,
        status="refused" if counts.errors else "warnings" if counts.warnings else "clean",
        errors=counts.errors,
        warnings=counts.warnings,
        notes=counts.notes,
        ignored=counts.ignored,
        left_out=of_all - len(found.problems),
        counts=_counts(found.config) if found.config is not None else None,
        problems=[_as_json(problem) for problem in found.problems],
    )


def _most(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """As many as are told of, errors first where they are too many."""
    if len(problems) <= MAX_PROBLEMS:
        return problems
    ranks = [_ORDER.index(problem.severity) for problem in problems]
    few = sorted(zip(ranks, range(len(problems)), strict=True))[:MAX_PROBLEMS]
    return tuple(problems[at] for at in sorted(at for _, at in few))


def _as_json(problem: Problem) -> ProblemJson:
    return ProblemJson(
        problem.severity,
        problem.code,
        printable(problem.file),
        problem.line,
        problem.found,
        problem.allowed,
        printable(str(problem)),
    )


def _counts(config: Config) -> CountsJson:
    return CountsJson(
        clusters=len(config.server_clusters),
        servers=sum(len(cluster.servers) for cluster in config.server_clusters),
        hosts=sum(len(group.virtual_hosts) for group in config.virtual_host_groups),
        uris=sum(len(group.uris) for group in config.uri_groups),
        routes=len(config.routes),
    )


def _print_for_people(report: ReportJson) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for problem in report.problems:
        style = _STYLES[problem.severity]
        console.print(
            Text.assemble(
                (f"{problem.severity:7} ", style),
                problem.text,
                (f"  [{problem.code}]", "dim"),
            )
        )
    if report.left_out:
        console.print(Text(f"and {report.left_out} more problems", style="dim"))
    if report.counts is not None:
        counts = report.counts
        console.print(
            ", ".join(
                (
                    _plural(counts.clusters, "cluster"),
                    _plural(counts.servers, "server"),
                    _plural(counts.hosts, "host"),
                    _plural(counts.uris, "URI"),
                    _plural(counts.routes, "route"),
                )
            )
        )
    style = "red" if report.errors else "yellow" if report.warnings else "green"
    verdict = "refused" if report.status == "refused" else "can be used"
    summary = f"{_plural(report.errors, 'error')}, {_plural(report.warnings, 'warning')}"
    summary += f", {_plural(report.notes, 'note')}" if report.notes else ""
    summary += f", {report.ignored} ignored" if report.ignored else ""
    names = report.file if report.settings is None else f"{report.file}, {report.settings}"
    console.print(Text(f"{names}: {verdict}; {summary}", style=style))


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
