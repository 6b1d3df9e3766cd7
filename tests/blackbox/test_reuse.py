"""Connections that are used again: nothing of one exchange reaches the next, and no request runs more often than allowed."""

from __future__ import annotations

import os
import signal

from tests.support.client import Client, ask, get, request
from tests.support.origin import OK, OriginConnection, keep_answering
from tests.support.proxy import lane, running_proxy

LATE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
ORDER = b"a=order"


async def test_bytes_behind_an_answer_do_not_answer_the_next_request() -> None:
    """They and the next request arrive while the worker stands still, so it sees both at once."""
    one = lane("one")
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        (worker,) = proxy.workers()
        for _ in range(5):
            await client.send(get("/one/x"))
            server = await one.origin.accept()
            await server.request()
            await server.send(OK)
            assert (await client.answer()).body == b"ok"
            os.kill(worker, signal.SIGSTOP)
            await server.send(LATE)
            await client.send(get("/one/y"))
            os.kill(worker, signal.SIGCONT)
            other = await one.origin.accept()  # the connection with the late bytes is not used
            await other.request()
            await other.send(OK)
            assert (await client.answer()).body == b"ok"
            other.close()
            server.close()


async def test_closed_connection_is_noticed_before_a_request_that_cannot_be_repeated() -> None:
    """PostBufferSize 0: sent on the dead connection it would be lost; the end is seen first, and a fresh one is opened."""
    one = lane("one", attributes='PostBufferSize="0"')
    post = request("POST", "/one/x", f"Content-Length: {len(ORDER)}") + ORDER
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        (worker,) = proxy.workers()
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.request()
        await server.send(OK)
        assert (await client.answer()).body == b"ok"
        os.kill(worker, signal.SIGSTOP)
        server.close()
        await client.send(post)
        os.kill(worker, signal.SIGCONT)
        other = await one.origin.accept()
        assert (await other.request()).endswith(ORDER)
        await other.send(OK)
        assert (await client.answer()).status == 200
        other.close()


async def test_idle_connection_is_dropped_before_the_server_drops_it() -> None:
    """``pool_idle_s`` after the answer; the next request gets a fresh one."""
    one = lane("one")
    settings = "[upstream]\npool_idle_s = 0.3\n"
    async with (
        running_proxy([one], settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        for _ in range(2):
            await client.send(get("/one/x"))
            server = await one.origin.accept()
            await server.answer()
            assert (await client.answer()).body == b"ok"
            assert await server.end() == b""


async def test_failing_request_runs_once_a_server_and_once_more_for_a_reused_connection() -> None:
    """Warm connections to both servers, which then read every request and reset: three executions at most, then 502."""
    pair = lane("pair", members=2)
    failing = False

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            if failing:
                connection.reset()
                return
            await connection.send(OK)

    async with (
        running_proxy([pair]) as proxy,
        pair.members[0].origin.serving(script),
        pair.members[1].origin.serving(script),
    ):
        for clone in ("c0", "c1"):
            cookie = f"Cookie: JSESSIONID=0000abc:{clone}"
            assert (await ask(proxy.port, get("/pair/x", cookie))).status == 200
        failing = True
        post = request("POST", "/pair/x", f"Content-Length: {len(ORDER)}") + ORDER
        assert (await ask(proxy.port, post)).status == 502
        executed = sum(
            received.endswith(ORDER)
            for member in pair.members
            for received in member.origin.requests
        )
        assert 2 <= executed <= 3


async def test_endless_interim_answers_end_in_502() -> None:
    """Each 1xx restarts ServerIOTimeout: without a limit the client would wait for ever."""
    one = lane("one")

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
        await connection.end()

    async with running_proxy([one]) as proxy:
        async with one.origin.serving(script), await Client.connect(proxy.port) as client:
            await client.send(get("/one/x"))
            statuses = []
            while (head := await client.head()).status < 200:
                statuses.append(head.status)
            assert head.status == 502
            assert len(statuses) <= 100
        async with one.origin.serving(keep_answering):
            assert (await ask(proxy.port, get("/one/x"))).status == 200
