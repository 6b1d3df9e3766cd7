"""
Raw sockets on the running loop, asyncio's or uvloop's: a client or a scripted origin that does exactly what a test says.

Driven by the tests of the data plane. Every wait is bounded; nothing is buffered behind the test's back except what
``read_until`` read too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable
from typing import TypeVar

from tests.support.process import WAIT_S

T = TypeVar("T")

_opened: list[socket.socket] = []


def close_all() -> None:
    """Closes every socket that a test opened here, however the test ended."""
    while _opened:
        _opened.pop().close()


async def soon(work: Awaitable[T]) -> T:
    """The result of what must happen within WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        return await work


def listening_socket(host: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family, backlog=backlog)
    sock.setblocking(False)
    _opened.append(sock)
    return sock


class Wire:
    """One end of a TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        _opened.append(sock)
        self.sock = sock
        self.kept = b""

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> Wire:
        sock = socket.socket(socket.AF_INET)
        if receive_buffer:  # before connect: the window is announced there
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        wire = cls(sock)
        await soon(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port)))
        return wire

    async def send(self, data: bytes) -> None:
        await soon(asyncio.get_running_loop().sock_sendall(self.sock, data))

    def send_now(self, data: bytes) -> int:
        """As much as the kernel takes at once; 0 where it takes none or the peer is gone."""
        try:
            return self.sock.send(data)
        except OSError:
            return 0

    def has_received(self) -> bool:
        """Whether something is there to read, the end too."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return bool(self.kept)
        return True

    async def receive(self, most: int = 65536) -> bytes:
        """What is there, b"" at the end."""
        if self.kept:
            data, self.kept = self.kept[:most], self.kept[most:]
            return data
        return await soon(asyncio.get_running_loop().sock_recv(self.sock, most))

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with ``mark``."""
        data = b""
        while mark not in data:
            piece = await self.receive()
            assert piece, f"the connection ended before {mark!r}; it sent {data[-2000:]!r}"
            data += piece
        end = data.index(mark) + len(mark)
        self.kept = data[end:] + self.kept
        return data[:end]

    async def read_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = await self.receive(min(count - len(data), 1 << 20))
            assert piece, f"the connection ended after {len(data)} of {count} bytes"
            data += piece
        return bytes(data)

    async def read_to_end(self) -> bytes:
        """All until the peer ends; raises ConnectionResetError where it ends by reset."""
        data = bytearray()
        while piece := await self.receive(1 << 20):
            data += piece
        return bytes(data)

    async def read_head(self) -> bytes:
        return await self.read_until(b"\r\n\r\n")

    async def read_answer(self) -> tuple[int, bytes]:
        """(status, body) of an answer with Content-Length; interim answers are passed over."""
        while True:
            head = await self.read_head()
            status = int(head[9:12])
            if status >= 200:
                break
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert length, head
        return status, await self.read_exactly(int(length[1]))

    async def is_ended(self) -> bool:
        """True when the peer has ended or reset the connection, whatever it sent before."""
        with contextlib.suppress(ConnectionError):
            await self.read_to_end()
        return True

    def end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Origin:
    """A listening socket; the test accepts and answers itself."""

    def __init__(self, *, host: str = "127.0.0.1", receive_buffer: int = 0) -> None:
        self.sock = listening_socket(host)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port: int = self.sock.getsockname()[1]

    async def accept(self) -> Wire:
        sock, _ = await soon(asyncio.get_running_loop().sock_accept(self.sock))
        return Wire(sock)

    async def accept_request(self) -> tuple[Wire, bytes]:
        """A new connection and the first head on it."""
        wire = await self.accept()
        return wire, await wire.read_head()

    def has_waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        try:
            sock, _ = self.sock.accept()
        except BlockingIOError:
            return False
        Wire(sock)
        return True

    def close(self) -> None:
        """Nobody listens any more: connections are refused, and nobody else gets the port before ``close_all``."""
        address = self.sock.getsockname()
        self.sock.close()
        self.sock = socket.socket(self.sock.family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(address)
        _opened.append(self.sock)


class DeafOrigin:
    """A listening socket whose queue is full: connecting to it never ends."""

    def __init__(self) -> None:
        self.sock = listening_socket(backlog=0)
        self.port: int = self.sock.getsockname()[1]
        for _ in range(4):
            Wire(socket.socket()).sock.connect_ex(("127.0.0.1", self.port))
