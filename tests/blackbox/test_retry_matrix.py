"""PLUGIN.md 5.4 as one table: each cell is a real request through the real proxy to a server that fails in one way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.support.client import Client, ask, get, request
from tests.support.origin import OK, OriginConnection, Script
from tests.support.origin import field as field_of
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

COOKIE = "Cookie: JSESSIONID=0000abc:c0"
KB = 1024


class Row(NamedTuple):
    """One row of the table."""

    timeout: int  # ServerIOTimeout
    kept: bool  # the body: none or within PostBufferSize
    failure: str  # what the session's server does, see ``failing``
    several: bool  # another server is there, and healthy


class Result(NamedTuple):
    """
    What comes of it.

    ``tries``: who got the request, in order; ``'`` on another connection of the same server, ``*`` with $WSFO.
    """

    tries: str
    status: int
    marked: bool


TABLE: dict[Row, Result] = {
    # ServerIOTimeout > 0: no mark
    Row(1, True, "reused", True): Result("s0 s0'", 200, False),
    Row(1, True, "reused", False): Result("s0 s0'", 200, False),
    Row(1, True, "fresh", True): Result("s0 s1*", 200, False),
    Row(1, True, "fresh", False): Result("s0", 502, False),
    Row(1, True, "second", True): Result("s0 s0' s1*", 200, False),
    Row(1, True, "second", False): Result("s0 s0'", 502, False),
    Row(1, True, "silent", True): Result("s0 s1*", 200, False),
    Row(1, True, "silent", False): Result("s0", 504, False),
    Row(1, False, "reused", True): Result("s0", 500, False),
    Row(1, False, "reused", False): Result("s0", 500, False),
    Row(1, False, "fresh", True): Result("s0", 500, False),
    Row(1, False, "fresh", False): Result("s0", 500, False),
    Row(1, False, "second", True): Result("s0", 500, False),
    Row(1, False, "second", False): Result("s0", 500, False),
    Row(1, False, "silent", True): Result("s0", 504, False),
    Row(1, False, "silent", False): Result("s0", 504, False),
    # ServerIOTimeout = 0: never silent for too long; a broken connection as with > 0
    Row(0, True, "reused", True): Result("s0 s0'", 200, False),
    Row(0, True, "reused", False): Result("s0 s0'", 200, False),
    Row(0, True, "fresh", True): Result("s0 s1*", 200, False),
    Row(0, True, "fresh", False): Result("s0", 502, False),
    Row(0, True, "second", True): Result("s0 s0' s1*", 200, False),
    Row(0, True, "second", False): Result("s0 s0'", 502, False),
    Row(0, False, "reused", True): Result("s0", 500, False),
    Row(0, False, "reused", False): Result("s0", 500, False),
    Row(0, False, "fresh", True): Result("s0", 500, False),
    Row(0, False, "fresh", False): Result("s0", 500, False),
    Row(0, False, "second", True): Result("s0", 500, False),
    Row(0, False, "second", False): Result("s0", 500, False),
    # ServerIOTimeout < 0: marked down, but not for a connection that was used before
    Row(-1, True, "reused", True): Result("s0 s0'", 200, False),
    Row(-1, True, "reused", False): Result("s0 s0'", 200, False),
    Row(-1, True, "fresh", True): Result("s0 s1*", 200, True),
    Row(-1, True, "fresh", False): Result("s0", 502, True),
    Row(-1, True, "second", True): Result("s0 s0' s1*", 200, True),
    Row(-1, True, "second", False): Result("s0 s0'", 502, True),
    Row(-1, True, "silent", True): Result("s0 s1*", 200, True),
    Row(-1, True, "silent", False): Result("s0", 504, True),
    Row(-1, False, "reused", True): Result("s0", 500, False),
    Row(-1, False, "reused", False): Result("s0", 500, False),
    Row(-1, False, "fresh", True): Result("s0", 500, True),
    Row(-1, False, "fresh", False): Result("s0", 500, True),
    Row(-1, False, "second", True): Result("s0", 500, False),
    Row(-1, False, "second", False): Result("s0", 500, False),
    Row(-1, False, "silent", True): Result("s0", 504, True),
    Row(-1, False, "silent", False): Result("s0", 504, True),
}

# kept -> (PostBufferSize in KB, bytes of the body; None: a GET)
BODIES: dict[bool, list[tuple[int, int | None]]] = {
    True: [(0, None), (1, KB)],
    False: [(0, 1), (1, KB + 1)],
}
CELLS = [(row, body) for row in TABLE for body in BODIES[row.kept]]

# ServerIOTimeoutRetry -> three servers, of which two are silent
LIMITS = {
    0: Result("s0", 504, False),
    1: Result("s0 s1*", 504, False),
    -1: Result("s0 s1* s2*", 200, False),
}


@dataclass
class Cell:
    """One cell at work."""

    lane: Lane
    failures: list[str]  # of each server, first to last
    body: int | None
    tries: list[str] = field(default_factory=list)
    status: int = 0

    @property
    def path(self) -> str:
        return f"/{self.lane.name}/x"

    def message(self) -> bytes:
        if self.body is None:
            return get(self.path, COOKIE)
        return request("POST", self.path, COOKIE, body=bytes(self.body))

    async def play(self, port: int) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for at, (member, failure) in enumerate(
                zip(self.lane.members, self.failures, strict=True)
            ):
                await stack.enter_async_context(member.origin.serving(self.server(at, failure)))
            client = await stack.enter_async_context(await Client.connect(port))
            if self.failures[0] in ("reused", "second"):  # which need a connection that was used
                warm = await client.ask(get(f"/{self.lane.name}/warm", COOKIE))
                assert warm.status == 200
            self.status = (await client.ask(self.message())).status

    def server(self, at: int, failure: str) -> Script:
        """``reused`` and ``second`` close their first (and second) connection on a request, ``fresh`` the first."""
        closing = {"reused": 1, "fresh": 1, "second": 2}.get(failure, 0)
        seen = 0

        async def script(connection: OriginConnection) -> None:
            nonlocal seen
            first_try = True
            while True:
                message = await connection.request()
                if b"/warm " in message:
                    await connection.send(OK)
                    continue
                assert first_try, "a request came twice on one connection"
                first_try = False
                again = "'" * sum(each.startswith(f"s{at}") for each in self.tries)
                failover = "*" if field_of(message, b"$wsfo") == b"true" else ""
                self.tries.append(f"s{at}{again}{failover}")
                if failure == "silent":
                    await connection.end()
                    return
                seen += 1
                if seen <= closing:
                    connection.reset()
                    return
                await connection.send(OK)

        return script


def make_cell(number: int, row: Row, body: tuple[int, int | None]) -> Cell:
    kilobytes, size = body
    made = lane(
        f"cell{number}",
        1 + row.several,
        f'PostBufferSize="{kilobytes}" RetryInterval="3600"',
        server=f'ServerIOTimeout="{row.timeout}"',
    )
    return Cell(made, [row.failure] + ["healthy"] * row.several, size)


def make_limit(most: int) -> Cell:
    made = lane(f"limit{most}", 3, f'ServerIOTimeoutRetry="{most}"', server='ServerIOTimeout="1"')
    for member in made.members[1:]:
        member.is_backup = True  # so that they come in order
    return Cell(made, ["silent", "silent", "healthy"], 4)


@dataclass
class Played:
    """All cells after their requests."""

    proxy: Proxy
    cells: list[Cell]
    limits: dict[int, Cell]

    def result(self, cell: Cell) -> Result:
        mark = f"Marking s0 down: cluster {cell.lane.name},"
        marked = any(mark in line for line in self.proxy.lines)
        return Result(" ".join(cell.tries), cell.status, marked)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played() -> AsyncIterator[Played]:
    """All at once: the cells that wait for a time-out would take a second each."""
    cells = [make_cell(number, *cell) for number, cell in enumerate(CELLS)]
    limits = {most: make_limit(most) for most in LIMITS}
    every = [*cells, *limits.values()]
    async with running_proxy([each.lane for each in every]) as proxy:
        await asyncio.gather(*(each.play(proxy.port) for each in every))
        await ask(proxy.port, get("/none"))
        await proxy.line("no route for /none")  # whatever was logged before is here now
        yield Played(proxy, cells, limits)


@pytest.mark.parametrize("number", range(len(CELLS)), ids=lambda number: str(CELLS[number]))
async def test_cell(played: Played, number: int) -> None:
    """Who gets the request, what the client gets, and whether the server is marked down."""
    assert played.result(played.cells[number]) == TABLE[CELLS[number][0]]


@pytest.mark.parametrize("most", LIMITS)
async def test_server_io_timeout_retry(played: Played, most: int) -> None:
    """It limits how often a slow request is sent again."""
    assert played.result(played.limits[most]) == LIMITS[most]


async def test_the_table_is_whole() -> None:
    """Every combination, except a time-out where there is none."""
    assert set(TABLE) == {
        Row(timeout, kept, failure, several)
        for timeout in (1, 0, -1)
        for kept in (True, False)
        for failure in ("reused", "fresh", "second", "silent")
        for several in (True, False)
        if timeout or failure != "silent"
    }
