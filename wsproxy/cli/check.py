"""
``wsproxy check FILE``: every problem of a plugin-cfg.xml, for people or (``--json``) for machines.

Driven by ``cli.main``. Must not judge anything: ``config.xml`` and ``config.check`` do.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Literal

import click
import msgspec
from rich.console import Console
from rich.text import Text

from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.config.xml import load_config
from wsproxy.errors import ConfigRefusedError, Problem

EXIT_STRICT = 1  # warnings, and --strict was given
EXIT_REFUSED = 2  # the file cannot be used; click uses the same for a wrong command line

_STYLES = {"error": "bold red", "warning": "yellow"}


class ProblemJson(msgspec.Struct):
    """One problem in ``--json``; ``text`` is the line that people see."""

    severity: Literal["error", "warning"]
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
    """What ``--json`` prints; ``counts`` is null where the file was refused."""

    file: str
    status: Literal["clean", "warnings", "refused"]
    errors: int
    warnings: int
    counts: CountsJson | None
    problems: list[ProblemJson]


@click.command()
@click.argument("file", type=click.Path())
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object (docs/plugin-cfg.md).")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are warnings.")
@click.pass_context
def check(ctx: click.Context, file: str, *, is_json: bool, strict: bool) -> None:
    """
    Read the plugin-cfg.xml FILE and report every problem in it.

    Exit status: 0 the file can be used, 1 it can but has warnings (with --strict), 2 it is refused.
    """
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a terminal that knows only ASCII must not stop the report
        sys.stdout.reconfigure(errors="backslashreplace")
    report = make_report(file)
    if is_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _print_for_people(report)
    if report.status == "refused":
        ctx.exit(EXIT_REFUSED)
    if strict and report.warnings:
        ctx.exit(EXIT_STRICT)


def make_report(file: str) -> ReportJson:
    """Everything that can be said about the file at this path; does I/O, raises nothing."""
    config: Config | None = None
    try:
        loaded = load_config(Path(file))
        config, problems = loaded.config, loaded.problems
    except ConfigRefusedError as error:
        problems = error.problems
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    return ReportJson(
        file=printable(file),
        status="refused" if config is None else "warnings" if warnings else "clean",
        errors=errors,
        warnings=warnings,
        counts=_counts(config) if config is not None else None,
        problems=[_as_json(problem) for problem in problems],
    )


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
    console.print(Text(f"{report.file}: {verdict}; {summary}", style=style))


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
