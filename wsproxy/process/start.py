"""
From a loaded configuration to running workers.

Driven by ``cli``. Must not parse arguments or files.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from wsproxy._fast.state import SharedState
from wsproxy.admin.live import ProxyFacts
from wsproxy.admin.place import open_own_socket, open_socket
from wsproxy.config.address import Address
from wsproxy.config.model import Config
from wsproxy.config.settings import SOCKET_AUTO, SOCKET_OFF, Settings
from wsproxy.dataplane.access_log import AccessKeeper
from wsproxy.dataplane.context import BoundListener, WorkerContext
from wsproxy.dataplane.plan import build_plan, tell_of_transports, warn_of_unusable
from wsproxy.dataplane.witness import Witness
from wsproxy.errors import StartError
from wsproxy.pluginlog.writer import PluginLog
from wsproxy.process.access_log import AccessWriter, open_access_log
from wsproxy.process.listeners import ListenerSet, open_listeners, plan_listeners
from wsproxy.process.on_demand import OnDemand
from wsproxy.process.plugin_log import on_log_signal, open_plugin_log
from wsproxy.process.supervisor import OnReady, Supervisor
from wsproxy.process.system import count_usable_cpus, raise_open_files_limit, set_process_name

logger = logging.getLogger(__name__)

# Below this a few hundred clients use it up: each takes two connections, and the pools keep some.
FEW_OPEN_FILES = 4096

MakeState = Callable[[Config], SharedState]
RunWorker = Callable[[WorkerContext, OnReady], int]


def run_proxy(
    config: Config,
    settings: Settings,
    listen: Sequence[Address],
    make_state: MakeState,
    run_worker: RunWorker,
) -> int:
    """
    Runs until it is told to stop; returns the exit code.

    Raises:
        StartError: there is nothing to listen on, or the log cannot be written.
    """
    set_process_name("wsproxy")
    open_files = raise_open_files_limit()
    if open_files < FEW_OPEN_FILES:
        logger.warning(
            "found a limit of %d open files (ulimit -Hn); allowed, but %d are few for a proxy",
            open_files,
            FEW_OPEN_FILES,
        )
    worker_count = settings.workers or count_usable_cpus()
    listeners = open_listeners(plan_listeners(listen, settings, config), worker_count)
    for note in listeners.notes:
        logger.warning("%s", note)
    return run_supervisor(config, settings, listeners, make_state, run_worker)


def run_supervisor(
    config: Config,
    settings: Settings,
    listeners: ListenerSet,
    make_state: MakeState,
    run_worker: RunWorker,
) -> int:
    """
    Runs one worker for each row of ``listeners`` until it is told to stop; returns the exit code and closes ``listeners``.

    ``make_state`` is called once, before the first fork, because all workers map the same segment.
    """
    state = make_state(config)
    if settings.queue.size:
        state.open_bells(len(listeners.by_worker))
    if settings.limits.client_connections:
        state.open_client_counts(len(listeners.by_worker))
    # Before the first fork: slots and locks in the shared state are made once, by one process.
    plan = build_plan(config, settings, state)
    log_plan = open_plugin_log(config, settings)
    make_witness = Witness if log_plan is None else partial(PluginLog, log_plan, plan)
    access_plan = open_access_log(config, settings)
    make_keeper = AccessKeeper if access_plan is None else partial(AccessWriter, access_plan, state)
    warn_of_unusable(config)
    tell_of_transports(plan)

    def run_one(worker_id: int, bound: tuple[BoundListener, ...], on_ready: OnReady) -> int:
        return run_worker(
            WorkerContext(worker_id, plan, bound, make_witness, make_keeper), on_ready
        )

    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    facts = ProxyFacts(os.getpid(), started_at, len(listeners.by_worker), plan, log_plan)
    return Supervisor(
        listeners,
        state,
        run_one,
        settings.timeouts.shutdown_s,
        partial(on_log_signal, state=state, plan=log_plan, access_path=settings.log.access),
        make_admin(settings, facts),
    ).run()


def make_admin(settings: Settings, facts: ProxyFacts) -> OnDemand | None:
    """
    The process that answers on the admin socket, which listens already; None: there is none. # I/O.

    Raises:
        StartError: the socket that ``admin.socket`` names cannot be made.
    """
    wanted = settings.admin.socket
    if wanted in ("", SOCKET_OFF):
        return None
    try:
        opened = open_own_socket() if wanted == SOCKET_AUTO else open_socket(wanted)
    except StartError as error:
        if wanted != SOCKET_AUTO:
            raise
        logger.warning(
            '%s; `wsproxy explain --live` cannot ask this proxy (admin.socket in wsproxy.toml names a file, or "off")',
            error,
        )
        return None

    def run() -> int:
        # Here and not above: what answers (aiohttp) is 12 MB that neither supervisor nor workers need.
        server = importlib.import_module("wsproxy.admin.server")
        exit_code: int = server.run_admin(facts, opened.sock)
        return exit_code

    return OnDemand("admin", opened, run)
