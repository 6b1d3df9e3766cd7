"""
A scripted origin server on a raw socket: the test says what each connection reads and sends, and sees every byte.

Two ways to drive it: ``accept()`` hands over the next connection and the test plays its script in line; ``serving(script)``
plays the same script on every connection. Must not understand more HTTP than where a request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.support.process import WAIT_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
READ_BYTES = 65536


class ClosedEarlyError(Exception):
    """The peer ended the connection before what was waited for had come."""


class OriginConnection:
    """One accepted connection; ``received`` keeps every byte that came."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._used = 0
        self.received = bytearray()
        self.requests: list[bytes] = []  # every whole message read by ``request``

    async def _more(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            data = await asyncio.wait_for(loop.sock_recv(self.sock, READ_BYTES), WAIT_S)
        except ConnectionResetError:
            return False
        self.received += data
        return bool(data)

    async def until(self, marker: bytes) -> bytes:
        """Everything up to and with ``marker``."""
        while (found := self.received.find(marker, self._used)) < 0:
            if not await self._more():
                raise ClosedEarlyError(bytes(self.received[self._used :]))
        return self._take(found + len(marker) - self._used)

    async def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        while len(self.received) - self._used < count:
            if not await self._more():
                raise ClosedEarlyError(bytes(self.received[self._used :]))
        return self._take(count)

    def _take(self, count: int) -> bytes:
        data = bytes(self.received[self._used : self._used + count])
        self._used += count
        return data

    @property
    def unread(self) -> bytes:
        """What came and was not asked for yet."""
        return bytes(self.received[self._used :])

    async def head(self) -> bytes:
        """The next request head, with its empty line."""
        return await self.until(b"\r\n\r\n")

    async def chunked(self) -> bytes:
        """A chunked body as it was sent, to its end; trailers with it."""
        body = b""
        while True:
            line = await self.until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            body += line
            if size == 0:
                break
            body += await self.exactly(size + 2)
        while line != b"\r\n":
            line = await self.until(b"\r\n")
            body += line
        return body

    async def request(self) -> bytes:
        """The next whole request: head and body by its framing."""
        message = await self.head()
        if (length := field(message, b"content-length")) is not None:
            message += await self.exactly(int(length))
        elif field(message, b"transfer-encoding") is not None:
            message += await self.chunked()
        self.requests.append(message)
        return message

    async def send(self, *pieces: bytes) -> None:
        """Sends each piece for itself; returns when the kernel has all."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            await asyncio.wait_for(loop.sock_sendall(self.sock, piece), WAIT_S)

    async def answer(self, data: bytes = OK) -> bytes:
        """Reads one request and answers it; the request."""
        message = await self.request()
        await self.send(data)
        return message

    async def end(self) -> bytes:
        """Waits for the peer's close or reset; what came before it."""
        while await self._more():
            pass
        return self.unread

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Closes so that the peer gets RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[OriginConnection], Awaitable[None]]


class Origin:
    """A listening socket on this machine; connections wait in the kernel until they are accepted."""

    def __init__(self, *, receive_buffer: int = 0, host: str = "127.0.0.1", port: int = 0) -> None:
        """``receive_buffer`` limits what the kernel takes for each connection."""
        self._sock = listening_socket(port, host)
        if receive_buffer:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.host, self.port = self._sock.getsockname()
        self.connections: list[OriginConnection] = []
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def accepted(self) -> int:
        return len(self.connections)

    @property
    def requests(self) -> list[bytes]:
        """Whole requests of all connections, by connection."""
        return [message for each in self.connections for message in each.requests]

    @property
    def received(self) -> bytes:
        """Every byte of all connections."""
        return b"".join(bytes(each.received) for each in self.connections)

    async def accept(self) -> OriginConnection:
        """The next connection."""
        loop = asyncio.get_running_loop()
        sock, _ = await asyncio.wait_for(loop.sock_accept(self._sock), WAIT_S)
        connection = self._make(sock)
        self.connections.append(connection)
        return connection

    def _make(self, sock: socket.socket) -> OriginConnection:
        return OriginConnection(sock)

    def has_waiting(self) -> bool:
        """Whether a connection waits that nobody accepted yet."""
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return False
        sock.close()
        return True

    @contextlib.asynccontextmanager
    async def serving(self, script: Script) -> AsyncIterator[None]:
        """Plays ``script`` on every connection until the block ends; a failed script fails the block."""
        loop = asyncio.get_running_loop()

        async def accept_all(group: asyncio.TaskGroup) -> None:
            while True:
                sock, _ = await loop.sock_accept(self._sock)
                connection = self._make(sock)
                self.connections.append(connection)
                group.create_task(_play(script, connection))

        async with asyncio.TaskGroup() as outer:
            inner = asyncio.TaskGroup()

            async def run() -> None:
                async with inner:
                    inner.create_task(accept_all(inner))

            running = outer.create_task(run())
            yield
            running.cancel()

    @staticmethod
    def full(port: int) -> contextlib.ExitStack:
        """Takes the port so that a new connection to it neither succeeds nor fails, until the result is closed."""
        stack = contextlib.ExitStack()
        sock = stack.enter_context(listening_socket(port))
        sock.listen(0)
        for _ in range(
            8
        ):  # more than the kernel queues for a backlog of 0; the rest stay in SYN_SENT
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        return stack

    def refuse(self) -> None:
        """From now on connections are refused; the port stays ours through ``reopen``."""
        self._sock.close()
        self._sock = socket.socket()  # bound, not listening: nobody else gets the port meanwhile
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind((self.host, self.port))

    def reopen(self) -> None:
        """Listens again on the same port."""
        self._sock.close()
        self._sock = listening_socket(self.port)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._sock.close()


async def _play(script: Script, connection: OriginConnection) -> None:
    try:
        await script(connection)
    except ClosedEarlyError as early:
        if early.args[0]:
            raise  # closed within a message
    finally:
        connection.close()


async def keep_answering(connection: OriginConnection) -> None:
    """The script of a healthy server: every request gets ``OK``."""
    while True:
        await connection.answer()


def answering(data: bytes) -> Script:
    """The script of a server that gives every request the same answer."""

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.answer(data)

    return script


def listening_socket(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def fields(message: bytes) -> list[tuple[bytes, bytes]]:
    """Names in lower case and values of the head of ``message``."""
    lines = message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines)
    return [(name.lower(), value.strip()) for name, _, value in pairs]


def field(message: bytes, name: bytes) -> bytes | None:
    """The value of the one field of that name."""
    values = [value for key, value in fields(message) if key == name.lower()]
    assert len(values) < 2, f"{name!r} stands there several times: {message!r}"
    return values[0] if values else None


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]
