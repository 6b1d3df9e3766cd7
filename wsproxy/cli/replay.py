"""
``wsproxy replay LOG... --config FILE``: each decision of a log taken again, and every difference told.

Driven by ``cli.main``. Must not judge anything: ``replay`` does. What it prints is described in docs/replay.md.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec

from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.logs.tries import text_of
from wsproxy.cli.json_text import json_text
from wsproxy.cli.reading import PLUGIN, of_host, read_all
from wsproxy.cli.replay_text import print_replay
from wsproxy.config.problems import printable, printable_lines
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
from wsproxy.replay.against import Sending, SentRequest, send_all, sent_request
from wsproxy.replay.html import write_report
from wsproxy.replay.outcome import DIFFERS, UNDECIDED, Others, RequestOutcome
from wsproxy.replay.replay import Replay
from wsproxy.replay.summary import summary_json
from wsproxy.replay.verdict import conclude
from wsproxy.replay.world import World

EXIT_DIFFERENCES = 1
EXIT_UNUSABLE = (
    2  # a log or a configuration cannot be used; click uses the same for a wrong command line
)
EXIT_NOTHING = 3  # the log could be read, and tells nothing that could be compared

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NAMED = click.Path(exists=True, path_type=Path)


class ForeignJson(msgspec.Struct, kw_only=True, tag_field="type", tag="foreign"):
    """A line in ``--json`` that no plug-in writes, kept as it is."""

    file: str
    line: int
    text: str


@dataclass(slots=True)
class _Run:
    """What one run of the command works on."""

    reading: Reading
    replay: Replay
    others: Others = field(default_factory=Others)
    to_send: list[SentRequest] = field(default_factory=list)


@click.command(
    epilog="Exit code: 0 no difference, 1 differences, 2 a log, a configuration or an argument cannot be used, "
    "3 nothing was compared: the last line says why. "
    "What every name in the output means: docs/replay.md."
)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option(
    "--config", "config_file", type=_NAMED, required=True, metavar="FILE",
    help="The plugin-cfg.xml that was in force when the log was written, or the one to be tried.",
)  # fmt: skip
@click.option(
    "--settings", "settings_file", type=_FILE, metavar="FILE",
    help="A wsproxy.toml. Without it: its defaults, without memory of sessions that moved, as the plug-in has none.",
)  # fmt: skip
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    help="One JSON object a line: requests, foreign lines, summary.",
)
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Also write a report with charts: one file, no network.")  # fmt: skip
@click.option("--show", type=click.IntRange(0), default=20, show_default=True, metavar="N",
              help="Requests that are not the same to print.")  # fmt: skip
@click.option(
    "--undecided", is_flag=True, help="Print those too of which the log does not tell enough."
)
@click.option(
    "--format", "log_format", type=click.Choice([PLUGIN, *FORMATS]), default=PLUGIN, show_default=True,
    help="What LOG is: http_plugin.log, or an access log with JSESSIONID= and WAS= (PLUGIN: %{WAS}e).",
)  # fmt: skip
@of_host
@click.option(
    "--state", type=click.Choice(["auto", "process", "shared"]), default="auto", show_default=True,
    help="Down marks and counts are of each process, as the plug-in's, or of all, as wsproxy's; auto: as the log says.",
)  # fmt: skip
@click.option(
    "--against",
    metavar="URL",
    help="Send the requests to the proxy at URL and compare its answers.",
)
@click.option("--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, metavar="N",
              help="With --against: N times the log's pace.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N",
              help="With --against: N requests a second instead.")  # fmt: skip
@click.option("--all-methods", is_flag=True,
              help="With --against: also methods that change something. Bodies are not in a log and are not sent.")  # fmt: skip
def replay(
    logs: tuple[str, ...],
    config_file: Path,
    settings_file: Path | None,
    html_file: Path | None,
    show: int,
    log_format: str,
    host: str,
    state: str,
    against: str | None,
    speed: float,
    rate: float | None,
    **flags: bool,
) -> None:
    """
    Take each decision of LOG again, with the code that decides live traffic, and report every difference.

    LOG is an http_plugin.log of any release (- is standard input; gzip is unpacked), best at LogLevel Debug or Trace.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        settings = read_settings(settings_file) if settings_file else None
        world = World(load_several([config_file]).config, settings)
        run = _prepare(world, state, against=against, flags=flags)
        read_all(run.replay, run.reading, logs, log_format, host)
    except (ConfigRefusedError, LogRefusedError, StartError) as error:
        click.echo(f"wsproxy: {printable_lines(str(error))}", err=True)
        sys.exit(EXIT_NOTHING if isinstance(error, NothingComparedError) else EXIT_UNUSABLE)
    end = conclude(run.replay, world.config, is_access=log_format != PLUGIN)
    summary = summary_json(
        run.replay.summary,
        run.reading,
        strangers=end.strangers,
        notes=end.notes,
        nothing=end.nothing,
    )
    answers = None
    if against is not None:
        answers = send_all(Sending(against, speed, rate, flags["all_methods"]), run.to_send)
        summary.sent = answers.counts()
    if flags["is_json"]:
        for answer in answers.differences if answers else ():
            _print_json(answer)
        _print_json(summary)
    else:
        differences = answers.differences if answers else []
        print_replay(summary, run.replay.summary, logs, run.others, differences, show)
    if html_file is not None:
        report = write_report(summary, run.replay.summary, run.others, list(logs))
        try:
            html_file.write_text(report, encoding="utf-8")
        except OSError as error:
            click.echo(f"wsproxy: {printable(str(html_file))}: {error.strerror}", err=True)
            sys.exit(EXIT_UNUSABLE)
    if run.replay.summary.differences or end.lost or (answers and answers.differences):
        sys.exit(EXIT_DIFFERENCES)
    if end.nothing and not (summary.sent and summary.sent.same):
        sys.exit(EXIT_NOTHING)


def _prepare(world: World, state: str, *, against: str | None, flags: dict[str, bool]) -> _Run:
    reading = Reading()
    is_json = flags["is_json"]

    def listen(outcome: RequestOutcome) -> None:
        if is_json:
            _print_json(outcome)
        if outcome.result == DIFFERS or (flags["undecided"] and outcome.result == UNDECIDED):
            run.others.add(outcome)

    def keep_foreign(line: LogLine) -> None:
        _print_json(
            ForeignJson(file=printable(reading.path), line=line.number, text=text_of(line.text))
        )

    made = Replay(
        world,
        reading,
        listen,
        only_other=not is_json,
        shared={"auto": None, "process": False, "shared": True}[state],
        on_foreign=keep_foreign if is_json else None,
        on_end=(lambda request: run.to_send.extend(sent_request(request))) if against else None,
    )
    run = _Run(reading, made)
    return run


def _print_json(value: object) -> None:
    click.echo(json_text(value))
