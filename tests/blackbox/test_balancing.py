"""Which server the real proxy gives a request: affinity, weights, backups, MaxConnections over all workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import Client, ask, get
from tests.support.jsessionids import CORPUS, session_values
from tests.support.origin import OK, Origin, OriginConnection, Script
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def naming(name: str) -> Script:
    """The script of a server that answers with its name."""

    async def script(connection: OriginConnection) -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())
        while True:
            await connection.answer(reply)

    return script


@contextlib.asynccontextmanager
async def all_serving(*members: Member) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member.origin.serving(naming(member.name)))
        yield


async def server_of(port: int, path: str, *lines: str) -> str:
    """The name of the server that answered, on a connection of its own."""
    answer = await ask(port, get(path, *lines))
    assert answer.status == 200
    return answer.body.decode()


def weighted(name: str, *weights: int, backups: int = 0, attributes: str = "") -> Lane:
    """A lane of servers s0, s1, ... with these weights; the last ones are backups."""
    first_backup = len(weights) - backups
    return Lane(
        name,
        [
            Member(
                Origin(),
                f"s{at}",
                f'CloneID="c{at}" LoadBalanceWeight="{weight}"',
                is_backup=at >= first_backup,
            )
            for at, weight in enumerate(weights)
        ],
        attributes,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["1w", "2w"])
async def healthy(request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    """Clusters whose servers all answer."""
    lanes = [
        weighted("aff", 2, 2, 2),
        weighted("plus", 2, 2, attributes='CloneSeparatorChange="true"'),
        weighted("w", 30, 10, 20),
        weighted("zero", 1, 0, 1),
        weighted("spare", 1, 1, 1, backups=1),
    ]
    lanes[0].uri_attributes = 'AffinityCookie="SID" AffinityURLIdentifier="sid"'
    async with (
        running_proxy(lanes, workers=request.param) as proxy,
        all_serving(*(member for each in lanes for member in each.members)),
    ):
        yield proxy


@pytest.mark.parametrize(
    ("path", "cookie", "server"),
    [
        ("/aff/x", "SID=0000abc:c1", "s1"),
        ("/aff/x", "a=b; SID=0000abc:c2; c=d", "s2"),
        ("/aff/x", "SID=0000abc:gone:c2", "s2"),
        ("/aff/x", "SID=0000abc:c1:c2", "s1"),
        ("/aff/x", 'SID="0000abc:c2"', "s2"),
        ("/aff/x", "SID=0000abc%3Ac1", "s1"),
        ("/aff/x", "SID=0000abc%3ac1", "s1"),
        ("/aff/x", "SID=0000abc:gone; SID=0000def:c2", "s2"),
        ("/aff/x", "SID=0000abc:c1; SID=0000def:c2", "s1"),
        ("/aff/x;sid=0000abc:c2", "", "s2"),
        ("/aff/x;sid=0000abc:c2?sid=0000abc:c1", "", "s2"),
        ("/aff/x;sid=0000abc:c2", "SID=0000abc:c1", "s1"),
        ("/aff/x;sid=0000abc:c2", "SID=0000abc:gone", "s2"),
        (
            "/aff/x;sid=0000abc:c0",
            "SID=0000abc:c1; SSLJSESSION=0001SESSIONMANAGEMENTAFFINI:c2",
            "s2",
        ),
        ("/aff/x", "SSLJSESSION=0001SESSIONMANAGEMENTAFFINI:gone; SID=0000abc:c1", "s1"),
        ("/plus/x", "JSESSIONID=0000abc+c1", "s1"),
        ("/plus/x", "JSESSIONID=0000abc%2Bc0", "s0"),
        ("/plus/x;jsessionid=0000abc+c1", "", "s1"),
    ],
)
async def test_clone_id_decides(healthy: Proxy, path: str, cookie: str, server: str) -> None:
    """Ten requests with the same clone id reach the same server."""
    lines = [f"Cookie: {cookie}"] if cookie else []
    assert {await server_of(healthy.port, path, *lines) for _ in range(10)} == {server}


@pytest.mark.parametrize(
    "cookie",
    [
        "SID=0000abc{}:gone",
        "SID=0000abc{}:-1",
        "SID=0000abc{}:-G02E6",
        "SID=0000abc{}",
        "SID=0003SA16FM44A453O702L1T7S457185{}",
        "SID=00001146.wdo4647{}",
        "sid=0000abc{}:c1",
        "JSESSIONID=0000abc{}:c1",
        "XSID=0000abc{}:c1",
    ],
)
async def test_without_known_clone_id_requests_are_balanced(healthy: Proxy, cookie: str) -> None:
    """Unknown clone ids, partition ids, no clone ids, lookalikes, other cookies, other spellings; each a new session."""
    cookies = [f"Cookie: {cookie.format(number)}" for number in range(9)]
    servers = [await server_of(healthy.port, "/aff/x", line) for line in cookies]
    assert Counter(servers) == {"s0": 3, "s1": 3, "s2": 3}


@pytest.mark.skipif(not session_values(), reason=f"no corpus at {CORPUS}")
async def test_every_real_value_is_served(healthy: Proxy) -> None:
    """Clone ids of somebody else's cluster, and values of other servers: no error, no affinity."""
    for value in session_values():
        await server_of(healthy.port, "/aff/x", f"Cookie: SID={value.text}")
        await server_of(healthy.port, f"/plus/x;jsessionid={value.text.replace('^', '%5E')}")


async def test_weights_hold_over_all_workers(healthy: Proxy) -> None:
    """3:1:2 exactly, however the connections fall on the workers."""
    servers = [await server_of(healthy.port, "/w/x") for _ in range(60)]
    assert Counter(servers) == {"s0": 30, "s1": 10, "s2": 20}


async def test_weight_zero_is_for_affinity_only(healthy: Proxy) -> None:
    """No new sessions, but the old ones."""
    assert {await server_of(healthy.port, "/zero/x") for _ in range(10)} == {"s0", "s2"}
    cookie = "Cookie: JSESSIONID=0000abc:c1"
    assert {await server_of(healthy.port, "/zero/x", cookie) for _ in range(5)} == {"s1"}


async def test_backup_serves_its_sessions_only(healthy: Proxy) -> None:
    """As long as a primary is up, nothing new goes to a backup."""
    assert {await server_of(healthy.port, "/spare/x") for _ in range(10)} == {"s0", "s1"}
    cookie = "Cookie: JSESSIONID=0000abc:c2"
    assert await server_of(healthy.port, "/spare/x", cookie) == "s2"


@WORKERS
async def test_backup_is_used_when_the_primaries_are_down(workers: int) -> None:
    """And left again when one returns and its RetryInterval is over."""
    spare = weighted("spare", 1, 1, 1, backups=1, attributes='RetryInterval="1"')
    first, second, backup = spare.members
    async with running_proxy([spare], workers=workers) as proxy:
        first.origin.refuse()
        second.origin.refuse()
        async with all_serving(backup):
            assert {await server_of(proxy.port, "/spare/x") for _ in range(6)} == {"s2"}
            await proxy.line("Marking s0 down: cluster spare, 127.0.0.1:")
            await proxy.line("Marking s1 down: cluster spare, 127.0.0.1:")
            second.origin.reopen()
            async with all_serving(second):
                until = asyncio.get_running_loop().time() + 20
                while await server_of(proxy.port, "/spare/x") != "s1":
                    assert asyncio.get_running_loop().time() < until
                assert {await server_of(proxy.port, "/spare/x") for _ in range(4)} == {"s1"}


class Gate:
    """A server that holds requests until told, and counts how many it has at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.arrived = asyncio.Condition()
        self.open = asyncio.Event()

    async def script(self, connection: OriginConnection) -> None:
        while True:
            await connection.request()
            async with self.arrived:
                self.running += 1
                self.most = max(self.most, self.running)
                self.arrived.notify_all()
            await self.open.wait()
            self.running -= 1
            await connection.send(OK)

    async def has(self, count: int) -> None:
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(lambda: self.running == count), WAIT_S)


@WORKERS
async def test_max_connections_holds_over_all_workers(workers: int) -> None:
    """Limit 3, twenty at once: three get through, seventeen get 503, and afterwards there is room again."""
    full = lane("full", server='MaxConnections="3"')
    async with running_proxy([full], workers=workers) as proxy:
        for _ in range(3):
            gate = Gate()
            async with full.origin.serving(gate.script):
                asking = [asyncio.ensure_future(ask(proxy.port, get("/full/x"))) for _ in range(20)]
                await gate.has(3)
                refused = []
                for done in asyncio.as_completed(asking):
                    refused.append((await done).status)
                    if len(refused) == 17:
                        break
                assert set(refused) == {503}
                gate.open.set()
                answers = await asyncio.gather(*asking)
                assert Counter(answer.status for answer in answers) == {200: 3, 503: 17}
                assert gate.most == 3
            full.origin.connections.clear()
        await proxy.line("503: cluster full: all servers are at MaxConnections")


@WORKERS
async def test_full_affinity_server_hands_over(workers: int) -> None:
    """A session whose server is at MaxConnections goes to another one, and back when there is room."""
    two = lane("two", 2)
    first, second = two.members
    first.attributes += ' MaxConnections="1"'
    gate = Gate()
    cookie = "Cookie: JSESSIONID=0000abc:c0"
    async with (
        running_proxy([two], workers=workers) as proxy,
        first.origin.serving(gate.script),
        all_serving(second),
    ):
        held = asyncio.ensure_future(ask(proxy.port, get("/two/x", cookie)))
        await gate.has(1)
        assert await server_of(proxy.port, "/two/x", cookie) == "s1"
        gate.open.set()
        assert (await held).body == b"ok"
        # There is room again, and its cookie names that server. An answer may be here before its worker has given the place
        # back, and another worker sees it taken for that moment.
        async with asyncio.timeout(WAIT_S):
            for _ in range(9):
                while await server_of(proxy.port, "/two/x", cookie) != "ok":
                    pass


async def test_room_is_given_back_however_a_request_ends() -> None:
    """MaxConnections 1: after a reset client, a broken answer, a refused body and a local answer there is room."""
    one = lane("one", server='MaxConnections="1"', attributes='PostSizeLimit="1"')
    chunked = b"POST /one/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def still_works(port: int) -> None:
        asking = asyncio.ensure_future(ask(port, get("/one/x")))
        server = await one.origin.accept()
        await server.answer()
        assert (await asking).status == 200
        server.close()

    async with running_proxy([one]) as proxy:
        async with await Client.connect(proxy.port) as client:  # goes away
            await client.send(get("/one/x"))
            server = await one.origin.accept()
            await server.request()
            client.reset()
            await server.end()
        await still_works(proxy.port)
        for bad in (b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"):
            async with await Client.connect(proxy.port) as client:
                await client.send(get("/one/x"))
                server = await one.origin.accept()
                await server.answer(bad)
                server.close()
                if (await client.head()).status == 200:
                    await client.is_cut()
            await still_works(proxy.port)
        for rest in (b"zz\r\n", b"400\r\n" + bytes(1024) + b"\r\n1\r\nx\r\n"):
            async with await Client.connect(proxy.port) as client:
                await client.send(chunked)
                server = await one.origin.accept()
                await server.head()
                await client.send(rest)
                assert (await client.answer()).status in (400, 413)
                await server.end()
            await still_works(proxy.port)


async def test_route_without_uri_group_takes_the_asterisk() -> None:
    """``OPTIONS *`` is relayed as it is where a Route takes everything."""
    everything = Lane("all", [Member(Origin(), "s0")])
    xml = everything.xml()
    everything_xml = xml[: xml.index("<UriGroup")] + '<Route ServerCluster="all"/>'
    async with running_proxy([], routes=everything_xml) as proxy:
        async with all_serving(*everything.members), await Client.connect(proxy.port) as client:
            await client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).status == 200
            await client.send(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).status == 200
        starts = {message.split(b"\r\n")[0] for message in everything.origin.requests}
        assert starts == {b"OPTIONS * HTTP/1.1"}
    everything.origin.close()


async def test_virtual_host_and_longest_uri_decide() -> None:
    """Host and port choose the group; a longer Uri wins; no match is 404."""
    names = ["shop", "shop-cart", "other"]
    lanes = [Lane(name, [Member(Origin(), f"at-{name}")]) for name in names]
    hosts = "".join(
        f'<VirtualHostGroup Name="{name}"><VirtualHost Name="{host}"/></VirtualHostGroup>'
        for name, host in (("shop", "shop.example:80"), ("other", "*:8080"))
    )
    uris = "".join(
        f'<UriGroup Name="u-{name}"><Uri Name="{uri}"/></UriGroup>'
        for name, uri in (("all", "/*"), ("cart", "/cart/*"))
    )
    routes = "".join(
        f'<Route ServerCluster="{cluster}" VirtualHostGroup="{group}" UriGroup="u-{uri}"/>'
        for cluster, group, uri in (
            ("shop", "shop", "all"),
            ("shop-cart", "shop", "cart"),
            ("other", "other", "all"),
        )
    )
    clusters = "".join(each.xml()[: each.xml().index("<UriGroup")] for each in lanes)
    async with (
        running_proxy([], routes=clusters + hosts + uris + routes) as proxy,
        all_serving(*(member for each in lanes for member in each.members)),
        await Client.connect(proxy.port) as client,
    ):
        for host, path, expected in (
            ("shop.example", "/a", b"at-shop"),
            ("SHOP.example:80", "/cart", b"at-shop-cart"),
            ("shop.example", "/cart/b", b"at-shop-cart"),
            ("shop.example", "/cartoon", b"at-shop"),
            ("anything:8080", "/cart/b", b"at-other"),
            ("anything", "/a", None),
            ("shop.example:81", "/a", None),
        ):
            answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer.status == (404 if expected is None else 200)
            assert expected is None or answer.body == expected
    for each in lanes:
        each.origin.close()
