"""
``wsproxy run``: the proxy in the foreground, until it is told to stop.

Must not do anything but parse arguments, load files and print.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from wsproxy._fast.state import SharedState
from wsproxy.config.address import Address, parse_address
from wsproxy.config.model import Config
from wsproxy.config.settings import MAX_WORKERS, Settings
from wsproxy.config.settings_file import read_settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.worker import run_worker
from wsproxy.errors import ConfigRefusedError, StartError
from wsproxy.process.logs import set_up_logging
from wsproxy.process.start import run_proxy

EXIT_NOT_STARTED = 1
EXIT_REFUSED = 2

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def parse_listen(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[Address, ...]:
    """The addresses of ``--listen``; a text that is none ends the command with what is allowed."""
    try:
        return tuple(parse_address(text, is_listener=True) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    epilog="Exit code: 0 stopped as told; 1 not started, or workers had to be killed; 2 a file or an argument was refused. "
    "SIGTERM and SIGINT stop after running requests have finished; a second one stops at once."
)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    callback=parse_listen,
    help="Listen here; may be repeated. IPv6 in brackets ([::1]:9080), :9080 for all addresses, port 0 for any free port. "
    "Replaces [[listener]] of the settings. Without either: the ports that the VirtualHosts in FILE name.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, MAX_WORKERS),
    help="Worker processes; 0: one for each CPU that wsproxy may use. Replaces `workers` of the settings.",
)
@click.option(
    "--settings",
    "settings_file",
    type=_FILE,
    help="A wsproxy.toml: listeners, limits, time-outs and what else FILE has no words for. Without it: the defaults.",
)
def run(
    file: Path, listen: tuple[Address, ...], workers: int | None, settings_file: Path | None
) -> None:
    """Run the proxy as FILE, a plugin-cfg.xml, says: in the foreground, with messages on standard error."""
    try:
        settings = read_settings(settings_file) if settings_file else Settings()
        loaded = load_config(file)
    except ConfigRefusedError as refused:
        click.echo(refused, err=True)
        sys.exit(EXIT_REFUSED)
    if workers is not None:
        settings = msgspec.structs.replace(settings, workers=workers)
    if count := len(loaded.problems):
        warnings = "1 warning" if count == 1 else f"{count} warnings"
        click.echo(f"{file}: {warnings}; to list: wsproxy check {file}", err=True)
    set_up_logging(settings.log.level)
    try:
        sys.exit(run_proxy(loaded.config, settings, listen, make_state, run_worker))
    except StartError as error:
        click.echo(f"wsproxy: {error}", err=True)
        sys.exit(EXIT_NOT_STARTED)


def make_state(_config: Config) -> SharedState:
    """The segment that all workers share, before the first of them exists."""
    return SharedState()
