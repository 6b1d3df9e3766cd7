"""
App servers that take the place of the user's: ``python -m wsproxy.bench.stub PORT...``, all in one process.

Driven by ``stubs``. What to answer says the request itself, in X-Bench-Say: ``<microseconds> <bytes> <status>``, and in X-Bench as for
the upstream nginx, ``small`` and ``check`` only. Commands come on standard input, a line each: ``down PORT`` ends a server as a kill would
(nobody listens, connections are cut), ``up PORT`` starts it again; each is answered with a line. Listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from typing import cast

import uvloop

BACKLOG = 4096
MOST_HEAD = 65536
SMALL = b"0 128 200"
SAY = b"x-bench-say"
# A megabyte of text; longer answers repeat it.
BLOCK = (b"<tr><td>row of a table that an application might have rendered</td></tr>\n" * 15000)[
    : 1 << 20
]
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_REASONS = {
    200: b"OK",
    204: b"No Content",
    302: b"Found",
    304: b"Not Modified",
    404: b"Not Found",
    500: b"Internal Server Error",
}
NO_BODY = (204, 304)


class Server:
    """One app server: its port, who is connected, and whether it is there."""

    def __init__(self, port: int) -> None:
        """Not listening yet."""
        self.port = port
        self.connections: set[Connection] = set()
        self.listener: asyncio.Server | None = None

    async def up(self) -> None:
        """Listens. I/O."""
        if self.listener is None:
            loop = asyncio.get_running_loop()
            self.listener = await loop.create_server(
                lambda: Connection(self), "127.0.0.1", self.port, backlog=BACKLOG
            )

    def down(self) -> None:
        """As if it had been killed."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for connection in list(self.connections):
            connection.cut()


class Connection(asyncio.Protocol):
    """Requests of a proxy, one after the other."""

    def __init__(self, server: Server) -> None:
        """Of ``server``."""
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()
        self.to_come = 0  # of a body
        self.is_chunked = False
        self.head = b""
        self.is_echo = False
        self.is_busy = False
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A proxy connects."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.server.connections.discard(self)
        self.transport = None

    def cut(self) -> None:
        """Without a word."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of a tunnel."""
        if self.is_echo:
            if self.transport is not None:
                self.transport.write(data)
            return
        self.data += data
        self._go_on()

    def _go_on(self) -> None:
        while not self.is_busy and self.data and not self.is_echo:
            if not self.head and not self._take_head():
                return
            if not self._take_body():
                return
            self._answer_later()

    def _take_head(self) -> bool:
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            if len(self.data) > MOST_HEAD:
                self.cut()
            return False
        self.head = bytes(self.data[: end + 2])
        del self.data[: end + 4]
        self.is_chunked = b"chunked" in (field(self.head, b"transfer-encoding") or b"").lower()
        self.to_come = int(field(self.head, b"content-length") or 0)
        return True

    def _take_body(self) -> bool:
        """Whether it is whole; what is in it matters to nobody."""
        if self.is_chunked:
            end = self.data.find(b"\r\n0\r\n\r\n")
            if end < 0 and not self.data.startswith(b"0\r\n\r\n"):
                return False
            del self.data[: 5 if end < 0 else end + 7]
            return True
        used = min(self.to_come, len(self.data))
        del self.data[:used]
        self.to_come -= used
        return self.to_come == 0

    def _answer_later(self) -> None:
        delay_us, size, status = map(int, (field(self.head, SAY) or SMALL).split())
        if delay_us <= 0:
            self._answer(size, status)
        else:
            self.is_busy = True
            asyncio.get_running_loop().call_later(delay_us / 1e6, self._answer_now, size, status)

    def _answer_now(self, size: int, status: int) -> None:
        self.is_busy = False
        if self.transport is not None:
            self._answer(size, status)
            self._go_on()

    def _answer(self, size: int, status: int) -> None:
        assert self.transport is not None
        head, self.head = self.head, b""
        self.requests += 1
        key = field(head, b"sec-websocket-key")
        if key:
            accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
            )
            self.is_echo = True
            return
        if field(head, b"x-bench") == b"check":
            body = self._echo(head)
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            return
        body_size = 0 if status in NO_BODY else size
        length = b"" if status in NO_BODY else b"Content-Length: %d\r\n" % body_size
        start = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status"))
        self.transport.write(
            start + b"Content-Type: text/html;charset=UTF-8\r\nX-Powered-By: Servlet/4.0\r\n"
            b"X-Upstream-Port: %d\r\n%b\r\n"
            % (self.server.port, length)
            + (b"" if head.startswith(b"HEAD ") else BLOCK[:body_size])
        )
        if not head.startswith(b"HEAD "):
            for at in range(len(BLOCK), body_size, len(BLOCK)):
                self.transport.write(BLOCK[: body_size - at])

    def _echo(self, head: bytes) -> bytes:
        """What ``echo_origin`` says behind the upstream nginx."""
        lines = head.decode("latin-1").split("\r\n")[1:-1]
        pairs = [
            [name, value.strip()] for name, _, value in (line.partition(":") for line in lines)
        ]
        pairs.append(["X-Bench-Upstream-Port", str(self.server.port)])
        pairs.append(["X-Bench-Connection-Requests", str(self.requests)])
        return json.dumps(pairs).encode()


def field(head: bytes, name: bytes) -> bytes | None:
    """A field of a head; None: it has none of this name."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip()


async def serve(ports: list[int]) -> None:
    """All of them until standard input ends. I/O."""
    servers = {port: Server(port) for port in ports}
    for server in servers.values():
        await server.up()
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        word, port = line.split()
        if word == b"down":
            servers[int(port)].down()
        else:
            await servers[int(port)].up()
        print("ok", flush=True)


def main() -> None:
    """Ports are the arguments."""
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))


if __name__ == "__main__":
    main()
