"""What a server sends over TLS is decrypted piece by piece, too; an answer is whole although its connection ended meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.certificates import Authority
from tests.support.tls_pipe import TlsPipe, client_context, server_context
from tests.support.wire import Origin, Wire, soon
from wsproxy._fast.net.records import MOST_RECORDS, MOST_VOID
from wsproxy._fast.proxy.upstream import Upstream, UpstreamProtocol
from wsproxy.config.settings import Settings, UpstreamSettings, UpstreamTlsSettings
from wsproxy.dataplane import connect

pytestmark = pytest.mark.usefixtures("tls_way")

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n"
CLOSES = b"HTTP/1.1 200 OK\r\nDate: now\r\nConnection: close\r\n\r\n"
SMALL = 1000  # records of one byte


class Recorder(UpstreamProtocol):
    """Notes how much comes with each read."""

    sizes: list[int]

    def buffer_updated(self, length: int) -> None:
        self.sizes.append(length)
        super().buffer_updated(length)


class Server:
    """One TLS server, and the proxy's settings for it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        trust = authority.write_pem(folder)
        pair = authority.issue("127.0.0.1").write_pem(folder, "server")
        self.context = server_context(pair)
        self.trust = client_context(trust)
        self.settings = Settings(
            upstream=UpstreamSettings(tls=UpstreamTlsSettings(trust=str(trust)))
        )
        self.origin = Origin()

    def bed(self) -> Bed:
        return Bed(config_of(server("s", self.origin.port, protocol="https")), self.settings)

    async def accept(self) -> tuple[TlsPipe, Wire]:
        """A connection on which the request has come."""
        wire = await self.origin.accept()
        pipe = TlsPipe(wire.sock, self.context, server_side=True)
        await pipe.handshake()
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await soon(pipe.read())
        return pipe, wire


@pytest.fixture
def far(tmp_path: Path) -> Server:
    return Server(tmp_path)


def bytes_of(count: int) -> list[bytes]:
    return [b"%d" % (at % 10) for at in range(count)]


async def test_small_records_of_a_server_are_read_a_few_at_a_time(
    far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(Recorder, "sizes", sizes, raising=False)
    monkeypatch.setattr(connect, "UpstreamProtocol", Recorder)
    async with far.bed() as bed:
        client = await bed.client()
        await client.send(GET)
        served, wire = await far.accept()
        await wire.send(served.seal(LENGTH % SMALL, *bytes_of(SMALL)))
        assert await client.read_answer() == (200, b"".join(bytes_of(SMALL)))
        assert max(sizes) <= len(LENGTH) + MOST_RECORDS + 10
        assert len(sizes) >= SMALL // MOST_RECORDS


@pytest.mark.parametrize("ending", ["length", "close_notify", "fin"])
async def test_answer_in_small_records_is_whole_though_the_end_came_with_it(
    far: Server, ending: str
) -> None:
    """Only what ends with the connection needs close_notify: a FIN alone may be anybody's."""
    async with far.bed() as bed:
        client = await bed.client()
        await client.send(GET)
        served, wire = await far.accept()
        head = LENGTH % SMALL if ending == "length" else CLOSES
        data = served.seal(head, *bytes_of(SMALL))
        if ending == "close_notify":
            data += served.seal_end()
        await wire.send(data)
        wire.end_sending()
        body = b"".join(bytes_of(SMALL))
        if ending == "length":
            assert await client.read_answer() == (200, body)
        elif ending == "close_notify":
            assert (await client.read_to_end()).endswith(body)
        else:
            with pytest.raises(ConnectionResetError):
                await client.read_to_end()
        await bed.until(lambda: bed.streams(Upstream) == 0)


async def test_answer_that_waits_for_its_client_is_whole_though_the_server_has_gone(
    far: Server,
) -> None:
    """Half of it lies with the loop, which reads nothing more of it as its connection ended."""
    async with far.bed() as bed:
        client = await bed.client(receive_buffer=4096)
        await client.send(GET)
        served, wire = await far.accept()
        size = 3_000_000
        sending = asyncio.create_task(wire.send(served.seal(LENGTH % size, bytes(size))))  # noqa: TID251
        await bed.until(lambda: bed.inflight() == [1])
        got = 0
        while (
            not sending.done() or got < 2_000_000
        ):  # the last part is on its way, and nobody has room for it
            got += len(await client.receive())
        await sending
        wire.close()
        await bed.pass_time(0.2)
        while got < size + len(LENGTH % size):
            piece = await client.receive()
            assert piece, got
            got += len(piece)


async def test_bytes_behind_an_answer_are_not_the_next_answer(far: Server) -> None:
    """They are still with the loop when the answer is whole: the socket is quiet, the connection is not."""
    async with far.bed() as bed:
        client = await bed.client()
        await client.send(GET)
        served, wire = await far.accept()
        other = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 200, b"Content-Length: 3\r\n\r\nbad"]
        await wire.send(served.seal(LENGTH % 2 + b"ok", *other))
        assert await client.read_answer() == (200, b"ok")
        await client.send(GET)
        served, wire = await far.accept()
        await wire.send(served.seal(LENGTH % 2 + b"ok"))
        assert await client.read_answer() == (200, b"ok")


async def test_server_that_sends_nothing_but_key_updates_is_no_answer(
    far: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with far.bed() as bed:
        client = await bed.client()
        await client.send(GET)
        served, wire = await far.accept()
        await wire.send(served.seal_key_updates(MOST_VOID + 1))
        status, _ = await client.read_answer()
        assert status == 502
    assert any("without data" in each.getMessage() for each in caplog.records)
