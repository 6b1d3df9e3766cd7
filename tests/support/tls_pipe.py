"""
TLS over a raw socket on the running loop, step by step: every byte goes through memory, nothing is repaired or hidden.

Driven by ``tests.support`` clients and origins. An end without close_notify is an error, not an end.
"""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import ctypes
import socket
import ssl
from pathlib import Path

from tests.support.client import Client, IncompleteError
from tests.support.origin import Origin, OriginConnection
from tests.support.process import WAIT_S

READ_BYTES = 262144

_OPENSSL = ctypes.CDLL(_ssl.__file__)  # the very library that the ssl module uses


class TruncatedError(Exception):
    """TCP ended and TLS did not."""


class TlsPipe:
    """One side of a TLS connection."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.sock = sock
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self._in, self._out, server_side, None if server_side else server_name, session
        )

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        if data := self._out.read():
            await asyncio.wait_for(loop.sock_sendall(self.sock, data), WAIT_S)

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        data = await asyncio.wait_for(loop.sock_recv(self.sock, READ_BYTES), WAIT_S)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def begin(self) -> None:
        """Sends a ClientHello now, and waits for nothing."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.do_handshake()
        self.sock.sendall(self._out.read())

    async def answered(self) -> None:
        """The peer's first flight is here; what answers it is not sent before ``handshake``."""
        await self._fill()

    async def handshake(self) -> None:
        while True:
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # the alert
                raise
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Some bytes; b"" after close_notify."""
        while True:
            try:
                return self.ssl.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                raise TruncatedError from error

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), READ_BYTES):
            self.ssl.write(data[at : at + READ_BYTES])
            await self._flush()

    def seal(self, *pieces: bytes) -> bytes:
        """Records with these pieces, one for each of up to 16 KiB; the caller sends them, in this order."""
        for piece in pieces:
            self.ssl.write(piece)
        return self._out.read()

    def seal_key_updates(self, count: int) -> bytes:
        """TLS 1.3: so many KeyUpdates that ask for one in return, a record each; the ssl module has no name for them."""
        ssl_of = ctypes.c_void_p.from_address(id(self.ssl._sslobj) + object.__basicsize__ + 8)  # type: ignore[attr-defined]
        for _ in range(count):
            assert _OPENSSL.SSL_key_update(ssl_of, 1) == 1
            assert _OPENSSL.SSL_do_handshake(ssl_of) == 1
        return self._out.read()

    def seal_end(self) -> bytes:
        """close_notify; the caller sends it."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own is not here yet
            self.ssl.unwrap()
        return self._out.read()

    async def end(self) -> None:
        """Sends close_notify."""
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_sendall(self.sock, self.seal_end()), WAIT_S)


class TlsClient(Client):
    """``Client`` over TLS."""

    pipe: TlsPipe

    @classmethod
    async def open(
        cls,
        port: int,
        context: ssl.SSLContext,
        server_name: str | None = "shop.example",
        session: ssl.SSLSession | None = None,
        *,
        receive_buffer: int = 0,
    ) -> TlsClient:
        client = await cls.connect(port, receive_buffer=receive_buffer)
        client.pipe = TlsPipe(client.sock, context, server_name=server_name, session=session)
        try:
            await client.pipe.handshake()
        except BaseException:
            client.sock.close()
            raise
        return client

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.pipe.write(piece)

    async def _more(self) -> bool:
        if self._ended:
            return False
        try:
            data = await self.pipe.read()
        except TruncatedError as error:
            raise IncompleteError(bytes(self._buffer)) from error
        self._ended = not data
        self._buffer += data
        return bool(data)


class TlsOriginConnection(OriginConnection):
    """``OriginConnection`` over TLS; the handshake happens with the first read or send."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self.pipe = TlsPipe(sock, context, server_side=True)
        self.is_shaken = False

    async def handshake(self) -> None:
        if not self.is_shaken:
            await self.pipe.handshake()
            self.is_shaken = True

    async def _more(self) -> bool:
        try:
            await self.handshake()
            data = await self.pipe.read()
        except (ConnectionResetError, TruncatedError, ssl.SSLError):
            return False
        self.received += data
        return bool(data)

    async def send(self, *pieces: bytes) -> None:
        await self.handshake()
        for piece in pieces:
            await self.pipe.write(piece)


class TlsOrigin(Origin):
    """``Origin`` that speaks TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def _make(self, sock: socket.socket) -> OriginConnection:
        return TlsOriginConnection(sock, self.context)


def client_context(
    ca: Path, *, version: ssl.TLSVersion | None = None, certificate: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    """A client that trusts ``ca``; ``version``: speaks only this one."""
    context = ssl.create_default_context(cafile=str(ca))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def server_context(
    certificate: tuple[Path, Path],
    *,
    client_ca: Path | None = None,
    kind: type[ssl.SSLContext] = ssl.SSLContext,
) -> ssl.SSLContext:
    """A server with this chain and key; ``client_ca``: it wants a certificate of the client."""
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if client_ca is not None:
        context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
