"""
Which addresses wsproxy listens on, and the sockets for them.

Driven by ``process.start``. Must not accept connections. The supervisor makes and keeps every socket: one SO_REUSEPORT socket
for each worker and address, so a connection that reaches the socket of a dead worker waits in its queue for the successor.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsproxy.config.address import Address, parse_address
from wsproxy.config.keystore import KeyFileError
from wsproxy.config.model import Config, VirtualHost
from wsproxy.config.settings import ListenerSettings, Settings
from wsproxy.dataplane.context import BoundListener
from wsproxy.dataplane.introduction import Network
from wsproxy.dataplane.listener_tls import ListenerTls
from wsproxy.errors import StartError

# Connections that wait for accept. 4096 is the kernel's own ceiling (net.core.somaxconn) since Linux 5.4; nginx takes 511,
# too few for the time that a worker needs to be started again.
LISTEN_BACKLOG = 4096

OFFER = "listen elsewhere with --listen HOST:PORT, for example --listen :8080"

_ANY_IPV4 = "0.0.0.0"  # noqa: S104  # what a listener is for

# Ports of VirtualHosts that end so are for TLS by custom: 443, 8443, 9443, 10443, ...
_TLS_SUFFIX = "443"

_BIND_FAILURES = {
    errno.EACCES: "needs root or CAP_NET_BIND_SERVICE",
    errno.EPERM: "is forbidden by a rule of this system",
    errno.EADDRINUSE: "is in use by another process",
    errno.EADDRNOTAVAIL: "is no address of this machine",
    errno.EAFNOSUPPORT: "is IPv6, which this machine does not have",
}


@dataclass(frozen=True, slots=True)
class WantedListener:
    """An address to listen on and who asked for it."""

    address: Address
    source: str
    tls: ListenerTls | None = None
    senders: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenPlan:
    """
    What to listen on, before any socket exists.

    ``is_explicit``: a person named the addresses, so each must work; ports of VirtualHosts are used where they can be.
    """

    wanted: tuple[WantedListener, ...]
    is_explicit: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenerSet:
    """The listening sockets of all workers; ``notes`` tell which addresses were left out and why."""

    by_worker: tuple[tuple[BoundListener, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients get in, as ``http://host:port`` or ``https://host:port``."""
        return tuple(
            f"{'https' if bound.tls else 'http'}://{Address(bound.host, bound.port)}"
            for bound in self.by_worker[0]
        )

    def keep_only(self, worker_id: int) -> None:
        """Closes this process's copies of the other workers' sockets, so that theirs close when they close them."""
        for other, listeners in enumerate(self.by_worker):
            if other != worker_id:
                _close(bound.sock for bound in listeners)

    def close(self) -> None:
        """Closes this process's copies of all sockets."""
        _close(bound.sock for listeners in self.by_worker for bound in listeners)


def plan_listeners(listen: Sequence[Address], settings: Settings, config: Config) -> ListenPlan:
    """
    The addresses of ``--listen``, else of ``[[listener]]``, else the ports that the VirtualHosts of Routes name.

    Raises:
        StartError: the VirtualHosts name no port that can be listened on.
    """
    if listen:
        return ListenPlan(
            tuple(WantedListener(address, "--listen") for address in listen), is_explicit=True
        )
    if settings.listeners:
        return ListenPlan(tuple(map(_from_settings, settings.listeners)), is_explicit=True)
    return _plan_from_virtual_hosts(config)


def _from_settings(listener: ListenerSettings) -> WantedListener:
    try:
        tls = ListenerTls(listener) if listener.certificates else None
    except (KeyFileError, ssl.SSLError) as error:
        raise StartError(f"[[listener]] {listener.address}: {error}") from error
    address = parse_address(listener.address, is_listener=True)
    senders = tuple(map(ipaddress.ip_network, listener.proxy_protocol))
    return WantedListener(address, "[[listener]]", tls, senders)


def _plan_from_virtual_hosts(config: Config) -> ListenPlan:
    routed = {route.virtual_host_group for route in config.routes}
    by_port: dict[int, VirtualHost] = {}
    for group in config.virtual_host_groups:
        if group.name in routed:
            for virtual_host in group.virtual_hosts:
                if virtual_host.port is not None:
                    by_port.setdefault(virtual_host.port, virtual_host)
    wanted, notes = [], []
    for port, virtual_host in by_port.items():
        source = f"VirtualHost {virtual_host.name}, {config.path}:{virtual_host.line}"
        if str(port).endswith(_TLS_SUFFIX):
            notes.append(
                f"port {port} ({source}) is left out: it looks like TLS and needs a certificate: "
                f'[[listener]] in wsproxy.toml with address = ":{port}" and certificates (docs/tls.md)'
            )
        else:
            wanted.append(WantedListener(Address("", port), source))
    if not config.routes:
        raise StartError(
            f"{config.path}: found no Route: no request would go anywhere; allowed is one at least"
        )
    if not wanted:
        found = "\n".join(
            ["no VirtualHost of a Route names a port that wsproxy can listen on", *notes]
        )
        raise StartError(f"{found}\n{OFFER}")
    return ListenPlan(tuple(wanted), is_explicit=False, notes=tuple(notes))


def open_listeners(plan: ListenPlan, worker_count: int) -> ListenerSet:
    """
    Listening sockets for ``worker_count`` workers. # I/O.

    Raises:
        StartError: an address that a person named cannot be listened on, or no port of a VirtualHost can.
    """
    by_address: list[list[BoundListener]] = []
    refused: list[str] = []
    has_any_ipv4 = {w.address.port for w in plan.wanted if w.address.host == _ANY_IPV4}
    for wanted in plan.wanted:
        try:
            for family, host in _hosts(wanted.address.host):
                is_dual = wanted.address.port not in has_any_ipv4
                by_address.append(
                    _open_for_workers(family, host, wanted, worker_count, is_dual=is_dual)
                )
        except OSError as error:
            refused.append(_refusal(wanted, error, plan))
    if not by_address or (refused and plan.is_explicit):
        _close(bound.sock for listeners in by_address for bound in listeners)
        raise StartError("\n".join(["cannot listen:", *plan.notes, *refused, OFFER]))
    return ListenerSet(
        tuple(zip(*by_address, strict=True)),
        (*plan.notes, *(f"{text}; {OFFER}" for text in refused)),
    )


def _refusal(wanted: WantedListener, error: OSError, plan: ListenPlan) -> str:
    what = str(wanted.address) if plan.is_explicit else f"port {wanted.address.port}"
    if isinstance(error, socket.gaierror):
        why = f"names a host that cannot be resolved ({error.strerror})"
    else:
        why = _BIND_FAILURES.get(error.errno or 0) or f"cannot be bound ({error.strerror or error})"
    return f"{what} ({wanted.source}) {'' if plan.is_explicit else 'is left out: it '}{why}"


def _hosts(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Families and literal addresses of ``host``; empty means all addresses, through one dual-stack socket if IPv6 works."""
    if not host:
        has_ipv6 = socket.has_dualstack_ipv6()
        return [(socket.AF_INET6, "::") if has_ipv6 else (socket.AF_INET, _ANY_IPV4)]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(sockaddr[0])) for family, _, _, _, sockaddr in found))


def _open_for_workers(
    family: socket.AddressFamily,
    host: str,
    wanted: WantedListener,
    worker_count: int,
    *,
    is_dual: bool,
) -> list[BoundListener]:
    """One listening socket a worker; all have the port that the first one got."""
    port = wanted.address.port
    if port:
        # SO_REUSEPORT would let a second wsproxy of the same user in and take half of the connections: a socket without it
        # finds out. The moment between the two binds is too short to matter.
        _bound_socket(family, host, port, is_dual=is_dual, is_shared=False).close()
    listeners: list[BoundListener] = []
    try:
        for _ in range(worker_count):
            sock = _bound_socket(family, host, port, is_dual=is_dual, is_shared=True)
            port = sock.getsockname()[1]
            listeners.append(BoundListener(sock, host, port, wanted.tls, wanted.senders))
            sock.listen(LISTEN_BACKLOG)
    except OSError:
        _close(bound.sock for bound in listeners)
        raise
    return listeners


def _bound_socket(
    family: socket.AddressFamily, host: str, port: int, *, is_dual: bool, is_shared: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # not kept out by connections in TIME_WAIT
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (is_dual and host == "::"))
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
