"""TLS of clients on sockets of our own: what peers can do to it, at every byte and in every state. More in tests/unit/dataplane/test_tls*."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import tls_pipe, wire
from tests.support.bed import Bed, config_of, server
from tests.support.certificates import Authority
from tests.support.tls_pipe import TlsPipe, TruncatedError, client_context, server_context
from tests.support.wire import Origin, Wire, soon
from wsproxy._fast.net import libssl
from wsproxy._fast.net.records import MOST_VOID
from wsproxy._fast.proxy.http1 import Http1
from wsproxy.config.settings import Settings, TimeoutSettings

pytestmark = [
    pytest.mark.asan,
    pytest.mark.skipif(
        not libssl.owns(), reason="this Python's ssl module is not known from inside"
    ),
]

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls1.2", "tls1.3"])
NONE = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    yield
    wire.close_all()


class Keys:
    """A listener's context, and clients that trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority()
        self.trust = self.ca.write_pem(folder)
        self.pair = self.ca.issue("h").write_pem(folder, "server")

    def server(self, **more: Path) -> ssl.SSLContext:
        context = server_context(self.pair, client_ca=more.get("client_ca"))
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context

    def bed(self, origin: Origin | None = None, **timeouts: float) -> Bed:
        settings = Settings(timeouts=TimeoutSettings(**timeouts))
        return Bed(config_of(server("s", origin.port if origin else 1)), settings, self.server())

    def client(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        return client_context(self.trust, version=version)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("tls"))


class Dripping(TlsPipe):
    """Sends so many bytes at a time, and lets the proxy read them in between."""

    step = 1

    async def _flush(self) -> None:
        data = self._out.read()
        peer = Wire(self.sock)
        for at in range(0, len(data), self.step):
            await peer.send(data[at : at + self.step])
            for _ in range(3):
                await asyncio.sleep(0)


async def opened(
    bed: Bed, context: ssl.SSLContext, kind: type[TlsPipe] = TlsPipe, *, receive_buffer: int = 0
) -> TlsPipe:
    peer = await Wire.connect(bed.port, receive_buffer=receive_buffer)
    pipe = kind(peer.sock, context, server_name="h")
    await pipe.handshake()
    return pipe


async def read_until(pipe: TlsPipe, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = await soon(pipe.read())
        assert piece, data
        data += piece
    return data


async def read_to_end(pipe: TlsPipe) -> None:
    while await soon(pipe.read()):
        pass


async def gone(bed: Bed) -> None:
    """Nothing of any client is left."""
    await bed.until(lambda: bed.streams(Http1) == 0 and not bed.engine.poller.arriving)


# --- dripped, cut, mixed up -----------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("step", [1, 4, 7])
async def test_every_byte_may_come_alone(keys: Keys, version: ssl.TLSVersion, step: int) -> None:
    """Handshake, requests, and the end."""
    async with keys.bed() as bed:
        Dripping.step = step
        client = await opened(bed, keys.client(version), Dripping)
        for _ in range(2):
            await client.write(NONE)
            assert (await read_until(client, b"</html>")).startswith(b"HTTP/1.1 404 ")
        await client.end()
        assert await soon(client.read()) == b""
        await gone(bed)


class Silent(TlsPipe):
    """Notes what it would send, flight by flight, and sends it whole."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.flights: list[int] = []

    async def _flush(self) -> None:
        data = self._out.read()
        self.flights.append(len(data))
        await Wire(self.sock).send(data)


class Cut(TlsPipe):
    """Ends after so many bytes."""

    left = 0

    async def _flush(self) -> None:
        data = self._out.read()
        if data:
            await Wire(self.sock).send(data[: self.left])
        self.left -= len(data)
        if self.left <= 0:
            raise ConnectionAbortedError


@VERSIONS
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_handshake_is_abandoned_at_each_byte(
    keys: Keys, version: ssl.TLSVersion, how: str
) -> None:
    """Nothing of it stays, and the next client is served."""
    context = keys.client(version)
    async with keys.bed() as bed:
        whole = await opened(bed, context, Silent)
        assert isinstance(whole, Silent)
        size = sum(whole.flights)
        whole.sock.close()
        rng = random.Random(size)
        first = whole.flights[0]
        # Each byte of the answer to what we said; of the hello, which is looked at by nobody but OpenSSL, some.
        for at in sorted({0, 1, 2, 3, 4, 5, 6, *rng.sample(range(first), 60), *range(first, size)}):
            peer = await Wire.connect(bed.port)
            pipe = Cut(peer.sock, context, server_name="h")
            pipe.left = at
            if at:
                with pytest.raises(ConnectionAbortedError):
                    await pipe.handshake()
            if how == "reset":
                peer.reset()
            else:
                peer.close()
        await gone(bed)
        client = await opened(bed, context)
        await client.write(NONE)
        await read_until(client, b"</html>")


async def test_connections_do_not_meet_in_the_buffers_of_all(keys: Keys) -> None:
    """Twenty clients, records cut anywhere and mixed: each gets the echo of its own bytes."""
    origin = Origin()
    rng = random.Random(5)
    async with keys.bed(origin) as bed:
        bodies = [rng.randbytes(rng.randrange(1, 60_000)) for _ in range(20)]

        async def one(body: bytes) -> None:
            client = await opened(bed, keys.client(rng.choice([TLS12, TLS13])))
            data = client.seal(POST % len(body) + body[:10]) + client.seal(body[10:])
            at = 0
            while at < len(data):
                step = rng.choice([1, 5, 21, 700, 5000])
                await Wire(client.sock).send(data[at : at + step])
                at += step
                await asyncio.sleep(0)
            got = await read_until(client, b"\r\n\r\n")
            got = got.partition(b"\r\n\r\n")[2]
            while len(got) < len(body):
                got += await soon(client.read())
            assert got == body

        async def echo(server_side: Wire) -> None:
            head = await server_side.read_head()
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            closing = OK.replace(b"Date", b"Connection: close\r\nDate")
            await server_side.send(closing % length + await server_side.read_exactly(length))

        async def echo_all() -> None:
            accepted = [await origin.accept() for _ in bodies]
            await asyncio.gather(*map(echo, accepted))

        await asyncio.gather(*map(one, bodies), echo_all())


async def test_garbage_within_a_connection_ends_it(keys: Keys) -> None:
    """A byte is changed somewhere in what a client sends, in its handshake or behind: the connection ends, or the byte did not matter."""
    rng = random.Random(11)
    async with keys.bed(head_s=0.5) as bed:
        for _ in range(60):
            peer = await Wire.connect(bed.port)

            class Broken(TlsPipe):
                async def _flush(self) -> None:
                    data = bytearray(self._out.read())
                    if data and rng.random() < 0.5:
                        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                    await Wire(self.sock).send(bytes(data))

            pipe = Broken(peer.sock, keys.client(rng.choice([TLS12, TLS13])), server_name="h")
            try:
                await pipe.handshake()
                await pipe.write(NONE)
                await soon(pipe.read())
            except (ssl.SSLError, ConnectionError, TruncatedError):
                pass
            peer.close()
        await gone(bed)


# --- what costs -----------------------------------------------------------------------------------------------------


async def test_key_updates_count_however_they_drip(keys: Keys) -> None:
    """A record whose parts come in different reads is a record."""
    async with keys.bed(head_s=300, keepalive_s=300) as bed:  # none of these ends it
        client = await opened(bed, keys.client(TLS13))
        data = client.seal_key_updates(MOST_VOID + 1)
        peer = Wire(client.sock)
        try:
            for at in range(0, len(data), 11):
                await peer.send(data[at : at + 11])
                for _ in range(2):
                    await asyncio.sleep(0)
        except ConnectionError:
            pass
        await gone(bed)


async def test_renegotiation_is_refused_and_is_no_way_to_keep_us_busy(keys: Keys) -> None:
    """TLS 1.2: each wish is a record without data."""
    async with keys.bed() as bed:
        client = await opened(bed, keys.client(TLS12))
        inner = ctypes.c_void_p.from_address(
            id(client.ssl._sslobj) + object.__basicsize__ + 8  # type: ignore[attr-defined]
        )
        library = tls_pipe._OPENSSL
        library.SSL_renegotiate(inner)
        library.SSL_do_handshake(inner)
        wish = client._out.read()
        assert wish[0] == 22
        await Wire(client.sock).send(wish)
        with pytest.raises((ssl.SSLError, TruncatedError)):
            await soon(client.read())
        client.sock.close()
        await gone(bed)


@pytest.mark.parametrize("size", [50_000, 300_000])
async def test_huge_certificate_of_a_client(keys: Keys, size: int) -> None:
    """It may have 100 KiB with all of its chain; what is larger is refused."""
    origin = Origin()
    names = (f"{number:060}.example" for number in range(size // 70))
    mine = keys.ca.issue("me", *names)
    client = client_context(keys.trust, certificate=mine.write_pem(keys.folder, f"huge{size}"))
    context = keys.server(client_ca=keys.trust)
    async with Bed(config_of(server("s", origin.port)), Settings(), context) as bed:
        try:
            pipe = await opened(bed, client)
            await pipe.write(GET)
            if size < 100_000:
                far, _ = await origin.accept_request()
                await far.send(OK % 2 + b"ok")
            assert (await read_until(pipe, b"ok")).startswith(b"HTTP/1.1 200")
            was_served = True
        except (ssl.SSLError, ConnectionError, TruncatedError, AssertionError):
            was_served = False
        assert was_served == (size < 100_000)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "first", [b"\x80\x2e\x01\x03\x01", b"\xff" * 40, b"\x00" * 40, b"\x16\x03\x01\xff\xff"]
)
async def test_what_is_no_hello_is_refused(keys: Keys, first: bytes) -> None:
    """SSL 2's frame too: records behind it could not be counted."""
    async with keys.bed(head_s=0.3) as bed:
        peer = await Wire.connect(bed.port)
        await peer.send(first)
        with contextlib.suppress(ConnectionError):
            while await peer.receive():
                pass
        await gone(bed)


async def test_silent_client_is_dropped(keys: Keys) -> None:
    async with keys.bed(head_s=0.2) as bed:
        peer = await Wire.connect(bed.port)
        await bed.until(lambda: len(bed.engine.poller.arriving) == 1)
        assert await peer.is_ended()
        await gone(bed)


# --- the end, in each state -----------------------------------------------------------------------------------------


async def _idle(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await bed.until(lambda: bed.streams(Http1) == 1)


async def _within_a_head(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await client.write(GET[:10])


async def _within_a_record(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await Wire(client.sock).send(client.seal(GET)[:-3])


async def _within_an_upload(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await client.write(POST % 100_000 + bytes(50_000))
    await origin.accept_request()


async def _waiting(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await client.write(GET)
    await origin.accept_request()


pushing: list[asyncio.Future[None]] = []


async def push(far: Wire) -> None:
    with contextlib.suppress(ConnectionError):
        await far.send(OK % 8_000_000 + bytes(8_000_000))


async def _within_an_answer(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await client.write(GET)
    far, _ = await origin.accept_request()
    pushing.append(asyncio.ensure_future(push(far)))
    await soon(client.read())


async def _with_all_sent_but_not_read(bed: Bed, client: TlsPipe, origin: Origin) -> None:
    await client.write(NONE.replace(b"Host", b"Connection: close\r\nHost"))
    await bed.until(lambda: bed.engine.lingering <= 1)


STATES = [
    _idle, _within_a_head, _within_a_record, _within_an_upload, _waiting, _within_an_answer,
    _with_all_sent_but_not_read,
]  # fmt: skip


@VERSIONS
@pytest.mark.parametrize("how", ["reset", "fin", "close_notify", "half", "garbage"])
@pytest.mark.parametrize("state", STATES, ids=lambda each: each.__name__[1:])
async def test_client_that_goes_away_leaves_nothing(
    keys: Keys,
    state: Callable[[Bed, TlsPipe, Origin], Awaitable[None]],
    how: str,
    version: ssl.TLSVersion,
) -> None:
    """Whatever its connection was about; ``Bed`` looks for what is left at the server's side, too."""
    origin = Origin()
    async with keys.bed(origin, body_s=0.5) as bed:
        client = await opened(bed, keys.client(version), receive_buffer=4096)
        await state(bed, client, origin)
        peer = Wire(client.sock)
        try:
            if how == "reset":
                peer.reset()
            elif how == "fin":
                peer.close()
            elif how == "half":
                peer.end_sending()
            elif how == "close_notify":
                await client.end()
            else:
                await peer.send(os.urandom(1000))
        except ConnectionError:
            pass
        if how in ("half", "close_notify", "garbage"):
            await asyncio.sleep(0)
            peer.close()
        await gone(bed)
        while pushing:
            await soon(pushing.pop())


async def test_answer_and_close_notify_are_whole_behind_an_unread_upload(keys: Keys) -> None:
    """The client sends on after its answer: what comes is thrown away, and no reset takes the answer from it."""
    async with keys.bed() as bed:
        client = await opened(bed, keys.client())
        await client.write(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n")
        await client.write(bytes(300_000))
        assert (await read_until(client, b"</html>")).startswith(b"HTTP/1.1 404 ")
        assert await soon(client.read()) == b""
        client.sock.close()
        await gone(bed)


async def test_truncated_end_is_no_end(keys: Keys) -> None:
    """A FIN alone cancels what runs: it may be anybody's. The server's side is cut, and half an upload is not taken for whole."""
    origin = Origin()
    async with keys.bed(origin) as bed:
        client = await opened(bed, keys.client())
        await client.write(POST % 100 + b"x" * 50)
        far, _ = await origin.accept_request()
        Wire(client.sock).end_sending()
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await far.receive():
                got += piece
        assert len(got) < 100
        await gone(bed)


async def test_fin_within_an_answer_brings_no_close_notify(keys: Keys) -> None:
    """Anybody on the way can send a FIN: with close_notify behind it, half of an answer that ends with its connection would pass for whole."""
    origin = Origin()
    async with keys.bed(origin, body_s=0.5) as bed:
        client = await opened(bed, keys.client(), receive_buffer=4096)
        await client.write(b"GET /app/x HTTP/1.0\r\nHost: h\r\n\r\n")
        far, _ = await origin.accept_request()
        await far.send(b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n" + bytes(100_000))
        await soon(client.read())
        Wire(client.sock).end_sending()
        pushed = asyncio.ensure_future(push(far))
        with pytest.raises((TruncatedError, ConnectionResetError)):
            await read_to_end(client)
        await gone(bed)
        await soon(pushed)


# --- what it knows --------------------------------------------------------------------------------------------------


@VERSIONS
async def test_client_is_told_of_as_the_ssl_module_does(
    keys: Keys, version: ssl.TLSVersion
) -> None:
    """$WSCS, $WSSI and $WSCC, beside what the client knows of the same connection."""
    mine = keys.ca.issue("me")
    client = client_context(
        keys.trust, version=version, certificate=mine.write_pem(keys.folder, "me")
    )
    seen: list[bytes] = []
    async with Bed(config_of(server("s", 1)), Settings(), keys.server(client_ca=keys.trust)) as bed:
        asked = bed.slow.private_tls_lines

        def noted(transport: asyncio.BaseTransport) -> bytes:
            seen.append(asked(transport))
            return seen[-1]

        bed.slow.private_tls_lines = noted  # type: ignore[method-assign]
        pipe = await opened(bed, client)
        await pipe.write(NONE)
        await read_until(pipe, b"</html>")
        name = pipe.ssl.cipher()
    assert name is not None
    [lines] = seen
    assert b"$WSCS: TLS_" in lines
    assert (b"$WSSI: " in lines) == (version is TLS13)
    assert lines.count(b"\r\n") == lines.count(b"$WS")
    assert ssl.DER_cert_to_PEM_cert(mine.der).replace("\n", "").encode()[27:60] in lines
