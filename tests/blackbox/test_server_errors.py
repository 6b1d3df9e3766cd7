"""Servers that answer 5xx behind the real proxy, and the settings of ``[retry]``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from tests.support.client import Client, ask, get, request
from tests.support.origin import OK, OriginConnection, Script, answering, keep_answering
from tests.support.origin import field as field_of
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, lane, running_proxy

COOKIE = "Cookie: JSESSIONID=0000SECRET:c0"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
BUSY_CHUNKED = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n"
BUSY_EMPTY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Broken\r\nContent-Length: 6\r\n\r\nbroken"
_numbers = itertools.count()


def post() -> bytes:
    """Of a session of the first server that was never seen: one that had to leave stays away (test_takeover)."""
    cookie = f"Cookie: JSESSIONID=0000SECRET{next(_numbers)}:c0"
    return request("POST", "/pair/x", cookie, body=b"data")


@contextlib.asynccontextmanager
async def playing(pair: Lane, *scripts: Script) -> AsyncIterator[None]:
    """Each server of the lane plays its script."""
    async with contextlib.AsyncExitStack() as stack:
        for member, script in zip(pair.members, scripts, strict=True):
            await stack.enter_async_context(member.origin.serving(script))
        yield


def asked(pair: Lane) -> list[int]:
    """How many requests each server got."""
    return [len(member.origin.requests) for member in pair.members]


async def hang_up(connection: OriginConnection) -> None:
    await connection.request()


async def never_answer(connection: OriginConnection) -> None:
    await connection.request()
    await connection.end()


@pytest.mark.parametrize(
    "busy", [BUSY, BUSY_CHUNKED, BUSY_EMPTY], ids=["length", "chunked", "empty"]
)
async def test_busy_server_is_followed_by_the_next_and_not_marked(busy: bytes) -> None:
    """The client never sees the 503, and the connection that it came on, read to its end, is used again."""
    pair = lane("pair", 2)
    async with running_proxy([pair]) as proxy, playing(pair, answering(busy), keep_answering):
        for _ in range(3):
            assert (await ask(proxy.port, post())).body == b"ok"
        assert asked(pair) == [3, 3]
        assert pair.origin.accepted == 1
        assert all(field_of(each, b"$wsfo") == b"true" for each in pair.members[1].origin.requests)
        assert not [line for line in proxy.lines if "Marking" in line]


@pytest.mark.parametrize(
    "begun", [BUSY[:-1], BUSY_CHUNKED[:-2], b"HTTP/1.1 503 Busy\r\n\r\nbu"], ids=["length", "chunked", "close"]
)  # fmt: skip
async def test_busy_answer_that_is_not_whole_costs_its_connection(begun: bytes) -> None:
    """Nobody waits for the rest; the late bytes meet a closed connection."""
    pair = lane("pair", 2)

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(begun)
        await connection.end()

    async with running_proxy([pair]) as proxy, playing(pair, script, keep_answering):
        for _ in range(2):
            assert (await ask(proxy.port, post())).body == b"ok"
        assert pair.origin.accepted == 2


async def test_when_every_server_is_busy_the_last_one_has_the_word() -> None:
    """Its own page and fields; each server is asked once."""
    three = lane("pair", 3)
    async with (
        running_proxy([three]) as proxy,
        playing(three, *[answering(BUSY)] * 3),
        await Client.connect(proxy.port) as client,
    ):
        answer = await client.ask(post())
        assert (answer.status, answer.body, answer.get(b"retry-after")) == (503, b"busy", b"7")
        assert not answer.closes
        assert asked(three) == [1, 1, 1]
        await proxy.line(r"WARNING .*POST /pair/x: answered 503 by the server .*s0 .*; then s")


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [('PostBufferSize="0"', ""), ("", "strict_once = true"), ("", "on_503 = false")],
    ids=["not kept", "strict", "off"],
)
async def test_busy_answer_of_a_request_that_is_not_sent_again_goes_to_the_client(
    attributes: str, settings: str
) -> None:
    """As it came."""
    pair = lane("pair", 2, attributes)
    async with (
        running_proxy([pair], settings=f"[retry]\n{settings}\n") as proxy,
        playing(pair, answering(BUSY), keep_answering),
    ):
        answer = await ask(proxy.port, post())
        assert (answer.status, answer.body, answer.get(b"retry-after")) == (503, b"busy", b"7")
        assert asked(pair) == [1, 0]


async def test_busy_answer_to_a_probe_leaves_the_mark_and_lets_the_next_request_probe() -> None:
    """PM49491: a 503 during the probe left the server down for ever. It comes back with its first other answer."""
    pair = lane("pair", 2, 'RetryInterval="1"')
    first = pair.origin
    healthy = False

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await connection.send(OK if healthy else BUSY)

    first.refuse()
    async with running_proxy([pair]) as proxy, pair.members[1].origin.serving(keep_answering):
        assert (await ask(proxy.port, post())).status == 200
        first.reopen()
        async with first.serving(script):
            until = asyncio.get_running_loop().time() + WAIT_S
            while len(first.requests) < 3:  # each a probe of its own
                assert (await ask(proxy.port, post())).status == 200
                assert asyncio.get_running_loop().time() < until
            healthy = True
            assert (await ask(proxy.port, post())).status == 200
            served = asked(pair)
            for _ in range(4):
                assert (await ask(proxy.port, post())).status == 200
            assert asked(pair) == [served[0] + 4, served[1]]
        assert sum("Marking" in line for line in proxy.lines) == 1


async def test_busy_single_server_stays_marked_and_is_asked_all_the_same() -> None:
    """Its 503 is no proof that it serves, so nothing says that it is up; yet there is no other."""
    one = lane("pair", attributes='RetryInterval="3600"')
    async with running_proxy([one]) as proxy, playing(one, answering(BUSY)):
        for _ in range(2):
            assert (await ask(proxy.port, post())).body == b"busy"


@pytest.mark.parametrize("status", [500, 502, 504, 599])
async def test_other_server_errors_are_passed_on(status: int) -> None:
    """The default: one page with an error is no reason to ask another server."""
    pair = lane("pair", 2)
    page = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nno" % status
    async with running_proxy([pair]) as proxy, playing(pair, answering(page), keep_answering):
        assert (await ask(proxy.port, post())).status == status
        assert asked(pair) == [1, 0]


async def test_server_errors_can_mark_down() -> None:
    """retry.server_errors = "mark_down": like a failure of the server; the last one's answer is passed on."""
    pair = lane("pair", 2, 'RetryInterval="3600"')
    settings = '[retry]\nserver_errors = "mark_down"\n[balancing]\nlast_chance = false\n'
    second = [OK, BROKEN]

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await connection.send(second.pop(0))

    async with (
        running_proxy([pair], settings=settings) as proxy,
        playing(pair, answering(BROKEN), script),
    ):
        assert (await ask(proxy.port, post())).body == b"ok"
        await proxy.line("Marking s0 down.*answered 500")
        assert (await ask(proxy.port, post())).body == b"broken"
        await proxy.line("Marking s1 down.*answered 500")
        assert asked(pair) == [1, 2]
        answer = await ask(proxy.port, post())
        assert (answer.status, asked(pair)) == (503, [1, 2])


STRICT = "[retry]\nstrict_once = true\n"


async def test_strict_once_repeats_nothing_that_was_sent() -> None:
    """Neither a GET on a connection that was used before, nor on a new one."""
    pair = lane("pair", 2)
    async with (
        running_proxy([pair], settings=STRICT) as proxy,
        playing(pair, hang_up, keep_answering),
    ):
        for message in (get("/pair/x", COOKIE), post()):
            assert (await ask(proxy.port, message)).status == 502
        assert asked(pair) == [2, 0]
        await proxy.line(
            "WARNING .*GET /pair/x: answered 502 by wsproxy.*it may have run the request"
        )


async def test_strict_once_on_a_reused_connection() -> None:
    """The server may have run it and died on the way to its answer."""
    one = lane("one")
    async with (
        running_proxy([one], settings=STRICT) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/one/x"))
        server = await one.origin.accept()
        await server.answer()
        await client.answer()
        await client.send(get("/one/x"))
        await server.request()
        server.reset()
        assert (await client.answer()).status == 502
        assert not one.origin.has_waiting()


async def test_strict_once_after_a_time_out() -> None:
    pair = lane("pair", 2, server='ServerIOTimeout="1"')
    async with (
        running_proxy([pair], settings=STRICT) as proxy,
        playing(pair, never_answer, keep_answering),
    ):
        assert (await ask(proxy.port, post())).status == 504
        assert asked(pair) == [1, 0]


async def test_strict_once_goes_on_where_nothing_was_sent() -> None:
    """A refused connection, also for a body that is not kept."""
    pair = lane("pair", 2, 'PostBufferSize="0"')
    pair.origin.refuse()
    async with running_proxy([pair], settings=STRICT) as proxy:
        async with pair.members[1].origin.serving(keep_answering):
            assert (await ask(proxy.port, post())).status == 200
        await proxy.line(
            "INFO .*: served .*s0 .*could not connect.*received nothing.*then s1 .* answered 200"
        )


async def test_plugin_statuses() -> None:
    """retry.error_status = "plugin": 500 for all but MaxConnections."""
    settings = '[retry]\nerror_status = "plugin"\n'
    lost, late, odd, gone = (
        lane(name, server='ServerIOTimeout="1"') for name in ("lost", "late", "odd", "gone")
    )
    full = lane("full", server='MaxConnections="1"')
    gone.origin.refuse()
    lanes = [lost, late, odd, gone, full]
    async with (
        running_proxy(lanes, settings=settings) as proxy,
        lost.origin.serving(hang_up),
        late.origin.serving(never_answer),
        odd.origin.serving(answering(b"what?\r\n\r\n")),
    ):
        for each in (lost, late, odd, gone):
            assert (await ask(proxy.port, get(f"/{each.name}/x"))).status == 500
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/full/x"))
            server = await full.origin.accept()
            await server.request()
            assert (await ask(proxy.port, get("/full/x"))).status == 503
            await server.send(OK)
            assert (await client.answer()).status == 200


async def test_nothing_is_sent_again_once_the_answer_began() -> None:
    """The client is cut off; the log says all of it, and no session."""
    pair = lane("pair", 3)
    for member in pair.members:
        member.is_backup = member is not pair.members[0]

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
        connection.reset()

    async with (
        running_proxy([pair]) as proxy,
        playing(pair, hang_up, script, keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/pair/x;jsessionid=0000SECRET:c0?q=SECRET", COOKIE))
        assert (await client.head()).status == 200
        assert await client.exactly(4) == b"part"
        assert await client.is_cut()
        assert asked(pair) == [1, 1, 0]
        line = await proxy.line("WARNING .*GET /pair/x: cut off within the answer")
        assert "connection closed before the answer" in line.string
        assert "then s1" in line.string
        assert not [each for each in proxy.lines if "SECRET" in each]


async def test_client_that_goes_while_servers_fail_ends_the_ledger() -> None:
    """One line, and nothing is held for it."""
    pair = lane("pair", 2)
    pair.members[1].is_backup = True
    async with running_proxy([pair]) as proxy, pair.origin.serving(hang_up):
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/pair/x"))
            server = await pair.members[1].origin.accept()
            await server.request()
            client.reset()
            assert await server.end() == b""
        await proxy.line("WARNING .*GET /pair/x: ended without an answer .*s0")
