"""
``wsproxy merge A.xml B.xml ...``: one plugin-cfg.xml that serves what all of them serve, and what was decided for it.

Driven by ``cli.main``. Must not decide anything: ``config.merge`` does. What it prints is described in docs/merge.md.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Literal, NoReturn

import click
import msgspec
from rich.console import Console

from wsproxy.cli.json_text import json_text
from wsproxy.cli.tables import make_console, print_text
from wsproxy.cli.writing import write_whole
from wsproxy.config.merge import Merged
from wsproxy.config.merge import merge as merge_configs
from wsproxy.config.merge_notes import MergeRefusedError, Note, places_text
from wsproxy.config.merge_rules import Rules, read_rules
from wsproxy.config.model import Config
from wsproxy.config.problems import printable, printable_lines
from wsproxy.config.several import load_parts
from wsproxy.config.write import write_config
from wsproxy.errors import ConfigRefusedError, StartError
from wsproxy.logs.words import count_of

EXIT_REFUSED = 1  # the files contradict each other
EXIT_UNUSABLE = 2  # one cannot be read or written; click uses the same for a wrong command line

# Notes of one rule that people see; --json has all.
MOST_SHOWN = 20
_INDENT = " " * 14


class PlaceJson(msgspec.Struct):
    """Where something stands in an input; line 0: the file as a whole."""

    file: str
    line: int


class NoteJson(msgspec.Struct):
    """One thing that the files do not agree on; ``done``: what was done, or for a clash what is allowed."""

    rule: str
    found: str
    done: str
    places: list[PlaceJson]
    text: str


class MergeJson(msgspec.Struct, kw_only=True, tag_field="type", tag="merge"):
    """The whole of ``--json``; ``text``: the merged file where there is no ``output``."""

    status: Literal["merged", "refused", "unusable"]
    files: list[str]
    output: str | None = None
    rules: dict[str, str] = {}  # msgspec copies it
    decisions: list[NoteJson] = []
    clashes: list[NoteJson] = []
    more_clashes: int = 0
    problems: list[str] = []
    text: str | None = None


@click.command(
    epilog="Exit code: 0 merged, 1 the files contradict each other where no rule decides, 2 a file or an argument cannot be used. "
    "Every rule, with an example: docs/merge.md."
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT",
              help="Where the merged file goes; without it to standard output, and the report to standard error.")  # fmt: skip
@click.option(
    "--rules", multiple=True, metavar="NAME=CHOICE,...",
    help="What decides where files do not agree: shared-uri=join|keep|refuse, cluster-name=split|join|refuse, "
    "server-name=rename|refuse, clone-id=refuse|keep, standalone=refuse|join, overlap=narrower|refuse, settings=settle|refuse; "
    "the first one is the default. Or an attribute and its value: RetryInterval=30. Repeatable.",
)  # fmt: skip
@click.option("--keep-clusters", is_flag=True,
              help="The same as --rules shared-uri=keep: clusters of different names for the same requests stay as they are, "
              "and the report says which wins.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object instead of the report.")
def merge(
    files: tuple[str, ...],
    output: Path | None,
    rules: tuple[str, ...],
    *,
    keep_clusters: bool,
    is_json: bool,
) -> None:
    """
    Make one plugin-cfg.xml of several, that serves what all FILEs serve.

    A request goes to the servers of all files that have its VirtualHost and Uri. Nothing gets lost: each attribute is in the
    merged file, or in the report with file and line. The order of the FILEs does not matter.
    """
    report = MergeJson(status="merged", files=[printable(file) for file in files])
    try:
        chosen = read_rules(rules, keep_clusters=keep_clusters)
    except StartError as error:
        _refuse(str(error))
    report.rules = dict(chosen.choices)
    if output is not None:
        report.output = printable(str(output))
        if any(_is_same(output, Path(file)) for file in files):
            _refuse(
                f"{output}: found one of the files to be merged; allowed is another file for -o"
            )
    gc.disable()  # a big file is a million objects without a cycle, and they stay to the end
    configs = _read(files, report, is_json=is_json)
    try:
        merged = merge_configs(configs, chosen)
    except MergeRefusedError as error:
        report.status = "refused"
        report.clashes = [_as_json(clash) for clash in error.clashes]
        report.more_clashes = error.more
        _end(report, EXIT_REFUSED, is_json=is_json)
    text = write_config(merged.config, header=header_of(merged, chosen))
    report.decisions = [_as_json(note) for note in merged.notes]
    if output is not None:
        _write(output, text)
    elif is_json:
        report.text = text
    else:
        click.echo(text, nl=False)
    if is_json:
        click.echo(json_text(report, indent=2))
    else:
        _print(report, merged.config)


def header_of(merged: Merged, rules: Rules) -> str:
    """The comment at the top of a merged file: where it comes from, and nothing that changes from day to day."""
    lines = ["Merged by wsproxy from", *(f"  {printable(source)}" for source in merged.sources)]
    other = [
        f"{name}={choice}" for name, choice in rules.choices.items() if Rules()[name] != choice
    ]
    other += [f"{name}={value}" for name, value in rules.named_values()]
    if other:
        lines.append(f"with the rules {', '.join(other)}")
    return "\n".join(lines)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _read(files: tuple[str, ...], report: MergeJson, *, is_json: bool) -> list[Config]:
    """All of them; where one cannot be used, what is wrong with each."""
    try:
        parts = load_parts(files)
    except ConfigRefusedError as error:
        report.problems += printable_lines(str(error)).split("\n")
        report.status = "unusable"
        _end(report, EXIT_UNUSABLE, is_json=is_json)
    return [part.config for part in parts]


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _refuse(why: str) -> NoReturn:
    click.echo(f"wsproxy: {printable_lines(why)}", err=True)
    sys.exit(EXIT_UNUSABLE)


def _as_json(note: Note) -> NoteJson:
    return NoteJson(
        note.rule,
        printable(note.found),
        printable(note.done),
        [PlaceJson(printable(place.file), place.line) for place in note.places],
        printable(str(note)),
    )


def _end(report: MergeJson, code: int, *, is_json: bool) -> NoReturn:
    if is_json:
        click.echo(json_text(report, indent=2))
        sys.exit(code)
    console = make_console(is_error=True)
    for problem in report.problems:
        print_text(console, problem, indent="  ")
    if report.clashes:
        _print_notes(console, report.clashes, "bold red")
    if report.more_clashes:
        print_text(console, f"and {count_of(report.more_clashes, 'more clash')}")
    if report.status == "refused":
        number = len(report.clashes) + report.more_clashes
        what = "1 clash" if number == 1 else f"{number} clashes"
        print_text(console, f"not merged: {what} that no rule decides (docs/merge.md)", "bold red")
    else:
        print_text(console, "not merged: a file cannot be used", "bold red")
    sys.exit(code)


def _print(report: MergeJson, config: Config) -> None:
    console = make_console(is_error=report.output is None)
    _print_notes(console, report.decisions, "yellow")
    counts = ", ".join(
        (
            count_of(len(config.server_clusters), "cluster"),
            count_of(sum(len(c.servers) for c in config.server_clusters), "server"),
            count_of(sum(len(g.virtual_hosts) for g in config.virtual_host_groups), "host"),
            count_of(sum(len(g.uris) for g in config.uri_groups), "URI"),
            count_of(len(config.routes), "route"),
        )
    )
    decided = (
        count_of(len(report.decisions), "decision") if report.decisions else "nothing to decide"
    )
    name = report.output or "merged"
    print_text(
        console, f"{name}: {count_of(len(report.files), 'file')}, {decided}; {counts}", "green"
    )


def _print_notes(console: Console, notes: list[NoteJson], style: str) -> None:
    """By rule, each with what was found, what was done and where."""
    by_rule: dict[str, list[NoteJson]] = {}
    for note in notes:
        by_rule.setdefault(note.rule, []).append(note)
    for rule, found in by_rule.items():
        for note in found[:MOST_SHOWN]:
            print_text(console, note.found, style, indent=_INDENT, first=rule)
            print_text(console, f"{_INDENT}-> {note.done}", indent=_INDENT + "   ")
            places = places_text(f"{place.file}:{place.line}" for place in note.places)
            print_text(console, f"{_INDENT}{places}", "dim", indent=_INDENT)
            console.print()
        if (more := len(found) - MOST_SHOWN) > 0:
            print_text(console, f"{_INDENT}and {more} more of {rule}; --json has all", "dim")
            console.print()
