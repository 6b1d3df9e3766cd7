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
from wsproxy.config.settings import ListenerSettings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.dataplane.context import BoundListener
from wsproxy.dataplane.introduction import Network
from wsproxy.dataplane.listener_tls import ListenerTls
from wsproxy.errors import Problem, Severity, StartError

# Connections that wait for accept. 4096 is the kernel's own ceiling (net.core.somaxconn) since Linux 5.4; nginx takes 511,
# too few for the time that a worker needs to be started again.
LISTEN_BACKLOG = 4096

# Of every problem here.
LISTEN_CODE = "listen"

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
class Source:
    """Who asked for a listener, in words, and where; ``line`` 0: on the command line."""

    words: str
    file: str = "command line"
    line: int = 0


@dataclass(frozen=True, slots=True)
class WantedListener:
    """An address to listen on and who asked for it."""

    address: Address
    source: Source
    tls: ListenerTls | None = None
    senders: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenPlan:
    """
    What to listen on, before any socket exists.

    ``is_explicit``: a person named the addresses, so each must work; ports of VirtualHosts are used where they can be.
    ``notes`` tell of those that are left out.
    """

    wanted: tuple[WantedListener, ...]
    is_explicit: bool
    notes: tuple[Problem, ...] = ()


class ListenError(StartError):
    """An address cannot be listened on, or none can; ``problems`` has one for each, ``is_in_use``: nothing else is wrong."""

    def __init__(self, problems: tuple[Problem, ...], *, is_in_use: bool = False) -> None:
        """The text lists them all."""
        super().__init__("\n".join(["cannot listen:", *map(str, problems), OFFER]))
        self.problems = problems
        self.is_in_use = is_in_use


@dataclass(frozen=True, slots=True)
class ListenerSet:
    """The listening sockets of all workers; ``notes`` tell which addresses were left out and why."""

    by_worker: tuple[tuple[BoundListener, ...], ...]
    notes: tuple[Problem, ...] = ()

    @property
    def worker_count(self) -> int:
        """Workers that there are sockets for."""
        return len(self.by_worker)

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


def plan_listeners(listen: Sequence[Address], loaded: LoadedSettings, config: Config) -> ListenPlan:
    """
    The addresses of ``--listen``, else of ``[[listener]]``, else the ports that the VirtualHosts of Routes name.

    Raises:
        ListenError: the VirtualHosts name no port that can be listened on.
        StartError: a certificate cannot be used, although it could a moment ago.
    """
    if listen:
        source = Source("--listen")
        return ListenPlan(
            tuple(WantedListener(address, source) for address in listen), is_explicit=True
        )
    if loaded.settings.listeners:
        wanted = (
            _from_settings(listener, loaded.line_of(("listener", index)), loaded.file)
            for index, listener in enumerate(loaded.settings.listeners)
        )
        return ListenPlan(tuple(wanted), is_explicit=True)
    return _plan_from_virtual_hosts(config)


def _from_settings(listener: ListenerSettings, line: int, file: str) -> WantedListener:
    try:
        tls = ListenerTls(listener) if listener.certificates else None
    except (KeyFileError, ssl.SSLError) as error:
        raise StartError(f"[[listener]] {listener.address}: {error}") from error
    address = parse_address(listener.address, is_listener=True)
    senders = tuple(map(ipaddress.ip_network, listener.proxy_protocol))
    return WantedListener(address, Source("[[listener]]", file, line), tls, senders)


def _plan_from_virtual_hosts(config: Config) -> ListenPlan:
    routed = {route.virtual_host_group for route in config.routes}
    by_port: dict[int, VirtualHost] = {}
    for group in config.virtual_host_groups:
        if group.name in routed:
            for virtual_host in group.virtual_hosts:
                if virtual_host.port is not None:
                    by_port.setdefault(virtual_host.port, virtual_host)
    secure_ports = _ports_of_transports(config, "https") - _ports_of_transports(config, "http")
    wanted, notes = [], []
    for port, virtual_host in by_port.items():
        source = Source(f"VirtualHost {virtual_host.name}", config.path, virtual_host.line)
        why = "ends in 443" if str(port).endswith(_TLS_SUFFIX) else ""
        if port in secure_ports:
            why = "is that of an https Transport"
        if why:
            text = (
                f"port {port} ({source.words}) is left out: it {why}, so it looks like TLS and needs a certificate: "
                f'[[listener]] in wsproxy.toml with address = ":{port}" and certificates (docs/tls.md); '
                f"without TLS: --listen :{port}"
            )
            notes.append(_problem("warning", source, text))
        else:
            wanted.append(WantedListener(Address("", port), source))
    if not wanted:
        text = "no VirtualHost of a Route names a port that wsproxy can listen on"
        none = _problem("error", Source("", config.path, config.line), text)
        raise ListenError((none, *notes))
    return ListenPlan(tuple(wanted), is_explicit=False, notes=tuple(notes))


def _ports_of_transports(config: Config, protocol: str) -> set[int]:
    return {
        transport.port
        for cluster in config.server_clusters
        for server in cluster.all_servers
        for transport in server.transports
        if transport.protocol == protocol
    }


def _problem(severity: Severity, source: Source, text: str) -> Problem:
    return Problem(severity, LISTEN_CODE, source.file, source.line, text, OFFER, text)


def open_listeners(plan: ListenPlan, worker_count: int) -> ListenerSet:
    """
    Listening sockets for ``worker_count`` workers. # I/O.

    Raises:
        ListenError: an address that a person named cannot be listened on, or no port of a VirtualHost can.
    """
    by_address: list[list[BoundListener]] = []
    refused: list[Problem] = []
    is_in_use = True
    has_any_ipv4 = {w.address.port for w in plan.wanted if w.address.host == _ANY_IPV4}
    for wanted in plan.wanted:
        try:
            for family, host in _hosts(wanted.address.host):
                is_dual = wanted.address.port not in has_any_ipv4
                by_address.append(
                    _open_for_workers(family, host, wanted, worker_count, is_dual=is_dual)
                )
        except OSError as error:
            is_in_use = is_in_use and error.errno == errno.EADDRINUSE
            refused.append(_refusal(wanted, error, plan))
    if not by_address or (refused and plan.is_explicit):
        _close(bound.sock for listeners in by_address for bound in listeners)
        raise ListenError((*plan.notes, *refused), is_in_use=is_in_use)
    return ListenerSet(tuple(zip(*by_address, strict=True)), (*plan.notes, *refused))


def _refusal(wanted: WantedListener, error: OSError, plan: ListenPlan) -> Problem:
    what = str(wanted.address) if plan.is_explicit else f"port {wanted.address.port}"
    if isinstance(error, socket.gaierror):
        why = f"names a host that cannot be resolved ({error.strerror})"
    else:
        why = _BIND_FAILURES.get(error.errno or 0) or f"cannot be bound ({error.strerror or error})"
    source = wanted.source
    if plan.is_explicit:
        return _problem("error", source, f"{what} ({source.words}) {why}")
    return _problem("warning", source, f"{what} ({source.words}) is left out: it {why}; {OFFER}")


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
