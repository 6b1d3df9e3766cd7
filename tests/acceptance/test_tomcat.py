"""
wsproxy before two real Tomcats, with settings as they are by default: jvmRoute and CloneID are the same, or they are not.

Skipped where there is no Java, or no Tomcat 10 and no way to install it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.client import Client
from tests.support.java import NotHereError
from tests.support.pair import HOST, Pair
from tests.support.proxy import Proxy, proxy_process
from tests.support.tomcat import tomcat_pair
from tests.support.visitor import Visitor, new_sessions, seen, until_in_turn, visit_in_rounds

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Not of the fixtures: they have limits of their own, and the first run on a machine may install Tomcat.
    pytest.mark.timeout(120, func_only=True),
]

SESSIONS = 12  # six for each server
ROUNDS = 8
COOKIE = re.compile(r"([0-9A-F]{32})\.(t[12])(?::c(.))?")
# By the kind of file: with its jvmRoute as CloneID a server needs no more in its cookie.
CLONE_IDS = {"route": {"t1": "t1", "t2": "t2"}, "other": {"t1": "c1", "t2": "c2"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tomcats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two Tomcats that run before each test and after it."""
    try:
        async with tomcat_pair(tmp_path_factory.mktemp("tomcat")) as pair:
            yield pair
    except NotHereError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(tomcats: Pair, kind: str, tmp_path: Path) -> AsyncIterator[Proxy]:
    """Two workers without settings."""
    file = tomcats.plugin_cfg(tmp_path / "plugin-cfg.xml", CLONE_IDS[kind])
    async with proxy_process(str(file), "--listen", "127.0.0.1:0", "--workers", "2") as running:
        yield running


def check_cookie(visitor: Visitor, kind: str) -> None:
    """The cookie is Tomcat's own session id, which ends with its jvmRoute; behind it a CloneID that is another one, once."""
    assert visitor.cookie is not None
    found = COOKIE.fullmatch(visitor.cookie)
    assert found is not None, visitor.cookie
    assert found[2] == visitor.member
    assert found[3] == (None if kind == "route" else visitor.member[1:])
    assert visitor.session == f"{found[1]}.{found[2]}"


async def test_sessions_stay_at_their_server(proxy: Proxy, kind: str) -> None:
    """Every visit comes to the Tomcat that has the session, over both workers; Tomcat sees the cookie that it made."""
    visitors = await new_sessions(proxy.port, HOST, SESSIONS)
    members = [visitor.member for visitor in visitors]
    assert sorted(members) == sorted(["t1", "t2"] * (SESSIONS // 2))
    assert len(await visit_in_rounds(proxy, visitors, ROUNDS)) == 2
    for visitor, member in zip(visitors, members, strict=True):
        check_cookie(visitor, kind)
        assert {each.member for each in visitor.history} == {member}
        assert [each.count for each in visitor.history] == list(range(1, ROUNDS + 2))
        for each in visitor.history[1:]:
            assert each.set_cookie is None
            assert each.requested_session == visitor.session
            assert each.headers["cookie"] == [f"JSESSIONID={visitor.session}"]


async def test_session_in_the_path(proxy: Proxy) -> None:
    """;jsessionid= routes like the cookie, and Tomcat sees its own id there too; also a link that Tomcat itself would write."""
    for visitor in await new_sessions(proxy.port, HOST, 4):
        stranger = Visitor(proxy.port, HOST)
        said = await stranger.call(f"/app/count;jsessionid={visitor.cookie}")
        assert (said.member, said.count) == (visitor.member, 2)
        assert said.requested_session == visitor.session


async def test_other_cookies_are_left_alone(proxy: Proxy) -> None:
    """Only the affinity cookie is stripped: a colon in another cookie, before or after it, stays."""
    for visitor in await new_sessions(proxy.port, HOST, 2):
        message = visitor.request("/app/count").replace(
            f"JSESSIONID={visitor.cookie}".encode(),
            f"a=b:c; JSESSIONID={visitor.cookie}; cart=1:2".encode(),
        )
        async with await Client.connect(proxy.port) as client:
            said = seen(await client.ask(message))
        assert (said.member, said.count) == (visitor.member, 2)
        assert said.headers["cookie"] == [f"a=b:c; JSESSIONID={visitor.session}; cart=1:2"]


async def test_killed_server_and_its_return(tomcats: Pair, proxy: Proxy, kind: str) -> None:
    """
    ``kill -9`` of a Tomcat: its clients get a new session and cookie from the other, whose own clients notice nothing.

    When it runs again, cookies that it made lead to it again; what its memory held is lost, as Tomcat does not share it.
    """
    visitors = await new_sessions(proxy.port, HOST, SESSIONS)
    moving, away = split([each for each in visitors if each.member == "t1"])
    staying = [each for each in visitors if each.member == "t2"]
    dead = tomcats.members["t1"]
    await dead.kill()
    try:
        for visitor in moving:
            old = visitor.cookie
            said = await visitor.call()
            check_cookie(visitor, kind)
            assert (said.member, said.count) == ("t2", 1)
            assert visitor.cookie != old
        for visitor in staying:
            said = await visitor.call()
            assert (said.member, said.count, said.set_cookie) == ("t2", 2, None)
    finally:
        await dead.start()
    await until_in_turn("t1", proxy.port, HOST)
    for visitor in away:  # they did not call meanwhile and still have the old cookie
        said = await visitor.call()
        check_cookie(visitor, kind)
        assert (said.member, said.count) == ("t1", 1)
    for visitor in moving:  # their sessions are where they were made
        said = await visitor.call()
        assert (said.member, said.count) == ("t2", 2)
    for visitor in (*staying, *away):
        home, count = visitor.member, visitor.count
        said = await visitor.call()
        assert (said.member, said.count, said.set_cookie) == (home, count + 1, None)


async def test_application_that_is_dead_behind_an_open_port(tomcats: Pair, tmp_path: Path) -> None:
    """
    Container up, application dead: the port accepts and nothing answers. A probe finds out, and no client waits for it.

    When it lives again its own sessions are there, before a client's request has tried it.
    """
    file = tomcats.plugin_cfg(tmp_path / "plugin-cfg.xml", CLONE_IDS["route"])
    settings = tmp_path / "wsproxy.toml"
    settings.write_text(
        '[probe]\ntype = "http"\npath = "/app/who"\ninterval_s = 0.2\ntimeout_s = 1\nfall = 2\nrise = 2\n'
    )
    arguments = (
        str(file),
        "--settings",
        str(settings),
        "--listen",
        "127.0.0.1:0",
        "--workers",
        "2",
    )
    async with proxy_process(*arguments) as running:
        visitors = await new_sessions(running.port, HOST, SESSIONS)
        away = [each for each in visitors if each.member == "t1"]
        assert 0 < len(away) < SESSIONS
        moving, waiting = split(away)
        dead = tomcats.members["t1"]
        dead.pause()
        try:
            await running.line(
                "server t1 of cluster tomcat is out of service: .*no answer within 1 s"
            )
            for visitor in moving:
                assert (await visitor.call()).member == "t2"
            assert {each.member for each in await new_sessions(running.port, HOST, 4)} == {"t2"}
        finally:
            dead.go_on()
        await running.line("server t1 of cluster tomcat is in service again: .*status 200")
        for visitor in waiting:
            said = await visitor.call()
            assert (said.member, said.count) == ("t1", 2)


def split(visitors: list[Visitor]) -> tuple[list[Visitor], list[Visitor]]:
    """Two halves."""
    half = len(visitors) // 2
    return visitors[:half], visitors[half:]
