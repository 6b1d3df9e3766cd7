"""Fields on their way through the real proxy: what is forwarded, what is not, and the private headers of the plug-in."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.blackbox.conftest import Shared
from tests.support.client import Client, ask, get, request
from tests.support.origin import answering, field, fields, keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOP_BY_HOP = [
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: X-T",
    "Upgrade: websocket",
    "X-Nominated: 1",
    "x-also: 2",
]
NAMES = {line.partition(":")[0].lower().encode() for line in HOP_BY_HOP} | {b"connection"}


async def test_hop_by_hop_fields_of_the_client_end_here(shared: Shared) -> None:
    """Also those that Connection names; the others come through in order and as they were spelled."""
    lane = shared.lane()
    kept = ["x-First: a  b", "Accept:*/*", "ACCEPT: text/html", "X-Empty:", "Via: 1.1 other"]
    async with lane.origin.serving(keep_answering):
        await ask(
            shared.port,
            get(
                f"/{lane.name}/x",
                *kept[:2],
                "Connection: X-NOMINATED, keep-alive",
                *HOP_BY_HOP,
                *kept[2:],
                "Connection: X-Also",
            ),
        )
    [message] = lane.origin.requests
    assert not NAMES & {name for name, _ in fields(message)}
    assert "\r\n".join(kept[:2]).encode() in message
    assert "\r\n".join(kept[2:]).encode() in message


async def test_hop_by_hop_fields_of_the_server_end_here(shared: Shared) -> None:
    """The same for answers."""
    lane = shared.lane()
    lines = "\r\n".join([*HOP_BY_HOP, "Set-Cookie: a=b", "Set-Cookie: c=d", "X-Kept: e"])
    reply = (
        f"HTTP/1.1 200 Fine, thanks\r\nConnection: x-nominated, X-ALSO\r\n{lines}\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
    async with lane.origin.serving(answering(reply)):
        answer = await ask(shared.port, get(f"/{lane.name}/x"))
    assert not NAMES & {name for name, _ in answer.fields}
    assert answer.all(b"set-cookie") == [b"a=b", b"c=d"]
    assert answer.get(b"x-kept") == b"e"
    assert answer.head.startswith(b"HTTP/1.1 200 Fine, thanks\r\n")


async def test_framing_cannot_be_nominated_away(shared: Shared) -> None:
    """``Connection: Content-Length`` does not turn one request into two."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        message = request(
            "POST", f"/{lane.name}/x", "Connection: content-length, host", body=b"GET / HTTP/1.1"
        )
        assert (await client.ask(message)).status == 200
        chunked = request(
            "POST", f"/{lane.name}/x", "Connection: transfer-encoding", "Transfer-Encoding: chunked"
        )
        assert (await client.ask(chunked + b"2\r\nok\r\n0\r\n\r\n")).status == 200
    first, second = lane.origin.requests
    assert field(first, b"content-length") == b"14"
    assert field(first, b"host") == b"shop.example:9080"
    assert field(second, b"transfer-encoding") == b"chunked"
    assert lane.origin.accepted == 1


SPOOFED = [
    "$WSRU: admin",
    "$wsra: 6.6.6.6",
    "$WSRH: evil.example",
    "$WSIS: true",
    "$WSSC: https",
    "$WSSN: evil.example",
    "$WSSP: 1",
    "$WSPR: HTTP/9",
    "$WSCC: certificate",
    "$WSFO: true",
    "_WS_HAPRT_WLMVERSION: 7",
    "_WS_ANYTHING: x",
    "$WSanything: x",
    "-WS-HAPRT-WLMVERSION: 7",
    "_WS-HAPRT-WLMVERSION: 7",
]
OWN = {
    b"$wsis": b"false",
    b"$wssc": b"http",
    b"$wspr": b"HTTP/1.1",
    b"$wsra": b"127.0.0.1",
    b"$wsrh": b"127.0.0.1",
    b"$wssn": b"shop.example",
    b"$wssp": b"9080",
    b"_ws_haprt_wlmversion": b"-1",
}


def private_fields(message: bytes) -> dict[bytes, bytes]:
    """Private headers of a request; each stands there once."""
    pairs = [
        (name, value) for name, value in fields(message) if name[:3] in (b"$ws", b"_ws", b"-ws")
    ]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


async def test_private_headers_are_the_proxys_own(shared: Shared) -> None:
    """What the client claims is gone; the eight of the plug-in are there, with what the proxy knows."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for _ in range(2):
            await client.ask(get(f"/{lane.name}/x", *SPOOFED))
        await client.ask(get(f"/{lane.name}/x", "Connection: $WSRA, $WSIS, _WS_HAPRT_WLMVERSION"))
    assert [private_fields(message) for message in lane.origin.requests] == [OWN] * 3


async def test_private_headers_tell_the_clients_protocol_and_port(shared: Shared) -> None:
    """HTTP/1.0, a Host without port, an IPv6 literal."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        for host in ("shop.example", "[::1]:81"):
            await ask(shared.port, f"GET /{lane.name}/x HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    first, second = (private_fields(message) for message in lane.origin.requests)
    assert (first[b"$wspr"], first[b"$wssn"], first[b"$wssp"]) == (
        b"HTTP/1.0",
        b"shop.example",
        b"80",
    )
    assert (second[b"$wssn"], second[b"$wssp"]) == (b"::1", b"81")


async def test_private_headers_of_answers_stay_here(shared: Shared) -> None:
    """Partition tables and the like are not for clients."""
    lane = shared.lane()
    reply = (
        b"HTTP/1.1 200 OK\r\n$WSPT: table\r\n_WS_HAPRT_WLMVERSION: 3\r\n$wsep: x\r\nX-A: b\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    async with lane.origin.serving(answering(reply)):
        answer = await ask(shared.port, get(f"/{lane.name}/x"))
    assert [name for name, _ in answer.fields] == [b"x-a", b"content-length", b"date"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def special() -> AsyncIterator[tuple[Proxy, dict[str, Lane]]]:
    """A proxy with a cluster that keeps clients' private headers, on a port that counts."""
    lanes = {
        "open": lane("open", attributes='RemoveSpecialHeaders="false"'),
        "plain": lane("plain"),
    }
    config = 'AppServerPortPreference="WebserverPort"'
    async with running_proxy([*lanes.values()], config=config) as proxy:
        yield proxy, lanes


async def test_private_headers_stay_where_the_cluster_says_so(
    special: tuple[Proxy, dict[str, Lane]],
) -> None:
    """RemoveSpecialHeaders="false": the client's values stand, and only what it did not send is added."""
    proxy, lanes = special
    async with lanes["open"].origin.serving(keep_answering):
        await ask(proxy.port, get("/open/x", "$WSRA: 10.1.2.3", "$WSRU: bob"))
    [message] = lanes["open"].origin.requests
    own = OWN | {b"$wsra": b"10.1.2.3", b"$wsru": b"bob", b"$wssp": str(proxy.port).encode()}
    assert private_fields(message) == own


async def test_port_of_the_listener_is_told_where_the_config_says_so(
    special: tuple[Proxy, dict[str, Lane]],
) -> None:
    """AppServerPortPreference="WebserverPort"."""
    proxy, lanes = special
    async with lanes["plain"].origin.serving(keep_answering):
        await ask(proxy.port, get("/plain/x"))
    [message] = lanes["plain"].origin.requests
    assert private_fields(message)[b"$wssp"] == str(proxy.port).encode()


@contextlib.asynccontextmanager
async def trusting(
    name: str, settings: str = "", listen: str = "127.0.0.1:0"
) -> AsyncIterator[tuple[Proxy, Lane]]:
    only = lane("only")
    group = f'<TrustedProxyGroup><TrustedProxy Name="{name}"/></TrustedProxyGroup>'
    async with running_proxy(
        [only], config='TrustedProxyEnable="true"', routes=group, settings=settings, listen=listen
    ) as proxy:
        yield proxy, only


@contextlib.asynccontextmanager
async def ipv6_client(proxy: Proxy) -> AsyncIterator[Client]:
    async with await Client.connect(proxy.port, host="::1") as client:
        yield client


async def test_trusted_proxy_may_set_private_headers() -> None:
    """Its values stand, what it does not send is added."""
    async with trusting("127.0.0.1") as (proxy, only), only.origin.serving(keep_answering):
        await ask(proxy.port, get("/only/x", "$WSRA: 10.1.2.3", "$WSRH: host.example"))
        [message] = only.origin.requests
        expected = OWN | {b"$wsra": b"10.1.2.3", b"$wsrh": b"host.example"}
        assert private_fields(message) == expected


async def test_other_clients_than_the_trusted_proxy_may_not() -> None:
    """Another address of this machine is trusted, this one is not."""
    async with trusting("127.0.0.2") as (proxy, only), only.origin.serving(keep_answering):
        await ask(proxy.port, get("/only/x", *SPOOFED))
        assert private_fields(only.origin.requests[0]) == OWN


@pytest.mark.parametrize("name", ["[0:0::1]", "::1"])
async def test_trusted_proxy_may_be_written_in_any_way(name: str) -> None:
    """An IPv6 address has many spellings, with brackets and without."""
    async with trusting(name, listen="[::1]:0") as (proxy, only):
        async with only.origin.serving(keep_answering), ipv6_client(proxy) as client:
            await client.ask(get("/only/x", "$WSRA: 10.1.2.3"))
        assert private_fields(only.origin.requests[0])[b"$wsra"] == b"10.1.2.3"


async def test_trusted_proxy_with_a_host_name_is_nobody() -> None:
    """Names are not resolved; `wsproxy check` says so, and the start says that it does."""
    async with trusting("localhost") as (proxy, only), only.origin.serving(keep_answering):
        await proxy.line("1 warning; to list: wsproxy check")
        await ask(proxy.port, get("/only/x", *SPOOFED))
        assert private_fields(only.origin.requests[0]) == OWN


BOTH_FORWARDED = "[forwarded]\nx_forwarded = true\nforwarded = true\n"
CLAIMED = [
    "X_Forwarded_For: 6.6.6.6",
    "x-forwarded_proto: https",
    "X_FORWARDED-HOST: evil.example",
    "x-forwarded-FOR: 6.6.6.6",
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "X-FORWARDED-HOST: evil.example",
    "forwarded: for=6.6.6.6;proto=https",
    "X-Other: 1",
]


def forwarded_fields(message: bytes) -> list[tuple[bytes, bytes]]:
    return [row for row in fields(message) if b"forwarded" in row[0]]


LOOK_ALIKES = [
    "Content_Length: 5",
    "content_LENGTH: 5",
    "Transfer_Encoding: chunked",
    "Keep_Alive: 1",
    "Proxy_Connection: close",
    "X_Wsproxy_Explain: 1",
    "X-Wsproxy_Server: s9",
    "x_wsproxy-Rule: none",
]


async def test_what_looks_like_a_field_that_is_written_anew_ends_here(shared: Shared) -> None:
    """For CGI-like servers "_" is "-"; names that nobody writes or strips go on as they came."""
    lane = shared.lane()
    kept = ["X_Other: 1", "X_Real_IP: 10.0.0.1", "X_Forwarded_For: 10.0.0.1", "user_agent: x"]
    async with lane.origin.serving(keep_answering):
        await ask(shared.port, get(f"/{lane.name}/x", *LOOK_ALIKES, *kept))
    [message] = lane.origin.requests
    assert [
        row for row in fields(message) if b"_" in row[0] and not row[0].startswith(b"_ws_")
    ] == [
        (name.lower().encode(), value.encode())
        for name, _, value in (each.partition(": ") for each in kept)
    ]


async def test_forwarded_fields_are_not_touched_by_default(shared: Shared) -> None:
    """As with the plug-in."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        await ask(shared.port, get(f"/{lane.name}/x", *CLAIMED))
        await ask(shared.port, get(f"/{lane.name}/x"))
    claimed, bare = lane.origin.requests
    assert "\r\n".join(CLAIMED).encode() in claimed
    assert forwarded_fields(bare) == []


async def test_forwarded_fields_of_anyone_are_replaced() -> None:
    """Also where Connection names them."""
    own = [
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"shop.example:9080"),
        (b"forwarded", b'for=127.0.0.1;host="shop.example:9080";proto=http'),
    ]
    async with trusting("127.0.0.2", BOTH_FORWARDED) as (proxy, only):
        async with only.origin.serving(keep_answering):
            named = "Connection: X-Forwarded-For, Forwarded"
            for lines in ([], CLAIMED, [*CLAIMED, named]):
                await ask(proxy.port, get("/only/x", *lines))
        assert [forwarded_fields(message) for message in only.origin.requests] == [own] * 3
        assert b"X-Other: 1\r\n" in only.origin.requests[1]
        assert all(private_fields(message) == OWN for message in only.origin.requests)


async def test_forwarded_fields_of_a_trusted_proxy_are_continued() -> None:
    """
    Its address is appended to the lists; protocol and host stand as it says, and are added where it says nothing.

    Its client's Connection, passed on by mistake, does not take away what it wrote.
    """
    named = (
        "Connection: keep-alive, X-Forwarded-For, Forwarded, x-forwarded-proto, X-Forwarded-Host"
    )
    async with trusting("127.0.0.1", BOTH_FORWARDED) as (proxy, only):
        async with only.origin.serving(keep_answering):
            await ask(proxy.port, get("/only/x", *CLAIMED))
            await ask(proxy.port, get("/only/x", "X-Forwarded-For: 10.0.0.1"))
            await ask(proxy.port, get("/only/x", *CLAIMED, named))
        first, second, third = (forwarded_fields(message) for message in only.origin.requests)
        element = b'for=127.0.0.1;host="shop.example:9080";proto=http'
        assert first == [
            (b"x-forwarded-for", b"6.6.6.6"),
            (b"x-forwarded-for", b"10.0.0.1, 127.0.0.1"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", b"evil.example"),
            (b"forwarded", b"for=6.6.6.6;proto=https, " + element),
        ]
        assert third == first
        assert second == [
            (b"x-forwarded-for", b"10.0.0.1, 127.0.0.1"),
            (b"x-forwarded-proto", b"http"),
            (b"x-forwarded-host", b"shop.example:9080"),
            (b"forwarded", element),
        ]


async def test_forwarded_of_an_ipv6_client() -> None:
    """In brackets and quotes (RFC 7239 6)."""
    async with trusting("127.0.0.2", BOTH_FORWARDED, listen="[::1]:0") as (proxy, only):
        async with only.origin.serving(keep_answering), ipv6_client(proxy) as client:
            await client.ask(b"GET /only/x HTTP/1.0\r\n\r\n")
        assert forwarded_fields(only.origin.requests[0]) == [
            (b"x-forwarded-for", b"::1"),
            (b"x-forwarded-proto", b"http"),
            (b"x-forwarded-host", b"[::1]"),
            (b"forwarded", b'for="[::1]";host="[::1]";proto=http'),
        ]


async def test_retry_mark_of_a_trusted_proxy_stands_alone() -> None:
    """It says already that the request is a second try: ours is not put beside it."""
    pair = lane("pair", 2)
    group = '<TrustedProxyGroup><TrustedProxy Name="127.0.0.1"/></TrustedProxyGroup>'
    config = 'TrustedProxyEnable="true"'
    async with running_proxy([pair], config=config, routes=group) as proxy:
        pair.members[0].origin.refuse()
        second = pair.members[1].origin
        async with second.serving(keep_answering):
            await ask(proxy.port, get("/pair/x", "Cookie: JSESSIONID=0:c0", "$WSFO: true"))
        assert private_fields(second.requests[0]) == OWN | {b"$wsfo": b"true"}


async def test_client_without_address_is_nobody() -> None:
    """A client that was reset before it was accepted is not taken for the trusted 127.0.0.1: its request goes nowhere."""
    async with trusting("127.0.0.1") as (proxy, only), only.origin.serving(keep_answering):
        [worker] = proxy.workers()
        os.kill(worker, signal.SIGSTOP)
        client = await Client.connect(proxy.port)
        await client.send(get("/only/gone", "$WSRU: admin"))
        client.reset()
        os.kill(worker, signal.SIGCONT)
        assert (await ask(proxy.port, get("/only/here"))).status == 200
        assert [message.split()[1] for message in only.origin.requests] == [b"/only/here"]


async def test_retried_request_says_so() -> None:
    """``$WSFO: true`` for the next server, once, with the body whole; the client's own is dropped."""
    pair = lane("pair", 3)
    async with running_proxy([pair]) as proxy, await Client.connect(proxy.port) as client:
        first, second, third = (member.origin for member in pair.members)
        first.refuse()
        second.refuse()
        third_clone = "Cookie: JSESSIONID=0000abc:c0:c1"
        async with third.serving(keep_answering):
            answer = await client.ask(
                request("POST", "/pair/x", third_clone, "$WSFO: no", body=b"data")
            )
        assert answer.status == 200
        [message] = third.requests
        assert private_fields(message) == OWN | {b"$wsfo": b"true"}
        assert message.endswith(b"\r\n\r\ndata")
