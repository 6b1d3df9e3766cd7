"""
``wsproxy run``: the proxy in the foreground, until it is told to stop.

Must not do anything but parse arguments, load files and print.
"""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from wsproxy._fast.state.segment import SharedState
from wsproxy.config.address import Address, parse_address
from wsproxy.config.model import Config
from wsproxy.config.problems import printable, printable_lines
from wsproxy.config.published import PublishedFolder
from wsproxy.config.settings import MAX_WORKERS
from wsproxy.config.settings_file import LoadedSettings, load_settings
from wsproxy.config.several import files_of
from wsproxy.dataplane.worker import run_worker
from wsproxy.errors import ConfigRefusedError, Problem, StartError
from wsproxy.process.check_start import check_start, load_files
from wsproxy.process.handover import Inheritance
from wsproxy.process.identity import Identity, identity_of
from wsproxy.process.listeners import LISTEN_CODE, OFFER
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import set_up_logging
from wsproxy.process.start import run_proxy
from wsproxy.reload.published import begin_with
from wsproxy.reload.sources import Sources, look

logger = logging.getLogger(__name__)

EXIT_NOT_STARTED = 1
EXIT_REFUSED = 2

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NAMED = click.Path(exists=True, path_type=Path)


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
@click.argument("named", metavar="FILE...", type=_NAMED, nargs=-1, required=True)
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
@click.option(
    "--user",
    help="User that a wsproxy started as root becomes when its sockets listen. Replaces `process.user` of the settings.",
)
def run(
    named: tuple[Path, ...],
    listen: tuple[Address, ...],
    workers: int | None,
    settings_file: Path | None,
    user: str | None,
) -> None:
    """
    Run the proxy as FILE, a plugin-cfg.xml, says: in the foreground, with messages on standard error.

    Several FILEs, or the *.xml of a folder, are merged as `wsproxy merge` does it, and merged again when one of them changes.
    """
    with LogPipe(_identity(settings_file, user)) as log_pipe:
        try:
            handed = Inheritance.from_environment(os.environ, os.getpid())
        except StartError as error:
            log_pipe.say(f"wsproxy: {printable(str(error))}")
            sys.exit(EXIT_NOT_STARTED)
        if handed.history < 0:
            handed.history = os.memfd_create("wsproxy-history")
        sys.exit(_run(named, listen, workers, settings_file, user, log_pipe, handed))


def _identity(settings_file: Path | None, user: str | None) -> Identity | None:
    """Of the log process, which runs before anything is checked; what is wrong with it is told later."""
    if os.geteuid() != 0:
        return None
    try:
        settings = load_settings(settings_file) if settings_file else LoadedSettings()
        return identity_of(settings.with_user(user).settings.process.user)
    except (ConfigRefusedError, StartError):
        return None


def _published_folder(settings_file: Path | None) -> PublishedFolder | None:
    """Where what the group publishes is kept; what is wrong with the settings is told later."""
    try:
        ha = (load_settings(settings_file) if settings_file else LoadedSettings()).settings.ha
    except ConfigRefusedError:
        return None
    return PublishedFolder(ha.config_folder) if ha.is_on and ha.config_folder else None


def _run(
    named: tuple[Path, ...],
    listen: tuple[Address, ...],
    workers: int | None,
    settings_file: Path | None,
    user: str | None,
    log_pipe: LogPipe,
    handed: Inheritance,
) -> int:
    """The exit code."""
    folder = _published_folder(settings_file)
    sources = Sources(named, settings_file, listen, workers, (), user, folder)
    try:
        sources, told = begin_with(sources)
    except StartError as error:
        _say(log_pipe, handed, [], str(error))
        return EXIT_REFUSED
    # Before they are read: what is changed meanwhile is a change.
    sources = replace(sources, seen=look(sources.looked_at))
    named = sources.named
    files = load_files(named, settings_file)
    if files.config is None or files.settings is None:
        errors = [problem for problem in files.problems if problem.severity == "error"]
        more = files.counts.errors - len(errors)
        _say(log_pipe, handed, errors, f"and {more} more errors" if more else "")
        return EXIT_REFUSED
    config, loaded = files.config.config, files.settings.with_workers(workers).with_user(user)
    start = check_start(config, loaded, listen, is_trial=False, ignored=files.ignored)
    if start.errors:
        if all(each.code == LISTEN_CODE for each in start.errors):
            # The ports that were left out are the reason why none is left.
            _say(log_pipe, handed, start.problems, OFFER)
            return EXIT_NOT_STARTED
        _say(log_pipe, handed, start.errors)
        return EXIT_REFUSED
    if count := files.counts.warnings:
        warnings = "1 warning" if count == 1 else f"{count} warnings"
        command = _check_command(named, settings_file, listen)
        log_pipe.say(printable(f"{named[0]}: {warnings}; to list: {command}"))
    log = loaded.settings.log
    set_up_logging(log.level, log.most_a_second)
    for level, line in told:
        logger.log(level, "%s", line)
    for problem in start.problems:
        logger.warning("%s", problem)
    try:
        # Here, before the first fork, and not in the loader: what is installed later is the next program's code.
        loader = partial(
            importlib.import_module("wsproxy.reload.loader").run_loader, sources=sources
        )
        return run_proxy(
            config, loaded, listen, make_state, run_worker, log_pipe, start.security, loader, handed
        )
    except StartError as error:
        log_pipe.say(f"wsproxy: {printable_lines(str(error))}")
        handed.refuse(str(error))
        return EXIT_NOT_STARTED


def _say(
    log_pipe: LogPipe, handed: Inheritance, problems: Iterable[Problem], more: str = ""
) -> None:
    text = "\n".join([*map(str, problems), *([more] if more else ())])
    log_pipe.say(printable_lines(text))
    handed.refuse(text)


def _check_command(
    named: tuple[Path, ...], settings_file: Path | None, listen: tuple[Address, ...]
) -> str:
    """The ``wsproxy check`` that says the same; of several files one each."""
    more = ["--settings", str(settings_file)] if settings_file else []
    for address in listen:
        more += ["--listen", str(address)]
    return "; ".join(shlex.join(["wsproxy", "check", str(file), *more]) for file in files_of(named))


def make_state(_config: Config) -> SharedState:
    """The segment that all workers share, before the first of them exists."""
    return SharedState(grows=True)
