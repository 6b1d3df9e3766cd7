"""The shares of the servers, and MaxConnections, measured at the servers of a real proxy with four workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import Client, ask, get
from tests.support.origin import OK, Origin, OriginConnection, answering
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = 4


class AddressLane(Lane):
    """A lane whose last member is the ClusterAddress."""

    def xml(self) -> str:
        *members, last = self.members
        transport = f'<Transport Hostname="127.0.0.1" Port="{last.origin.port}" Protocol="http"/>'
        address = f'<ClusterAddress Name="{last.name}">{transport}</ClusterAddress>'
        xml = Lane(self.name, members, self.attributes).xml()
        return xml.replace("<PrimaryServers>", f"{address}<PrimaryServers>")


def members_of(*weights: int) -> list[Member]:
    return [
        Member(Origin(), f"s{at}", f'CloneID="c{at}" LoadBalanceWeight="{weight}"')
        for at, weight in enumerate(weights)
    ]


@contextlib.asynccontextmanager
async def serving(*lanes: Lane) -> AsyncIterator[None]:
    """Every server answers with its name."""
    async with contextlib.AsyncExitStack() as stack:
        for member in (member for each in lanes for member in each.members):
            name = member.name.encode()
            reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
            await stack.enter_async_context(member.origin.serving(answering(reply)))
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy() -> AsyncIterator[Proxy]:
    lanes = [
        Lane("ten", members_of(100, 90, 80)),
        Lane("even", members_of(20, 20, 20)),
        Lane("ignored", members_of(3, 2)),
        Lane("counted", members_of(1, 1), 'IgnoreAffinityRequests="false"'),
        Lane("random", members_of(1, 1000, 0), 'LoadBalance="Random"'),
        AddressLane("address", members_of(1, 1, 1)),
    ]
    async with running_proxy(lanes, workers=WORKERS) as running, serving(*lanes):
        yield running


async def count(port: int, path: str, requests: int, *lines: str) -> Counter[str]:
    """Who answered; sixteen at a time, each on a connection of its own, so all workers take part at once."""
    gate = asyncio.Semaphore(16)

    async def one() -> str:
        async with gate:
            answer = await ask(port, get(path, *lines))
        assert answer.status == 200
        return answer.body.decode()

    return Counter(await asyncio.gather(*(one() for _ in range(requests))))


def cookie(server: int) -> str:
    return f"Cookie: JSESSIONID=0000abc:c{server}"


async def test_worked_examples_come_out_to_the_request(proxy: Proxy) -> None:
    """PLUGIN 4.1: 100/90/80 give 10/9/8 of 27, 20/20/20 one each of three, in every cycle, from any start."""
    for _ in range(8):
        assert await count(proxy.port, "/ten/x", 27) == {"s0": 10, "s1": 9, "s2": 8}
    for _ in range(20):
        assert await count(proxy.port, "/even/x", 3) == {"s0": 1, "s1": 1, "s2": 1}


async def test_affinity_does_not_shift_the_shares(proxy: Proxy) -> None:
    """IgnoreAffinityRequests="true", the default."""
    assert await count(proxy.port, "/ignored/x", 40, cookie(0)) == {"s0": 40}
    assert await count(proxy.port, "/ignored/x", 50) == {"s0": 30, "s1": 20}


async def test_affinity_counts_where_it_is_not_to_be_ignored(proxy: Proxy) -> None:
    """IgnoreAffinityRequests="false": forty requests of sessions at s0 are made up for at s1, all workers together."""
    assert await count(proxy.port, "/counted/x", 40, cookie(0)) == {"s0": 40}
    assert await count(proxy.port, "/counted/x", 40) == {"s1": 40}
    assert await count(proxy.port, "/counted/x", 40) == {"s0": 20, "s1": 20}


async def test_random_gives_equal_shares_and_nothing_for_weight_0(proxy: Proxy) -> None:
    found = await count(proxy.port, "/random/x", 400)
    assert set(found) == {"s0", "s1"}
    assert abs(found["s0"] - 200) < 100  # standard deviation 10: ten of them
    assert await count(proxy.port, "/random/x", 5, cookie(2)) == {"s2": 5}


async def test_cluster_address_takes_what_has_no_affinity(proxy: Proxy) -> None:
    assert await count(proxy.port, "/address/x", 12) == {"s2": 12}
    assert await count(proxy.port, "/address/x", 12, cookie(1)) == {"s1": 12}


class Crowd:
    """A server that counts how many requests it has at once; holds the first until ``enough`` are there together."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.running = self.most = 0
        self.full = asyncio.Event()

    async def script(self, connection: OriginConnection) -> None:
        while True:
            await connection.request()
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running >= self.enough:
                self.full.set()
            await self.full.wait()
            await asyncio.sleep(0)
            self.running -= 1
            await connection.send(OK)


async def test_max_connections_is_reached_and_never_passed_under_load() -> None:
    """Forty clients, twenty requests each, limit 10 over four workers: what does not fit is 503 at once."""
    full = lane("full", server='MaxConnections="10"')
    crowd = Crowd(10)

    async def client(port: int) -> Counter[int]:
        async with await Client.connect(port) as one:
            return Counter([(await one.ask(get("/full/x"))).status for _ in range(20)])

    async with (
        running_proxy([full], workers=WORKERS) as running,
        full.origin.serving(crowd.script),
    ):
        statuses = sum(
            await asyncio.gather(*(client(running.port) for _ in range(40))), Counter[int]()
        )
        assert crowd.most == 10
        assert set(statuses) == {200, 503}
        assert statuses.total() == 800
        assert len(full.origin.requests) == statuses[200]
        # Everything was given back: ten more get in at once.
        crowd.full.clear()
        again = await asyncio.gather(*(ask(running.port, get("/full/x")) for _ in range(10)))
        assert [answer.status for answer in again] == [200] * 10
        assert crowd.most == 10
