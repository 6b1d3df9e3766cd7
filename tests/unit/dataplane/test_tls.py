"""The protocols over TLS on both loops: streaming, back-pressure, deadlines and endings (see ``Bed`` for what is checked after)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.certificates import Authority
from tests.support.tls_pipe import TlsPipe, TruncatedError, client_context, server_context
from tests.support.wire import Origin, Wire, soon
from wsproxy._fast.net import libssl
from wsproxy._fast.proxy.http1 import Http1, Http1Protocol
from wsproxy._fast.state.segment import now_ms
from wsproxy.config.model import Config
from wsproxy.config.settings import (
    Settings,
    TimeoutSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from wsproxy.dataplane.tls import BoundedContext

pytestmark = pytest.mark.usefixtures("tls_way")

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
MB = 1 << 20


class Keys:
    """One authority, one certificate, the contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        ca = Authority()
        self.ca = ca.write_pem(folder)
        pair = ca.issue("h", "127.0.0.1").write_pem(folder, "server")
        self.server = server_context(pair)
        self.listener = server_context(pair, kind=BoundedContext)
        self.client = client_context(self.ca)

    def settings(self, **timeouts: float) -> Settings:
        return Settings(
            timeouts=TimeoutSettings(**timeouts),
            upstream=UpstreamSettings(tls=UpstreamTlsSettings(trust=str(self.ca))),
        )

    def bed(self, config: Config, **timeouts: float) -> Bed:
        return Bed(config, self.settings(**timeouts), self.listener)

    async def client_of(self, bed: Bed, *, receive_buffer: int = 0) -> TlsPipe:
        wire = await Wire.connect(bed.port, receive_buffer=receive_buffer)
        pipe = TlsPipe(wire.sock, self.client, server_name="h")
        await pipe.handshake()
        return pipe

    async def accept(self, origin: Origin) -> TlsPipe:
        pipe = TlsPipe((await origin.accept()).sock, self.server, server_side=True)
        await pipe.handshake()
        return pipe


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def read_until(pipe: TlsPipe, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = await soon(pipe.read())
        assert piece, data
        data += piece
    return data


async def read_whole(pipe: TlsPipe, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = await soon(pipe.read())
        assert piece
        data += piece
    return bytes(data)


async def test_exchanges_over_tls_on_both_sides(keys: Keys) -> None:
    """Two requests, one connection on each side; then the client ends and nothing stays."""
    origin = Origin()
    async with keys.bed(config_of(server("s", origin.port, protocol="https"))) as bed:
        client = await keys.client_of(bed)
        await client.write(GET)
        served = await keys.accept(origin)
        for again in (True, False):
            assert b"$WSSC: https\r\n" in await read_until(served, b"\r\n\r\n")
            await served.write(OK)
            assert (await read_until(client, b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
            if again:
                await client.write(GET)
        await client.end()
        assert await client.read() == b""
        await bed.until(lambda: bed.streams(Http1) == 0)


async def test_upload_and_download_are_whole(keys: Keys) -> None:
    """5 MiB each way through two ciphers, with a client whose window is small."""
    origin = Origin()
    body = os.urandom(MB) * 5
    async with keys.bed(config_of(server("s", origin.port, protocol="https"))) as bed:
        client = await keys.client_of(bed, receive_buffer=8192)
        sending = asyncio.create_task(  # noqa: TID251
            client.write(
                b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        )
        served = await keys.accept(origin)
        head = await read_until(served, b"\r\n\r\n")
        got = head.partition(b"\r\n\r\n")[2]
        assert got + await read_whole(served, len(body) - len(got)) == body
        await sending
        answering = asyncio.create_task(  # noqa: TID251
            served.write(
                b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        )
        data = await read_until(client, b"\r\n\r\n")
        got = data.partition(b"\r\n\r\n")[2]
        assert got + await read_whole(client, len(body) - len(got)) == body
        await answering


async def test_client_that_does_not_read_stops_the_server(keys: Keys) -> None:
    """What is held for it is bounded, and after body_s it is cut off."""
    origin = Origin()
    config = config_of(server("s", origin.port, protocol="https"))
    async with keys.bed(config, body_s=0.6) as bed:
        client = await keys.client_of(bed, receive_buffer=8192)
        await client.write(GET)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        sending = asyncio.create_task(  # noqa: TID251
            served.write(
                b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % (64 * MB)
                + bytes(64 * MB)
            )
        )
        with pytest.raises(ConnectionError):
            await soon(sending)
        await bed.until(lambda: bed.engine.open_streams == 0)
        with pytest.raises((ConnectionResetError, TruncatedError)):
            await read_until(client, b"never")


async def test_client_that_reads_slowly_is_not_cut_off(keys: Keys) -> None:
    """Every reading puts off body_s, also when all that is left lies behind the cipher."""
    origin = Origin()
    config = config_of(server("s", origin.port, protocol="https"))
    count = 3 * MB // 2
    async with keys.bed(config, body_s=0.4) as bed:
        client = await keys.client_of(bed, receive_buffer=8192)
        await client.write(b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        answering = asyncio.create_task(  # noqa: TID251
            served.write(
                b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % count + bytes(count)
            )
        )
        begin = now_ms()
        got, step = 0, count // 8
        while got < count:
            if got >= step:
                step += count // 8
                await bed.pass_time(0.25)
            piece = await soon(client.read())
            assert piece, f"cut off after {got} of {count}"
            got += len(piece)
        assert now_ms() - begin > 1000
        while await soon(client.read()):  # up to close_notify
            pass
        await answering


@pytest.mark.parametrize("how", ["close_notify", "close", "reset"])
async def test_client_goes_within_an_exchange(keys: Keys, how: str) -> None:
    """The server's side is cut and the count given back."""
    origin = Origin()
    async with keys.bed(config_of(server("s", origin.port, protocol="https"))) as bed:
        client = await keys.client_of(bed)
        await client.write(GET)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        if how == "close_notify":
            await client.end()
        elif how == "close":
            client.sock.close()
        else:
            Wire(client.sock).reset()
        with pytest.raises((TruncatedError, ConnectionResetError)):
            await soon(served.read())
        await bed.until(lambda: bed.inflight() == [0] and bed.streams(Http1) == 0)


async def test_idle_client_is_closed_in_order(keys: Keys) -> None:
    """keepalive_s over: close_notify, not a cut."""
    async with keys.bed(config_of(server("s", 1)), keepalive_s=0.1, head_s=0.1) as bed:
        client = await keys.client_of(bed)
        assert await soon(client.read()) == b""
        await client.end()
        await bed.until(lambda: bed.engine.open_streams == 0)


async def test_server_io_timeout_counts_once(keys: Keys) -> None:
    """The request is confirmed by the server's kernel at once: that is no sign of life of the server."""
    origin = Origin()
    config = config_of(server("s", origin.port, protocol="https", server_io_timeout_s=1))
    async with keys.bed(config) as bed:
        client = await keys.client_of(bed)
        begin = now_ms()
        await client.write(GET)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        assert b" 504 " in await read_until(client, b"\r\n\r\n")
        assert 900 < now_ms() - begin < 1900


async def test_server_that_breaks_tls_is_no_answer(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage instead of a record: the request fails, and the log has the TLS library's words."""
    origin = Origin()
    async with keys.bed(config_of(server("s", origin.port, protocol="https"))) as bed:
        client = await keys.client_of(bed)
        await client.write(GET)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        await Wire(served.sock).send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok")
        assert b" 502 " in await read_until(client, b"\r\n\r\n")
    assert any("server s: TLS: " in each.getMessage() for each in caplog.records)


class Noting(Http1Protocol):
    """Keeps its transport, and whether it was told of its end."""

    transport_of_loop: Any = None
    is_told = False

    def connection_made(self, transport: Any) -> None:
        self.transport_of_loop = transport
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_told = True
        super().connection_lost(error)


class NotingBed(Bed):
    """Its clients note what their loop does."""

    client_streams: list[Noting]

    def _accept(self) -> Http1Protocol:
        self.client_streams = [Noting(self.engine)]
        return self.client_streams[0]


async def test_descriptor_is_not_used_after_the_loop_has_closed_it(keys: Keys) -> None:
    """The loop closes it a turn before it says so: who got the number meanwhile must not be reset in the client's place."""
    libssl.own(
        False
    )  # as long as the fixture holds; sockets of our own are closed behind `connection_lost`
    origin = Origin()
    async with NotingBed(
        config_of(server("s", origin.port, protocol="https")), keys.settings(), keys.listener
    ) as bed:
        client = await keys.client_of(bed)
        await client.write(GET)
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        await served.write(b"HTTP/1.1 200 OK\r\n\r\nbegun")  # only its end says that it is whole
        await read_until(client, b"begun")
        [stream] = bed.client_streams
        number = stream.transport_of_loop.get_extra_info("socket").fileno()
        stranger, peer = socket.socketpair()
        with stranger, peer:
            stream.transport_of_loop.abort()  # what the loop does on its own when the client resets
            while is_open(number):  # noqa: ASYNC110  # the loop closes it, and tells nobody
                await asyncio.sleep(0)
            assert not stream.is_told
            os.dup2(stranger.fileno(), number)
            try:
                stream.exchange.cut()
                lingers = stranger.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
                assert struct.unpack("ii", lingers) == (0, 0)
            finally:
                os.close(number)
        bed.client_streams = []
        del stream
        await bed.until(lambda: bed.streams(Http1) == 0)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


async def test_client_that_never_ends_is_let_go_after_linger_s(keys: Keys) -> None:
    """It had close_notify and says nothing: body_s is for those who have still to read."""
    origin = Origin()
    config = config_of(server("s", origin.port, protocol="https"))
    async with keys.bed(config, body_s=60, linger_s=0.1) as bed:
        client = await keys.client_of(bed)
        await client.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        served = await keys.accept(origin)
        await read_until(served, b"\r\n\r\n")
        await served.write(OK)
        await read_until(client, b"ok")
        assert await soon(client.read()) == b""
        await bed.until(lambda: bed.streams(Http1) == 0)
        assert bed.engine.lingering == 0
