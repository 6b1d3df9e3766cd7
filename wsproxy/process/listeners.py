"""
Which addresses wsproxy listens on, and the sockets for them.

Driven by ``process.start``. Must not accept connections. The supervisor makes and keeps every socket: one SO_REUSEPORT socket
for each worker and address, so a connection that reaches the socket of a dead worker waits in its queue for the successor.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import socket
import ssl
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wsproxy.config.address import Address, parse_address
from wsproxy.config.keystore import KeyFileError
from wsproxy.config.model import Config, VirtualHost
from wsproxy.config.settings import ListenerSettings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.dataplane.context import BACKLOG, BoundListener
from wsproxy.dataplane.introduction import Network
from wsproxy.dataplane.listener_tls import ListenerTls
from wsproxy.errors import Problem, Severity, StartError
from wsproxy.process.given import GivenSocket, GivenSockets
from wsproxy.process.seats import Group, seat_only

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
class _Bound:
    """The sockets of one address; ``group``: None where the kernel does not choose among them."""

    by_worker: Sequence[tuple[BoundListener, ...]]
    group: Group | None

    def close(self) -> None:
        _close(bound.sock for listeners in self.by_worker for bound in listeners)


@dataclass(frozen=True, slots=True)
class ListenerSet:
    """The listening sockets of all workers; ``notes`` tell which addresses were left out and why."""

    by_worker: tuple[tuple[BoundListener, ...], ...]
    notes: tuple[Problem, ...] = ()
    groups: tuple[Group, ...] = ()
    unused: tuple[
        int, ...
    ] = ()  # places of what a predecessor listened on, and nobody does any more

    @property
    def worker_count(self) -> int:
        """Workers that there are sockets for."""
        return len(self.by_worker)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients get in, as ``http://host:port`` or ``https://host:port``."""
        found = (
            f"{'https' if bound.tls else 'http'}://{Address(bound.host, bound.port)}"
            for bound in self.by_worker[0]
        )
        return tuple(
            dict.fromkeys(found)
        )  # of a predecessor with more workers, a worker has several sockets

    def in_order(self) -> list[BoundListener]:
        """Each socket once, those of a port in the order in which they began to listen; its index is its place."""
        every = sorted(itertools.chain(*self.by_worker), key=lambda bound: bound.number)
        return list({_inode(bound): bound for bound in every}.values())

    def positions(self, row: int, places: Collection[int]) -> list[int]:
        """Which of this worker's listeners have one of these places."""
        wanted = {_inode(bound) for at, bound in enumerate(self.in_order()) if at in places}
        return [at for at, bound in enumerate(self.by_worker[row]) if _inode(bound) in wanted]

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
        text = (
            "found that no VirtualHost of a Route names a port that wsproxy can listen on; allowed is one that does, "
            "[[listener]] in wsproxy.toml, or --listen HOST:PORT"
        )
        none = _problem("error", Source("", config.path, config.line), text)
        raise ListenError((none, *notes))
    return ListenPlan(tuple(wanted), is_explicit=False, notes=tuple(notes))


def _ports_of_transports(config: Config, protocol: str) -> set[int]:
    return {
        transport.port
        for server in config.all_servers
        for transport in server.transports
        if transport.protocol == protocol
    }


def _problem(severity: Severity, source: Source, text: str) -> Problem:
    return Problem(severity, LISTEN_CODE, source.file, source.line, text, OFFER, text)


def open_listeners(
    plan: ListenPlan, worker_count: int, given: GivenSockets | None = None
) -> ListenerSet:
    """
    Listening sockets for ``worker_count`` workers; those of ``given`` that are wanted, as they are. # I/O.

    Raises:
        ListenError: an address that a person named cannot be listened on, or no port of a VirtualHost can.
    """
    given = given or GivenSockets()
    by_address: list[_Bound] = []
    refused: list[Problem] = []
    is_in_use = True
    has_any_ipv4 = {w.address.port for w in plan.wanted if w.address.host == _ANY_IPV4}
    for wanted in plan.wanted:
        try:
            for family, host in _hosts(wanted.address.host):
                is_dual = wanted.address.port not in has_any_ipv4
                found = given.take(host if wanted.address.host else "", wanted.address.port)
                by_address.append(
                    _share_out(found, wanted, worker_count, is_dual=is_dual)
                    if found
                    else _open_for_workers(family, host, wanted, worker_count, is_dual=is_dual)
                )
        except OSError as error:
            is_in_use = is_in_use and error.errno == errno.EADDRINUSE
            refused.append(_refusal(wanted, error, plan))
    if not by_address or (refused and plan.is_explicit):
        for address in by_address:
            address.close()
        raise ListenError((*plan.notes, *refused), is_in_use=is_in_use)
    left = [
        _problem(
            "warning",
            Source("LISTEN_FDS"),
            f"{each.words} of systemd is not used: no listener names it",
        )
        for each in given
        if each.place < 0
    ]
    by_worker = zip(*(address.by_worker for address in by_address), strict=True)
    return ListenerSet(
        tuple(tuple(itertools.chain(*rows)) for rows in by_worker),
        (*plan.notes, *refused, *left),
        tuple(address.group for address in by_address if address.group is not None),
        tuple(each.place for each in given if each.place >= 0),
    )


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
) -> _Bound:
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
            listeners.append(_bound(sock, host, port, wanted, number=len(listeners)))
            sock.listen(BACKLOG)
    except OSError:
        _close(bound.sock for bound in listeners)
        raise
    rows = [(bound,) for bound in listeners]
    return _Bound(rows, Group(listeners[0].sock, tuple(range(worker_count))))


def _share_out(
    given: list[GivenSocket], wanted: WantedListener, worker_count: int, *, is_dual: bool
) -> _Bound:
    """
    Sockets that listen already, for the workers that are now; with more workers than sockets there are more of these.

    With fewer a worker has several: who waits in their queues waits for it. One that is not ours alone is shared by all.
    """
    first = given[0]
    for each in given:
        each.sock.setblocking(
            False
        )  # Python must know it, too: its copy of another one would make both block
    if not first.can_grow:
        rows = [
            [
                _bound(
                    each.sock.dup(), each.host, each.port, wanted, each.wanted_port, can_grow=False
                )
                for each in given
            ]
            for _ in range(worker_count)
        ]
        _close(each.sock for each in given)
        return _Bound([tuple(row) for row in rows], None)
    sockets = [each.sock for each in given]
    # What comes to a socket that is new waits there, and is reset should this program not come up: nothing comes there yet.
    seat_only(first.sock, range(len(sockets)))
    try:
        while len(sockets) < worker_count:
            sock = _bound_socket(
                first.sock.family, first.host, first.port, is_dual=is_dual, is_shared=True
            )
            sockets.append(sock)
            sock.listen(BACKLOG)
    except OSError:
        _close(sockets)
        raise
    owners = tuple(number % worker_count for number in range(len(sockets)))
    rows = [
        [
            _bound(sock, first.host, first.port, wanted, first.wanted_port, number)
            for number, (sock, owner) in enumerate(zip(sockets, owners, strict=True))
            if owner == worker
        ]
        for worker in range(worker_count)
    ]
    return _Bound([tuple(row) for row in rows], Group(first.sock, owners))


def _bound(
    sock: socket.socket,
    host: str,
    port: int,
    wanted: WantedListener,
    wanted_port: int = -1,
    number: int = 0,
    *,
    can_grow: bool = True,
) -> BoundListener:
    asked = wanted.address.port if wanted_port < 0 else wanted_port
    return BoundListener(sock, host, port, wanted.tls, wanted.senders, asked, number, can_grow)


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


def _inode(bound: BoundListener) -> int:
    """The same for all descriptors of a socket."""
    return os.fstat(bound.sock.fileno()).st_ino


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
