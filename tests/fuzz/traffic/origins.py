"""
Servers that do what a plan says with each request, right or wrong, and write down what came and what they sent.

Driven by the event loop; requests are handed to the ``Desk``, which knows whose they are. Must not judge more than whether what
comes is HTTP at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Protocol

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.answers import compose, ends_with_connection
from tests.fuzz.traffic.link import CutError, End, Link
from tests.fuzz.traffic.plans import After, Behaviour, Fault, LanePlan
from tests.fuzz.traffic.reading import NO_LIMIT, Body, pattern
from tests.fuzz.traffic.records import Arrival
from tests.support.oracles import http_head
from tests.support.oracles.errors import RefusedError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PAUSE_EVERY = 10  # pieces
MOST_PIECES = 500  # each costs a turn of the loop, and all cases share it


class Desk(Protocol):
    """Who knows the clients."""

    def arrive(self, origin: Origin, head: bytes, body: Body) -> Arrival:
        """Whose request this is; LookupError where nobody sent it."""

    def complain(self, text: str) -> None:
        """Something is wrong that belongs to no case."""


class Origin:
    """A server of a lane; ``context``: it speaks TLS."""

    def __init__(
        self, lane: LanePlan, name: str, desk: Desk, context: ssl.SSLContext | None
    ) -> None:
        self.lane = lane
        self.name = name
        self._desk = desk
        self._context = context
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]
        self.is_down = lane.is_half_down and name == "s0"

    async def refuse(self) -> None:
        """Nobody listens until this is cancelled; the port is nobody else's."""
        self._sock.close()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", self.port))
            await asyncio.Event().wait()

    async def serve(self) -> None:
        """Accepts until it is cancelled."""
        loop = asyncio.get_running_loop()
        with self._sock:
            async with asyncio.TaskGroup() as connections:
                while True:
                    sock, _ = await loop.sock_accept(self._sock)
                    connections.create_task(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        link = Link(sock, self._context, server_side=True)
        try:
            await link.handshake()
            await _Connection(self, link, self._desk).serve()
        except CutError:
            pass
        except LookupError as error:
            self._desk.complain(f"{self.name} of {self.lane.name}: {error}")
        finally:
            link.close()


class _Connection:
    """One connection to a server, request by request."""

    def __init__(self, origin: Origin, link: Link, desk: Desk) -> None:
        self._origin = origin
        self._link = link
        self._desk = desk
        self._buffer = bytearray()

    async def serve(self) -> None:
        while (head := await self._head()) is not None:
            framing = _framing(head)
            arrival = self._desk.arrive(self._origin, head, framing)
            try:
                goes_on = await self._exchange(arrival)
            except CutError:
                arrival.end = End.CUT
                return
            finally:
                arrival.ended_s = asyncio.get_running_loop().time()
            if not goes_on:
                return
            arrival.ended_s = 0.0

    async def _head(self) -> bytes | None:
        """The next head; None at the end."""
        while (end := self._buffer.find(b"\r\n\r\n") + 4) < 4:
            if not await self._more():
                return None  # within a head: it was sent in one piece, so a client or the proxy gave up
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        return head

    async def _more(self) -> bool:
        data = await self._link.read()
        self._buffer += data
        return bool(data)

    async def _body(self, body: Body, most: int) -> bool:
        """Reads the body as far as ``most``, -1: all; False where it ended before."""
        while not body.is_done and not body.error and (most < 0 or len(body.raw) < most):
            if not self._buffer and not await self._more():
                return False
            del self._buffer[: body.feed(bytes(self._buffer))]
        return True

    async def _exchange(self, arrival: Arrival) -> bool:
        """Whether the connection goes on."""
        behaviour = arrival.behaviour
        if behaviour.continues and b"\r\nexpect: 100-continue\r\n" in arrival.head.lower():
            await self._send(arrival, CONTINUE, behaviour)
        if not await self._body(arrival.body, behaviour.reads):
            return False
        if behaviour.pause_s:
            await asyncio.sleep(behaviour.pause_s)
        if behaviour.fault is Fault.GONE:
            return await self._go(arrival, behaviour.after)
        is_upgrade = _asks_upgrade(arrival.head) and behaviour.upgrades
        wire, is_whole = compose(arrival, is_upgrade=is_upgrade)
        await self._send(arrival, wire, behaviour)
        if not is_whole:
            return await self._fail(arrival)
        arrival.took_s = asyncio.get_running_loop().time() - arrival.began_s
        arrival.is_tunnel = is_upgrade
        arrival.is_all_sent = True
        if is_upgrade:
            return await self._tunnel(arrival)
        if not ends_with_connection(arrival, wire):
            return await self._body(arrival.body, -1)
        return await self._go(arrival, behaviour.after)

    async def _send(self, arrival: Arrival, wire: bytes, behaviour: Behaviour) -> None:
        piece = max(behaviour.piece or len(wire), len(wire) // MOST_PIECES, 1)
        for count, data in enumerate(_pieces(wire, piece, behaviour)):
            arrival.sent += data
            await self._link.send(data)
            if count % PAUSE_EVERY == PAUSE_EVERY - 1:
                await asyncio.sleep(min(behaviour.pause_s, 0.001))

    async def _fail(self, arrival: Arrival) -> bool:
        """An answer that does not come whole ends as its fault says."""
        match arrival.behaviour.fault:
            case Fault.RESETS:
                return await self._go(arrival, After.RESETS)
            case Fault.SILENT:
                await self._link.drain()
            case Fault.SHUTS:
                arrival.end = End.ORDERLY if self._link.tls is None else End.CUT
                self._link.shut()
                await self._link.drain()
            case _:
                return await self._go(arrival, After.ENDS)
        return False

    async def _go(self, arrival: Arrival, after: After) -> bool:
        """Ends the connection."""
        if after is After.RESETS:
            arrival.end = End.CUT
            self._link.reset()
            return False
        arrival.end = End.ORDERLY
        await self._link.end()
        if self._link.tls is None:
            with contextlib.suppress(CutError):
                await self._body(arrival.body, -1)
        await self._link.drain()
        return False

    async def _tunnel(self, arrival: Arrival) -> bool:
        data = pattern(f"u{arrival.serial}", arrival.behaviour.size)
        arrival.tunnel_sent += data
        arrival.tunnelled += self._buffer
        self._buffer.clear()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tunnel_in(arrival))
            both.create_task(self._tunnel_out(data))
        return False

    async def _tunnel_in(self, arrival: Arrival) -> None:
        with contextlib.suppress(CutError):
            while data := await self._link.read():
                arrival.tunnelled += data

    async def _tunnel_out(self, data: bytes) -> None:
        with contextlib.suppress(CutError):
            await self._link.send(data)
            await self._link.end()


def _pieces(wire: bytes, piece: int, behaviour: Behaviour) -> Iterator[bytes]:
    """
    ``wire`` in pieces of ``piece`` bytes.

    What stands behind an answer comes with the answer's last byte. A piece of its own may come when the proxy has written the next
    request, and then nobody can tell it from that one's answer (RFC 9112 9.2: answers have no other name than their order).
    """
    most = len(wire)
    if behaviour.fault is Fault.MORE and wire.endswith(messages.POISON):
        most -= len(messages.POISON) + 1
    for at in range(0, most, piece):
        yield wire[at : min(at + piece, most)]
    if most < len(wire):
        yield wire[most:]


def _framing(head: bytes) -> Body:
    """How the body of a request at a server is framed; LookupError where the head is no HTTP/1.1 that we would write."""
    line_end = head.index(b"\r\n") + 2
    try:
        # more fields than a client may send: ours are among them
        parsed = http_head.parse_fields(head, line_end, NO_LIMIT)
    except RefusedError as refused:
        msg = f"what came is no request ({refused}): {head[:300]!r}"
        raise LookupError(msg) from refused
    if parsed is None or not head[: line_end - 2].endswith(b" HTTP/1.1"):
        msg = f"what came is no request: {head[:300]!r}"
        raise LookupError(msg)
    fields, _ = parsed
    return Body(max(fields.content_length, 0)) if not fields.chunked else Body(is_chunked=True)


def _asks_upgrade(head: bytes) -> bool:
    return b"\r\nupgrade:" in head.lower()
