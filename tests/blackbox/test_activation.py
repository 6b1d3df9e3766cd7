"""Sockets that systemd opened (LISTEN_FDS), and what it is told when another program takes over."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.client import Client, get
from tests.support.origin import keep_answering
from tests.support.process import WAIT_S, watched_process
from tests.support.proxy import LISTEN, Lane, proxy_process, tcp_table
from tests.support.proxy import lane as make_lane
from tests.support.upgrading import Load, upgrading
from wsproxy.demo.ports import free_ports

HOST = "127.0.0.77"  # that no other test listens on


def activated(*wanted: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.activated", ",".join(wanted))


@pytest.fixture
def one() -> Iterator[Lane]:
    made = make_lane("one")
    yield made
    made.origin.close()


async def test_sockets_of_systemd_are_used_and_passed_on(tmp_path: Path, one: Lane) -> None:
    """Two named ones, shared by two workers; an upgrade under load passes them on, and nobody opens another one."""
    ports = free_ports(2, HOST)
    settings = "".join(f'[[listener]]\naddress = "{HOST}:{port}"\n' for port in ports)
    prefix = activated(f"{HOST}:{ports[0]}=web", f"{HOST}:{ports[1]}=more")
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], settings=settings, listen=None, prefix=prefix) as made,
    ):
        assert made.proxy.ports == tuple(ports)
        load = Load(partial(Client.connect, ports[0], host=HOST), "/one/a")
        async with load.running():
            for _ in range(2):
                old = await made.upgrade()
                await made.gone(old)
                assert {port: listening(port) for port in ports} == dict.fromkeys(ports, 1)
            async with await Client.connect(ports[1], host=HOST) as client:
                assert (await client.ask(get("/one/b"))).status == 200
        assert load.failed == []


def listening(port: int) -> int:
    """How many sockets listen on the port, whoever has them."""
    return sum(
        local.endswith(f":{port:04X}") and state == LISTEN for local, _, state, *_ in tcp_table()
    )


async def test_socket_that_no_listener_names_is_told_of(tmp_path: Path, one: Lane) -> None:
    port, other = free_ports(2, HOST)
    settings = f'[[listener]]\naddress = "{HOST}:{port}"\n'
    prefix = activated(f"{HOST}:{port}", f"{HOST}:{other}=stray")
    async with upgrading(tmp_path, [one], settings=settings, listen=None, prefix=prefix) as made:
        await made.proxy.line(
            rf"{HOST}:{other} \(stray\) of systemd is not used: no listener names it"
        )
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(other, host=HOST)


async def test_ports_of_virtual_hosts_are_those_of_systemd(tmp_path: Path) -> None:
    """Without a listener of our own: as plugin-cfg.xml says, on the socket that is there."""
    (port,) = free_ports(1, HOST)
    xml = tmp_path / "plugin-cfg.xml"
    xml.write_text(
        f'<Config><VirtualHostGroup Name="v"><VirtualHost Name="*:{port}"/></VirtualHostGroup>'
        '<ServerCluster Name="c"><Server Name="s"><Transport Hostname="127.0.0.1" Port="9"/></Server></ServerCluster>'
        '<UriGroup Name="u"><Uri Name="/x/*"/></UriGroup><Route ServerCluster="c" UriGroup="u" VirtualHostGroup="v"/></Config>'
    )
    toml = tmp_path / "wsproxy.toml"
    toml.write_text(f'[admin]\nsocket = "{tmp_path}/admin.sock"\n')
    async with proxy_process_at(port, xml, toml):
        assert listening(port) == 1
        async with await Client.connect(port, host=HOST) as client:
            assert (await client.ask(get("/none", f"X: {port}"))).status == 404


def proxy_process_at(port: int, xml: Path, toml: Path):  # type: ignore[no-untyped-def]
    return proxy_process(str(xml), "--settings", str(toml), prefix=activated(f"0.0.0.0:{port}=any"))


async def test_what_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    xml = tmp_path / "plugin-cfg.xml"
    xml.write_text("<Config/>")
    arguments = (
        *activated(f"{HOST}:{free_ports(1, HOST)[0]}=datagram")[1:],
        sys.executable,
        "-m",
        "wsproxy",
        "run",
        str(xml),
    )
    async with watched_process(*arguments) as process:
        await process.line(
            r"LISTEN_FDS: descriptor 3 \(datagram\): found another kind of socket; allowed is a listening TCP"
        )
        assert await process.end() == 1


async def test_sockets_for_another_process_are_left_alone(tmp_path: Path, one: Lane) -> None:
    """LISTEN_PID is somebody else: whoever inherits the variables must not take what is at descriptor 3."""
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], env=env) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        assert (await client.ask(get("/one/a"))).status == 200


async def test_service_manager_hears_who_the_proxy_is(tmp_path: Path, one: Lane) -> None:
    """MAINPID from the old program, while it is the one that may say so; then READY=1 and the watchdog from the new one."""
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        # Read at once, as systemd does: what finds no room in its queue is not said again.
        said: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(manager, lambda: said.put_nowait(manager.recv(256).decode()))

        async def heard(text: str) -> None:
            async with asyncio.timeout(WAIT_S):
                while await said.get() != text:
                    pass

        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        async with upgrading(tmp_path, [one], env=env) as made:
            await heard("READY=1")
            await heard("WATCHDOG=1")
            await made.upgrade()
            await heard(f"MAINPID={made.pid}")
            await heard("READY=1")
            await heard("WATCHDOG=1")
        loop.remove_reader(manager)
