"""A worker's list of its requests: each stage, nothing of a session, and the end of one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.proxy.running import answer_board, end_tunnels
from wsproxy._fast.state.board import Board, Page
from wsproxy._fast.state.board import Stage as What

pytestmark = pytest.mark.asan

GET = b"GET /app/x;jsessionid=secret?secret HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=0000secret:a1\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage(backup=True, attributes={"clone_id": "a1"}, body_s=60)
    yield made
    made.end()


def asked(stage: Stage, board: Board, kill: int = 0) -> Page:
    number = board.ask(os.getpid() if kill else 0, kill)
    assert board.is_asked(0)
    answer_board(stage.engine, board)
    assert not board.is_asked(0)
    page = board.read_page(0, number)
    assert page is not None
    assert page.pid == os.getpid()
    assert page.total == len(page.running)
    return page


def test_request_is_told_in_each_of_its_stages(stage: Stage) -> None:
    board = Board(1)
    client = stage.client()
    assert asked(stage, board).running == []
    client.deliver(GET[:40])
    assert asked(stage, board).running == []  # nobody knows yet what it will be
    client.deliver(GET[40:])
    stages = [asked(stage, board).running[0].stage]
    upstream = stage.server()
    stages.append(asked(stage, board).running[0].stage)
    upstream.deliver(HEAD + b"ok")
    [row] = asked(stage, board).running
    stages.append(row.stage)
    assert stages == [What.CONNECTING, What.SENT, What.ANSWERED]
    assert (row.pid, row.number, row.cluster, row.server) == (os.getpid(), 1, "cluster", "s")
    assert row.asked == "GET /app/x"
    assert 0 <= row.age_ms < 60_000
    upstream.deliver(b"ok")
    client.drain()
    assert asked(stage, board).running == []


def test_oldest_is_first(stage: Stage) -> None:
    board = Board(1)
    for _ in range(3):
        stage.client().deliver(GET)
        stage.server()
    assert [row.number for row in asked(stage, board).running] == [1, 2, 3]


def test_killed_request_ends_on_both_sides_and_no_other_does(stage: Stage) -> None:
    board = Board(1)
    clients = [stage.client(), stage.client()]
    servers = []
    for client in clients:
        client.deliver(GET)
        servers.append(stage.server())
    page = asked(stage, board, kill=1)
    assert page.killed
    assert [row.number for row in page.running] == [2]
    assert (clients[0].is_closing_, clients[1].is_closing_) == (True, False)
    assert (servers[0].is_closing_, servers[1].is_closing_) == (True, False)
    assert stage.inflight == 1
    assert not asked(stage, board, kill=1).killed


def test_request_of_another_process_is_not_killed(stage: Stage) -> None:
    board = Board(1)
    stage.client().deliver(GET)
    stage.server()
    number = board.ask(os.getpid() + 1, 1)
    answer_board(stage.engine, board)
    page = board.read_page(0, number)
    assert page is not None
    assert (page.killed, page.total) == (False, 1)


def test_request_that_waits_for_its_connection_can_be_killed(stage: Stage) -> None:
    """The slow path finds nobody there when it comes back."""
    board = Board(1)
    client = stage.client()
    client.deliver(GET)
    assert asked(stage, board, kill=1).killed
    assert client.is_closing_
    assert stage.inflight == 0
    assert not stage.slow.waiting.pop().is_waiting


UPGRADE = b"GET /app/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_oldest_tunnels_end_and_no_request_does(stage: Stage) -> None:
    request = stage.client()
    request.deliver(GET)
    stage.server()
    clients = []
    for _ in range(3):
        client = stage.client()
        client.deliver(UPGRADE)
        stage.server().deliver(SWITCHED)
        clients.append(client)
    assert end_tunnels(stage.engine, 7) == 3
    assert end_tunnels(stage.engine, 2) == 2
    assert [ended(client) for client in clients] == [True, False, False]
    assert end_tunnels(stage.engine, 0) == 0
    assert [ended(client) for client in (*clients, request)] == [True, True, True, False]


def ended(client: FakeTransport) -> bool:
    return client.is_closing_ or client.wrote_eof


def test_connection_ends_behind_an_answer_that_says_so(stage: Stage) -> None:
    """One whose answer had begun goes on for one more request; an idle one is not closed."""
    idle, begun, waiting = stage.client(), stage.client(), stage.client()
    idle.deliver(GET)
    first = stage.server()
    first.deliver(HEAD + b"okok")
    begun.deliver(GET)  # over the warm connection
    first.deliver(HEAD + b"ok")
    waiting.deliver(GET)
    second = stage.server()
    assert stage.engine.retire() == 3
    second.deliver(HEAD + b"okok")
    assert b"connection: close" in waiting.taken().lower()
    assert ended(waiting)
    first.deliver(b"ok")
    assert not ended(begun)
    assert not ended(idle)
    begun.drain()
    begun.deliver(GET)
    first.deliver(HEAD + b"okok")  # still warm: others have no use for it, but this worker has
    assert b"connection: close" in begun.taken().lower()
    assert ended(begun)
    stage.engine.drain()
    assert ended(idle)
