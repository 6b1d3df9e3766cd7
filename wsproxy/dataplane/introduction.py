"""
Accepts on a socket whose listed senders say with a PROXY header whom they speak for.

Driven by ``dataplane.worker``, for listeners with ``proxy_protocol`` only. Reads exactly the header and nothing behind it,
so that what follows (HTTP, or a TLS handshake) begins untouched: the socket is looked into (MSG_PEEK) until the header is whole.
Whoever is not listed is served as any client; its first bytes are never taken for a header (PEERS.md D 9).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

from wsproxy._fast.net import doors
from wsproxy._fast.net.poller import Poller
from wsproxy.config.address import unmapped
from wsproxy.dataplane import tasks
from wsproxy.dataplane.proxy_protocol import (
    MOST_V2_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    parse_header,
)

log = logging.getLogger("wsproxy.connection")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# What becomes of an accepted socket; None: nothing was said about the client.
Serve = Callable[[socket.socket, ProxyHeader | None], Awaitable[None]]

PEEK_BYTES = MOST_V2_BYTES + 16


class IntroducingListener:
    """Accepts until ``close``; ``serve`` gets each connection once its header is read."""

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        senders: Sequence[Network],
        head_s: Callable[[], float],
        serve: Serve,
    ) -> None:
        """``senders`` must begin with a header, whole within ``head_s()``; begins at once."""
        self._senders = tuple(senders)
        self._head_s = head_s
        self._serve = serve
        self.arriving = 0  # accepted, and not served or given up yet
        self._door = doors.accept(poller, sock, self._take)

    def close(self) -> None:
        """Accepts no more and closes the socket."""
        self._door.close()

    def _take(self, fd: int) -> None:
        try:
            sock = socket.socket(fileno=fd)
        except BaseException:
            os.close(fd)
            raise
        sock.setblocking(False)  # it does not block; Python must know, too
        peer = ""
        if self._senders:
            try:
                peer = sock.getpeername()[0]
            except OSError:  # gone already
                sock.close()
                return
        self.arriving += 1
        tasks.spawn(self._introduce(sock, peer), "new connection")

    async def _introduce(self, sock: socket.socket, peer: str) -> None:
        is_served = False
        head_s = self._head_s()
        try:
            header = None
            if self._senders and is_listed(peer, self._senders):
                async with asyncio.timeout(head_s):
                    header = await read_header(sock)
            is_served = True
            await self._serve(sock, header)
        except ProxyHeaderError as error:
            log.warning("%s: %s; the connection is dropped", peer, error)
        except TimeoutError:
            log.info("%s: no PROXY header within %g s; the connection is dropped", peer, head_s)
        except OSError as error:
            log.debug("%s: gone before its first request: %s", peer, error)
        finally:
            self.arriving -= 1
            if not is_served:
                sock.close()


def reset(sock: socket.socket) -> None:
    """Closes a connection that nobody will serve, so that nothing of it stays."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_listed(peer: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        address = unmapped(ipaddress.ip_address(peer.partition("%")[0]))
    except ValueError:
        return False
    return any(address in network for network in networks if network.version == address.version)


async def read_header(sock: socket.socket) -> ProxyHeader:
    """
    Takes the header, and only the header, from a non-blocking socket. # I/O.

    Raises: ProxyHeaderError, also where the sender ends before it is whole; OSError.
    """
    loop = asyncio.get_running_loop()
    seen = 0
    try:
        while True:
            # Readable only with more than was there before: peeked bytes stay, and would wake us for ever.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
            await _readable(loop, sock)
            data = sock.recv(PEEK_BYTES, socket.MSG_PEEK)
            if header := parse_header(data):
                sock.recv(header.size)
                return header
            if len(data) <= seen:
                msg = f"found the end of the connection after {len(data)} bytes; allowed is a whole PROXY header"
                raise ProxyHeaderError(msg)
            seen = len(data)
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    try:
        loop.add_reader(sock, _set, ready)
        await ready
    finally:  # also where it was not added: without memory the loop may watch it all the same, and must not outlive its descriptor
        loop.remove_reader(sock)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
