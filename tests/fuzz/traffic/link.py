"""
One end of a connection, a client's or a server's, plain or TLS, that ends in every way in which connections end.

Driven by ``clients`` and ``origins``; reading and sending may go on at the same time. Must not know HTTP, and must not wait less
than for ever: whoever plays a case bounds it as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from enum import Enum

READ_BYTES = 65536


class End(Enum):
    """How a connection ended, as whoever reads sees it."""

    OPEN = "open"
    ORDERLY = "an orderly end"  # FIN; under TLS close_notify
    CUT = "a cut"  # reset; under TLS also a FIN without close_notify
    UNCLEAR = "an end behind a reset that sending was told of"  # the kernel tells once, and cannot say what came first


class CutError(Exception):
    """The peer ended the connection in a way that says: something is missing."""


class Link:
    """See above; ``context`` None: plain."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None = None,
        *,
        server_side: bool = False,
        server_name: str | None = None,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.tls: ssl.SSLObject | None = None
        self.is_broken = False  # sending failed
        self._sending = asyncio.Lock()
        if context is not None:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._in, self._out, server_side, server_name)

    async def handshake(self) -> None:
        """Nothing to do where the link is plain; CutError where it fails."""
        while self.tls is not None:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as error:
                raise CutError(str(error)) from error
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Some bytes; b"" at an orderly end."""
        if self.tls is None:
            return await self._receive()
        while True:
            try:
                return self.tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:  # among them a FIN without close_notify
                raise CutError(str(error)) from error

    async def send(self, data: bytes) -> None:
        """Returns when the kernel has all; CutError where the peer is gone."""
        if self.tls is None:
            await self._put(data)
            return
        try:
            for at in range(0, len(data), READ_BYTES):
                self.tls.write(data[at : at + READ_BYTES])
                await self._flush()
        except ssl.SSLError as error:
            raise CutError(str(error)) from error

    async def end(self) -> None:
        """Ends the own direction in order; what comes is still read."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not here yet
                self.tls.unwrap()
            await self._flush()
        self.shut()

    def shut(self) -> None:
        """TCP's end alone: under TLS that is a cut."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """The peer gets RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """FIN, or RST where something was not read; who still waits for the link waits for ever, and is to be cancelled."""
        if self.sock.fileno() >= 0:
            # Its number may be another socket's at once: the loop must not know it any more.
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.sock)
            loop.remove_writer(self.sock)
        self.sock.close()

    async def drain(self) -> None:
        """Throws away what comes until the peer ends: a close before that would send a reset. TLS is not looked into any more."""
        with contextlib.suppress(CutError):
            while await self._receive():
                pass

    async def _receive(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self.sock, READ_BYTES)
        except OSError as error:
            raise CutError(str(error)) from error

    async def _fill(self) -> None:
        if data := await self._receive():
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._out.read():
                await self._put_now(data)

    async def _put(self, data: bytes) -> None:
        async with self._sending:
            await self._put_now(data)

    async def _put_now(self, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self.sock, data)
        except OSError as error:
            self.is_broken = True
            raise CutError(str(error)) from error
