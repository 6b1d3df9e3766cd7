"""
Everything that ``wsproxy run`` would complain of, found before it starts: files, settings, certificates, keyrings, logs, ports.

The one function behind ``wsproxy check --settings`` and ``wsproxy run``: what the one says, the other says. Driven by
``cli.check`` and ``cli.run``. Changes nothing that stays: sockets that are tried are closed again, no log is made.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from wsproxy.admin.sockets import SocketTakenError
from wsproxy.config.address import Address, is_own
from wsproxy.config.check_fit import find_idle
from wsproxy.config.check_settings import dotted
from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.config.published import folder_flaw
from wsproxy.config.settings import SOCKET_AUTO, Settings
from wsproxy.config.settings_file import LoadedSettings, load_settings
from wsproxy.config.several import load_several
from wsproxy.config.xml import LoadedConfig
from wsproxy.dataplane.plan import doubt_transports, unknown_names
from wsproxy.dataplane.upstream_tls import TransportSecurity
from wsproxy.errors import ConfigRefusedError, Counts, Problem, Severity, StartError
from wsproxy.process.access_log import doubt_access_log
from wsproxy.process.identity import Identity, acting_as, identity_of
from wsproxy.process.listeners import (
    LISTEN_CODE,
    ListenError,
    ListenPlan,
    open_listeners,
    plan_listeners,
)
from wsproxy.process.plugin_log import doubt_plugin_log
from wsproxy.process.start import try_admin_socket
from wsproxy.process.system import raise_open_files_limit
from wsproxy.process.tracing import doubt_traces
from wsproxy.routing.table import build_route_table
from wsproxy.routing.unmatched import Unmatched

# Below this a few hundred clients use it up: each takes two connections, and the pools keep some.
FEW_OPEN_FILES = 4096
# Of what belongs to no file.
MACHINE = "this machine"


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    Both files as far as they can be used (None: refused), and what is wrong with them; the problems of the first file first.

    ``notes`` come on top: what may well be meant. ``ignored``: the codes that nobody wants to hear of.
    """

    config: LoadedConfig | None
    settings: LoadedSettings | None
    problems: tuple[Problem, ...]
    counts: Counts
    notes: tuple[Problem, ...] = ()
    ignored: frozenset[str] = frozenset()


def load_files(
    named: Sequence[Path], settings_file: Path | None, ignored: Iterable[str] = ()
) -> Loaded:
    """
    plugin-cfg.xml, and wsproxy.toml where there is one; raises nothing. # I/O.

    Of several files, or folders of them, what they say together. ``ignored``: beside check.ignore.
    """
    config: LoadedConfig | None = None
    settings: LoadedSettings | None = LoadedSettings()
    found: list[Problem] = []
    refusals = []
    try:
        settings = load_settings(settings_file) if settings_file else settings
    except ConfigRefusedError as refused:
        settings = None
        refusals.append(refused)
    unwanted = frozenset(ignored)
    if settings is not None:
        unwanted |= set(settings.settings.check.ignore)
    try:
        config = load_several(named, unwanted)
    except ConfigRefusedError as refused:
        refusals.append(refused)
    counts = Counts()
    for each in (settings, config, *refusals):
        if each is not None:
            found += each.problems
            counts += each.counts
    notes = () if config is None else config.notes
    kept, left_out = without_ignored(found, unwanted)
    counts += Counts(warnings=-left_out, ignored=left_out)
    return Loaded(config, settings, kept, counts, notes, unwanted)


def without_ignored(
    problems: Iterable[Problem], ignored: Collection[str]
) -> tuple[tuple[Problem, ...], int]:
    """The problems without warnings of these codes, and how many those were."""
    found = tuple(problems)
    kept = tuple(each for each in found if each.severity == "error" or each.code not in ignored)
    return kept, len(found) - len(kept)


@dataclass(frozen=True, slots=True)
class Start:
    """What is wrong with a start; ``security``: the keyrings, as they were read for that; ``ignored``: how many are not told."""

    problems: tuple[Problem, ...]
    security: TransportSecurity
    ignored: int = 0

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the proxy from starting."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def check_start(
    config: Config,
    loaded: LoadedSettings,
    listen: Sequence[Address],
    *,
    is_trial: bool,
    ignored: Collection[str] = (),
) -> Start:
    """
    Everything that would go wrong with these files on this machine; raises nothing. ``ignored``: codes that are not told. # I/O.

    Files are looked at with the rights of process.user, for a reload opens them with no others; ports with those of this process.

    ``is_trial``: nothing is started behind this, so ports and the admin socket are tried, too. Whoever starts finds them
    out by itself, with the same words.
    """
    settings = loaded.settings
    problems = list(_doubt_open_files())
    identity = None
    try:
        identity = identity_of(settings.process.user)
    except StartError as error:
        problems.append(loaded.problem("error", "setting-value", ("process", "user"), str(error)))
    for at, sentence in unknown_names(config, settings):
        problems.append(loaded.problem("error", "setting-value", at, sentence))
    problems += _idle_settings(config, loaded, listen)
    problems += _doubt_listeners(config, loaded, listen, identity, is_trial=is_trial)
    with acting_as(identity):
        security = TransportSecurity.for_config(config, settings)
        problems += _doubt_reading(identity, config, loaded)
        problems += _doubt_config_folder(loaded)
        problems += filter(
            None, (doubt_plugin_log(config, loaded), doubt_access_log(loaded), doubt_traces(loaded))
        )
        problems += doubt_transports(config, loaded, security)
        # The run-time folder is made that user's at a start only.
        if is_trial and (identity is None or settings.admin.socket != SOCKET_AUTO):
            problems += _doubt_admin(settings, loaded)
    kept, left_out = without_ignored(problems, ignored)
    return Start(kept, security, left_out)


def _doubt_open_files() -> Iterator[Problem]:
    most = raise_open_files_limit()
    if most < FEW_OPEN_FILES:
        found = f"a limit of {most} open files (ulimit -Hn)"
        allowed = f"this, but {FEW_OPEN_FILES} are few for a proxy"
        yield Problem("warning", "open-files", MACHINE, 0, found, allowed)


def _idle_settings(
    config: Config, loaded: LoadedSettings, listen: Sequence[Address]
) -> Iterator[Problem]:
    idle = find_idle(config, loaded.settings, is_listening_elsewhere=bool(listen))
    for at, value, why, allowed in idle:
        shown = f'"{printable(value)}"' if isinstance(value, str) else value
        sentence = f"{dotted(at)}: found {shown}, which has no effect {why}; allowed {allowed}"
        yield loaded.problem("warning", "setting-no-effect", at, sentence)


def _doubt_reading(
    identity: Identity | None, config: Config, loaded: LoadedSettings
) -> Iterator[Problem]:
    """What root has just read, and processes that start later could not: both files, wsproxy itself, Python."""
    if identity is None:
        return
    ha = loaded.settings.ha
    keys = (ha.ca, ha.certificate, ha.key, ha.session_key, ha.password_file) if ha.is_on else ()
    for file in (config.path, loaded.file, __file__, os.__file__, *keys):
        if file and not os.access(file, os.R_OK, effective_ids=True):
            found = f"a file that user {identity.name} cannot read (process.user)"
            allowed = "one that it can: it is read after the start, too"
            yield Problem("error", "file-unreadable", file, 0, found, allowed)


def _doubt_config_folder(loaded: LoadedSettings) -> Iterator[Problem]:
    """Where what the group has published is to be kept."""
    ha = loaded.settings.ha
    if ha.is_on and ha.config_folder and (flaw := folder_flaw(ha.config_folder)):
        at = ("ha", "config_folder")
        yield loaded.problem("error", "setting-value", at, f"{dotted(at)}: {flaw}")


def _doubt_listeners(
    config: Config,
    loaded: LoadedSettings,
    listen: Sequence[Address],
    identity: Identity | None,
    *,
    is_trial: bool,
) -> Iterator[Problem]:
    try:
        with acting_as(identity):  # keys and certificates
            plan = plan_listeners(listen, loaded, config)
    except ListenError as error:
        yield from error.problems
        return
    except StartError as error:
        yield loaded.problem("error", LISTEN_CODE, ("listener",), str(error))
        return
    for index, wanted in enumerate(plan.wanted):
        for doubt in () if wanted.tls is None else wanted.tls.doubts:
            at = ("listener", index, "certificates")
            sentence = f"listener.certificates: {doubt}"
            yield loaded.problem("warning", "certificate-validity", at, sentence)
    yield from _doubt_ports(config, plan)
    yield from _doubt_circles(config, plan)
    if is_trial:
        yield from _try_to_listen(plan)


def _doubt_ports(config: Config, plan: ListenPlan) -> Iterator[Problem]:
    """Where every request would be a 404, as no VirtualHost takes the port that clients name."""
    unmatched = Unmatched(build_route_table(config))
    for wanted in plan.wanted if plan.is_explicit else ():
        port = wanted.address.port
        if unmatched.takes_port(port):
            continue
        name = f"port {port}" if port else "a port that the system chooses (0)"
        sentence = (
            f"found {name} ({wanted.source.words} {wanted.address}), which no VirtualHost takes ({unmatched.hosts_in_words}): "
            "clients that name it in Host get 404; allowed is a port of a VirtualHost, or a VirtualHost *:*"
        )
        source = wanted.source
        yield Problem("warning", "port-unmatched", source.file, source.line, name, "", sentence)


def _doubt_circles(config: Config, plan: ListenPlan) -> Iterator[Problem]:
    """Where a request would come back to us until there are no descriptors left."""
    transports = (
        (each.name, transport) for each in config.all_servers for transport in each.transports
    )
    for (name, transport), wanted in product(transports, plan.wanted):
        own = wanted.address
        if own.port == transport.port and is_own(transport.hostname, own):
            found = (
                f'{transport.hostname}:{own.port} for Server "{name}", which is our own listener ({wanted.source.words} {own}): '
                "its requests would come back to us again and again"
            )
            allowed = "another port for one of them"
            line = transport.line
            yield Problem("warning", "server-is-listener", config.path, line, found, allowed)


def _try_to_listen(plan: ListenPlan) -> Iterator[Problem]:
    try:
        listeners = open_listeners(plan, 1)
    except ListenError as error:
        # In use by the proxy that runs now, most often: no reason to refuse its next configuration.
        for problem in error.problems:
            yield replace(problem, severity="warning") if error.is_in_use else problem
        return
    yield from listeners.notes
    listeners.close()


def _doubt_admin(settings: Settings, loaded: LoadedSettings) -> Iterator[Problem]:
    at = ("admin", "socket")
    try:
        try_admin_socket(settings)
    except SocketTakenError as error:
        yield loaded.problem("warning", "admin-socket", at, str(error))
    except StartError as error:
        severity: Severity = "warning" if settings.admin.socket == SOCKET_AUTO else "error"
        yield loaded.problem(severity, "admin-socket", at, str(error))
