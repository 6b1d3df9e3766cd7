"""Behind a balancer that ends TLS and speaks no PROXY protocol: what it says of its client is believed, and nobody else is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import fields, keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

BALANCER, STRANGER, CLIENT = "127.0.0.1", "127.0.0.9", "203.0.113.9"
HOST = "shop.example"
# Only requests on port 443 by Host have a Route.
HTTPS_ONLY = """<VirtualHostGroup Name="https"><VirtualHost Name="*:443"/></VirtualHostGroup>
<UriGroup Name="secure"><Uri Name="/secure/*"/></UriGroup><Route ServerCluster="only" UriGroup="secure" VirtualHostGroup="https"/>"""
SAID = [f"X-Forwarded-For: 6.6.6.6, {CLIENT}", "X-Forwarded-Proto: https"]
CLAIMED = [f"Forwarded: for={CLIENT};proto=https;host={HOST}:8443"]


def request(path: str, *lines: str, host: str = HOST) -> bytes:
    return get(path, *lines).replace(b"shop.example:9080", host.encode())


def told(message: bytes) -> tuple[bytes, ...]:
    """What the application hears: address, host, scheme, is secure, port."""
    rows = dict(fields(message))
    return tuple(rows[name] for name in (b"$wsra", b"$wsrh", b"$wssc", b"$wsis", b"$wssp"))


def words(address: str, scheme: str, port: int) -> tuple[bytes, ...]:
    return (
        address.encode(), address.encode(), scheme.encode(),
        b"true" if scheme == "https" else b"false", b"%d" % port,
    )  # fmt: skip


@asynccontextmanager
async def balanced(folder: Path, forwarded: str = "", config: str = "", proxies: tuple[str, ...] = (BALANCER,)) -> AsyncIterator[tuple[Proxy, Lane]]:  # fmt: skip
    """Behind these TrustedProxies, with an access log of client, port and URL."""
    only = lane("only", 2)
    group = "".join(f'<TrustedProxy Name="{each}"/>' for each in proxies)
    settings = (
        f'[log]\naccess = "access.log"\naccess_format = "%h %p %U"\n[forwarded]\n{forwarded}\n'
    )
    async with running_proxy(
        [only],
        config=f'TrustedProxyEnable="true" {config}',
        routes=f"<TrustedProxyGroup>{group}</TrustedProxyGroup>{HTTPS_ONLY}",
        settings=settings,
        folder=folder,
    ) as proxy:
        for member in only.members[1:]:
            member.origin.refuse()
        async with only.origin.serving(keep_answering):
            yield proxy, only


async def test_balancer_says_who_its_client_is(tmp_path: Path) -> None:
    """Private headers, the VirtualHost, and the access log; each request on one connection for itself."""
    async with balanced(tmp_path) as (proxy, only):
        async with await Client.connect(proxy.port) as client:
            assert (await client.ask(request("/secure/1", *SAID))).status == 200
            assert (await client.ask(request("/secure/2"))).status == 404
            await client.ask(request("/only/3"))
            await client.ask(request("/only/4", *SAID, "X-Forwarded-Port: 8443"))
            await client.ask(request("/only/5", "X-Forwarded-For: 2001:DB8::7, 127.0.0.1"))
        assert [told(message) for message in only.origin.requests] == [
            words(CLIENT, "https", 443),
            words(BALANCER, "http", 80),
            words(CLIENT, "https", 8443),
            words("2001:db8::7", "http", 80),
        ]
        # what it sent goes on as it came
        assert f"\r\n{SAID[0]}\r\n{SAID[1]}\r\n".encode() in only.origin.requests[0]
        await proxy.line(rf"{BALANCER}: 404: no route for /secure/2")
    assert await lines_with(tmp_path / "access.log", count=5) == [
        f"{CLIENT} 443 /secure/1",
        f"{BALANCER} 80 /secure/2",
        f"{BALANCER} 80 /only/3",
        f"{CLIENT} 8443 /only/4",
        "2001:db8::7 80 /only/5",
    ]


async def test_nobody_elses_fields_count(tmp_path: Path) -> None:
    """A client that comes by itself stays who it is, whatever it claims."""
    async with balanced(tmp_path) as (proxy, only):
        async with await Client.connect(proxy.port, source=STRANGER) as client:
            assert (await client.ask(request("/secure/1", *SAID, *CLAIMED))).status == 404
            await client.ask(request("/only/2", *SAID, *CLAIMED, "X-Forwarded-Port: 1"))
        assert told(only.origin.requests[0]) == words(STRANGER, "http", 80)
    assert await lines_with(tmp_path / "access.log", count=2) == [
        f"{STRANGER} 80 /secure/1",
        f"{STRANGER} 80 /only/2",
    ]


@pytest.mark.parametrize(
    ("forwarded", "lines", "expected"),
    [
        ('trust = "x-forwarded"', [*CLAIMED, *SAID], words(CLIENT, "https", 443)),
        ('trust = "x-forwarded"', CLAIMED, words(BALANCER, "http", 80)),
        ('trust = "forwarded"', [*CLAIMED, "X-Forwarded-For: 6.6.6.6"], words(CLIENT, "https", 8443)),
        ('trust = "forwarded"', SAID, words(BALANCER, "http", 80)),
        ('trust = "none"', [*CLAIMED, *SAID], words(BALANCER, "http", 80)),
        ("x_forwarded = true\nforwarded = true", SAID, words(CLIENT, "https", 443)),
    ],
)  # fmt: skip
async def test_one_kind_of_field_is_believed(tmp_path: Path, forwarded: str, lines: list[str], expected: tuple[bytes, ...]) -> None:  # fmt: skip
    """forwarded.trust: a balancer writes one kind and may pass the other on from its client."""
    async with balanced(tmp_path, forwarded) as (proxy, only):
        await ask(proxy.port, request("/only/1", *lines))
        assert told(only.origin.requests[0]) == expected


async def test_rightmost_address_that_is_no_trusted_proxys(tmp_path: Path) -> None:
    """Through several balancers, one of them known by its network; what stands left of the client, it may have made up."""
    async with balanced(tmp_path, proxies=("127.0.0.0/8", "10.1.0.0/16")) as (proxy, only):
        for chain in (
            f"6.6.6.6, {CLIENT}, 10.1.2.3, 127.0.0.5",
            f"10.1.9.9, {CLIENT}:51234,10.1.2.3",
            f"unknown, {CLIENT}",
        ):
            await ask(proxy.port, request("/only/1", f"X-Forwarded-For: {chain}"))
        await ask(proxy.port, request("/only/1", f"X-Forwarded-For: {CLIENT}", "X-Forwarded-For: 10.1.0.1"))  # fmt: skip
        await ask(proxy.port, request("/only/1", f"X-Forwarded-For: {CLIENT}, 10.2.0.1"))
        await ask(proxy.port, request("/only/1", f"X-Forwarded-For: {CLIENT}, nobody, 10.1.0.1"))
        await ask(proxy.port, request("/only/1", "X-Forwarded-For: nobody"))
        found = [dict(fields(message))[b"$wsra"].decode() for message in only.origin.requests]
        assert found == [CLIENT] * 4 + ["10.2.0.1", "10.1.0.1", BALANCER]


@pytest.mark.parametrize("config", ["", 'AppServerPortPreference="WebserverPort"'])
async def test_port_that_the_client_named(tmp_path: Path, config: str) -> None:
    """X-Forwarded-Port, else that of X-Forwarded-Host; else as without them."""
    own = [80, 8080, 443] if not config else []
    async with balanced(tmp_path, config=config) as (proxy, only):
        own = own or [proxy.port] * 3
        host = "X-Forwarded-Host: shop.example"
        for lines, where in (
            ([], HOST), ([], f"{HOST}:8080"), (["X-Forwarded-Proto: https"], HOST),
            (["X-Forwarded-Port: 8443"], f"{HOST}:8080"),
            ([f"{host}:8444"], f"{HOST}:8080"),
            ([f"{host}:8444", "X-Forwarded-Port: 8445"], HOST),
            ([host, "X-Forwarded-Proto: https"], f"{HOST}:8080"),
        ):  # fmt: skip
            await ask(proxy.port, request("/only/1", *lines, host=where))
        ports = [int(dict(fields(message))[b"$wssp"]) for message in only.origin.requests]
        assert ports == [*own, 8443, 8444, 8445, 443]


async def test_private_headers_of_the_balancer_come_first(tmp_path: Path) -> None:
    """A plug-in in front says it all in its own words, and passes on what clients write."""
    own = ["$WSRA: 198.51.100.4", "$WSRH: c.example", "$WSSC: https", "$WSIS: true", "$WSSP: 8444"]
    async with balanced(tmp_path) as (proxy, only):
        await ask(proxy.port, request("/only/1", *own, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1"))  # fmt: skip
        assert told(only.origin.requests[0]) == (b"198.51.100.4", b"c.example", b"https", b"true", b"8444")  # fmt: skip
        await ask(proxy.port, request("/only/2", own[2], *SAID))
        assert told(only.origin.requests[1]) == (CLIENT.encode(), CLIENT.encode(), b"https", b"false", b"80")  # fmt: skip
    assert [line.split()[0] for line in await lines_with(tmp_path / "access.log", count=2)] == [
        "198.51.100.4",
        CLIENT,
    ]


async def test_port_that_a_private_header_says_is_not_said_again(tmp_path: Path) -> None:
    """$WSSP is for the application; VirtualHosts are compared as without it, and not with what a client may have written."""
    async with balanced(tmp_path) as (proxy, _):
        answer = await ask(proxy.port, request("/secure/1", "$WSSP: 8444", "X-Forwarded-Port: 443"))
        assert answer.status == 404
        answer = await ask(proxy.port, request("/secure/1", "X-Forwarded-Port: 443"))
        assert answer.status == 200


async def test_cookie_of_a_client_by_https_is_secure(tmp_path: Path) -> None:
    """A session that moved is told to the client with Secure, though the balancer came by http."""
    async with balanced(tmp_path) as (proxy, _):
        line = "Cookie: JSESSIONID=0000abc:c1"
        for more, ending in ((SAID, b"; HttpOnly; Secure"), ([], b"; HttpOnly")):
            answer = await ask(proxy.port, request("/only/1", line, *more))
            assert answer.get(b"set-cookie") == b"JSESSIONID=0000abc:c1:c0; Path=/" + ending


async def test_request_that_cannot_be_read_is_the_balancers(tmp_path: Path) -> None:
    """Nothing of the request before is said of it."""
    async with balanced(tmp_path) as (proxy, _):
        async with await Client.connect(proxy.port) as client:
            await client.ask(request("/only/1", *SAID))
            answer = await client.ask(b"GET /only/2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert answer.status == 400
        await proxy.line(f"{BALANCER}: 400:")
    assert [line.split()[0] for line in await lines_with(tmp_path / "access.log", count=2)] == [
        CLIENT,
        BALANCER,
    ]
