"""Which addresses are listened on, and what is said about those that are not."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from wsproxy.config.address import Address
from wsproxy.config.model import (
    Config,
    Route,
    Server,
    ServerCluster,
    Transport,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.settings import ListenerSettings, Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.demo.ports import free_ports
from wsproxy.errors import StartError
from wsproxy.process.listeners import (
    ListenerSet,
    ListenPlan,
    Source,
    WantedListener,
    open_listeners,
    plan_listeners,
)

NOBODY = 65534


def virtual_host(port: int | None, *, line: int = 1) -> VirtualHost:
    return VirtualHost(f"*:{port or '*'}", "*", port, line)


def config_of(*ports: int | None) -> Config:
    """One group that a Route uses, with a VirtualHost for each port; they stand on lines 1, 2, ..."""
    hosts = tuple(virtual_host(port, line=line) for line, port in enumerate(ports, 1))
    return Config(
        path="plugin-cfg.xml",
        virtual_host_groups=(VirtualHostGroup("used", hosts),),
        routes=(Route("cluster", None, "used"),),
    )


def ports_of(plan: ListenPlan) -> list[int]:
    return [wanted.address.port for wanted in plan.wanted]


def explicit(*addresses: Address) -> ListenPlan:
    return ListenPlan(
        tuple(WantedListener(address, Source("--listen")) for address in addresses),
        is_explicit=True,
    )


@contextmanager
def opened(plan: ListenPlan, workers: int = 1) -> Iterator[ListenerSet]:
    listeners = open_listeners(plan, workers)
    try:
        yield listeners
    finally:
        listeners.close()


@contextmanager
def port_in_use() -> Iterator[int]:
    """A port that a stranger listens on, with SO_REUSEPORT as another wsproxy would."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", free_port()))
        sock.listen()
        yield sock.getsockname()[1]


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def unprivileged() -> Iterator[int]:
    """A port that this process may not bind meanwhile."""
    port = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) - 1
    if port < 1:
        pytest.skip(
            "every port may be bound by everybody here (net.ipv4.ip_unprivileged_port_start = 0)"
        )
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)  # drops the effective capabilities with it
    try:
        yield port
    finally:
        if was_root:
            os.seteuid(0)


def test_listen_option_comes_before_settings_and_virtual_hosts() -> None:
    """The command line replaces the settings, which replace the VirtualHosts."""
    settings = LoadedSettings(Settings(listeners=(ListenerSettings("127.0.0.1:2"),)))
    config = config_of(3)
    assert ports_of(plan_listeners([Address("127.0.0.1", 1)], settings, config)) == [1]
    assert ports_of(plan_listeners([], settings, config)) == [2]
    assert ports_of(plan_listeners([], LoadedSettings(), config)) == [3]


def test_virtual_hosts_of_routes_name_the_ports() -> None:
    """Each literal port once, in file order; groups that no Route uses and ``host:*`` name none."""
    unused = VirtualHostGroup("unused", (virtual_host(7777),))
    config = config_of(9080, None, 80, 9080)
    config = Config(virtual_host_groups=(unused, *config.virtual_host_groups), routes=config.routes)
    assert ports_of(plan_listeners([], LoadedSettings(), config)) == [9080, 80]


def left_out(port: int, line: int, why: str) -> str:
    return (
        f"plugin-cfg.xml:{line}: port {port} (VirtualHost *:{port}) is left out: it {why}, so it looks like TLS and needs a "
        f'certificate: [[listener]] in wsproxy.toml with address = ":{port}" and certificates (docs/tls.md); '
        f"without TLS: --listen :{port}"
    )


def test_ports_that_look_like_tls_are_left_out_with_a_note() -> None:
    """Without certificates a TLS port would only confuse clients; why it is taken for one is said."""
    plan = plan_listeners([], LoadedSettings(), config_of(443, 9080, 9443))
    assert ports_of(plan) == [9080]
    assert [str(note) for note in plan.notes] == [
        left_out(443, 1, "ends in 443"),
        left_out(9443, 3, "ends in 443"),
    ]


def test_port_of_an_https_transport_looks_like_tls() -> None:
    """The file itself says it: Liberty's VirtualHosts name the ports of its own Transports. One that http has too is plain."""
    transports = (
        Transport("h", 9444, "https"),
        Transport("h", 9081, "http"),
        Transport("h", 9081, "https"),
    )
    known = Server("s", transports=transports)
    for cluster in (
        ServerCluster("cluster", servers=(known,)),
        ServerCluster("cluster", servers=(Server("t"),), cluster_address=known),
    ):
        config = dataclasses.replace(config_of(9444, 9081), server_clusters=(cluster,))
        plan = plan_listeners([], LoadedSettings(), config)
        assert ports_of(plan) == [9081]
        assert [str(note) for note in plan.notes] == [
            left_out(9444, 1, "is that of an https Transport")
        ]


@pytest.mark.parametrize("config", [config_of(None), config_of(443)])
def test_no_port_at_all_offers_the_option(config: Config) -> None:
    """Where VirtualHosts name no usable port, the error says how to name one."""
    with pytest.raises(StartError, match="no VirtualHost of a Route names a port") as failed:
        plan_listeners([], LoadedSettings(), config)
    assert "--listen :8080" in str(failed.value)


def test_virtual_host_port_in_use_is_left_out_with_a_note() -> None:
    """The other ports still work; the note says which port, who named it, and what to do."""
    with (
        port_in_use() as taken,
        opened(plan_listeners([], LoadedSettings(), config_of(taken, free_port()))) as listeners,
    ):
        assert len(listeners.urls) == 1
        (note,) = listeners.notes
        assert str(note).startswith(
            f"plugin-cfg.xml:1: port {taken} (VirtualHost *:{taken}) is left out: it is in use by another process; listen elsewhere"
        )


def test_virtual_host_port_without_permission_is_left_out_with_a_note() -> None:
    """Ports below 1024 need a right that the process may not have."""
    free = free_port()
    with (
        unprivileged() as privileged,
        opened(plan_listeners([], LoadedSettings(), config_of(privileged, free))) as listeners,
    ):
        assert [bound.port for bound in listeners.by_worker[0]] == [free]
        assert "it needs root or CAP_NET_BIND_SERVICE; listen elsewhere with --listen" in str(
            listeners.notes[0]
        )


def test_no_virtual_host_port_works() -> None:
    """The error lists what was tried, what was left out before, and the way out."""
    with port_in_use() as taken, pytest.raises(StartError) as failed:
        open_listeners(plan_listeners([], LoadedSettings(), config_of(taken, 8443)), 1)
    tried = str(failed.value).splitlines()
    assert tried[0] == "cannot listen:"
    assert tried[1].startswith("plugin-cfg.xml:2: port 8443 ")
    assert tried[2].startswith(f"plugin-cfg.xml:1: port {taken} ")
    assert tried[3].startswith("listen elsewhere with --listen")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "is in use by another process"),
        ("203.0.113.1", "is no address of this machine"),
        ("host.invalid", "names a host that cannot be resolved"),
    ],
)
def test_named_address_must_work(host: str, why: str) -> None:
    """One bad ``--listen`` among good ones stops the start, and leaves no socket behind."""
    good = Address("127.0.0.1", free_port())
    with port_in_use() as taken:
        with pytest.raises(StartError) as failed:
            open_listeners(explicit(good, Address(host, taken)), 2)
        assert f"{host}:{taken} (--listen) {why}" in str(failed.value)
    with opened(explicit(good)):
        pass


def test_each_worker_has_its_own_socket_on_the_one_port() -> None:
    """Port 0 is chosen once; sockets listen, do not block, and answer connections by themselves."""
    with opened(explicit(Address("127.0.0.1", 0)), workers=3) as listeners:
        ports = {bound.sock.getsockname()[1] for (bound,) in listeners.by_worker}
        assert ports == {listeners.by_worker[0][0].port}
        assert listeners.urls == (f"http://127.0.0.1:{ports.pop()}",)
        assert not any(bound.sock.getblocking() for (bound,) in listeners.by_worker)
        assert all(
            bound.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            for (bound,) in listeners.by_worker
        )


def test_no_host_means_ipv4_and_ipv6() -> None:
    """``:PORT`` is reached over both where the machine has both."""
    with opened(explicit(Address("", 0))) as listeners, ExitStack() as clients:
        port = listeners.by_worker[0][0].port
        clients.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        if socket.has_dualstack_ipv6():
            clients.enter_context(closing(socket.create_connection(("::1", port))))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_any_ipv4_and_any_ipv6_can_be_named_together() -> None:
    """``[::]`` keeps to IPv6 where ``0.0.0.0`` is named for the same port."""
    port = free_port()
    with opened(explicit(Address("0.0.0.0", port), Address("::", port))) as listeners:
        assert listeners.urls == (f"http://0.0.0.0:{port}", f"http://[::]:{port}")


def test_name_means_each_of_its_addresses() -> None:
    """``localhost`` is listened on wherever it points to."""
    addresses = {
        info[4][0] for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    }
    with opened(explicit(Address("localhost", 0))) as listeners:
        assert {bound.host for bound in listeners.by_worker[0]} == addresses


def test_keep_only_closes_the_sockets_of_others() -> None:
    """A worker is left with its own socket alone."""
    with opened(explicit(Address("127.0.0.1", 0)), workers=3) as listeners:
        listeners.keep_only(1)
        assert [bound.sock.fileno() >= 0 for (bound,) in listeners.by_worker] == [
            False,
            True,
            False,
        ]
