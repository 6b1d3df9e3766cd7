"""
Reads the logs that a command names into a replay, with a progress bar where somebody looks.

Driven by ``cli.replay`` and ``cli.simulate``. Must not interpret anything: ``pluginlog`` does.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wsproxy.config.problems import printable
from wsproxy.errors import LogRefusedError
from wsproxy.pluginlog.access import read_record
from wsproxy.pluginlog.reader import Reading, read_logs, read_plain
from wsproxy.pluginlog.replay import Replay
from wsproxy.pluginlog.routes import UNKNOWN_PORT, split_host

# What ``--format`` calls http_plugin.log.
PLUGIN = "plugin"
# Objects between two looks for cycles.
MOST_UNCOLLECTED = 100_000


def read_all(
    replay: Replay, reading: Reading, logs: tuple[str, ...], log_format: str, host: str
) -> None:
    """
    All of the logs; ``host`` is that of requests in an access log that does not name it. # I/O.

    Raises:
        LogRefusedError: a log cannot be read, or holds nothing of what it is said to be.
    """
    gc.freeze()  # what exists now stays, and requests are in no cycles: collections would only cost
    gc.set_threshold(MOST_UNCOLLECTED)
    name, port = split_host(host.encode())
    with progress() as show:
        if log_format == PLUGIN:
            for lines in read_logs(logs, reading, wanted_only=True):
                replay.take(lines)
                show(printable(reading.path), reading.bytes_read, reading.size)
        else:
            for rows in read_plain(logs, reading):
                _take_access(replay, reading, rows, log_format, name, port)
                show(printable(reading.path), reading.bytes_read, reading.size)
    replay.end()
    if reading.records == 0:
        what = "http_plugin.log" if log_format == PLUGIN else f"{log_format} access log"
        raise LogRefusedError(f"{', '.join(logs)}: no line of {what} in it")


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
