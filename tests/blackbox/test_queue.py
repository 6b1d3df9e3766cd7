"""[queue] of the real proxy with four workers: who waits, in which order, for how long, and who does not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import pytest

from tests.support.client import Answer, Client, IncompleteError, ask, chunks, get, request
from tests.support.origin import OK, OriginConnection, answering, body_of, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy

WORKERS = 4
COOKIE = "Cookie: JSESSIONID=0000abc:c0"
# Longer than any test: what must not end by time.
FOR_EVER = "[queue]\nsize = 100\nwait_s = 600\n[log]\nlevel = 'debug'\n"


class Gate:
    """A server that answers one request whenever it is told, in the order in which they came."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.running = 0
        self.most = 0
        self._news = asyncio.Condition()
        self._let_go = asyncio.Semaphore(0)

    async def script(self, connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            async with self._news:
                self.arrived.append(message.split()[1].decode().rpartition("/")[2])
                self.running += 1
                self.most = max(self.most, self.running)
                self._news.notify_all()
            await self._let_go.acquire()
            self.running -= 1
            await connection.send(OK)

    async def has(self, count: int) -> None:
        """Waits until so many requests have come in all."""
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: len(self.arrived) >= count), WAIT_S)

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self._let_go.release()


class Waiting:
    """Reads in the log who waits: how many, and at which workers."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.at = len(proxy.lines)
        self.pids: list[int] = []

    async def more(self, count: int = 1) -> None:
        """Waits until so many more requests wait."""
        for _ in range(count):
            found = await self.proxy.line(r"\[(\d+)\] wsproxy: \S+: waits for a place", self.at)
            self.at = self.proxy.lines.index(found.string, self.at) + 1
            self.pids.append(int(found[1]))


def asking(proxy: Proxy, path: str, *lines: str) -> asyncio.Future[Answer]:
    return asyncio.ensure_future(ask(proxy.port, get(path, *lines)))


def limited(most: int, name: str = "full") -> Lane:
    return lane(name, server=f'MaxConnections="{most}"')


async def test_requests_are_served_in_the_order_in_which_they_came() -> None:
    """Limit 2, twenty clients at four workers: the server sees them one after the other, never more than two at once."""
    full, gate = limited(2), Gate()
    async with (
        running_proxy([full], workers=WORKERS, settings=FOR_EVER) as proxy,
        full.origin.serving(gate.script),
    ):
        waiting = Waiting(proxy)
        clients = []
        for at in range(20):
            clients.append(asking(proxy, f"/full/{at}"))
            await (gate.has(at + 1) if at < 2 else waiting.more())
        assert len(set(waiting.pids)) > 1  # or the test says nothing of workers
        for at in range(3, 21):
            gate.answer()
            await gate.has(at)
        gate.answer(2)
        assert Counter(answer.status for answer in await asyncio.gather(*clients)) == {200: 20}
        assert gate.arrived == [str(at) for at in range(20)]
        assert gate.most == 2


async def test_no_turn_is_lost_under_load() -> None:
    """Sixty clients, limit 3: everybody is served, though hundreds of turns go from worker to worker."""
    full = limited(3)
    running = most = 0

    async def script(connection: OriginConnection) -> None:
        nonlocal running, most
        while True:
            await connection.request()
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            await connection.send(OK)

    async def client(port: int) -> list[int]:
        async with await Client.connect(port) as one:
            return [(await one.ask(get("/full/x"))).status for _ in range(10)]

    async with (
        running_proxy(
            [full], workers=WORKERS, settings="[queue]\nsize = 100\nwait_s = 60\n"
        ) as proxy,
        full.origin.serving(script),
    ):
        statuses = await asyncio.gather(*(client(proxy.port) for _ in range(60)))
        assert Counter(status for each in statuses for status in each) == {200: 600}
        assert most == 3


async def test_wait_ends_with_503() -> None:
    full, gate = limited(1), Gate()
    settings = "[queue]\nsize = 10\nwait_s = 0.3\n"
    async with (
        running_proxy([full], workers=WORKERS, settings=settings) as proxy,
        full.origin.serving(gate.script),
    ):
        first = asking(proxy, "/full/first")
        await gate.has(1)
        async with await Client.connect(proxy.port) as client:
            for _ in range(2):
                began = asyncio.get_running_loop().time()
                answer = await client.ask(get("/full/late"))
                assert (answer.status, answer.closes) == (503, False)
                assert asyncio.get_running_loop().time() - began >= 0.3
        await proxy.line("503: cluster full: all servers are at MaxConnections")
        gate.answer(2)
        assert (await first).status == 200
        assert (await ask(proxy.port, get("/full/next"))).status == 200
        assert gate.arrived == ["first", "next"]


async def test_more_than_the_queue_holds_is_503_at_once() -> None:
    full, gate = limited(1), Gate()
    settings = FOR_EVER.replace("100", "3")
    async with (
        running_proxy([full], workers=WORKERS, settings=settings) as proxy,
        full.origin.serving(gate.script),
    ):
        clients = [asking(proxy, "/full/first")]
        await gate.has(1)
        waiting = Waiting(proxy)
        for _ in range(3):
            clients.append(asking(proxy, "/full/x"))
            await waiting.more()
        for _ in range(8):
            assert (await ask(proxy.port, get("/full/x"))).status == 503
        gate.answer(4)
        assert [(await each).status for each in clients] == [200] * 4


@pytest.mark.parametrize("how", ["hangs up", "resets"])
async def test_client_that_leaves_is_not_waited_for(how: str) -> None:
    full, gate = limited(1), Gate()
    async with (
        running_proxy([full], workers=WORKERS, settings=FOR_EVER) as proxy,
        full.origin.serving(gate.script),
    ):
        waiting = Waiting(proxy)
        first = asking(proxy, "/full/first")
        await gate.has(1)
        leaver = await Client.connect(proxy.port)
        await leaver.send(get("/full/leaver"))
        await waiting.more()
        last = asking(proxy, "/full/last")
        await waiting.more()
        if how == "resets":
            leaver.reset()
        else:
            leaver.half_close()
            assert await leaver.is_cut()
            leaver.sock.close()
        # A reset shows in the log only; either way the leaver's turn must not be the last one's.
        await proxy.line("left the queue of cluster full")
        gate.answer(2)
        assert [(await each).status for each in (first, last)] == [200, 200]
        assert gate.arrived == ["first", "last"]


@pytest.mark.parametrize("how", ["ends", "hangs up", "resets"])
async def test_client_that_leaves_within_its_body_is_not_waited_for(how: str) -> None:
    """Nobody reads from it while it waits: that it left is seen when its turn comes. What it was given before it may still read."""
    full, free, gate = limited(1), lane("free"), Gate()
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"a" * 500_000
    async with (
        running_proxy([full, free], workers=1, settings=FOR_EVER) as proxy,
        full.origin.serving(gate.script),
        free.origin.serving(answering(page)),
        await Client.connect(proxy.port, receive_buffer=4096) as leaver,
    ):
        waiting = Waiting(proxy)
        first = asking(proxy, "/full/first")
        await gate.has(1)
        post = request("POST", "/full/leaver", "Content-Length: 300000")
        await leaver.send(get("/free/x") + post)
        await leaver.head()
        await leaver.exactly(500_000 - 9000)  # the rest is in the kernels
        await waiting.more()
        await leaver.send(b"u" * 20_000)  # not read either
        last = asking(proxy, "/full/last")
        await waiting.more()
        if how == "ends":
            leaver.half_close()
        else:
            leaver.reset() if how == "resets" else leaver.sock.close()
        gate.answer(2)  # before anybody looks
        await proxy.line("left the queue of cluster full")
        assert [(await each).status for each in (first, last)] == [200, 200]
        assert gate.arrived == ["first", "last"]
        if how == "ends":
            assert await leaver.exactly(9000) == b"a" * 9000
            assert await leaver.rest() == b""


async def test_body_waits_with_its_request() -> None:
    """Whole ones, and ones of which more comes while they wait, also beyond PostBufferSize."""
    full, gate = limited(1), Gate()
    bodies = [b"a" * 100, b"b" * 300_000]
    async with (
        running_proxy([full], workers=WORKERS, settings=FOR_EVER) as proxy,
        full.origin.serving(gate.script),
    ):
        waiting = Waiting(proxy)
        first = asking(proxy, "/full/first")
        await gate.has(1)
        posts = []
        for at, body in enumerate(bodies):
            data = request("POST", f"/full/{at}", body=body)
            posts.append(asyncio.ensure_future(ask(proxy.port, data)))
            await waiting.more()
        async with await Client.connect(proxy.port) as client:
            await client.send(
                b"POST /full/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
            )
            await waiting.more()
            gate.answer(3)
            await client.send(b"de\r\n" + chunks(b"fg"))
            gate.answer()
            assert (await client.answer()).status == 200
        assert [(await each).status for each in (first, *posts)] == [200] * 3
        received = {message.split()[1]: body_of(message) for message in full.origin.requests}
        assert [received[b"/full/%d" % at] for at in (0, 1)] == bodies
        assert received[b"/full/2"] == b"5\r\nabcde\r\n2\r\nfg\r\n0\r\n\r\n"
        assert gate.arrived == ["first", "0", "1", "2"]


async def test_refused_waiter_is_told_though_its_body_is_not_whole() -> None:
    full, gate = limited(1), Gate()
    settings = "[queue]\nsize = 10\nwait_s = 0.1\n"
    async with (
        running_proxy([full], workers=1, settings=settings) as proxy,
        full.origin.serving(gate.script),
    ):
        first = asking(proxy, "/full/first")
        await gate.has(1)
        async with await Client.connect(proxy.port) as client:
            await client.send(b"POST /full/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            answer = await client.answer()
            assert (answer.status, answer.closes) == (503, True)
        gate.answer()
        assert (await first).status == 200


async def test_session_waits_for_its_own_server() -> None:
    """Though the other one is free; who has no session goes there."""
    pair = lane("pair", 2, server='MaxConnections="1"')
    gate = Gate()
    async with (
        running_proxy([pair], workers=WORKERS, settings=FOR_EVER) as proxy,
        pair.members[0].origin.serving(gate.script),
        pair.members[1].origin.serving(keep_answering),
    ):
        waiting = Waiting(proxy)
        first = asking(proxy, "/pair/first", COOKIE)
        await gate.has(1)
        second = asking(proxy, "/pair/second", COOKIE)
        await waiting.more()
        for _ in range(8):
            assert (await ask(proxy.port, get("/pair/new"))).status == 200
        assert len(pair.members[1].origin.requests) == 8
        gate.answer(2)
        assert [(await each).status for each in (first, second)] == [200, 200]
        assert gate.arrived == ["first", "second"]


@pytest.mark.parametrize("waits", ["true", "false"])
async def test_session_goes_elsewhere_in_the_end_or_at_once(waits: str) -> None:
    """After wait_s; with affinity_waits = false before."""
    pair = lane("pair", 2, server='MaxConnections="1"')
    gate = Gate()
    wait_s = 0.3 if waits == "true" else 600
    settings = f"[queue]\nsize = 10\nwait_s = {wait_s}\naffinity_waits = {waits}\n"
    async with (
        running_proxy([pair], workers=WORKERS, settings=settings) as proxy,
        pair.members[0].origin.serving(gate.script),
        pair.members[1].origin.serving(keep_answering),
    ):
        first = asking(proxy, "/pair/first", COOKIE)
        await gate.has(1)
        assert (await ask(proxy.port, get("/pair/second", COOKIE))).status == 200
        assert len(pair.members[1].origin.requests) == 1
        gate.answer()
        assert (await first).status == 200


async def test_failed_server_sends_a_request_to_the_queue_of_the_others() -> None:
    """The one is full, the other refuses: the request waits for the first, and says that it was moved."""
    pair = lane("pair", 2, server='MaxConnections="1"', attributes='RetryInterval="3600"')
    gate = Gate()
    pair.members[1].origin.refuse()
    async with (
        running_proxy([pair], workers=WORKERS, settings=FOR_EVER) as proxy,
        pair.members[0].origin.serving(gate.script),
    ):
        waiting = Waiting(proxy)
        first = asking(proxy, "/pair/first", COOKIE)
        await gate.has(1)
        second = asking(proxy, "/pair/second", "Cookie: JSESSIONID=0000abc:c1")
        await proxy.line("Marking s1 down")
        await waiting.more()
        gate.answer(2)
        assert [(await each).status for each in (first, second)] == [200, 200]
        assert b"$WSFO: true" in pair.origin.requests[-1]


async def test_killed_worker_leaves_the_queue_to_the_others() -> None:
    """Its clients are cut off; nobody else waits for them, and their places and turns are not lost."""
    full, gate = limited(2), Gate()
    async with running_proxy([full], workers=WORKERS, settings=FOR_EVER) as proxy:
        proxy.expected.append("was killed by SIGKILL")
        async with full.origin.serving(gate.script):
            waiting = Waiting(proxy)
            clients = []
            for at in range(30):
                clients.append(asking(proxy, f"/full/{at}"))
                await (gate.has(at + 1) if at < 2 else waiting.more())
            victim = Counter(waiting.pids).most_common(1)[0][0]
            os.kill(victim, signal.SIGKILL)
            await proxy.line(rf"worker \d+ \(pid {victim}\) was killed by SIGKILL")
            # Its own requests in flight, if any, are given back without an answer: their places serve others already.
            gate.answer(40)
            answers = await asyncio.gather(*clients, return_exceptions=True)
            cut = sum(isinstance(each, IncompleteError | ConnectionError) for each in answers)
            served = [each for each in answers if isinstance(each, Answer)]
            assert cut + len(served) == 30
            assert cut >= waiting.pids.count(victim)
            assert {each.status for each in served} == {200}
        full.origin.connections.clear()
        gate = Gate()
        async with full.origin.serving(gate.script):  # both places, and not one more
            waiting = Waiting(proxy)
            last = [asking(proxy, f"/full/{at}") for at in range(4)]
            await gate.has(2)
            await waiting.more(2)
            gate.answer(4)
            assert [(await each).status for each in last] == [200] * 4
            assert gate.most == 2


async def test_stopping_proxy_serves_who_waits() -> None:
    """After SIGTERM the queue goes on as before, until it is empty."""
    full, gate = limited(1), Gate()
    async with (
        running_proxy([full], workers=WORKERS, settings=FOR_EVER) as proxy,
        full.origin.serving(gate.script),
    ):
        waiting = Waiting(proxy)
        clients = [asking(proxy, "/full/0")]
        await gate.has(1)
        for at in range(1, 6):
            clients.append(asking(proxy, f"/full/{at}"))
            await waiting.more()
        proxy.stop()
        await proxy.line("SIGTERM: stopping")
        for at in range(1, 6):
            gate.answer()
            await gate.has(at + 1)
        gate.answer()
        assert [(await each).status for each in clients] == [200] * 6
        assert gate.arrived == [str(at) for at in range(6)]
        await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
        assert not any("did not end within" in line for line in proxy.lines)
