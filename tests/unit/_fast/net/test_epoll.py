"""What is asked of the kernel about both ends of a connection, and about a set of them."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Any

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Wire, listening_socket
from wsproxy._fast.net import doors
from wsproxy._fast.proxy.http1 import Http1Protocol


class Named(Http1Protocol):
    """Notes what its transport says of both ends."""

    found: list[Any]

    def connection_made(self, transport: Any) -> None:
        self.found += [
            transport.get_extra_info("peername"),
            transport.get_extra_info("sockname"),
            os.get_blocking(transport.fileno()),
            os.get_inheritable(transport.fileno()),
        ]
        super().connection_made(transport)


def named(bed: Bed, found: list[Any]) -> Named:
    """What it is told goes into ``found``."""
    made = Named(bed.engine)
    made.found = found
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.10.255", "127.100.205.64", "::1"])
async def test_accepted_socket_has_both_names_and_neither_blocks_nor_is_inherited(
    host: str,
) -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        sock = listening_socket(host)
        found: list[Any] = []
        door = doors.listen(bed.engine.poller, sock, partial(named, bed, found))
        peer = Wire(socket.create_connection(sock.getsockname()[:2]))
        await bed.until(lambda: len(found) == 4)
        assert found == [peer.sock.getsockname()[:2], sock.getsockname()[:2], False, False]
        door.close()


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.9.1.2"), ("::", "127.9.1.2"), ("::", "::1")])  # fmt: skip
async def test_names_where_a_socket_takes_any_address(bound: str, reached: str) -> None:
    """Both are those of the connection; IPv4 is told as IPv4 on a socket that takes both."""
    async with Bed(config_of(server("s", 1))) as bed:
        sock = socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET)
        sock.setblocking(False)
        if bound == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((bound, 0))
        sock.listen()
        found: list[Any] = []
        door = doors.listen(bed.engine.poller, sock, partial(named, bed, found))
        port = sock.getsockname()[1]
        peers = [Wire(socket.create_connection((reached, port))) for _ in range(2)]
        await bed.until(lambda: len(found) == 8)
        ports = {peer.sock.getsockname()[1] for peer in peers}
        assert {found[0], found[4]} == {
            (peer.sock.getsockname()[0], peer.sock.getsockname()[1]) for peer in peers
        }
        assert {found[0][1], found[4][1]} == ports
        assert found[1] == found[5] == (reached, port)
        door.close()


async def test_all_that_wait_are_accepted() -> None:
    """However many come at once, and whether or not the rows before were short."""
    async with Bed(config_of(server("s", 1))) as bed:
        sock = listening_socket()
        door = doors.listen(bed.engine.poller, sock, partial(Http1Protocol, bed.engine))
        for count in (1, 1, 1, 40, 1, 23):
            peers = [Wire(socket.create_connection(sock.getsockname())) for _ in range(count)]
            for peer in peers:
                await peer.send(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
            for peer in peers:
                assert (await peer.read_answer())[0] == 404
                peer.close()
        door.close()


async def test_socket_of_another_family_has_no_name() -> None:
    """It is nobody whom a rule could trust, and its request is answered all the same."""
    async with Bed(config_of(server("s", 1))) as bed:
        near, far = socket.socketpair()
        near.setblocking(False)
        peer = Wire(far)
        bed.engine.poller.adopt(near.detach(), Http1Protocol(bed.engine))
        await peer.send(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.read_answer())[0] == 404
