"""Servers that fail behind the real proxy: retry, down marks for all workers, RetryInterval, ServerIOTimeout."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from tests.support.client import Answer, Client, ask, get, request
from tests.support.origin import OK, Origin, OriginConnection, keep_answering
from tests.support.process import STEPS, WAIT_S, first_of
from tests.support.proxy import Lane, lane, running_proxy

WORKERS = pytest.mark.parametrize("workers", [1, 2])
COOKIE = "Cookie: JSESSIONID=0000abc:c0"
SILENT_S = 1
_numbers = itertools.count()


def new_session() -> str:
    """A session of the first server that was never seen: one that had to leave stays away (test_takeover)."""
    return f"Cookie: JSESSIONID=0000abc{next(_numbers)}:c0"


async def never_answer(connection: OriginConnection) -> None:
    """The script of a server that hangs."""
    while True:
        await connection.request()


async def hang_up(connection: OriginConnection) -> None:
    """The script of a server that reads a request and closes."""
    await connection.request()


@contextlib.asynccontextmanager
async def both(pair: Lane, first: object = None) -> AsyncIterator[None]:
    """The first server plays ``first``, the second is healthy."""
    async with contextlib.AsyncExitStack() as stack:
        if callable(first):
            await stack.enter_async_context(pair.members[0].origin.serving(first))
        await stack.enter_async_context(pair.members[1].origin.serving(keep_answering))
        yield


@WORKERS
async def test_refused_connection_goes_to_the_next_server(workers: int) -> None:
    """The client sees nothing; the mark is seen by every worker, so the server is asked once."""
    pair = lane("pair", 2, attributes='RetryInterval="3600"')
    first, second = (member.origin for member in pair.members)
    first.refuse()
    async with running_proxy([pair], workers=workers) as proxy, both(pair):
        answer = await ask(proxy.port, request("POST", "/pair/x", COOKIE, body=b"x" * 200_000))
        assert answer.status == 200
        assert second.requests[0].endswith(b"x" * 200_000)
        marked = await proxy.line(
            rf"ERROR .*Marking s0 down: cluster pair, 127\.0\.0\.1:{first.port}: could not connect"
        )
        assert "refused" in marked.string
        first.reopen()
        for _ in range(20):
            assert (await ask(proxy.port, get("/pair/x", COOKIE))).status == 200
        assert not first.has_waiting()
        assert sum("Marking" in line for line in proxy.lines) == 1


@WORKERS
async def test_all_servers_down_is_503_at_once_where_there_is_no_last_chance(workers: int) -> None:
    """With a page, kept connection, and without a second try before RetryInterval."""
    pair = lane("pair", 2, attributes='RetryInterval="3600"')
    for member in pair.members:
        member.origin.refuse()
    settings = "[balancing]\nlast_chance = false\n"
    async with running_proxy([pair], workers=workers, settings=settings) as proxy:
        async with await Client.connect(proxy.port) as client:
            for _ in range(3):
                answer = await client.ask(get("/pair/x"))
                assert (answer.status, answer.closes) == (503, False)
        await proxy.line("503: cluster pair: no server can be reached")
        assert sum("Marking" in line for line in proxy.lines) == 2


@WORKERS
async def test_last_chance_ends_an_outage_before_the_retry_interval(workers: int) -> None:
    """All were marked down: the next requests try one each, and the first that lives serves."""
    pair = lane("pair", 2, attributes='RetryInterval="3600"')
    first, second = (member.origin for member in pair.members)
    first.refuse()
    second.refuse()
    async with running_proxy([pair], workers=workers) as proxy:
        for _ in range(3):
            assert (await ask(proxy.port, get("/pair/x"))).status == 503
        async with asyncio.timeout(WAIT_S):
            # The log is written beside.
            while sum("is still down" in line for line in proxy.lines) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert sum("Marking" in line for line in proxy.lines) == 2
        second.reopen()
        async with second.serving(keep_answering):
            statuses = [(await ask(proxy.port, get("/pair/x"))).status for _ in range(6)]
        assert statuses in ([200] * 6, [503, *[200] * 5])


@WORKERS
async def test_one_request_at_a_time_pays_for_the_last_chance(workers: int) -> None:
    """The others get their 503 while it hangs; only the one server of a cluster is tried by every request."""
    pair = lane("pair", 2, attributes='RetryInterval="3600"')
    first, second = (member.origin for member in pair.members)
    first.refuse()
    second.refuse()
    async with running_proxy([pair], workers=workers) as proxy:
        assert (await ask(proxy.port, get("/pair/x"))).status == 503
        first.reopen()
        second.reopen()
        hanging = [asyncio.ensure_future(ask(proxy.port, get("/pair/x"))) for _ in range(2)]
        servers = [await origin.accept() for origin in (first, second)]
        for server in servers:
            await server.request()
        for _ in range(10):
            assert (await ask(proxy.port, get("/pair/x"))).status == 503
        for server in servers:
            await server.send(OK)
        assert [(await each).status for each in hanging] == [200, 200]


async def test_single_server_is_tried_although_it_is_down() -> None:
    """The default of balancing.last_chance: back as soon as the server is."""
    one = lane("one", attributes='RetryInterval="3600"')
    one.origin.refuse()
    async with running_proxy([one]) as proxy:
        assert (await ask(proxy.port, get("/one/x"))).status == 503
        one.origin.reopen()
        async with one.origin.serving(keep_answering):
            assert (await ask(proxy.port, get("/one/x"))).status == 200


async def test_single_server_waits_for_its_retry_interval_if_told_so() -> None:
    """balancing.last_chance = false."""
    one = lane("one", attributes='RetryInterval="3600"')
    one.origin.refuse()
    settings = "[balancing]\nlast_chance = false\n"
    async with running_proxy([one], settings=settings) as proxy:
        assert (await ask(proxy.port, get("/one/x"))).status == 503
        one.origin.reopen()
        assert (await ask(proxy.port, get("/one/x"))).status == 503
        assert not one.origin.has_waiting()


@WORKERS
async def test_one_request_probes_a_down_server(workers: int) -> None:
    """After RetryInterval one request goes there, all others elsewhere until it is answered; then the server is back."""
    pair = lane("pair", 2, attributes='RetryInterval="1"')
    first, second = (member.origin for member in pair.members)
    first.refuse()
    async with running_proxy([pair], workers=workers) as proxy, both(pair):
        assert (await ask(proxy.port, get("/pair/x", new_session()))).status == 200
        await proxy.line("Marking s0 down")
        first.reopen()
        accepting = asyncio.ensure_future(first.accept())
        asking: list[asyncio.Future[Answer]] = []
        while not accepting.done():  # until RetryInterval is over
            asking.append(asyncio.ensure_future(ask(proxy.port, get("/pair/x", new_session()))))
            await first_of(asking[-1], accepting)
        server = await accepting
        await server.request()
        served = len(second.requests)
        for _ in range(20):
            assert (await ask(proxy.port, get("/pair/x", new_session()))).status == 200
        assert len(second.requests) == served + 20
        assert not first.has_waiting()
        await server.send(OK)
        await asyncio.gather(*asking)
        server.close()
        async with first.serving(keep_answering):
            served = len(second.requests)
            for _ in range(5):
                assert (await ask(proxy.port, get("/pair/x", new_session()))).status == 200
            assert len(second.requests) == served


async def test_failed_probe_starts_the_interval_again() -> None:
    """The mark stays, and other requests go on at the other server."""
    pair = lane("pair", 2, attributes='RetryInterval="1"')
    pair.origin.refuse()
    async with running_proxy([pair]) as proxy, both(pair):
        until = asyncio.get_running_loop().time() + WAIT_S
        while sum("WARNING" in line and "s0 is still down" in line for line in proxy.lines) < 2:
            assert (await ask(proxy.port, get("/pair/x", new_session()))).status == 200
            assert asyncio.get_running_loop().time() < until
        assert sum("Marking s0 down" in line for line in proxy.lines) == 1


async def test_host_name_that_cannot_be_resolved_is_a_down_server() -> None:
    """Also a name that is none: the next server answers."""
    for host in ("no-such-host.invalid", "two..dots"):
        pair = lane("pair", 2)
        pair.members[0].host = host
        async with running_proxy([pair]) as proxy, both(pair):
            assert (await ask(proxy.port, get("/pair/x", COOKIE))).status == 200
            await proxy.line("Marking s0 down")


@WORKERS
@pytest.mark.parametrize("sign", ["", "-"], ids=["positive", "negative"])
async def test_server_io_timeout(workers: int, sign: str) -> None:
    """A server that is silent for so long: the next one; only a negative value marks it down."""
    pair = lane("pair", 2, server=f'ServerIOTimeout="{sign}{SILENT_S}"')
    async with running_proxy([pair], workers=workers) as proxy, both(pair, never_answer):
        for _ in range(2):
            answer = await ask(proxy.port, request("POST", "/pair/x", new_session(), body=b"data"))
            assert answer.status == 200
        assert len(pair.origin.requests) == (1 if sign else 2)
        if sign:
            await proxy.line("Marking s0 down")  # the log is written beside
        marks = [line for line in proxy.lines if "Marking s0 down" in line]
        assert len(marks) == (1 if sign else 0)
        assert all("ServerIOTimeout" in line for line in marks)


async def test_server_io_timeout_without_another_server_is_504() -> None:
    """And within an answer it is a cut."""
    one = lane("one", server=f'ServerIOTimeout="{SILENT_S}"')
    async with running_proxy([one]) as proxy:
        async with one.origin.serving(never_answer):
            assert (await ask(proxy.port, get("/one/x"))).status == 504
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/one/x"))
            server = await one.origin.accept()
            await server.request()
            await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
            await client.head()
            assert await client.exactly(4) == b"part"
            assert await client.is_cut()
        await proxy.line(
            "GET /one/x: cut off within the answer .*ServerIOTimeout, within its answer"
        )


async def test_dripping_server_never_times_out() -> None:
    """ServerIOTimeout is for each read: an answer may take longer as long as it moves."""
    one = lane("one", server=f'ServerIOTimeout="{SILENT_S}"')

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")
        for _ in range(15):
            await asyncio.sleep(SILENT_S / STEPS)  # the behaviour under test is about time
            await connection.send(b"x")

    async with running_proxy([one]) as proxy, one.origin.serving(script):
        assert (await ask(proxy.port, get("/one/x"))).body == b"x" * 15


async def test_slow_client_is_not_the_servers_fault() -> None:
    """ServerIOTimeout does not run while the server waits for the client's body: no mark, no 504."""
    one = lane("one", server=f'ServerIOTimeout="-{SILENT_S}"')
    async with running_proxy([one]) as proxy, one.origin.serving(keep_answering):
        async with await Client.connect(proxy.port) as client:
            await client.send(request("POST", "/one/x", "Content-Length: 8") + b"half")
            await asyncio.sleep(2 * SILENT_S + 0.5)  # longer than what is under test
            await client.send(b"rest")
            assert (await client.answer()).body == b"ok"
        assert one.origin.accepted == 1
        assert not [line for line in proxy.lines if "Marking" in line]


async def test_connect_timeout_moves_on() -> None:
    """A server whose listen queue is full never completes a connection: ConnectTimeout, then the next one."""
    pair = lane("pair", 2, server='ConnectTimeout="1"')
    pair.origin.refuse()
    full = Origin.full(pair.origin.port)
    try:
        async with running_proxy([pair]) as proxy, both(pair):
            assert (await ask(proxy.port, get("/pair/x", COOKIE))).status == 200
            await proxy.line("Marking s0 down.*no connection within 1 s")
    finally:
        full.close()


@pytest.mark.parametrize(
    ("kilobytes", "size", "status"),
    [(1, 0, 200), (1, 1024, 200), (1, 1025, 500), (0, 0, 200), (0, 1, 500), (-1, 5_000_000, 200)],
)
async def test_post_buffer_size_decides_about_a_second_try(
    kilobytes: int, size: int, status: int
) -> None:
    """What fits is sent again, to the next server; what does not is 500. 0 keeps no body, -1 any."""
    pair = lane("pair", 2, f'PostBufferSize="{kilobytes}"')
    async with running_proxy([pair]) as proxy, both(pair, hang_up):
        answer = await ask(proxy.port, request("POST", "/pair/x", COOKIE, body=bytes(size)))
        assert answer.status == status
        assert len(pair.origin.requests) == 1
        again = pair.members[1].origin.requests
        assert [message.endswith(b"\r\n\r\n" + bytes(size)) for message in again] == (
            [True] if status == 200 else []
        )


async def test_body_that_is_not_kept_still_survives_a_refused_connection() -> None:
    """PostBufferSize="0": nothing was sent yet, so the next server gets the whole body."""
    pair = lane("pair", 2, 'PostBufferSize="0"')
    pair.origin.refuse()
    async with running_proxy([pair]) as proxy, both(pair):
        body = bytes(300_000)
        answer = await ask(proxy.port, request("POST", "/pair/x", COOKIE, body=body))
        assert answer.status == 200
        assert pair.members[1].origin.requests[0].endswith(b"\r\n\r\n" + body)
