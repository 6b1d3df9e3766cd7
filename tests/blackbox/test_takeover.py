"""A session that had to leave its server: where its other requests go, over all workers, while it must be away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from tests.support.client import ask, get
from tests.support.origin import OriginConnection, Script, answering, fields
from tests.support.proxy import Lane, lane, running_proxy

WORKERS = pytest.mark.parametrize("workers", [1, 2])
SILENT_S = 1
SESSION = "0000aaaaaaaaaaaaaaaaaaaaaaa"
MOVED = "0001aaaaaaaaaaaaaaaaaaaaaaa"  # the same session: the cache id grows with each move
MANY = 12  # requests on connections of their own: with two workers both get some but once in two thousand runs


def naming(name: str) -> Script:
    """The script of a server that answers with its name."""
    return answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + name.encode())


class Hanging:
    """A server that answers nothing while ``hangs``, and its name otherwise."""

    def __init__(self) -> None:
        self.hangs = True

    async def script(self, connection: OriginConnection) -> None:
        while True:
            await connection.request()
            if not self.hangs:
                await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns0")


@contextlib.asynccontextmanager
async def serving(members: Lane, first: Script | None) -> AsyncIterator[None]:
    """The first server plays ``first`` (None: nothing), the others answer with their names."""
    async with contextlib.AsyncExitStack() as stack:
        if first is not None:
            await stack.enter_async_context(members.origin.serving(first))
        for member in members.members[1:]:
            await stack.enter_async_context(member.origin.serving(naming(member.name)))
        yield


async def server_of(port: int, path: str, cookie: str = "") -> str:
    """The name of the server that answered, on a connection of its own."""
    answer = await ask(port, get(path, *([f"Cookie: JSESSIONID={cookie}"] if cookie else [])))
    assert answer.status == 200
    return answer.body.decode()


@WORKERS
@pytest.mark.parametrize("in_path", [False, True], ids=["cookie", "path"])
async def test_dead_owner_is_paid_for_once(workers: int, in_path: bool) -> None:
    """Only the first request waits for it, whatever worker the others come to; all of them meet at one server."""
    trio = lane(
        "trio", 3, attributes='RetryInterval="3600"', server=f'ServerIOTimeout="-{SILENT_S}"'
    )

    async def server(value: str) -> str:
        if in_path:
            return await server_of(proxy.port, f"/trio/x;jsessionid={value}")
        return await server_of(proxy.port, "/trio/x", value)

    async with running_proxy([trio], workers=workers) as proxy, serving(trio, Hanging().script):
        new = await server(f"{SESSION}:c0")
        assert new in ("s1", "s2")
        assert len(trio.origin.requests) == 1
        others = [server(f"{SESSION}:c0") for _ in range(MANY)]
        assert set(await asyncio.gather(*others)) == {new}
        # An id that no server has, another cache id: still the same session.
        assert await server(f"{MOVED}:gone:c0") == new
        # Another server that it names beats the memory.
        other = "s1" if new == "s2" else "s2"
        assert await server(f"{MOVED}:c0:c{other[1]}") == other
        assert await server(f"{SESSION}:c0") == new
        assert len(trio.origin.requests) == 1


@WORKERS
async def test_owner_that_is_well_again_has_its_session_back_at_once(workers: int) -> None:
    """It was slow once, and is not marked down: the session's cookie names it, and nothing outranks that."""
    trio = lane("trio", 3, server=f'ServerIOTimeout="{SILENT_S}"')
    owner = Hanging()
    async with running_proxy([trio], workers=workers) as proxy, serving(trio, owner.script):
        assert await server_of(proxy.port, "/trio/x", f"{SESSION}:c0") in ("s1", "s2")
        owner.hangs = False
        others = [server_of(proxy.port, "/trio/x", f"{SESSION}:c0") for _ in range(MANY)]
        assert set(await asyncio.gather(*others)) == {"s0"}
        assert not [line for line in proxy.lines if "Marking" in line]


@WORKERS
async def test_503_moves_one_request_and_not_its_session(workers: int) -> None:
    """One URL of the application is busy: the next one is asked at the session's own server."""
    trio = lane("trio", 3)

    async def owner(connection: OriginConnection) -> None:
        while True:
            busy = b"/busy" in await connection.request()
            status = b"503 Busy" if busy else b"200 OK"
            await connection.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\ns0" % status)

    async with running_proxy([trio], workers=workers) as proxy, serving(trio, owner):
        for number in range(MANY):
            value = f"{SESSION}{number}:c0"
            assert await server_of(proxy.port, "/trio/busy", value) in ("s1", "s2")
            assert await server_of(proxy.port, f"/trio/x;jsessionid={value}") == "s0"


@WORKERS
async def test_requests_that_wait_for_the_same_owner_meet_again(workers: int) -> None:
    """All were sent before anybody knew that it hangs; all end at one new server."""
    trio = lane("trio", 3, server=f'ServerIOTimeout="{SILENT_S}"')
    async with running_proxy([trio], workers=workers) as proxy, serving(trio, Hanging().script):
        asking = [server_of(proxy.port, "/trio/x", f"{SESSION}:c0") for _ in range(MANY)]
        assert len(set(await asyncio.gather(*asking))) == 1
        assert len(trio.origin.requests) == MANY


@WORKERS
async def test_session_of_a_server_that_is_gone_stays_at_its_new_one(workers: int) -> None:
    """Refused, marked down: each session gets a server of its own choice once, and keeps it."""
    trio = lane("trio", 3, attributes='RetryInterval="3600"')
    trio.origin.refuse()
    async with running_proxy([trio], workers=workers) as proxy, serving(trio, None):
        first = {n: await server_of(proxy.port, "/trio/x", f"{SESSION}{n}:c0") for n in range(8)}
        assert set(first.values()) == {"s1", "s2"}
        for number, server in itertools.chain.from_iterable([first.items()] * 4):
            assert await server_of(proxy.port, "/trio/x", f"{SESSION}{number}:c0") == server


@WORKERS
async def test_session_without_a_known_owner_is_balanced(workers: int) -> None:
    """A clone id that no server has, a partition id, -1: nothing is remembered, and the next cookie counts as it is."""
    trio = lane("trio", 3)
    async with (
        running_proxy([trio], workers=workers) as proxy,
        serving(trio, naming("s0")),
    ):
        for clone in ("gone", "-G02E6", "3CH8NFEO3I", "-1"):
            value = f"{SESSION}{clone}:{clone}"
            names = [await server_of(proxy.port, "/trio/x", value) for _ in range(9)]
            assert sorted(names) == ["s0"] * 3 + ["s1"] * 3 + ["s2"] * 3
            for _ in range(3):
                assert await server_of(proxy.port, "/trio/x", f"{SESSION}{clone}:c2") == "s2"


@WORKERS
async def test_sessions_tracked_by_ssl_id_are_not_taken_for_one(workers: int) -> None:
    """Their values differ in nothing: each request is balanced."""
    trio = lane("trio", 3)
    line = "Cookie: SSLJSESSION=0001SESSIONMANAGEMENTAFFINI:gone"
    own = "Cookie: JSESSIONID=0001SESSIONMANAGEMENTAFFINI:gone"
    async with running_proxy([trio], workers=workers) as proxy, serving(trio, naming("s0")):
        for each in (line, own):
            names = [(await ask(proxy.port, get("/trio/x", each))).body for _ in range(9)]
            assert sorted(names) == [b"s0"] * 3 + [b"s1"] * 3 + [b"s2"] * 3


@WORKERS
async def test_memory_can_be_turned_off(workers: int) -> None:
    """takeover_s = 0: what a dead server leaves behind is balanced, request by request, as with the plug-in."""
    trio = lane("trio", 3, attributes='RetryInterval="3600"')
    trio.origin.refuse()
    settings = "[affinity]\ntakeover_s = 0\n"
    async with (
        running_proxy([trio], workers=workers, settings=settings) as proxy,
        serving(trio, None),
    ):
        names = [await server_of(proxy.port, "/trio/x", f"{SESSION}:c0") for _ in range(8)]
        assert sorted(names) == ["s1"] * 4 + ["s2"] * 4


async def test_failed_request_goes_to_its_next_clone_id() -> None:
    """Not to whoever regular balancing would take: the session lives there already."""
    trio = lane("trio", 3)

    async def hang_up(connection: OriginConnection) -> None:
        await connection.request()

    async with running_proxy([trio]) as proxy, serving(trio, hang_up):
        for number in range(6):
            assert await server_of(proxy.port, "/trio/x", f"{SESSION}{number}:c0:c2") == "s2"
        assert len(trio.origin.requests) == 6


@WORKERS
async def test_partition_table_is_kept_here_and_told_once(workers: int) -> None:
    """Not shown to clients, not answered with a version that nobody can read; one line for all workers and a new version."""
    one = lane("one")

    def table(version: bytes, text: bytes) -> bytes:
        return (
            b"HTTP/1.1 200 OK\r\n$WSPT: %b\r\nX-A: b\r\n_WS_HAPRT_WLMVERSION: %b\r\n"
            b"Content-Length: 2\r\n\r\nok" % (text, version)
        )

    replies = itertools.chain([table(b"7", b"x" * 500)] * MANY, itertools.repeat(table(b"8", b"y")))

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await connection.send(next(replies))

    async with running_proxy([one], workers=workers) as proxy, one.origin.serving(script):
        for _ in range(2 * MANY):
            answer = await ask(proxy.port, get("/one/x"))
            assert [name for name, _ in answer.fields] == [b"x-a", b"content-length", b"date"]
        for message in one.origin.requests:
            assert dict(fields(message))[b"_ws_haprt_wlmversion"] == b"-1"
        await proxy.line(r"INFO .*cluster one: partition table version '7', 500 bytes.*not known")
        await proxy.line(r"INFO .*cluster one: partition table version '8', 1 bytes.*not known")
        assert sum("partition table" in line for line in proxy.lines) == 2
