"""What a worker is given when it starts. Made by ``process.supervisor``, used by ``dataplane.worker``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from wsproxy.dataplane.access_keeper import AccessKeeper
from wsproxy.dataplane.introduction import Network
from wsproxy.dataplane.listener_tls import ListenerTls
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.witness import Witness

# Connections that wait for accept, of each listening socket. 4096 is the kernel's own ceiling (net.core.somaxconn) since Linux 5.4;
# nginx takes 511, too few for the time that a worker needs to be started again.
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class BoundListener:
    """
    One listening socket of this worker; the supervisor keeps it open when the worker dies.

    ``number`` among those of its port, as the kernel counts them; ``can_grow``: more may listen beside it (SO_REUSEPORT).
    """

    sock: socket.socket
    host: str
    port: int
    tls: ListenerTls | None = None  # None: clients speak plain HTTP
    senders: tuple[Network, ...] = ()  # who begins with a PROXY header
    wanted_port: int = 0  # as it was asked for; 0: any
    number: int = 0
    can_grow: bool = True


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Everything that ``run_worker`` needs; read only."""

    worker_id: int  # the row of this worker in the shared state
    plan: Plan  # made before the fork: its clusters stand on the shared state
    listeners: tuple[BoundListener, ...]
    parcel: int = (
        -1
    )  # of a later plan, which holds instead (``dataplane.parcel``); -1: there is none
    box: socket.socket | None = None  # where it hears of later plans; None: nowhere
    make_witness: Callable[[], Witness] = Witness  # called in the worker
    make_access_keeper: Callable[[], AccessKeeper] = AccessKeeper  # the same
    traces: socket.socket | None = (
        None  # where its records of sampled requests go; None: traces are off
    )
    on_turn: Callable[[], None] = lambda: None  # called some times a second, from the event loop
