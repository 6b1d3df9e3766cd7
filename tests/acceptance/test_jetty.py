"""
wsproxy before two real Jettys, with settings as they are by default: Jetty's own sessions, and those of Spring Session.

Skipped where there is no Java, or where Maven cannot get them (12 MB the first time).
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.embedded import jetty_pair
from tests.support.java import NotHereError
from tests.support.pair import HOST, Pair
from tests.support.proxy import Proxy, proxy_process
from tests.support.visitor import Visitor, new_sessions, until_in_turn, visit_in_rounds

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Not of the fixtures: they have limits of their own, and the first run on a machine gets Jetty through Maven.
    pytest.mark.timeout(120, func_only=True),
]

SESSIONS = 8  # four for each server
ROUNDS = 6
# By the kind of file: with its worker name as CloneID a Jetty needs no more in its own cookie.
CLONE_IDS = {"route": {"j1": "j1", "j2": "j2"}, "other": {"j1": "c1", "j2": "c2"}}
JETTY = {"name": "JSESSIONID", "path": "/app/count"}
SPRING = {"name": "SESSION", "path": "/spring/count"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jettys(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two Jettys that run before each test and after it, and the database of their Spring Sessions."""
    try:
        async with jetty_pair(tmp_path_factory.mktemp("jetty")) as pair:
            yield pair
    except NotHereError as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(jettys: Pair, kind: str, tmp_path: Path) -> AsyncIterator[Proxy]:
    """Two workers without settings."""
    file = jettys.plugin_cfg(tmp_path / "plugin-cfg.xml", CLONE_IDS[kind])
    async with proxy_process(str(file), "--listen", "127.0.0.1:0", "--workers", "2") as running:
        yield running


def split_cookie(visitor: Visitor, kind: str, home: str) -> tuple[str, str]:
    """(the value as its server made it, the clone list behind it); the first owner is ``home``."""
    assert visitor.cookie is not None
    own, colon, clones = visitor.cookie.partition(":")
    if visitor.name == JETTY["name"]:
        assert own == f"{visitor.session}.{home}"
    else:
        assert own == base64.b64encode(visitor.session.encode()).decode()
    needs_none = visitor.name == JETTY["name"] and kind == "route"
    assert colon + clones == "" if needs_none else clones.split(":")[0] == CLONE_IDS[kind][home]
    return own, colon + clones


@pytest.mark.parametrize("app", [JETTY, SPRING], ids=["jetty", "spring"])
async def test_sessions_stay_at_their_server(proxy: Proxy, kind: str, app: dict[str, str]) -> None:
    """Every visit comes to the server that made the session, over both workers; it sees the cookie that it made."""
    visitors = await new_sessions(proxy.port, HOST, SESSIONS, **app)
    members = [visitor.member for visitor in visitors]
    assert sorted(members) == sorted(["j1", "j2"] * (SESSIONS // 2))
    assert len(await visit_in_rounds(proxy, visitors, ROUNDS)) == 2
    for visitor, member in zip(visitors, members, strict=True):
        own, _ = split_cookie(visitor, kind, member)
        assert {each.member for each in visitor.history} == {member}
        assert [each.count for each in visitor.history] == list(range(1, ROUNDS + 2))
        for each in visitor.history[1:]:
            assert each.set_cookie is None
            assert each.headers["cookie"] == [f"{app['name']}={own}"]


async def test_spring_sessions_outlive_their_server(proxy: Proxy, jettys: Pair, kind: str) -> None:  # fmt: skip
    """
    ``kill -9`` of a server: its sessions go on at the other one to the count, with the clone list of both, and back.

    In-memory sessions of Jetty begin anew there, as Jetty does not share them; those of the other server notice nothing.
    """
    spring = await new_sessions(proxy.port, HOST, SESSIONS, **SPRING)
    own = await new_sessions(proxy.port, HOST, SESSIONS, **JETTY)
    homes = [visitor.member for visitor in spring]
    dead = jettys.members["j1"]
    await dead.kill()
    try:
        for visitor, home in zip(spring, homes, strict=True):
            said = await visitor.call()
            assert (said.member, said.count) == ("j2", 2)
            value, clones = split_cookie(visitor, kind, home)
            assert said.headers["cookie"] == [f"SESSION={value}"]
            ids = CLONE_IDS[kind]
            assert clones == (f":{ids['j1']}:{ids['j2']}" if home == "j1" else f":{ids['j2']}")
        for visitor in own:
            home = visitor.member
            said = await visitor.call()
            assert (said.member, said.count) == ("j2", 1 if home == "j1" else 2)
    finally:
        await dead.start()
    await until_in_turn("j1", proxy.port, HOST)
    for visitor, home in zip(spring, homes, strict=True):
        said = await visitor.call()
        assert (said.member, said.count, said.set_cookie) == (home, 3, None)
    for visitor in own:
        said = await visitor.call()
        assert said.member == "j2" if re.search(r"\.j2", visitor.cookie or "") else "j1"


async def test_log_says_once_what_is_done(proxy: Proxy, kind: str) -> None:
    """One line for the cluster and kind of cookie."""
    await new_sessions(proxy.port, HOST, SESSIONS, **SPRING)
    await proxy.line(
        r"cluster jetty: server j[12] writes no clone ids into SESSION: wsproxy adds them"
    )
    await new_sessions(proxy.port, HOST, SESSIONS, **JETTY)
    if kind == "route":
        await proxy.line(
            r"cluster jetty: server j[12] ends its sessions in JSESSIONID with its CloneID"
        )
    assert sum("cluster jetty: server" in line for line in proxy.lines) == (
        2 if kind == "route" else 1
    )
