"""
A server of the soak, a process of its own: each answer names the server and the request that it belongs to.

    python -m tests.soak.backend NAME PORT BOARD

``GET /...?id=ID&delay=MS&size=BYTES`` is answered after a while with ``content(NAME, ID, BYTES)``; ``/health`` as the board says;
an Upgrade with 101, then everything comes back. The answer is sent in one piece. Must not understand more HTTP than wsproxy sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
from pathlib import Path
from urllib.parse import parse_qsl

from tests.soak.board import Board
from tests.soak.ends import is_seen, is_sent

HEAD_END = b"\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
ILL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndown"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade: *([^\r]+)", re.IGNORECASE)


def content(name: str, number: str, size: int) -> bytes:
    """The body of the answer of server ``name`` to request ``number``, at least so long."""
    line = f"{name} {number}\n".encode()
    return line * max(1, -(-size // len(line)))


class Backend(asyncio.Protocol):
    """One connection from wsproxy."""

    pending: set[Backend] = set()  # noqa: RUF012  # of the whole process
    name = ""
    board: Board

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._is_tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._is_tunnel:
            self._transport.write(data)
            return
        self._buffer += data
        end = self._buffer.find(HEAD_END)
        if end < 0:
            return
        head = bytes(self._buffer[: end + len(HEAD_END)])
        if self not in self.pending:
            self._begin(head)
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if len(self._buffer) < len(head) + length:
            return
        body = bytes(self._buffer[len(head) : len(head) + length])
        del self._buffer[: len(head) + length]
        self._answer(head, body)

    def _begin(self, head: bytes) -> None:
        if head.startswith(b"GET /health"):
            self.board.probes += 1
            return
        self.board.served += 1
        # Who has hung up is not known here before the loop says so; wsproxy knows, and gives the place to the next. That may be so of
        # this one, too: the loop brings who is ready in another order than they came in, and a server that stood still many at once.
        self.pending.add(self)
        for each in [each for each in self.pending if each.is_gone()]:
            each._done()
        # What may not be asked of wsproxy: that a word which its kernel has sent has arrived. Another connection's may come first.
        if len(self.pending) > self.board.peak:
            for each in [each for each in self.pending if each.is_left()]:
                each._done()
                self.board.late_ends += 1
        self.board.running = len(self.pending)

    def _done(self) -> None:
        self.pending.discard(self)
        self.board.running = len(self.pending)

    def is_gone(self) -> bool:
        """Whether the end of wsproxy's direction has arrived."""
        return (
            self._transport is None
            or self._transport.is_closing()
            or is_seen(self._transport.get_extra_info("socket"))
        )

    def is_left(self) -> bool:
        """Whether wsproxy has shut or closed its end, and the word of it is still under way."""
        assert self._transport is not None
        told = self._transport.get_extra_info
        return is_sent(told("peername"), told("sockname"))

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"GET /health"):
            self._transport.write(ILL if self.board.is_ill else HEALTHY)
            self._transport.close()
        elif found := _UPGRADE.search(head):
            self._is_tunnel = True
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + found[1] + HEAD_END
            )  # fmt: skip
        else:
            query = dict(parse_qsl(head.split(b" ", 2)[1].partition(b"?")[2].decode()))
            text = content(self.name, query.get("id", "none"), int(query.get("size", "0"))) + body
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text
            delay_s = int(query.get("delay", "0")) / 1000
            asyncio.get_running_loop().call_later(delay_s, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._done()  # before: the place is free from the last byte on
            self._transport.write(answer)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    server = await loop.create_server(Backend, sock=sock, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Backend.name, Backend.board = sys.argv[1], Board(Path(sys.argv[3]))
    Backend.board.running = 0
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[2])))
