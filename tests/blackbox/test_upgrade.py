"""Upgrades through the real proxy: who may, what goes through the tunnel, how it is bounded, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, ask, get, request
from tests.support.flow import push
from tests.support.origin import OK, Origin, OriginConnection, answering, field, keep_answering
from tests.support.process import STEPS, WAIT_S
from tests.support.proxy import LISTEN, Lane, Member, Proxy, lane, running_proxy, tcp_table
from tests.support.tls_pipe import TlsClient, client_context

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)
MIB = 1024 * 1024
ENOUGH = 200 * MIB
FEW_BYTES = 12 * MIB
STALLED_S = 1.0
SHORT_S = 0.6
FEW_MORE = 40_000  # less than what makes a worker stop reading


@contextlib.asynccontextmanager
async def tunnel(
    proxy: Proxy, one: Lane, *, receive_buffer: int = 0
) -> AsyncIterator[tuple[Client, OriginConnection]]:
    """Both ends of an upgraded connection."""
    async with await Client.connect(proxy.port, receive_buffer=receive_buffer) as client:
        await client.send(get(f"/{one.name}/x", *UPGRADE))
        server = await one.origin.accept()
        await server.answer(SWITCH)
        assert (await client.head()).status == 101
        yield client, server
        server.close()  # a client that ends may still be answered: the server has to end, too


def sockets_of(port: int) -> list[tuple[bool, int]]:
    """Of each end of a connection to this port: whether a process has it, and how many bytes wait in it."""
    wanted = f"{port:04X}"
    return [
        (inode != "0" and far.endswith(wanted), sum(int(each, 16) for each in queues.split(":")))
        for near, far, state, queues, inode in tcp_table()
        if state != LISTEN and wanted in (near[-4:], far[-4:])
    ]


async def most_for_kernels(proxy: Proxy, one: Lane) -> int:
    """How many bytes for a server that does not read lie outside the worker."""
    async with tunnel(proxy, one) as (client, server):
        await push(client.sock, bytes(MIB), 0, ENOUGH, STALLED_S)
        count = sum(waiting for _, waiting in sockets_of(one.origin.port))
        client.reset()
        server.reset()
    return count


async def test_bytes_go_both_ways_unread_and_the_head_is_ours() -> None:
    """What came early is delivered after the 101 and not before; private headers of the client are dropped, ours added."""
    one = lane("one")
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        early = b"\x81\x05GET / HTTP/1.1\r\n\r\n"
        await client.send(get("/one/x", *UPGRADE, "$WSRA: 9.9.9.9", "$WSRU: admin") + early)
        server = await one.origin.accept()
        head = await server.request()
        assert head.count(b"Connection: Upgrade\r\nUpgrade: websocket\r\n") == 1
        assert field(head, b"$wsra") == b"127.0.0.1"
        assert field(head, b"$wsru") is None
        for name in (
            b"$wsis",
            b"$wssc",
            b"$wspr",
            b"$wsrh",
            b"$wssn",
            b"$wssp",
            b"_ws_haprt_wlmversion",
        ):
            assert field(head, name) is not None, name
        assert server.unread == b""
        await server.send(SWITCH + b"\x82\x01a")
        answer = await client.head()
        assert (answer.status, answer.get(b"upgrade")) == (101, b"websocket")
        assert answer.get(b"connection") == b"Upgrade"
        assert await client.exactly(3) == b"\x82\x01a"
        assert await server.exactly(len(early)) == early
        for data in (b"GET /x HTTP/1.1\r\n\r\n", b"\r\n", bytes(range(256)) * 5000):
            await client.send(data)
            assert await server.exactly(len(data)) == data
            await server.send(data)
            assert await client.exactly(len(data)) == data
        server.close()


async def test_answer_keeps_its_cookie_and_loses_its_framing() -> None:
    """A session that begins with the upgrade gets its clone id; Content-Length means nothing on a 101."""
    pair = lane("pair", 2)
    pair.members[1].origin.refuse()
    async with running_proxy([pair]) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/pair/x", *UPGRADE))
        server = await pair.origin.accept()
        await server.answer(
            SWITCH[:-2]
            + b"Set-Cookie: JSESSIONID=0000abc; Path=/\r\nContent-Length: 7\r\n$WSPT: x\r\n\r\n"
        )
        answer = await client.head()
        assert answer.get(b"set-cookie") == b"JSESSIONID=0000abc:c0; Path=/"
        assert answer.get(b"content-length") is None
        assert answer.get(b"$wspt") is None
        await server.send(b"longer than seven bytes")
        assert await client.exactly(23) == b"longer than seven bytes"
        server.close()


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: Upgrade", "Upgrade: h2c"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        ("Connection: Upgrade", "Upgrade: websocket, h2c"),
        ("Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket"),
        ("Connection: Upgrade", "Upgrade: TLS/1.2"),
        ("Connection: Upgrade", "Upgrade: chat"),
        ("Connection: Upgrade", "Upgrade: "),
        ("Connection: Upgrade",),
        ("Upgrade: websocket",),
        ("Connection: close", "Upgrade: websocket"),
    ],
)
async def test_other_upgrades_go_on_as_ordinary_requests(lines: tuple[str, ...]) -> None:
    """The server never hears of them, so a client cannot talk past the proxy (h2c smuggling)."""
    one = lane("one")
    async with running_proxy([one]) as proxy, one.origin.serving(keep_answering):
        assert (await ask(proxy.port, get("/one/x", *lines))).status == 200
        [head] = one.origin.requests
        assert field(head, b"upgrade") is None
        assert field(head, b"http2-settings") is None
        assert b"pgrade" not in head


async def test_upgrades_with_a_body_or_of_old_clients_are_ordinary_requests() -> None:
    one = lane("one")
    async with running_proxy([one]) as proxy, one.origin.serving(keep_answering):
        for data in (
            request("POST", "/one/x", *UPGRADE, body=b"data"),
            get("/one/x", *UPGRADE, version="1.0"),
        ):
            assert (await ask(proxy.port, data)).status == 200
        assert (
            await ask(proxy.port, request("HEAD", "/one/x", *UPGRADE), head_only=True)
        ).status == 200
        assert all(b"pgrade" not in head for head in one.origin.requests)


@pytest.mark.parametrize(
    "protocol",
    ["h2c", "h2c-14", "HTTP/2.0", "TLS/1.0", "chat, h2c", "web socket", "a;b", "chat/1 h2c"],
)
async def test_star_allows_any_protocol_but_another_http(protocol: str) -> None:
    one = lane("one")
    settings = '[upgrade]\nprotocols = ["*"]\n'
    async with (
        running_proxy([one], settings=settings) as proxy,
        one.origin.serving(keep_answering),
    ):
        for value in (protocol, "chat/2, Custom"):
            lines = ("Connection: keep-alive, Upgrade", f"Upgrade: {value}")
            assert (await ask(proxy.port, get("/one/x", *lines))).status == 200
        refused, passed = one.origin.requests
        assert field(refused, b"upgrade") is None
        assert field(passed, b"upgrade") == b"chat/2, Custom"
        assert field(passed, b"connection") == b"Upgrade"


@pytest.mark.parametrize(
    "head",
    [
        SWITCH.replace(b"websocket", b"h2c"),
        SWITCH.replace(b"websocket", b"chat"),  # allowed, but nobody asked for it
        SWITCH.replace(b"websocket", b"websocket, chat"),
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        SWITCH.replace(b"HTTP/1.1 101", b"HTTP/1.0 101"),
    ],
)
async def test_server_that_switches_to_something_else_is_cut_off(head: bytes) -> None:
    one = lane("one")
    settings = '[upgrade]\nprotocols = ["websocket", "chat"]\n'
    async with (
        running_proxy([one], settings=settings) as proxy,
        one.origin.serving(answering(head + b"data")),
    ):
        proxy.expected.append("502")
        answer = await ask(proxy.port, get("/one/x", *UPGRADE))
        assert answer.status == 502
        assert b"data" not in answer.body


async def test_switch_that_nobody_asked_for_is_502() -> None:
    one = lane("one")
    async with running_proxy([one]) as proxy, one.origin.serving(answering(SWITCH)):
        assert (await ask(proxy.port, get("/one/x"))).status == 502


async def test_200_in_answer_to_an_upgrade_opens_no_tunnel() -> None:
    """CVE-2026-2833: what the client sent early is its next request, seen and rewritten by the proxy, not bytes for the server."""
    one = lane("one")
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/one/x", *UPGRADE) + get("/one/secret", "$WSRU: admin"))
        server = await one.origin.accept()
        await server.request()
        assert server.unread == b""
        await server.send(OK)
        assert (await client.answer()).status == 200
        second = await server.answer()
        assert second.startswith(b"GET /one/secret ")
        assert field(second, b"$wsru") is None
        assert field(second, b"$wsra") == b"127.0.0.1"
        assert (await client.answer()).status == 200
        await client.send(get("/elsewhere"))
        assert (await client.answer()).status == 404


async def test_upgrade_fails_over_like_any_request() -> None:
    """A refused connection, then a 503: the third server gets it, told so by $WSFO."""
    trio = lane("trio", 3, attributes='RetryInterval="3600"')
    first, second, third = (member.origin for member in trio.members)
    first.refuse()
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with (
        running_proxy([trio]) as proxy,
        second.serving(answering(busy)),
        await Client.connect(proxy.port) as client,
    ):
        await client.send(
            get("/trio/x", *UPGRADE, "Cookie: JSESSIONID=0000abc:c0:c1:c2") + b"hello"
        )
        server = await third.accept()
        head = await server.answer(SWITCH)
        assert field(head, b"$wsfo") == b"true"
        assert field(head, b"upgrade") == b"websocket"
        assert (await client.head()).status == 101
        assert await server.exactly(5) == b"hello"
        await proxy.line(
            r": served after a failure in cluster trio: "
        )  # and not only when the tunnel ends
        server.close()


async def test_trusted_proxy_may_say_who_the_client_of_a_tunnel_is() -> None:
    one = lane("one")
    async with (
        running_proxy(
            [one],
            config='TrustedProxyEnable="true"',
            routes='<TrustedProxyGroup><TrustedProxy Name="127.0.0.1"/></TrustedProxyGroup>',
        ) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/one/x", *UPGRADE, "$WSRA: 10.9.8.7"))
        server = await one.origin.accept()
        head = await server.answer(SWITCH)
        assert field(head, b"$wsra") == b"10.9.8.7"
        assert (await client.head()).status == 101
        server.close()


async def test_slow_end_stops_the_other() -> None:
    """Of 200 MiB in either direction only what kernels hold is taken; the worker's memory stays."""
    one = Lane("one", [Member(Origin(receive_buffer=65536))])
    async with (
        running_proxy([one]) as proxy,
        tunnel(proxy, one, receive_buffer=65536) as (client, server),
    ):
        before = proxy.resident_bytes()
        down = await push(server.sock, bytes(MIB), 0, ENOUGH, STALLED_S)
        up = await push(client.sock, bytes(MIB), 0, ENOUGH, STALLED_S)
        assert max(down, up) < ENOUGH / 4
        assert proxy.resident_bytes() - before < FEW_BYTES
        await client.throw_away(down)
        await server.exactly(up)
        await client.send(b"ping")
        assert await server.exactly(4) == b"ping"
        await server.send(b"pong")
        assert await client.exactly(4) == b"pong"


@pytest.mark.parametrize("first", ["client", "server"])
async def test_each_side_may_end_for_itself(first: str) -> None:
    """A half-close is passed on, and the other direction goes on until it ends, too."""
    one = lane("one")
    async with running_proxy([one]) as proxy, tunnel(proxy, one) as (client, server):
        if first == "client":
            await client.send(b"last words")
            client.half_close()
            assert await server.end() == b"last words"
            await server.send(b"still here")
            server.close()
            assert await client.rest() == b"still here"
        else:
            await server.send(b"last words")
            server.half_close()
            assert await client.rest() == b"last words"
            await client.send(b"still here")
            client.half_close()
            assert await server.end() == b"still here"
        client.sock.close()
        async with one.origin.serving(keep_answering):
            assert (await ask(proxy.port, get("/one/x"))).status == 200


async def test_server_that_is_gone_ends_the_tunnel_of_a_client_that_goes_on() -> None:
    """After its end nothing is read from a server: only what the client sends can tell that nobody is there."""
    one = lane("one", server='MaxConnections="1"')
    async with running_proxy([one]) as proxy, tunnel(proxy, one) as (client, server):
        server.close()
        assert await client.rest() == b""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.send(b"x")
                    await asyncio.sleep(0.05)
        async with one.origin.serving(keep_answering):
            assert (await ask(proxy.port, get("/one/x"))).status == 200


async def test_end_of_a_tls_client_comes_after_its_bytes(tmp_path: Path) -> None:
    """Such a connection cannot stay half open: what the client sent is delivered, what it would have got is not."""
    one = Lane("one", [Member(Origin(receive_buffer=65536))])
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("shop.example").write_pem(tmp_path, "shop")
    settings = (
        '[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "127.0.0.1:0"\n'
        'certificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
    )
    async with running_proxy([one], settings=settings, listen=None, folder=tmp_path) as proxy:
        size = await most_for_kernels(proxy, one) + FEW_MORE
        context = client_context(tmp_path / "ca.pem")
        async with await TlsClient.open(proxy.ports[1], context) as client:
            await client.send(get("/one/x", *UPGRADE))
            server = await one.origin.accept()
            await server.answer(SWITCH)
            assert (await client.head()).status == 101

            async def send_all() -> None:
                await client.send(bytes(size))
                await client.pipe.end()

            async with asyncio.TaskGroup() as group:
                sending = group.create_task(send_all())
                # A busy machine's kernels hold less at this time than a moment ago: then the server has to read before the end.
                await asyncio.wait([sending], timeout=STALLED_S)
                reading = group.create_task(server.end())
                assert await client.rest() == b""
            assert len(reading.result()) == size


async def test_client_that_hung_up_before_the_switch_gets_the_answer() -> None:
    one = lane("one")
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/one/x", *UPGRADE) + b"early")
        client.half_close()
        server = await one.origin.accept()
        await server.answer(SWITCH)
        assert await server.end() == b"early"
        await server.send(b"late")
        server.close()
        assert (await client.head()).status == 101
        assert await client.rest() == b"late"


async def test_tunnel_whose_client_ended_does_not_wait_for_its_server_for_ever() -> None:
    """Most clients that end are gone; a server that does not notice has body_s."""
    one = lane("one", server='wsServerIdleTimeout="0"')
    settings = f"[timeouts]\nbody_s = {SHORT_S}\n"
    async with running_proxy([one], settings=settings) as proxy, tunnel(proxy, one) as ends:
        client, server = ends
        client.half_close()
        assert await server.end() == b""
        assert await client.rest() == b""


async def test_server_that_ended_and_does_not_read_costs_nothing_for_ever() -> None:
    """Both have ended, but the client's last bytes lie in the worker: they have body_s."""
    one = Lane("one", [Member(Origin(receive_buffer=4096))])
    settings = f"[timeouts]\nbody_s = {SHORT_S}\n"
    async with running_proxy([one], settings=settings) as proxy:
        size = await most_for_kernels(proxy, one) + FEW_MORE
        async with tunnel(proxy, one) as (client, server):
            await push(client.sock, bytes(MIB), 0, size)
            client.half_close()
            server.half_close()
            assert await client.rest() == b""
            async with asyncio.timeout(WAIT_S):
                while any(is_held for is_held, _ in sockets_of(one.origin.port)):  # noqa: ASYNC110  # the kernel tells nobody
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_reset_ends_both_sides(who: str) -> None:
    one = lane("one")
    async with running_proxy([one]) as proxy, tunnel(proxy, one) as (client, server):
        if who == "client":
            client.reset()
            assert await server.end() == b""
        else:
            server.reset()
            assert await client.is_cut()


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        ('wsServerIdleTimeout="1"', ""),
        ('wsIdleTimeout="1"', ""),
        ("", f"[timeouts]\ntunnel_s = {SHORT_S}\n"),
    ],
)
async def test_silent_tunnel_is_closed(attributes: str, settings: str) -> None:
    """Bytes in either direction put it off; then both sides see an orderly end."""
    one = lane("one", server=attributes)
    loop = asyncio.get_running_loop()
    async with running_proxy([one], settings=settings) as proxy, tunnel(proxy, one) as ends:
        client, server = ends
        began = loop.time()
        while loop.time() < began + 2.5:
            await client.send(b"c")
            assert await server.exactly(1) == b"c"
            await server.send(b"s")
            assert await client.exactly(1) == b"s"
            await asyncio.sleep(SHORT_S / STEPS)  # a tunnel in use, for longer than the limit
        assert await server.end() == b""
        assert await client.rest() == b""
        await proxy.line("a tunnel is closed: nobody .*wsServerIdleTimeout")


async def test_tunnel_without_limit_is_not_cut_by_those_of_requests() -> None:
    """With wsServerIdleTimeout 0 neither ServerIOTimeout, body_s nor keepalive_s count."""
    one = lane("one", server='wsServerIdleTimeout="0" ServerIOTimeout="1"')
    settings = f"[timeouts]\nkeepalive_s = {SHORT_S}\nbody_s = {SHORT_S}\nhead_s = {SHORT_S}\n"
    async with running_proxy([one], settings=settings) as proxy, tunnel(proxy, one) as ends:
        client, server = ends
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.2):  # longer than all of them
                await server.exactly(1)
        await client.send(b"c")
        assert await server.exactly(1) == b"c"


async def test_server_that_does_not_read_is_given_up() -> None:
    """While bytes wait for it wsServerIOTimeout counts, whatever the idle limit is."""
    one = Lane("one", [Member(Origin(receive_buffer=65536), attributes='wsServerIOTimeout="1"')])
    async with running_proxy([one]) as proxy, tunnel(proxy, one) as (client, _):
        assert await push(client.sock, bytes(MIB), 0, ENOUGH, STALLED_S) < ENOUGH / 4
        assert await client.is_cut()
        await proxy.line("server one: a tunnel is closed: .*wsServerIOTimeout")


async def test_silence_counts_again_when_the_server_has_read_everything() -> None:
    """As long as bytes wait for it wsServerIOTimeout counts, though it is the longer one; then wsServerIdleTimeout."""
    attributes = 'wsServerIOTimeout="90" wsServerIdleTimeout="1"'
    one = Lane("one", [Member(Origin(receive_buffer=65536), attributes=attributes)])
    async with running_proxy([one]) as proxy, tunnel(proxy, one) as (client, server):
        sent = await push(client.sock, bytes(MIB), 0, ENOUGH, 2 * STALLED_S)
        await server.exactly(sent)
        async with asyncio.timeout(WAIT_S):  # less than the 90 s
            assert await client.rest() == b""


async def test_client_that_reads_slowly_is_not_silent() -> None:
    """What it takes of bytes that the worker holds moves, too; for one that takes none body_s is there."""
    one = lane("one", server='wsServerIdleTimeout="1"')
    loop = asyncio.get_running_loop()
    async with (
        running_proxy([one]) as proxy,
        tunnel(proxy, one, receive_buffer=65536) as (client, server),
    ):
        sent = await push(server.sock, bytes(MIB), 0, ENOUGH, STALLED_S)
        until = loop.time() + 2.5
        while loop.time() < until:
            await client.throw_away(1000)
            sent -= 1000
            await asyncio.sleep(
                0.1
            )  # too slow for the server to be read again, longer than the limit
        await client.throw_away(sent)
        await server.send(b"more")
        assert await client.exactly(4) == b"more"


async def test_client_that_does_not_read_is_given_up() -> None:
    one = lane("one")
    settings = f"[timeouts]\nbody_s = {SHORT_S}\n"
    async with (
        running_proxy([one], settings=settings) as proxy,
        tunnel(proxy, one, receive_buffer=65536) as (_, server),
    ):
        with contextlib.suppress(OSError):
            await push(server.sock, bytes(MIB), 0, ENOUGH, STALLED_S)
        assert await server.end() == b""


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", SWITCH[:-4]])
async def test_answer_to_an_upgrade_has_the_time_of_ws_server_io_timeout(begun: bytes) -> None:
    """The server falls silent, before or within its head: another one gets it, as for ServerIOTimeout."""
    pair = lane("pair", 2, server='wsServerIOTimeout="1"')
    async with running_proxy([pair]) as proxy, await Client.connect(proxy.port) as client:
        await client.send(get("/pair/x", *UPGRADE, "Cookie: JSESSIONID=0000abc:c0"))
        await (await pair.members[0].origin.accept()).answer(begun)
        second = await pair.members[1].origin.accept()
        await second.answer(SWITCH)
        if begun.startswith(b"HTTP/1.1 100"):
            assert (await client.head()).status == 100
        assert (await client.head()).status == 101
        second.close()


async def test_tunnel_counts_for_max_connections_until_it_ends() -> None:
    one = lane("one", server='MaxConnections="1"')
    async with running_proxy([one]) as proxy:
        async with tunnel(proxy, one) as (client, server):
            assert (await ask(proxy.port, get("/one/x"))).status == 503
            client.half_close()
            assert await server.end() == b""
            assert (await ask(proxy.port, get("/one/x"))).status == 503
            server.close()
            assert await client.rest() == b""
        async with one.origin.serving(keep_answering):
            assert (await ask(proxy.port, get("/one/x"))).status == 200


async def test_stop_gives_tunnels_the_time_of_requests() -> None:
    one = lane("one")
    settings = f"[timeouts]\nshutdown_s = {SHORT_S}\n"
    async with running_proxy([one], settings=settings) as proxy, tunnel(proxy, one) as ends:
        client, server = ends
        proxy.stop()
        await proxy.line("stopping|SIGTERM|finish")
        await client.send(b"still")
        assert await server.exactly(5) == b"still"
        assert await server.end() == b""
        assert await client.is_cut()
        await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
