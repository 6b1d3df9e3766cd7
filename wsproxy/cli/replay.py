"""
``wsproxy replay LOG... --config FILE``: each decision of a log taken again, and every difference told.

Driven by ``cli.main``. Must not judge anything: ``pluginlog`` does. What it prints is described in docs/replay.md.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsproxy._fast.loglines import LogLine
from wsproxy._fast.logtries import text_of
from wsproxy.cli.reading import PLUGIN, read_all
from wsproxy.config.problems import printable
from wsproxy.config.settings_file import read_settings
from wsproxy.config.xml import load_config
from wsproxy.errors import ConfigRefusedError, LogRefusedError, StartError
from wsproxy.pluginlog.access import FORMATS
from wsproxy.pluginlog.against import Answered, Sending, SentRequest, send_all, sent_request
from wsproxy.pluginlog.html import write_report
from wsproxy.pluginlog.outcome import DIFFERS, SAME, UNDECIDED, RequestOutcome
from wsproxy.pluginlog.reader import Reading
from wsproxy.pluginlog.replay import Replay, time_text
from wsproxy.pluginlog.summary import SummaryJson, summary_json
from wsproxy.pluginlog.world import World

EXIT_DIFFERENCES = 1
EXIT_UNUSABLE = (
    2  # a log or a configuration cannot be used; click uses the same for a wrong command line
)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_STYLES = {SAME: "green", DIFFERS: "bold red", UNDECIDED: "yellow"}
# Differences that are kept for the report: above, nobody reads them one by one.
MOST_KEPT = 1000
# Columns of a table that goes to a file: names of generated servers have up to 60.
PIPED_WIDTH = 160


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
    others: list[RequestOutcome] = field(default_factory=list)
    to_send: list[SentRequest] = field(default_factory=list)
    requests: int = 0


@click.command(
    epilog="Exit code: 0 no difference, 1 differences, 2 a log, a configuration or an argument cannot be used. "
    "What every name in the output means: docs/replay.md."
)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option(
    "--config", "config_file", type=_FILE, required=True, metavar="FILE",
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
@click.option(
    "--host",
    metavar="HOST[:PORT]",
    default="",
    help="Of requests in an access log without virtual host.",
)
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
        world = World(load_config(config_file).config, settings)
        run = _prepare(world, state, against=against, flags=flags)
        read_all(run.replay, run.reading, logs, log_format, host)
    except (ConfigRefusedError, LogRefusedError, StartError) as error:
        click.echo(f"wsproxy: {printable(str(error))}", err=True)
        sys.exit(EXIT_UNUSABLE)
    summary = summary_json(run.replay.summary, run.reading)
    answers = None
    if against is not None:
        answers = send_all(Sending(against, speed, rate, flags["all_methods"]), run.to_send)
        summary.sent = answers.counts()
    if flags["is_json"]:
        for answer in answers.differences if answers else ():
            _print_json(answer)
        _print_json(summary)
    else:
        _print_for_people(summary, run, show, answers.differences if answers else [])
    if html_file is not None:
        report = write_report(summary, run.replay.summary, run.others, list(logs))
        try:
            html_file.write_text(report, encoding="utf-8")
        except OSError as error:
            click.echo(f"wsproxy: {html_file}: {error.strerror}", err=True)
            sys.exit(EXIT_UNUSABLE)
    if run.replay.summary.differences or (answers and answers.differences):
        sys.exit(EXIT_DIFFERENCES)


def _prepare(world: World, state: str, *, against: str | None, flags: dict[str, bool]) -> _Run:
    reading = Reading()
    is_json = flags["is_json"]

    def listen(outcome: RequestOutcome) -> None:
        if is_json:
            _print_json(outcome)
        if (outcome.result == DIFFERS or (flags["undecided"] and outcome.result == UNDECIDED)) and (
            len(run.others) < MOST_KEPT
        ):
            run.others.append(outcome)

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
    click.echo(msgspec.json.encode(value).decode())


def _print_for_people(summary: SummaryJson, run: _Run, show: int, answers: list[Answered]) -> None:
    # names of a log or a configuration are no markup
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for outcome in run.others[:show]:
        _print_request(console, outcome)
    if len(run.others) > show:
        console.print(
            Text(f"... and {len(run.others) - show} more (--show N, --html FILE)", style="dim")
        )
    for answer in answers[:show]:
        console.print(Text(f"{printable(answer.file)}:{answer.line}: {printable(answer.method)} {printable(answer.uri)}: {answer.what}: "
                           f"log {printable(answer.logged)}, proxy {printable(answer.answered)}", style="red"))  # fmt: skip
    table = Table(title="Decisions", title_justify="left")
    for name in ("decision", "same", "differs", "not decidable"):
        table.add_column(name, justify="left" if name == "decision" else "right")
    for what, counts in summary.decisions.items():
        if counts.same or counts.differs or counts.undecided:
            style = "red" if counts.differs else None
            table.add_row(
                what, str(counts.same), str(counts.differs), str(counts.undecided), style=style
            )
    console.print(table)
    servers = Table(title="Servers", title_justify="left")
    for name in ("server", "requests", "by affinity", "failed tries", "marked down", "differences"):
        servers.add_column(name, justify="left" if name == "server" else "right")
    for each in summary.servers:
        servers.add_row(
            printable(each.server) or "(none)", str(each.requests), str(each.by_affinity),
            str(each.failed_tries), str(each.marked_down), str(each.differences),
        )  # fmt: skip
    console.print(servers)
    lines = summary.lines
    console.print(
        f"{lines.all} lines: {lines.records} records, {lines.continued} continued, {lines.foreign} foreign, {lines.blank} blank"
    )
    span = (
        f", {time_text(run.replay.summary.first_us)} to {time_text(run.replay.summary.last_us)}"
        if summary.requests
        else ""
    )
    console.print(f"{summary.requests} requests of {summary.processes} processes{span}")
    if summary.sent is not None:
        sent = summary.sent
        console.print(
            f"sent {sent.sent}, left out {sent.left_out}; same {sent.same}, differs {sent.differs}, no answer {sent.failed}"
        )
    verdict = (
        DIFFERS
        if summary.differs
        else UNDECIDED
        if summary.undecided and not summary.same
        else SAME
    )
    console.print(
        Text(
            f"requests: {summary.same} same, {summary.differs} differ, {summary.undecided} not decidable from the log",
            style=_STYLES[verdict],
        )
    )


def _print_request(console: Console, outcome: RequestOutcome) -> None:
    where = f"{printable(outcome.file)}:{outcome.lines[0]}-{outcome.lines[1]}"
    port = f":{outcome.port}" if outcome.port else ""
    console.print(
        Text.assemble(
            (f"{outcome.result:9} ", _STYLES[outcome.result]),
            f"{where} {outcome.time} {outcome.pid} {outcome.tid} {printable(outcome.host)}{port}{printable(outcome.uri)}",
        )
    )
    for check in outcome.checks:
        if check.result == SAME:
            continue
        note = f"  ({check.note})" if check.note else ""
        console.print(
            Text.assemble(
                ("          ", ""),
                (check.what, _STYLES[check.result]),
                f" line {check.line}: log {printable(check.logged) or '-'}, wsproxy {printable(check.ours) or '-'}{printable(note)}",
            )
        )
