"""What one client sends over TLS is decrypted piece by piece: others have their turn in between, and all of it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.certificates import Authority
from tests.support.compiled import compiled
from tests.support.tls_pipe import TlsPipe, client_context, server_context
from tests.support.wire import Origin, Wire, soon
from wsproxy._fast.net import libssl
from wsproxy._fast.net.records import MOST_RECORDS, MOST_VOID, VOID_COST
from wsproxy._fast.proxy.http1 import Http1, Http1Protocol
from wsproxy.config.model import Config
from wsproxy.config.settings import Settings, TimeoutSettings
from wsproxy.dataplane.tls import (
    MOST_THROWN_AWAY,
    BoundedContext,
    BoundedReads,
)

pytestmark = pytest.mark.usefixtures("tls_way")

HEAD = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
NONE = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
UPLOAD = b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
# Of the hub's buffer: half of it where the event loop reads, which reads on as long as all of that finds its place.
READ_AT_ONCE = {True: 262144, False: 131072}


class Watched(Bed):
    """``Bed`` for TLS as listeners speak it."""

    def __init__(self, config: Config, tls: ssl.SSLContext, **timeouts: float) -> None:
        super().__init__(config, Settings(timeouts=TimeoutSettings(**timeouts)), tls)
        self.sizes: list[int] = []

    def _accept(self) -> Http1Protocol:
        self.accepted += 1
        made: Http1Protocol = compiled("noted").NotedProtocol(self.engine)
        made.sizes = self.sizes  # type: ignore[attr-defined]
        return made


@pytest.fixture(scope="module")
def contexts(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Callable[[], ssl.SSLContext], ssl.SSLContext]:
    folder: Path = tmp_path_factory.mktemp("tls")
    ca = Authority()
    trust = ca.write_pem(folder)
    pair = ca.issue("h", "127.0.0.1").write_pem(folder, "server")
    return lambda: server_context(pair, kind=BoundedContext), client_context(trust)


Contexts = tuple[Callable[[], ssl.SSLContext], ssl.SSLContext]


async def client_of(bed: Bed, contexts: Contexts, *, receive_buffer: int = 0) -> TlsPipe:
    wire = await Wire.connect(bed.port, receive_buffer=receive_buffer)
    pipe = TlsPipe(wire.sock, contexts[1], server_name="h")
    await pipe.handshake()
    return pipe


async def test_many_small_records_are_read_a_few_at_a_time(contexts: Contexts) -> None:
    """One record costs as much as a read, whatever is in it. The body also waits for its connection first."""
    origin = Origin()
    body = os.urandom(1000)
    async with Watched(config_of(server("s", origin.port)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        pieces = [body[at : at + 1] for at in range(len(body))]
        await Wire(client.sock).send(client.seal(HEAD % len(body), *pieces))
        wire, _ = await origin.accept_request()
        assert await wire.read_exactly(len(body)) == body
        await wire.send(OK)
        assert (await soon(client.read())).endswith(b"ok")
        assert max(bed.sizes) <= len(HEAD) + MOST_RECORDS + 10
        assert len(bed.sizes) >= len(body) // MOST_RECORDS


async def test_clients_with_many_small_records_do_not_keep_each_other_from_going_on(
    contexts: Contexts,
) -> None:
    """More of them than may have a turn at once."""
    origin = Origin()
    async with Watched(config_of(server("s", origin.port)), contexts[0]()) as bed:
        clients = [await client_of(bed, contexts) for _ in range(20)]
        for client in clients:
            data = HEAD % 500
            await Wire(client.sock).send(client.seal(data, *[b"x"] * 500))
        for _ in clients:
            wire, _ = await origin.accept_request()
            assert await wire.read_exactly(500) == b"x" * 500
            await wire.send(OK)
        for client in clients:
            assert (await soon(client.read())).endswith(b"ok")


async def test_requests_in_small_records_are_answered_to_the_last(contexts: Contexts) -> None:
    """Two reasons to wait for a turn at the same time."""
    async with Watched(config_of(server("s", 1)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        message = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n" * 60
        await Wire(client.sock).send(
            client.seal(*[message[at : at + 3] for at in range(0, len(message), 3)])
        )
        answers = b""
        while answers.count(b"</html>") < 60:
            answers += await soon(client.read())
        assert answers.count(b"HTTP/1.1 404 ") == 60


async def test_large_upload_is_read_in_pieces_that_leave_room_for_others(
    contexts: Contexts,
) -> None:
    origin = Origin()
    body = os.urandom(3 << 20)
    async with Watched(config_of(server("s", origin.port)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        sending = asyncio.create_task(client.write(HEAD % len(body) + body))  # noqa: TID251
        wire, _ = await origin.accept_request()
        assert await wire.read_exactly(len(body)) == body
        await sending
        await wire.send(OK)
        assert (await soon(client.read())).endswith(b"ok")
        assert max(bed.sizes) <= READ_AT_ONCE[libssl.owns()]


async def push_on(peer: Wire, data: bytes) -> None:
    """Sends that again and again, until the connection is cut."""
    with contextlib.suppress(ConnectionError):
        while True:
            await peer.send(data)


async def test_what_a_client_sends_after_its_last_answer_is_not_decrypted(
    contexts: Contexts,
) -> None:
    """Not even garbage is noticed: it is thrown away as it came, until the client ends; its answer and our end are whole."""
    async with Watched(config_of(server("s", 1)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        peer = Wire(client.sock)
        await peer.send(client.seal(UPLOAD))
        await bed.until(lambda: bed.engine.lingering == 1)

        def thrown_away() -> int:
            return sum(each.lingered for each in bed.engine.streams() if isinstance(each, Http1))

        garbage = bytes(1 << 20)
        await peer.send(client.seal(*[b"x"] * 1000) + garbage)
        await bed.until(lambda: thrown_away() > len(garbage) // 2)
        assert (await soon(client.read())).startswith(b"HTTP/1.1 404 ")
        assert await soon(client.read()) == b""  # close_notify, and no alert
        peer.close()
        await bed.until(lambda: bed.engine.open_streams == 0)
        assert bed.engine.lingering == 0


async def test_tls_client_that_sends_on_and_reads_nothing_is_let_go(contexts: Contexts) -> None:
    """Its answers fill the kernel, so not even close_notify can be sent; what it sends meanwhile is not kept."""
    async with Watched(config_of(server("s", 1)), contexts[0](), body_s=0.6) as bed:
        client = await client_of(bed, contexts, receive_buffer=4096)
        peer = Wire(client.sock)
        # As many answers as the loop's transport takes before the one that ends it all.
        await peer.send(client.seal(*[NONE * 20] * 200, UPLOAD))
        ended = asyncio.create_task(push_on(peer, client.seal(b"x" * 16000)))  # noqa: TID251
        await bed.until(lambda: bed.engine.open_streams == 0)
        await soon(ended)


@pytest.mark.parametrize("body", [b"", b"x"], ids=["alone", "between data"])
async def test_client_that_sends_nothing_but_key_updates_is_cut_off(
    contexts: Contexts, body: bytes
) -> None:
    """Each takes 0.1 ms and has to be answered, whether anybody reads the answers or not."""
    origin = Origin()
    async with Watched(config_of(server("s", origin.port)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        data = client.seal(HEAD % 10_000)
        for _ in range(MOST_VOID + 1):
            data += client.seal_key_updates(1) + client.seal(*[body] * len(body))
        await Wire(client.sock).send(data)
        await bed.until(lambda: bed.accepted == 1 and bed.streams(Http1) == 0)
        assert max(bed.sizes) <= len(HEAD) + MOST_RECORDS // VOID_COST + 10


async def test_few_key_updates_are_answered(contexts: Contexts) -> None:
    async with Watched(config_of(server("s", 1)), contexts[0]()) as bed:
        client = await client_of(bed, contexts)
        await Wire(client.sock).send(client.seal_key_updates(MOST_VOID) + client.seal(NONE))
        answer = b""
        while b"</html>" not in answer:
            answer += await soon(client.read())
        assert answer.startswith(b"HTTP/1.1 404 ")


def test_records_are_counted_and_the_rest_is_asked_for(contexts: Contexts) -> None:
    """The class by itself: a pause after some records; without a buffer there is an end to small ones."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = contexts[0]()
    near = context.wrap_bio(to_server, to_client, server_side=True)
    far = contexts[1].wrap_bio(to_client, to_server, server_hostname="h")
    for side in (far, near, far, near):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert isinstance(near, BoundedReads)
    asked: list[bool] = []
    near.read_later = lambda: asked.append(True)
    for _ in range(2 * MOST_RECORDS + MOST_THROWN_AWAY + 1):
        far.write(b"x")
    buffer = bytearray(10)
    for turn in range(2):
        near.left = MOST_RECORDS
        for _ in range(MOST_RECORDS):
            assert near.read(10, buffer) == 1
        assert len(asked) == turn
        with pytest.raises(ssl.SSLWantReadError):
            near.read(10, buffer)
    for _ in range(MOST_THROWN_AWAY):
        assert near.read(10) == b"x"
    with pytest.raises(ssl.SSLError, match="too many records"):
        near.read(10)
