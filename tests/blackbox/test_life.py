"""The life of the real proxy's processes with requests running: stop, worker death, connections that wait."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

import pytest

from tests.support.client import Answer, Client, ask, get, request
from tests.support.flow import push
from tests.support.origin import OK, Origin, keep_answering
from tests.support.process import WAIT_S, first_of
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy

WORKERS = pytest.mark.parametrize("workers", [1, 2])
MIB = 1024 * 1024


async def stopping(proxy: Proxy) -> None:
    """SIGTERM; returns when every worker has closed its listener, and so began to drain."""
    proxy.stop()
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                client = await Client.connect(proxy.port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue
            client.sock.close()


async def ended(proxy: Proxy) -> None:
    await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)


@WORKERS
async def test_running_requests_finish_after_sigterm(workers: int) -> None:
    """One that waits for its server, one within its upload, one within its answer; then exit code 0 (the fixture looks)."""
    one = lane("one")
    async with running_proxy([one], workers=workers) as proxy:
        async with (
            await Client.connect(proxy.port) as waiting,
            await Client.connect(proxy.port) as uploading,
            await Client.connect(proxy.port) as downloading,
        ):
            await waiting.send(get("/one/waiting"))
            first = await one.origin.accept()
            await first.request()
            await uploading.send(request("POST", "/one/up", "Content-Length: 8") + b"half")
            second = await one.origin.accept()
            await second.head()
            await downloading.send(get("/one/down"))
            third = await one.origin.accept()
            await third.request()
            await third.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            head = await downloading.head()
            await stopping(proxy)
            await first.send(OK)
            answer = await waiting.answer()
            assert (answer.body, answer.closes) == (b"ok", True)
            assert await waiting.rest() == b""
            await uploading.send(b"rest")
            await second.exactly(8)
            await second.send(OK)
            assert (await uploading.answer()).body == b"ok"
            assert await uploading.rest() == b""
            await third.send(b"rest")
            assert (await downloading.body(head)).body == b"halfrest"
            assert await downloading.rest() == b""
        await ended(proxy)


@pytest.mark.parametrize("line", ["Connection: close", "Connection: keep-alive"])
async def test_slow_reader_gets_its_answer_after_sigterm(line: str) -> None:
    """The server is done; what the proxy still holds is sent before it ends."""
    one = lane("one")
    size = 20 * MIB
    async with (
        running_proxy([one]) as proxy,
        await Client.connect(proxy.port, receive_buffer=2048) as client,
    ):
        await client.send(get("/one/x", line))
        server = await one.origin.accept()
        await server.request()
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sending = asyncio.ensure_future(push(server.sock, bytes(MIB), 0, size))
        head = await client.head()
        left = size
        while not sending.done():
            await client.throw_away(16384)
            left -= 16384
        await client.throw_away(16384)
        await stopping(proxy)
        await client.throw_away(left - 16384)
        assert await client.rest() == b""
        assert head.closes is line.endswith("close")
        await ended(proxy)


async def test_idle_clients_do_not_delay_the_stop() -> None:
    """Kept connections are closed in order, at once: shutdown_s is for requests."""
    one = lane("one")
    async with running_proxy([one], workers=2, settings="[timeouts]\nshutdown_s = 3600\n") as proxy:
        clients = [await Client.connect(proxy.port) for _ in range(20)]
        async with one.origin.serving(keep_answering):
            for client in clients[:10]:
                assert (await client.ask(get("/one/x"))).status == 200
            proxy.stop()
            for client in clients:
                assert await client.rest() == b""
                client.sock.close()
            await ended(proxy)


async def test_requests_that_do_not_end_are_cut_after_shutdown_s() -> None:
    """The proxy ends by itself, with 0 (the fixture looks), and says what it cut."""
    one = lane("one")
    async with running_proxy([one], settings="[timeouts]\nshutdown_s = 0.3\n") as proxy:
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/one/x"))
            server = await one.origin.accept()
            await server.request()
            proxy.stop()
            assert await client.is_cut()
            assert await server.end() == b""
        await proxy.line("1 requests did not end within 0.3 s and are cut")
        await ended(proxy)


async def test_killed_worker_gives_its_requests_back() -> None:
    """Kill -9: MaxConnections has room again, no connection is refused meanwhile, and a new worker serves."""
    full = lane("full", server='MaxConnections="4"')
    async with running_proxy([full], workers=2) as proxy:
        proxy.expected.append("was killed by SIGKILL")
        clients = [await Client.connect(proxy.port) for _ in range(16)]
        for client in clients[:4]:
            await client.send(get("/full/x"))
        servers = [await full.origin.accept() for _ in range(4)]
        for server in servers:
            await server.request()
        for client in clients[4:]:
            assert (await client.ask(get("/full/x"))).status == 503
        for worker in proxy.workers():
            os.kill(worker, signal.SIGKILL)
        connecting = [Client.connect(proxy.port) for _ in range(50)]
        fresh = await asyncio.gather(*connecting)  # none is refused
        given_back = 0
        for _ in range(2):
            line = await proxy.line(r"worker \d \(pid \d+\) was killed by SIGKILL .* (\d) requests")
            given_back += int(line[1])
            proxy.lines.remove(line.string)
        assert given_back == 4
        for server in servers:
            assert await server.end() == b""
        async with full.origin.serving(keep_answering):
            for client in fresh:
                assert (await client.ask(get("/full/x"))).status == 200
        for client in [*clients, *fresh]:
            client.sock.close()
        assert len(proxy.workers()) == 2


async def test_down_marks_and_probes_survive_a_worker() -> None:
    """A worker that dies while it probes a server does not keep the others from probing it."""
    pair = lane("pair", 2, attributes='RetryInterval="1"')
    first, second = (member.origin for member in pair.members)
    numbers = itertools.count()

    def of_first() -> bytes:
        """A new session each time: one that had to leave stays away (test_takeover)."""
        return get("/pair/x", f"Cookie: JSESSIONID=0000abc{next(numbers)}:c0")

    first.refuse()
    async with running_proxy([pair]) as proxy, second.serving(keep_answering):
        proxy.expected.append("was killed by SIGKILL")
        assert (await ask(proxy.port, of_first())).status == 200
        await proxy.line("Marking s0 down")
        first.reopen()
        accepting = asyncio.ensure_future(first.accept())
        asking: list[asyncio.Future[Answer]] = []
        while not accepting.done():  # until RetryInterval is over
            asking.append(asyncio.ensure_future(ask(proxy.port, of_first())))
            await first_of(asking[-1], accepting)
        probing = await accepting
        await probing.request()
        [worker] = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        assert await probing.end() == b""
        await asyncio.gather(*asking, return_exceptions=True)
        async with first.serving(keep_answering):
            served = len(first.requests)
            assert (await ask(proxy.port, of_first())).status == 200
            assert len(first.requests) == served + 1


async def test_ipv4_client_of_a_dual_stack_listener() -> None:
    """The kernel shows it as ::ffff:127.0.0.1; it is told to the server as what it is."""
    one = lane("one")
    async with (
        running_proxy([one], listen=":0") as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        await client.ask(get("/one/x"))
        await client.ask(b"GET /one/x HTTP/1.0\r\n\r\n")
    assert b"\r\n$WSRA: 127.0.0.1\r\n" in one.origin.requests[0]
    assert b"\r\nHost: 127.0.0.1\r\n" in one.origin.requests[1]  # our own: it came without Host


async def test_ipv6_listener_and_client() -> None:
    """A client on ::1 is told to the server by its address."""
    one = Lane("one", [Member(Origin())])
    async with (
        running_proxy([one], listen="[::1]:0") as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port, host="::1") as client,
    ):
        assert (await client.ask(get("/one/x"))).status == 200
    assert b"\r\n$WSRA: ::1\r\n" in one.origin.requests[0]


async def test_client_in_the_listen_queue_at_sigterm_is_served() -> None:
    """The worker stands still while three clients connect and the stop arrives: they are answered, then it ends."""
    one = lane("one")
    async with running_proxy([one]) as proxy, one.origin.serving(keep_answering):
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGSTOP)
        async with (
            await Client.connect(proxy.port) as first,
            await Client.connect(proxy.port) as second,
            await Client.connect(proxy.port) as silent,
        ):
            await first.send(get("/one/x"))
            await second.send(get("/one/y"))
            proxy.stop()
            os.kill(worker, signal.SIGCONT)
            for client in (first, second):
                assert (await client.answer()).body == b"ok"
                assert await client.rest() == b""
            assert await silent.rest() == b""
        await ended(proxy)
