"""``upstream.proxy_protocol``: each connection to a server begins with its client's address, and serves only that request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.blackbox.test_tls_servers import TRUST, cluster, transport
from tests.support.certificates import Authority
from tests.support.client import Client, ask, get, request
from tests.support.origin import Origin, OriginConnection, body_of, field
from tests.support.process import WAIT_S
from tests.support.proxy import lane, running_proxy
from tests.support.tls_pipe import TlsOriginConnection, server_context
from wsproxy.dataplane.proxy_protocol import ProxyHeader, parse_header, write_v1

VERSIONS = ["v1", "v2"]


def settings(version: str, more: str = "") -> str:
    return f'{more}[upstream]\nproxy_protocol = "{version}"\n'


async def read_header(server: OriginConnection) -> tuple[bytes, ProxyHeader]:
    """The header and not a byte more, so that TLS may follow; whole, or the test fails."""
    loop = asyncio.get_running_loop()
    data = b""
    while (header := parse_header(data)) is None:
        byte = await asyncio.wait_for(loop.sock_recv(server.sock, 1), WAIT_S)
        assert byte, data
        data += byte
    return data, header


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_each_connection_says_who_its_client_is(version: str, host: str) -> None:
    """Address and port on both sides, for IPv4 and IPv6 clients; the next request has a connection of its own."""
    one = lane("one")
    listen = f"[{host}]:0" if ":" in host else f"{host}:0"
    async with (
        running_proxy([one], settings=settings(version), listen=listen) as proxy,
        await Client.connect(proxy.port, host=host) as client,
    ):
        name, port = client.sock.getsockname()[:2]
        for path in ("/one/a", "/one/b"):
            await client.send(get(path))
            server = await one.origin.accept()
            data, header = await read_header(server)
            assert header.source == (name, port)
            assert header.destination == (host, proxy.port)
            if version == "v1":
                family = "TCP6" if ":" in host else "TCP4"
                assert data == f"PROXY {family} {name} {host} {port} {proxy.port}\r\n".encode()
            assert (await server.answer()).startswith(f"GET {path} ".encode())
            assert (await client.answer()).body == b"ok"
            assert await server.end() == b""  # it is not kept


@pytest.mark.parametrize("version", VERSIONS)
async def test_clients_never_share_a_connection(version: str) -> None:
    """Two clients, several requests each: every connection carries one request, of the client that it names."""
    one = lane("one")
    said = []

    async def script(server: OriginConnection) -> None:
        _, header = await read_header(server)
        message = await server.answer()
        said.append((header.source, field(message, b"x-from")))
        assert await server.end() == b""

    async with (
        running_proxy([one], settings=settings(version)) as proxy,
        one.origin.serving(script),
        await Client.connect(proxy.port) as first,
        await Client.connect(proxy.port, source="127.0.0.9") as second,
    ):
        for _ in range(3):
            for client in (first, second):
                port = client.sock.getsockname()[1]
                assert (await client.ask(get("/one/x", f"X-From: {port}"))).status == 200
    assert len(said) == 6
    assert {str(source[1]).encode() == port for source, port in said if source} == {True}
    assert {source[0] for source, _ in said if source} == {"127.0.0.1", "127.0.0.9"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_introduced_client_is_the_one_that_is_named(version: str) -> None:
    """Behind a load balancer that speaks PROXY itself."""
    one = lane("one")
    listener = '[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["127.0.0.1"]\n'
    ends = (("2001:db8::7", 4711), ("2001:db8::1", 443))
    async with (
        running_proxy([one], settings=settings(version, listener), listen=None) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(write_v1(*ends) + get("/one/x"))
        server = await one.origin.accept()
        _, header = await read_header(server)
        assert (header.source, header.destination) == ends
        assert field(await server.answer(), b"$WSRA") == b"2001:db8::7"
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("version", VERSIONS)
async def test_header_comes_before_the_tls_handshake(version: str, tmp_path: Path) -> None:
    authority = Authority()
    authority.write_pem(tmp_path)
    context = server_context(authority.issue("127.0.0.1").write_pem(tmp_path, "server"))
    origin = Origin()
    try:
        async with (
            running_proxy(
                [],
                routes=cluster(transport(origin)),
                settings=settings(version) + TRUST,
                folder=tmp_path,
            ) as proxy,
            await Client.connect(proxy.port) as client,
        ):
            await client.send(get("/x"))
            server = await origin.accept()
            _, header = await read_header(server)
            assert header.source == client.sock.getsockname()
            secure = TlsOriginConnection(server.sock, context)
            assert (await secure.answer()).startswith(b"GET /x ")
            assert (await client.answer()).body == b"ok"
    finally:
        origin.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_request_that_is_sent_again_is_introduced_again(version: str) -> None:
    """To the next server, with its body."""
    two = lane("two", 2)
    first, second = (member.origin for member in two.members)
    async with (
        running_proxy([two], settings=settings(version)) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(request("POST", "/two/x", "Cookie: JSESSIONID=0000a:c0", body=b"data"))
        server = await first.accept()
        await read_header(server)
        await server.request()
        server.reset()
        server = await second.accept()
        _, header = await read_header(server)
        assert header.source == client.sock.getsockname()
        assert body_of(await server.answer()) == b"data"
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("version", VERSIONS)
async def test_extended_handshake_speaks_for_the_proxy(version: str) -> None:
    """LOCAL, or UNKNOWN: it is nobody's request."""
    one = lane("one", server='ExtendedHandshake="true"')
    async with (
        running_proxy([one], settings=settings(version)) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        _, header = await read_header(server)
        assert header.source is None
        assert (await server.answer()).startswith(b"OPTIONS * ")
        server = await one.origin.accept()
        _, header = await read_header(server)
        assert header.source == client.sock.getsockname()
        await server.answer()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("version", VERSIONS)
async def test_server_that_is_down_is_one_as_ever(version: str) -> None:
    """A connection that cannot be made or is not answered is a failed try, not a lost request."""
    two = lane("two", 2)
    first, second = (member.origin for member in two.members)
    first.refuse()

    async def script(server: OriginConnection) -> None:
        await read_header(server)
        await server.answer()

    async with running_proxy([two], settings=settings(version)) as proxy:
        async with second.serving(script):
            message = get("/two/x", "Cookie: JSESSIONID=0000a:c0")
            assert (await ask(proxy.port, message)).status == 200
        await proxy.line("Marking s0 down")
