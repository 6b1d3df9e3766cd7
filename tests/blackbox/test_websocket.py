"""
The echo cases of a WebSocket suite through the real proxy: ``websockets`` speaks the protocol on both ends.

Sizes are those where the frame header changes (RFC 6455 5.2), as in the Autobahn test suite's parts 1, 2, 5, 6, 7, 9, 12.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from tests.support.certificates import Authority
from tests.support.proxy import proxy_process
from tests.support.tls_pipe import client_context

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGEST = 16 * 1024 * 1024
SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1_000_000, LARGEST]
SCHEMES = pytest.mark.parametrize("scheme", ["ws", "wss"])

SETTINGS = """
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "shop.pem", key = "shop.key" }]
"""


async def echo(connection: ServerConnection) -> None:
    """Every message as it came, until the client closes; told to, it closes or breaks off itself."""
    async for message in connection:
        if message == "close with 4321":
            await connection.close(4321, "as you wish")
        elif message == "break off":
            connection.transport.abort()
        else:
            await connection.send(message)


@dataclass(slots=True)
class Site:
    """A proxy with a plain and a TLS listener before an echo server."""

    ports: dict[str, int]
    server: Server
    trust: ssl.SSLContext

    def open(self, scheme: str, **options: object) -> connect:
        return connect(
            f"{scheme}://127.0.0.1:{self.ports[scheme]}/chat/room?x=1",
            ssl=self.trust if scheme == "wss" else None,
            max_size=LARGEST,
            subprotocols=["chat"],  # type: ignore[list-item]
            **options,  # type: ignore[arg-type]
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("websocket")
    ca = Authority()
    ca.write_pem(folder)
    ca.issue("127.0.0.1").write_pem(folder, "shop")
    (folder / "wsproxy.toml").write_text(SETTINGS)
    async with serve(echo, "127.0.0.1", 0, max_size=LARGEST, subprotocols=["chat"]) as server:  # type: ignore[list-item]
        port = next(iter(server.sockets)).getsockname()[1]
        (folder / "plugin-cfg.xml").write_text(
            '<Config><ServerCluster Name="chat"><Server Name="echo">'
            f'<Transport Hostname="127.0.0.1" Port="{port}" Protocol="http"/></Server></ServerCluster>'
            '<UriGroup Name="chat"><Uri Name="/chat/*"/></UriGroup>'
            '<Route ServerCluster="chat" UriGroup="chat"/></Config>'
        )
        async with proxy_process(
            *(str(folder / "plugin-cfg.xml"), "--settings", str(folder / "wsproxy.toml")),
            *("--workers", "1"),
        ) as proxy:
            plain, secure = proxy.ports
            yield Site({"ws": plain, "wss": secure}, server, client_context(folder / "ca.pem"))


@SCHEMES
@pytest.mark.parametrize("size", SIZES)
async def test_messages_of_every_length_class(site: Site, scheme: str, size: int) -> None:
    async with site.open(scheme, compression=None) as client:
        for message in (os.urandom(size), "é" * (size // 2)):
            await client.send(message)
            assert await client.recv() == message


@SCHEMES
async def test_compressed_messages(site: Site, scheme: str) -> None:
    """permessage-deflate is agreed on through the proxy: the handshake's fields go both ways unchanged."""
    async with site.open(scheme) as client:
        assert [each.name for each in client.protocol.extensions] == ["permessage-deflate"]
        for size in SIZES:
            message = "wsproxy " * (size // 8)
            await client.send(message)
            assert await client.recv() == message


@SCHEMES
async def test_fragments_with_pings_between(site: Site, scheme: str) -> None:
    async with site.open(scheme) as client:

        async def pieces() -> AsyncIterator[str]:
            for number in range(100):
                await (
                    await client.ping(str(number))
                )  # answered within a message that is not whole
                yield f"{number} "

        await client.send(pieces())
        assert await client.recv() == "".join(f"{number} " for number in range(100))
        assert await client.ping(b"p" * 125) is not None


@SCHEMES
async def test_subprotocol_and_handshake_fields(site: Site, scheme: str) -> None:
    async with site.open(scheme, additional_headers={"X-One": "1"}) as client:
        assert client.subprotocol == "chat"
        assert client.response is not None
        assert client.response.headers["Connection"] == "Upgrade"


@SCHEMES
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "é" * 60)])
async def test_client_closes(site: Site, scheme: str, code: int, reason: str) -> None:
    async with site.open(scheme) as client:
        await client.close(code, reason)
        assert client.protocol.close_rcvd is not None
        assert (client.protocol.close_rcvd.code, client.protocol.close_rcvd.reason) == (
            code,
            reason,
        )


@SCHEMES
async def test_server_closes(site: Site, scheme: str) -> None:
    async with site.open(scheme) as client:
        await client.send("close with 4321")
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as you wish")


@SCHEMES
async def test_server_breaks_off(site: Site, scheme: str) -> None:
    """No close frame is made up."""
    async with site.open(scheme) as client:
        await client.send("break off")
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is None


@SCHEMES
async def test_invalid_text_is_the_servers_to_refuse(site: Site, scheme: str) -> None:
    """Frames go through unread: the server answers 1007, and the client hears it."""
    async with site.open(scheme, compression=None) as client:
        await client.send([b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"], text=True)
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


async def test_many_at_once(site: Site) -> None:
    """A hundred tunnels, each with messages of its own in flight in both directions."""

    async def talk(client: ClientConnection, name: int) -> None:
        sent = [f"{name}/{number} " * (number + 1) for number in range(50)]

        async def send() -> None:
            for message in sent:
                await client.send(message)

        sending = asyncio.ensure_future(send())
        assert [await client.recv() for _ in sent] == sent
        await sending
        await client.close()
        with pytest.raises(ConnectionClosedOK):
            await client.recv()

    clients = [await site.open("ws" if name % 2 else "wss") for name in range(100)]
    await asyncio.gather(*(talk(client, name) for name, client in enumerate(clients)))


async def test_path_without_route_is_refused_before_any_server(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{site.ports['ws']}/elsewhere"):
            pass
    assert refused.value.response.status_code == 404
