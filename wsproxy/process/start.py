"""
From a loaded configuration to running workers.

Driven by ``cli``. Must not parse arguments or files.
"""

from __future__ import annotations

import importlib
import logging
import mmap
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.bridge_counts import BridgeCounts
from wsproxy.admin.control import outvoted
from wsproxy.admin.live import ProxyFacts
from wsproxy.admin.sockets import AdminSocket, open_own_socket, open_socket, own_path, try_socket
from wsproxy.admin.state_file import restore_state
from wsproxy.admin.tcp import open_tcp, token_of
from wsproxy.admin.tls import tls_of
from wsproxy.config.address import Address
from wsproxy.config.group_secret import read_group_secret
from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.config.settings import MAX_WORKERS, SOCKET_AUTO, SOCKET_OFF, Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.settings_groups import longest_end_s
from wsproxy.dataplane.access_keeper import AccessKeeper
from wsproxy.dataplane.context import BoundListener, WorkerContext
from wsproxy.dataplane.parcel import log_path_of
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.dataplane.upstream_tls import TransportSecurity
from wsproxy.dataplane.witness import Witness
from wsproxy.errors import StartError
from wsproxy.logs.access_writer import AccessWriter
from wsproxy.logs.plugin_writer import LogPlan, PluginLog
from wsproxy.logs.probe_writer import tell_awaited
from wsproxy.probe.targets import Key, begin_probes
from wsproxy.process.access_log import open_access_log
from wsproxy.process.handover import Inheritance, Said
from wsproxy.process.hang import HangWatch
from wsproxy.process.identity import become, give_runtime_folder, identity_of
from wsproxy.process.listeners import ListenerSet, open_listeners, plan_listeners
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import tick_messages
from wsproxy.process.on_demand import OnDemand
from wsproxy.process.parcels import Parcels
from wsproxy.process.plugin_log import on_log_signal, open_plugin_log
from wsproxy.process.resident import Resident
from wsproxy.process.service import ServiceReload
from wsproxy.process.succession import Succession
from wsproxy.process.supervisor import Supervisor
from wsproxy.process.system import count_usable_cpus, raise_open_files_limit, set_process_name
from wsproxy.process.tracing import TraceWay, check_traces
from wsproxy.process.turns import Turns
from wsproxy.process.upgrade import Upgrade
from wsproxy.process.workers import OnReady

logger = logging.getLogger(__name__)

# Reading and compiling the largest files takes the loader seconds, and nobody's request waits for it.
LOADER_PATIENCE_S = 30.0

MakeState = Callable[[Config], SharedState]
RunWorker = Callable[[WorkerContext, OnReady], int]
# The loader, in its process, given what only the supervisor has.
RunLoader = Callable[["LoaderNeeds"], int]


@dataclass(frozen=True, slots=True)
class LoaderNeeds:
    """What a process that compiles later configurations is given when it is forked."""

    plan: Plan  # of the start
    workers: range  # their rows in the shared state
    history: int  # descriptor of what became of all attempts
    replaced: str  # who had this program replace another one; empty: nobody
    is_again: bool  # a new program was to take slots in its place, and did not come up: what holds is to be written again
    supervisor: socket.socket  # where parcels go, and SIGHUP comes from
    on_reloaded: Callable[[], None]  # what SIGHUP had asked for is over
    admin: socket.socket  # where questions come from
    parcels: tuple[tuple[int, int], ...]  # that were taken over already: generation and descriptor
    on_turn: Callable[[], None]
    log_plan: LogPlan | None  # of http_plugin.log; None: none is written


def run_proxy(
    config: Config,
    loaded: LoadedSettings,
    listen: Sequence[Address],
    make_state: MakeState,
    run_worker: RunWorker,
    log_pipe: LogPipe,
    security: TransportSecurity | None = None,
    run_loader: RunLoader | None = None,
    handed: Inheritance | None = None,
) -> int:
    """
    Runs until it is told to stop; returns the exit code. ``handed`` by systemd or the program that it replaces. Without ``run_loader`` the configuration stays as it is.

    What ``process.check_start`` finds is told by whoever calls this; ``security``: the keyrings as it has read them.

    Raises:
        StartError: there is nothing to listen on, the log cannot be written, or process.user is nobody whom this process can become.
    """
    set_process_name("wsproxy")
    raise_open_files_limit()
    identity = identity_of(loaded.settings.process.user)
    worker_count = loaded.settings.workers or count_usable_cpus()
    handed = handed or Inheritance()
    plan = plan_listeners(listen, loaded, config)
    listeners = open_listeners(plan, worker_count, handed.sockets)
    handed.sockets.close()
    for note in listeners.notes:
        logger.warning("%s", note)
    give_runtime_folder(identity)
    become(identity)
    return run_supervisor(
        config,
        loaded.settings,
        listeners,
        make_state,
        run_worker,
        log_pipe,
        security,
        run_loader,
        handed,
    )


def run_supervisor(
    config: Config,
    settings: Settings,
    listeners: ListenerSet,
    make_state: MakeState,
    run_worker: RunWorker,
    log_pipe: LogPipe,
    security: TransportSecurity | None = None,
    run_loader: RunLoader | None = None,
    handed: Inheritance | None = None,
) -> int:
    """
    Runs one worker for each row of ``listeners`` until it is told to stop; returns the exit code and closes ``listeners``.

    ``make_state`` is called once, before the first fork, because all workers map the same segment; not where a state is
    ``handed`` on that can be used.
    """
    handed = handed or Inheritance()
    begun = _begin(config, settings, listeners.worker_count, make_state, security, handed)
    state, upgrade, rows = begun.plan.state, begun.upgrade, begun.upgrade.rows
    check_traces(settings)
    log_plan = open_plugin_log(config, settings)
    plan = replace(begun.plan, log_path="" if log_plan is None else log_plan.path)
    if log_plan is not None and begun.awaited:
        tell_awaited(log_plan, state, begun.awaited)
    make_witness = Witness if log_plan is None else partial(PluginLog, log_plan, plan)
    access_plan = open_access_log(config, settings)
    make_keeper = AccessKeeper if access_plan is None else partial(AccessWriter, access_plan, state)

    worker_count = len(rows)
    admin_row, loader_row, prober_row, tracer_row, ha_row = range(worker_count, worker_count + 5)
    turns = Turns(worker_count + 5)
    way = TraceWay.open(is_wanted=bool(settings.trace.endpoint), last_s=settings.trace.last_s)
    parcels = Parcels.open()
    reloads = ServiceReload()

    def turn_of(row: int) -> Callable[[], None]:
        def turn() -> None:
            turns.note(row)
            tick_messages()

        return turn

    def run_one(
        row: int, bound: tuple[BoundListener, ...], box: socket.socket, on_ready: OnReady
    ) -> int:
        context = WorkerContext(
            rows[row],
            plan,
            bound,
            parcels.newest_fd,
            box,
            make_witness,
            make_keeper,
            way.workers,
            turn_of(row),
        )
        return run_worker(context, on_ready)

    def run_the_loader(supervisor: socket.socket) -> int:
        assert run_loader is not None
        needs = LoaderNeeds(
            plan,
            rows,
            handed.history,
            "" if handed.estate is None else handed.estate.who,
            upgrade.has_failed,
            supervisor,
            reloads.say_done,
            parcels.answers,
            tuple(parcels.kept),
            turn_of(loader_row),
            log_plan,
        )
        return run_loader(needs)

    prober = _load("wsproxy.probe.prober")
    # Whether this proxy's prober asks: written by the ha process where one asks for all, else always.
    probe_switch = mmap.mmap(-1, 1)
    probe_switch[0] = not (settings.ha.is_on and settings.ha.one_prober)

    def run_the_prober(box: socket.socket) -> int:
        exit_code: int = prober.run_prober(
            plan,
            box,
            parcels.newest_fd,
            turn_of(prober_row),
            log_plan,
            lambda: bool(probe_switch[0]),
        )
        return exit_code

    others = [
        Resident("prober", run_the_prober, is_wanted=lambda: state.wants_prober, row=prober_row)
    ]
    if way.is_open:
        others.append(make_tracer(settings, way, state, tracer_row, turn_of(tracer_row)))
    bridges = BridgeCounts(settings.ha)
    if settings.ha.is_on:
        others.append(make_ha(plan, parcels, ha_row, turn_of(ha_row), probe_switch, bridges))
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    older = tuple(each.pid for each in handed.kin)
    facts = ProxyFacts(
        os.getpid(), started_at, worker_count, plan, log_plan, rows.start, older, upgrade.heat, bridges,
    )  # fmt: skip

    admin = make_admin(settings, facts, admin_row, turn_of(admin_row), parcels, upgrade, handed)
    return Supervisor(
        listeners,
        state,
        run_one,
        settings.timeouts.shutdown_s,
        partial(
            on_log_signal,
            state=state,
            plan=log_plan,
            access_path=settings.log.access,
            path_now=lambda: log_path_of(parcels.newest_fd) if parcels.newest else plan.log_path,
        ),
        log_pipe,
        HangWatch(turns, settings.process.hang_s),
        parcels,
        reloads,
        Succession(upgrade, handed, state),
        partial(_take_charge, begun, handed, admin),
        admin,
        None
        if run_loader is None
        else Resident("loader", run_the_loader, row=loader_row, patience_s=LOADER_PATIENCE_S),
        others,
        way,
    ).run()


def make_tracer(
    settings: Settings, way: TraceWay, state: SharedState, row: int, on_turn: Callable[[], None]
) -> Resident:
    """The process that exports what workers sampled; it never hears of configurations: its settings need a start."""
    tracer = _load("wsproxy.trace.tracer")
    instance = f"{socket.gethostname()}-{os.getpid()}"

    def run_the_tracer() -> int:
        exit_code: int = tracer.run_tracer(
            way.tracer, settings.trace, instance, state.meters, on_turn
        )
        return exit_code

    return Resident("tracer", run_the_tracer, hears=False, heeds_stop=False, row=row)


def make_ha(
    plan: Plan, parcels: Parcels, row: int, on_turn: Callable[[], None], probe_switch: mmap.mmap,
    bridges: BridgeCounts,
) -> Resident:  # fmt: skip
    """The process that is this proxy's member of a group; all that are started for this proxy are known as one by the instance."""
    agent = _load("wsproxy.ha.agent")
    secret = read_group_secret(plan.settings.ha)
    if secret is not None:
        plan.state.takeovers.share(secret.sessions)
    instance, pid = uuid.uuid4().hex, os.getpid()

    def switch(is_on: bool) -> None:
        probe_switch[0] = is_on

    def run_the_ha(box: socket.socket) -> int:
        needs = agent.HaNeeds(
            plan, instance, pid, box, parcels.newest_fd, on_turn, switch, secret, bridges
        )
        exit_code: int = agent.run_ha(needs)
        return exit_code

    last_s = longest_end_s(plan.settings.ha.resources)
    return Resident("ha", run_the_ha, row=row, is_awaited=True, last_s=last_s)


def _load(name: str) -> Any:
    """
    Of what only one child runs, before the first fork and not at the top, where `wsproxy check` would load it, too.

    A program that runs goes on with its own code, whatever is installed meanwhile: `wsproxy upgrade` follows an installation, and the
    process that hears of it is started on demand. All children share what is loaded (aiohttp: 10 MB).
    """
    return importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class _Begun:
    """What there is before the first fork; ``is_inherited``: servers have the state that another program left."""

    plan: Plan
    upgrade: Upgrade
    awaited: list[Key]  # servers that are new, and down until a probe says otherwise
    is_inherited: bool


def _begin(
    config: Config,
    settings: Settings,
    worker_count: int,
    make_state: MakeState,
    security: TransportSecurity | None,
    handed: Inheritance,
) -> _Begun:
    """Slots and locks in the shared state are made once, by one process. # I/O."""
    inherited = handed.take_state()
    state = inherited or make_state(config)
    first = handed.first_row(worker_count)
    rows = range(first, first + worker_count)
    # For the program that replaces this one, too: its workers have rows of their own, and all are to hear of each other.
    most = min(max(rows.stop, 2 * worker_count), MAX_WORKERS)
    state.open_bells(most)
    state.open_board(most)
    meters = handed.take_meters(state, max(most, rows.stop), is_inherited=inherited is not None)
    if settings.limits.client_connections:
        state.open_client_counts(most)
    heat = handed.take_heat()
    upgrade = Upgrade(
        state, rows, handed.history, settings.upgrade, handed.kin, meters=meters, heat=heat
    )
    handed.say(Said("rows", rows.start, worker_count), upgrade.alive[0])
    plan = build_plan(config, settings, state, security)
    plan = replace(plan, generation=state.generation + (inherited is not None))
    plan.apply()
    awaited = begin_probes(plan)
    if inherited is None:
        _restore_words(settings.admin.state_file, plan)
    else:
        for line in outvoted(plan):
            logger.warning("%s", printable(line))
    return _Begun(plan, upgrade, awaited, inherited is not None)


def _take_charge(begun: _Begun, handed: Inheritance, admin: OnDemand | None) -> None:
    """What is to be done once when this program is the proxy, and no other. # I/O."""
    plan = begun.plan
    if begun.is_inherited:
        plan.state.keep_slots(*plan.keys(), plan.generation)
        plan.state.generation = plan.generation
        plan.state.forget_refused_reload()
    if handed.admin is None:
        return
    if admin is None or admin.unix is not handed.admin:
        handed.admin.close()
    elif plan.settings.admin.socket == SOCKET_AUTO:
        admin.unix = admin.unix.moved(own_path())


def _restore_words(path: str, plan: Plan) -> None:
    """Operators' words of before the start hold again. # I/O."""
    if path:
        for severity, line in restore_state(path, plan):
            logger.log(logging.WARNING if severity == "warning" else logging.INFO, "%s", line)


def open_admin_socket(settings: Settings, handed: Inheritance | None = None) -> AdminSocket | None:
    """
    The socket that the proxy answers on; None: none is wanted. # I/O.

    Raises:
        StartError: it cannot be made; the text says what does not work without it.
    """
    wanted = settings.admin.socket
    if handed is not None and (found := handed.admin_for(wanted)):
        return found
    if wanted in ("", SOCKET_OFF):
        return None
    if wanted != SOCKET_AUTO:
        return open_socket(wanted)
    return _open_auto()


def try_admin_socket(settings: Settings) -> None:
    """
    Finds out whether a proxy could answer there; changes nothing that another proxy, or another trial, sees. # I/O.

    Raises:
        StartError: as ``open_admin_socket`` raises it.
    """
    wanted = settings.admin.socket
    if wanted == SOCKET_AUTO:
        _open_auto().close()
    elif wanted not in ("", SOCKET_OFF):
        try_socket(wanted)


def _open_auto() -> AdminSocket:
    try:
        return open_own_socket()
    except StartError as error:
        raise StartError(
            f"{error}; `wsproxy explain --live` cannot ask this proxy "
            '(admin.socket in wsproxy.toml names a file, or "off")'
        ) from error


def make_admin(
    settings: Settings,
    facts: ProxyFacts,
    row: int,
    on_turn: Callable[[], None],
    parcels: Parcels,
    upgrade: Upgrade,
    handed: Inheritance,
) -> OnDemand | None:
    """
    The process that answers on the admin socket and by TCP, which listen already; None: nowhere. # I/O.

    ``row``: of its turns, of which it tells ``on_turn``.

    Raises:
        StartError: the socket that ``admin.socket`` or ``admin.listen`` names cannot be made, or the token or the certificate cannot be used.
    """
    token = token_of(settings.admin)
    tls = tls_of(settings.admin)
    unix = None
    try:
        unix = open_admin_socket(settings, handed)
    except StartError as error:
        if settings.admin.socket != SOCKET_AUTO:
            raise
        logger.warning("%s", error)
    tcp = handed.tcp_for(settings.admin.listen)
    if settings.admin.listen:
        try:
            tcp = tcp or open_tcp(settings.admin)
        except StartError:
            if (
                unix is not None and unix is not handed.admin
            ):  # that one's file is the old program's
                unix.close()
            raise
        logger.info(
            "admin, metrics and health on %s://%s, %s",
            "https" if tls else "http",
            tcp.address,
            "with a token" if token else "without a token: metrics and health alone",
        )
    if unix is None and tcp is None:
        return None

    server = _load("wsproxy.admin.server")

    def run(box: socket.socket) -> int:
        exit_code: int = server.run_admin(
            facts,
            None if unix is None else unix.sock,
            on_turn,
            box,
            parcels.asks,
            parcels.newest_fd,
            None if tcp is None else tcp.sock,
            token,
            upgrade.asks,
            tls,
        )
        return exit_code

    return OnDemand("admin", unix, tcp, run, row=row)
