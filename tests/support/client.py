"""
An HTTP client on a raw socket that sends what it is told, byte for byte, and reads answers strictly.

Driven by tests. Must not repair anything: an answer with two framings, a bare LF or an early end is an error.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.flow import pull
from tests.support.process import WAIT_S

READ_BYTES = 262144
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) [\x20-\x7e\x80-\xff]*")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x20-\x7e\t\x80-\xff]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[^\r\n]*)?")


class IncompleteError(Exception):
    """The connection ended within a message; ``incomplete`` is what was there of it."""

    def __init__(self, incomplete: bytes) -> None:
        super().__init__(incomplete)
        self.incomplete = incomplete


class BadAnswerError(Exception):
    """What came is not strict HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it stood on the wire."""

    status: int
    head: bytes
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    is_close_delimited: bool = False
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def get(self, name: bytes) -> bytes | None:
        """The value of the one field of that name."""
        values = self.all(name)
        assert len(values) < 2, f"{name!r} stands there several times: {self.head!r}"
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name.lower()]

    @property
    def closes(self) -> bool:
        return (self.get(b"connection") or b"").lower() == b"close"


class Client:
    """One connection to the proxy."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._ended = False

    @classmethod
    async def connect(
        cls, port: int, *, host: str = "127.0.0.1", receive_buffer: int = 0, source: str = ""
    ) -> Self:
        """
        A connection to this machine.

        A small ``receive_buffer`` makes a client that is slow in earnest; ``source`` is an address of 127.0.0.0/8 to call from.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            if source:
                sock.bind((source, 0))
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(sock, (host, port)), WAIT_S)
        except BaseException:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sock.close()

    async def send(self, *pieces: bytes) -> None:
        """Each piece as a packet of its own, as far as the kernel plays along."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            await asyncio.wait_for(loop.sock_sendall(self.sock, piece), WAIT_S)
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def ask(self, request: bytes, *, head_only: bool = False) -> Answer:
        """Sends one request and reads its answer."""
        await self.send(request)
        return await self.answer(head_only=head_only)

    async def _more(self) -> bool:
        if self._ended:
            return False
        loop = asyncio.get_running_loop()
        data = await asyncio.wait_for(loop.sock_recv(self.sock, READ_BYTES), WAIT_S)
        self._ended = not data
        self._buffer += data
        return bool(data)

    async def _must_have_more(self) -> None:
        try:
            if not await self._more():
                raise IncompleteError(bytes(self._buffer))
        except ConnectionResetError as error:
            raise IncompleteError(bytes(self._buffer)) from error

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._must_have_more()
        return self._take(count)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._must_have_more()
        line = self._take(end + 1)
        if not line.endswith(b"\r\n"):
            raise BadAnswerError(line)
        return line[:-2]

    async def head(self) -> Answer:
        """The next head, interim or final, without a body."""
        status_line = await self._line()
        matched = _STATUS_LINE.fullmatch(status_line)
        if matched is None:
            raise BadAnswerError(status_line)
        lines, found = await self._fields()
        return Answer(int(matched[1]), b"\r\n".join([status_line, *lines]), b"", tuple(found))

    async def _fields(self) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """The field lines up to the empty one: as they are, and as pairs with names in lower case."""
        lines = []
        found = []
        while line := await self._line():
            pair = _FIELD_LINE.fullmatch(line)
            if pair is None:
                raise BadAnswerError(line)
            found.append((pair[1].lower(), pair[2].rstrip(b" \t")))
            lines.append(line)
        return lines, found

    async def answer(self, *, head_only: bool = False) -> Answer:
        """The next final answer, whole; ``head_only`` for an answer to HEAD."""
        answer = await self.head()
        while answer.status < 200:
            answer = await self.head()
        return await self.body(answer, head_only=head_only)

    async def body(self, answer: Answer, *, head_only: bool = False) -> Answer:
        """The answer of this final head with the body that its framing announces."""
        length = answer.get(b"content-length")
        encoding = answer.get(b"transfer-encoding")
        if length is not None and encoding is not None:
            raise BadAnswerError(answer.head)
        is_close_delimited = False
        trailers: list[tuple[bytes, bytes]] = []
        if head_only or answer.status in (204, 304):
            body = b""
        elif encoding is not None:
            if encoding != b"chunked":
                raise BadAnswerError(answer.head)
            body = await self._chunks()
            trailers = (await self._fields())[1]
        elif length is not None:
            body = await self.exactly(int(length))
        else:
            is_close_delimited = True
            body = await self.rest()
        return Answer(
            answer.status, answer.head, body, answer.fields, is_close_delimited, tuple(trailers)
        )

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            line = await self._line()
            matched = _CHUNK_LINE.fullmatch(line)
            if matched is None:
                raise BadAnswerError(line)
            size = int(matched[1], 16)
            if size == 0:
                break
            body += await self.exactly(size)
            if await self.exactly(2) != b"\r\n":
                raise BadAnswerError(b"no CR LF after a chunk")
        return body

    async def rest(self) -> bytes:
        """Everything up to an orderly end; a reset is an IncompleteError."""
        try:
            while await self._more():
                pass
        except ConnectionResetError as error:
            raise IncompleteError(bytes(self._buffer)) from error
        return self._take(len(self._buffer))

    async def throw_away(self, count: int) -> None:
        """Reads exactly ``count`` bytes and keeps none."""
        await pull(self.sock, count - len(self._take(count)))

    async def is_cut(self) -> bool:
        """Waits for the end, by close or reset; whether nothing came before it."""
        try:
            return await self.rest() == b""
        except IncompleteError as error:
            return error.incomplete == b""

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes so that the proxy gets RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    """A GET request; each of ``lines`` is a field."""
    return request("GET", path, *lines, version=version)


def request(
    method: str, path: str, *lines: str, body: bytes | None = None, version: str = "1.1"
) -> bytes:
    """A request with Host, and with Content-Length where there is a body."""
    head = [f"{method} {path} HTTP/{version}", "Host: shop.example:9080", *lines]
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


def chunks(*pieces: bytes) -> bytes:
    """A chunked body of these chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def ask(port: int, data: bytes, *, head_only: bool = False) -> Answer:
    """The answer to one request on a connection of its own."""
    async with await Client.connect(port) as client:
        return await client.ask(data, head_only=head_only)
