"""Clients that come in by TLS: who is let in, and what becomes of a socket that nobody can serve."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from select import select

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.certificates import Authority
from tests.support.process import WAIT_S
from tests.support.tls_pipe import TlsPipe, client_context, server_context
from tests.support.transparent import COMMANDS, MEANT
from tests.support.wire import Wire, listening_socket, soon
from wsproxy._fast.net import doors, libssl
from wsproxy._fast.net.tls_terms import Terms
from wsproxy._fast.proxy.http1 import Http1Protocol
from wsproxy.config.settings import LimitSettings, Settings, TimeoutSettings

pytestmark = [
    pytest.mark.asan,
    pytest.mark.skipif(
        not libssl.owns(), reason="this Python's ssl module is not known from inside"
    ),
]


PROJECT = Path(__file__).parents[4]


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    return Terms(server_context(Authority().issue("h").write_pem(tmp_path, "server")))


async def refused(port: int) -> None:
    """A connection that ends at once, sometimes before it is made."""
    peer = await Wire.connect(port)
    await peer.receive()


async def test_client_with_too_many_connections_is_reset_before_its_handshake(
    tmp_path: Path,
) -> None:
    """And a handshake that fails gives its place back."""
    ca = Authority()
    trust = ca.write_pem(tmp_path)
    context = server_context(ca.issue("h").write_pem(tmp_path, "server"))
    settings = Settings(limits=LimitSettings(client_connections=1))
    async with Bed(config_of(server("s", 1)), settings, context) as bed:
        first = await Wire.connect(bed.port)
        await bed.until(lambda: len(bed.engine.poller.arriving) == 1)
        with pytest.raises(ConnectionResetError):
            await refused(bed.port)
        await first.send(b"\x16\x03\x01\xff\xff")
        await bed.until(lambda: not bed.engine.poller.arriving)
        third = await Wire.connect(bed.port)
        pipe = TlsPipe(third.sock, client_context(trust), server_name="h")
        await pipe.handshake()
        await pipe.write(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await soon(pipe.read())).startswith(b"HTTP/1.1 404 ")


async def test_a_stream_that_cannot_be_made_costs_its_client_only(terms: Terms) -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        made: list[int] = []

        def make() -> Http1Protocol:
            made.append(1)
            if len(made) == 1:
                raise MemoryError
            return Http1Protocol(bed.engine)

        sock = listening_socket()
        port = sock.getsockname()[1]
        door = doors.listen(bed.engine.poller, sock, make, terms)
        with pytest.raises(ConnectionResetError):
            await refused(port)
        await Wire.connect(port)
        await bed.until(lambda: len(bed.engine.poller.arriving) == 1)
        door.close()


async def test_handshakes_of_a_flood_do_not_stop_the_others(tmp_path: Path) -> None:
    """Eight steps in one turn, a millisecond each; those that wait are told of again, and all are met in the end."""
    ca = Authority()
    trust = ca.write_pem(tmp_path)
    context = server_context(ca.issue("h").write_pem(tmp_path, "server"))
    async with Bed(config_of(server("s", 1)), tls=context) as bed:
        poller = bed.engine.poller
        pipes = [
            TlsPipe((await Wire.connect(bed.port)).sock, client_context(trust), server_name="h")
            for _ in range(40)
        ]
        await bed.until(lambda: len(poller.arriving) == len(pipes))
        plain = listening_socket()
        door = doors.listen(poller, plain, partial(Http1Protocol, bed.engine))
        client = socket.create_connection(plain.getsockname())
        await bed.until(lambda: bed.streams(Http1Protocol) == 1)
        for pipe in pipes:
            pipe.begin()
        client.sendall(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        poller.run()
        client.setblocking(False)
        assert client.recv(100).startswith(b"HTTP/1.1 404 ")
        assert len(select([pipe.sock for pipe in pipes], [], [], 0)[0]) == 8
        for pipe in pipes:
            await pipe.handshake()
        await bed.until(lambda: not poller.arriving)
        client.close()
        door.close()


async def test_who_has_begun_a_handshake_does_not_wait_for_all_who_come(tmp_path: Path) -> None:
    """As long as a flood fills the listen queue the door is told of in each turn, and who comes would take all of its steps."""
    ca = Authority()
    trust = ca.write_pem(tmp_path)
    context = server_context(ca.issue("h").write_pem(tmp_path, "server"))
    client = client_context(trust)
    settings = Settings(
        timeouts=TimeoutSettings(head_s=300)
    )  # two hundred clients take a busy machine their time
    async with Bed(config_of(server("s", 1)), settings, context) as bed:

        def knock() -> TlsPipe:
            """Sends a ClientHello without a turn of the loop: who comes so is in the listen queue."""
            wire = Wire(socket.create_connection(("127.0.0.1", bed.port)))
            pipe = TlsPipe(wire.sock, client, server_name="h")
            pipe.begin()
            return pipe

        begun = [knock() for _ in range(4)]
        for pipe in begun:
            await pipe.answered()
        flood = [knock() for _ in range(200)]
        await bed.until(lambda: bed.accepted > 40)  # rows are long now
        for pipe in begun:
            await pipe.handshake()
        await bed.until(lambda: bed.streams(Http1Protocol) >= len(begun))
        assert bed.accepted < len(flood) * 3 / 4
        for pipe in flood:
            await pipe.handshake()
        await bed.until(lambda: not bed.engine.poller.arriving)


async def test_adopted_socket_is_ours_in_any_case(terms: Terms) -> None:
    """Its time may be shorter than the stream's own; then it is closed."""
    async with Bed(config_of(server("s", 1))) as bed:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = ours.detach()
        with theirs:
            made = doors.adopt(bed.engine.poller, number, Http1Protocol(bed.engine), terms, 0.1)
            assert made.fileno() == number
            await bed.until(lambda: not bed.engine.poller.arriving)
            await bed.until(lambda: made.fileno() == -1)
            theirs.settimeout(1)
            assert theirs.recv(10) == b""
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "nft"))),
    reason="needs root, unshare, ip and nft",
)
def test_address_that_a_client_meant_is_told_and_not_that_of_the_socket() -> None:
    """The kernel gives it connections of others: the service manager may have opened it so (systemd's Transparent=)."""
    prefix = ("unshare", "--net", "sh", "-ec", f'{COMMANDS}\nexec "$@"', "sh")
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False, timeout=WAIT_S)
    if tried.returncode:
        pytest.skip(f"no such namespace here: {tried.stderr.decode().strip()}")
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.support.transparent"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    told, meant = done.stdout.splitlines() or [done.stderr, ""]
    assert told == meant
    assert str(MEANT) in meant
