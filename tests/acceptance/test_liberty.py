"""
wsproxy before a real Open Liberty cluster: three servers with their sessions in a database, and the file that Liberty wrote.

Skipped where there is no Java, or where Maven cannot get Liberty (about 350 MB the first time).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.client import Answer, Client, chunks, request
from tests.support.java import NotHereError
from tests.support.liberty import LibertyCluster, Member, liberty_cluster
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy, proxy_process, write
from tests.support.visitor import Seen, Visitor, new_sessions, seen, until_in_turn, visit_in_rounds

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Not of the fixtures: they have limits of their own, and the first run on a machine gets Liberty through Maven.
    pytest.mark.timeout(180, func_only=True),
]

SESSIONS = 18  # six for each server
ROUNDS = 8
LOAD_VISITS = 10  # of each session before and after the crash


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liberty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LibertyCluster]:
    """Three servers that run before each test and after it."""
    try:
        async with liberty_cluster(tmp_path_factory.mktemp("liberty")) as cluster:
            yield cluster
    except NotHereError as error:
        pytest.skip(str(error))


@asynccontextmanager
async def proxy_for(plugin_cfg: Path) -> AsyncIterator[Proxy]:
    """Two workers with this file and no settings of wsproxy's own."""
    async with proxy_process(str(plugin_cfg), "--listen", "127.0.0.1:0", "--workers", "2") as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(liberty: LibertyCluster) -> AsyncIterator[Proxy]:
    """The proxy of the tests in which no server dies, with Liberty's file as it is."""
    async with proxy_for(liberty.plugin_cfg) as running:
        yield running


@asynccontextmanager
async def killed(member: Member) -> AsyncIterator[None]:
    """``kill -9`` of this server; it runs again afterwards."""
    await member.jvm.kill()
    try:
        yield
    finally:
        await member.jvm.start()


def clone_list(visitor: Visitor, session: str) -> str:
    """The clone ids of its cookie, which must be this session's behind a cache id of Liberty."""
    assert visitor.cookie is not None
    found = re.fullmatch(r"[0-9]{4}(.{23})((?::clone[123])+)", visitor.cookie)
    assert found is not None, visitor.cookie
    assert found[1] == session
    return found[2]


async def test_generated_file_is_accepted(liberty: LibertyCluster) -> None:
    """``wsproxy check`` has no error for what Liberty's own tools generated and merged."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "wsproxy", "check", liberty.plugin_cfg),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0, said.decode()


async def test_sessions_stay_at_their_server(liberty: LibertyCluster, proxy: Proxy) -> None:
    """Every visit of a session comes to the server that made it, whichever worker the connection is at."""
    visitors = await new_sessions(proxy.port, liberty.host, SESSIONS)
    members = [visitor.member for visitor in visitors]
    assert sorted(members) == sorted(["s1", "s2", "s3"] * (SESSIONS // 3))
    sessions = [visitor.session for visitor in visitors]
    assert len(await visit_in_rounds(proxy, visitors, ROUNDS)) == 2
    for visitor, member, session in zip(visitors, members, sessions, strict=True):
        assert {each.member for each in visitor.history} == {member}
        assert [each.count for each in visitor.history] == list(range(1, ROUNDS + 2))
        assert clone_list(visitor, session) == f":clone{member[1:]}"
        assert {each.set_cookie for each in visitor.history[1:]} == {None}


async def test_application_sees_the_client(liberty: LibertyCluster, proxy: Proxy) -> None:
    """Liberty takes the private headers of a trusted sender for what the connection says: address, name, port, scheme."""
    said = await Visitor(proxy.port, liberty.host).call("/app/who", source="127.0.0.5")
    name, port = liberty.host.split(":")
    assert said.remote_address == "127.0.0.5"
    assert (said.server_name, said.server_port) == (name, int(port))
    assert (said.scheme, said.is_secure) == ("http", False)


async def test_private_headers_of_a_client_are_not_believed(
    liberty: LibertyCluster, proxy: Proxy
) -> None:
    """What a client says about itself never comes to the application."""
    lies = (
        *("$WSRA: 6.6.6.6", "$WSRH: 6.6.6.6", "$WSSC: https", "$WSIS: true"),
        *("$WSSN: evil.example", "$WSSP: 666", "$WSRU: root", "$wsat: BASIC"),
    )
    visitor = Visitor(proxy.port, liberty.host)
    async with await Client.connect(proxy.port, source="127.0.0.5") as client:
        said = seen(await client.ask(visitor.request("/app/who", *lies)))
    assert said.remote_address == "127.0.0.5"
    assert (said.scheme, said.is_secure) == ("http", False)
    assert f"{said.server_name}:{said.server_port}" == liberty.host
    assert "$wsru" not in said.headers
    assert "$wsat" not in said.headers
    assert "6.6.6.6" not in json.dumps(said.headers)


async def test_folder_of_each_servers_own_file_is_followed(
    liberty: LibertyCluster, tmp_path: Path
) -> None:
    """Nobody merges anything: what each server wrote by itself is served as one, while one comes and one goes."""
    parts = tmp_path / "parts"
    parts.mkdir()

    def put(name: str) -> None:
        write(parts / f"{name}.xml", liberty.member(name).plugin_cfg.read_text())

    async def serving(port: int) -> set[str]:
        return {each.member for each in await new_sessions(port, liberty.host, SESSIONS)}

    put("s1")
    put("s2")
    async with proxy_for(parts) as proxy:
        assert await serving(proxy.port) == {"s1", "s2"}
        of_s2 = Visitor(proxy.port, liberty.host)
        while not of_s2.history or of_s2.member != "s2":
            of_s2 = Visitor(proxy.port, liberty.host)
            await of_s2.call()
        put("s3")
        await proxy.line("generation 2 of the configuration is in use")
        assert await serving(proxy.port) == {"s1", "s2", "s3"}
        (parts / "s1.xml").unlink()
        await proxy.line("generation 3 of the configuration is in use")
        assert await serving(proxy.port) == {"s2", "s3"}
        await of_s2.call()
        assert (of_s2.member, of_s2.count) == ("s2", 2), "a session of a server that stayed"


UNBELIEVABLE = (
    "",
    ":",
    "::::",
    ":clone1",
    "0001:clone1",
    "0001" + 23 * "A" + ":clone7:clone8",
    "0001" + 23 * "A" + ":clone1" * 300,
    "0001" + 23 * "A" + ":clone1:" + 4000 * "c",
    4000 * ":",
    "!0001" + 23 * "A" + "!clone1",
    '"0001' + 23 * "A" + ':clone2"',
    "%00%0d%0a:clone3",
    "\x80\xff:clone3",
    "../../etc/passwd:clone1",
)


@pytest.mark.parametrize("value", UNBELIEVABLE, ids=range(len(UNBELIEVABLE)))
async def test_unbelievable_cookie_does_no_harm(
    liberty: LibertyCluster, proxy: Proxy, value: str
) -> None:
    """It begins a new session like no cookie, and a good cookie on the same connection still finds its own."""
    good = Visitor(proxy.port, liberty.host)
    line = f"Cookie: JSESSIONID={value}"
    async with await Client.connect(proxy.port) as client:
        await good.visit(client)
        bad = good.request("/app/count").replace(f"JSESSIONID={good.cookie}".encode(), b"@@")
        bad = bad.replace(b"Cookie: @@", line.encode("latin-1"))
        fresh = seen(await client.ask(bad))
        assert fresh.count == 1
        assert fresh.session != good.session
        first = good.member
        await good.visit(client)
        assert (good.member, good.count) == (first, 2)


async def test_second_cookie_of_the_name_may_route(liberty: LibertyCluster, proxy: Proxy) -> None:
    """A stranger's cookie of the same name before the good one: its clone id is unknown, the good one's is taken."""
    visitors = await new_sessions(proxy.port, liberty.host, 3)
    for visitor in visitors:
        async with await Client.connect(proxy.port) as client:
            message = visitor.request("/app/who").replace(
                b"Cookie: ", b"Cookie: JSESSIONID=0001zzzz:clone9; "
            )
            assert seen(await client.ask(message)).member == visitor.member


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_upload_that_waits_for_100_continue(
    liberty: LibertyCluster, proxy: Proxy, framing: str
) -> None:
    """Liberty's 100 (Continue) carries Content-Length: 0; the final answer and the next request are whole all the same."""
    body = bytes(range(256)) * 400
    if framing == "length":
        message = request("POST", "/app/echo", "Expect: 100-continue", body=body)
        head, payload = message[: -len(body)], body
    else:
        head = request("POST", "/app/echo", "Expect: 100-continue", "Transfer-Encoding: chunked")
        payload = chunks(*(body[at : at + 10_000] for at in range(0, len(body), 10_000)))
    head = head.replace(b"shop.example:9080", liberty.host.encode())
    async with await Client.connect(proxy.port) as client:
        await client.send(head)
        assert (await client.head()).status == 100
        await client.send(payload)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, body)
        assert (await Visitor(proxy.port, liberty.host).visit(client)).count == 1


@dataclass(slots=True)
class Load:
    """Sessions that all count at the same time, each on a connection of its own, until it is told to stop."""

    visitors: list[Visitor]
    stopping: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def _go_on(self, visitor: Visitor) -> None:
        try:
            async with await Client.connect(visitor.port) as client:
                while not self.stopping:
                    await visitor.visit(client)
                    self.news.set()
        finally:
            self.stopping = True  # wait_for can swallow the cancellation that follows a failure

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fails as soon as one request is not answered with 200."""
        async with asyncio.timeout(4 * WAIT_S), asyncio.TaskGroup() as group:
            for visitor in self.visitors:
                group.create_task(self._go_on(visitor))
            try:
                yield
            finally:
                self.stopping = True

    async def more_visits(self, count: int) -> None:
        """Returns when each session was answered so many times more."""
        wanted = [len(visitor.history) + count for visitor in self.visitors]
        while any(
            len(visitor.history) < enough
            for visitor, enough in zip(self.visitors, wanted, strict=True)
        ):
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), WAIT_S)


async def ask_held(visitor: Visitor, name: str, until: Path) -> Answer:
    async with await Client.connect(visitor.port) as client:
        return await client.ask(visitor.request(f"/app/held?name={name}&until={until}"))


async def requests_within(member: Member, victims: list[Visitor], until: Path) -> list[Answer]:
    """Kills the server when it has a request of each of these sessions in the application; the answers to those."""
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(ask_held(visitor, f"visitor-{number}.", until))
            for number, visitor in enumerate(victims)
        ]
        try:
            for number in range(len(victims)):
                await member.jvm.line(f"held visitor-{number}\\.")
            await member.jvm.kill()
        finally:
            write(until, "")
    return [each.result() for each in asked]


def check_counts(history: list[Seen], dead: str) -> None:
    """
    Every visit counted one further: the session was never lost, and never twice.

    One may count two further: the server that died may have written the session and not the answer, and was asked instead.
    """
    twice = 0
    for before, after in pairwise(history):
        lost_answer = before.member == dead != after.member and after.count == before.count + 2
        assert after.count == before.count + 1 or lost_answer, (before, after)
        twice += lost_answer
    assert twice < 2


async def test_kill_under_load_loses_no_session_and_no_request(
    liberty: LibertyCluster, tmp_path: Path
) -> None:
    """
    ``kill -9`` of a server with requests in it: all GETs are answered with 200 and all sessions go on where another is.

    The cookie afterwards has the clone ids as Liberty writes them: the first owner, then the server that took over, each
    once. Sessions of the others do not move. Liberty's file as it is.
    """
    async with proxy_for(liberty.plugin_cfg) as proxy:
        visitors = await new_sessions(proxy.port, liberty.host, SESSIONS)
        homes = [visitor.member for visitor in visitors]
        sessions = [visitor.session for visitor in visitors]
        victim = liberty.member("s1")
        moving = [visitor for visitor in visitors if visitor.member == victim.name]
        load = Load(visitors)
        try:
            async with load.running():
                await load.more_visits(LOAD_VISITS)
                held = await requests_within(victim, moving, tmp_path / "go")
                await load.more_visits(LOAD_VISITS)
        finally:
            if not victim.jvm.is_running:
                await victim.jvm.start()
        assert {seen(answer).member for answer in held} <= {"s2", "s3"}
        for visitor, home, session in zip(visitors, homes, sessions, strict=True):
            check_counts(visitor.history, victim.name)
            assert {each.session for each in visitor.history} == {session}
            clones = clone_list(visitor, session)
            if home == victim.name:
                assert visitor.member in {"s2", "s3"}
                assert clones == f":clone1:clone{visitor.member[1:]}"
            else:
                assert {each.member for each in visitor.history} == {home}
                assert clones == f":clone{home[1:]}"


async def test_return_of_a_server_takes_its_sessions_back(
    liberty: LibertyCluster, tmp_path: Path
) -> None:
    """
    Sessions of a killed server go on elsewhere, to the count, and back at their owner as soon as it runs again.

    With RetryInterval="1" in a copy of the file: Liberty always writes 60, which is longer than a test should wait.
    """
    text = liberty.plugin_cfg.read_text()
    assert text.count('RetryInterval="60"') == 1
    plugin_cfg = tmp_path / "plugin-cfg.xml"
    plugin_cfg.write_text(text.replace('RetryInterval="60"', 'RetryInterval="1"'))
    async with proxy_for(plugin_cfg) as proxy:
        visitors = await new_sessions(proxy.port, liberty.host, SESSIONS)
        homes = [visitor.member for visitor in visitors]
        sessions = [visitor.session for visitor in visitors]
        async with killed(liberty.member("s2")):
            for visitor in visitors:
                await visitor.call()
        hosts = [visitor.member for visitor in visitors]
        await until_in_turn("s2", proxy.port, liberty.host)
        for visitor in visitors:
            await visitor.call()
        for visitor, home, host, session in zip(visitors, homes, hosts, sessions, strict=True):
            assert [each.count for each in visitor.history] == [1, 2, 3]
            assert visitor.member == home
            if home == "s2":
                assert host in {"s1", "s3"}
                assert clone_list(visitor, session) == f":clone2:clone{host[1:]}"
            else:
                assert host == home
                assert clone_list(visitor, session) == f":clone{home[1:]}"
