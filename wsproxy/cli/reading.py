"""
Reads the logs that a command names into a replay, with a progress bar where somebody looks.

Driven by ``cli.replay``, ``cli.simulate`` and ``cli.diff``. Must not interpret anything: ``logs`` and ``replay`` do.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wsproxy._fast.logs.lines import read_lines
from wsproxy._fast.logs.request import split_host
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.config.problems import printable
from wsproxy.errors import LogRefusedError, NothingComparedError
from wsproxy.logs.access_reader import FORMATS, read_record
from wsproxy.logs.plugin_reader import Reading, read_logs, read_plain
from wsproxy.replay.replay import Replay
from wsproxy.replay.routes import UNKNOWN_PORT

# What ``--format`` calls http_plugin.log.
PLUGIN = "plugin"
# Lines that tell what a log is, if it is not what it is said to be.
LOOKED_AT = 20
# Objects between two looks for cycles.
MOST_UNCOLLECTED = 100_000

# The option of each command that reads access logs.
of_host = click.option(
    "--host",
    metavar="HOST[:PORT]",
    default="",
    help="Of requests in an access log without virtual host.",
)


def read_all(
    replay: Replay, reading: Reading, logs: tuple[str, ...], log_format: str, host: str
) -> None:
    """
    All of the logs; ``host`` is that of requests in an access log that does not name it. # I/O.

    Raises:
        LogRefusedError: a log cannot be read, or holds nothing of what it is said to be.
        NothingComparedError: it is a log of the other kind.
    """
    gc.freeze()  # what exists now stays, and requests are in no cycles: collections would only cost
    gc.set_threshold(MOST_UNCOLLECTED)
    name, port = split_host(host.encode())
    begin: list[bytes] = []  # its first lines, up to the first one that is what it is said to be
    with progress() as show:
        if log_format == PLUGIN:
            for lines in read_logs(logs, reading, wanted_only=True):
                if not reading.records and len(begin) < LOOKED_AT:
                    begin += [line.text for line in lines[:LOOKED_AT]]
                replay.take(lines)
                show(printable(reading.path), reading.bytes_read, reading.size)
        else:
            for rows in read_plain(logs, reading):
                if not reading.records and len(begin) < LOOKED_AT:
                    begin += [text for _, text in rows[:LOOKED_AT]]
                _take_access(replay, reading, rows, log_format, name, port)
                show(printable(reading.path), reading.bytes_read, reading.size)
    replay.end()
    if reading.records == 0:
        _refuse(", ".join(logs), log_format, begin)


def _refuse(logs: str, log_format: str, begin: list[bytes]) -> NoReturn:
    if log_format == PLUGIN:
        kind = next(
            (
                kind
                for kind in reversed(FORMATS)
                if any(read_record(1, line, kind) for line in begin)
            ),
            "",
        )
        if kind:
            raise NothingComparedError(f"{logs}: this is an access log: say --format {kind}")
        raise LogRefusedError(f"{logs}: no line of http_plugin.log in it")
    if any(line.level > LogLevel.BLANK for line in read_lines(b"\n".join(begin), [])):
        raise NothingComparedError(f"{logs}: this is an http_plugin.log: leave --format out")
    if log_format == "combined" and any(read_record(1, line, "common") for line in begin):
        raise NothingComparedError(f"{logs}: this is a common access log: say --format common")
    raise LogRefusedError(f"{logs}: no line of {log_format} access log in it")


def _take_access(
    replay: Replay,
    reading: Reading,
    rows: list[tuple[int, bytes]],
    log_format: str,
    host: bytes,
    port: int,
) -> None:
    for number, text in rows:
        if not text.strip():
            reading.blank += 1
            continue
        record = read_record(number, text, log_format)
        if record is None:
            reading.foreign += 1
            continue
        reading.records += 1
        replay.take_access(record, host, port if host else UNKNOWN_PORT)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, if that is a terminal; what it yields takes a word, how much is done and of how much."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def show(what: str, done: int, of: int) -> None:
            bar.update(task, completed=done, total=of or None, description=what)

        yield show
