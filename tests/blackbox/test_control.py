"""Run-time control: words of an operator hold for all workers at once, are shown, and are taken back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from tests.support.client import Client, IncompleteError, ask, get
from tests.support.origin import OriginConnection, Script, answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, processes_of, running_proxy
from wsproxy.cli.main import main

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
UPLOAD = b"POST /farm/x HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=0000u:c1\r\nContent-Length: 9\r\n\r\nabc"
# So many new sessions meet each worker and each server that may have them, all but surely: 2^-23.
MANY = 24


@dataclass(slots=True)
class Bed:
    """Two workers before two clusters whose servers answer with their names."""

    proxy: Proxy
    farm: Lane
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    async def run(self, *words: str, code: int = 0) -> str:
        """What the command prints."""
        done = await asyncio.to_thread(
            CliRunner().invoke, main, [*words, "--socket", str(self.socket)]
        )
        assert done.exit_code == code, done.output
        return done.output

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.run(*words, "--json", code=code))

    async def server(self, name: str) -> dict[str, Any]:
        [found] = (await self.json("status", name))["servers"]
        return dict(found)

    async def served_by(self, count: int = MANY, cookie: str = "", name: str = "farm") -> set[str]:
        """Who answers so many requests, each on a connection of its own."""
        lines = [f"Cookie: JSESSIONID=0000{cookie}"] if cookie else []
        answers = [await ask(self.proxy.port, get(f"/{name}/x", *lines)) for _ in range(count)]
        assert {each.status for each in answers} == {200}
        return {each.body.decode() for each in answers}

    @asynccontextmanager
    async def clean(self) -> AsyncIterator[None]:
        """Whatever is said within is taken back."""
        try:
            yield
        finally:
            for words in (("resume",), ("up",)):
                await self.run(*words, "127.0.0.1")
            await self.run("set", "127.0.0.1", "weight=file", "max_connections=file")


@asynccontextmanager
async def made(
    folder: Path, farm: Lane, *others: Lane, workers: int = 2, settings: str = ""
) -> AsyncIterator[Bed]:
    text = f'[admin]\nsocket = "admin.sock"\n{settings}'
    lanes = [farm, *others]
    async with contextlib.AsyncExitStack() as stack:
        for each in lanes:
            for member in each.members:
                script = answering(OK + member.name.encode())
                await stack.enter_async_context(member.origin.serving(script))
        proxy = await stack.enter_async_context(
            running_proxy(lanes, workers=workers, settings=text, folder=folder)
        )
        yield Bed(proxy, farm, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed() -> AsyncIterator[Bed]:
    with tempfile.TemporaryDirectory() as folder:
        farm, shop = lane("farm", 2), lane("shop", 2)
        async with made(Path(folder), farm, shop) as found:
            yield found


async def test_drained_server_keeps_its_sessions_and_gets_no_others(bed: Bed) -> None:
    """Over all workers, also by one that was killed with SIGKILL meanwhile and is started again."""
    async with bed.clean():
        assert await bed.served_by() == {"s0", "s1"}
        await bed.run("drain", "farm/s0", "--reason", "new kernel")
        assert await bed.served_by() == {"s1"}
        assert await bed.served_by(cookie="session:c0") == {"s0"}
        killed = bed.proxy.workers()[0]
        bed.proxy.expected.append("was killed by")
        os.kill(killed, signal.SIGKILL)
        assert await bed.served_by() == {"s1"}
        await bed.proxy.line(rf"\(pid {killed}\) was killed by")
        while len(bed.proxy.workers()) < 2:
            await asyncio.sleep(0.01)
            assert await bed.served_by(1) == {"s1"}
        assert await bed.served_by() == {"s1"}
        assert await bed.served_by(4, cookie="session:c0") == {"s0"}
        found = await bed.server("farm/s0")
        assert (found["state"], found["hold"], found["why"]) == ("drained", "drain", "new kernel")
        assert found["by"].endswith(f"(uid {os.getuid()})")
        assert found["sessions"] == 1
        assert (await bed.server("shop/s0"))["state"] == "up"
        await bed.run("resume", "farm/s0")
        assert await bed.served_by() == {"s0", "s1"}


async def test_server_that_is_taken_down_gets_nothing(bed: Bed) -> None:
    async with bed.clean():
        await bed.run("down", "farm/s0")
        assert await bed.served_by() == {"s1"}
        assert await bed.served_by(4, cookie="other:c0") == {"s1"}
        assert (await bed.server("farm/s0"))["state"] == "down"
        await bed.run("up", "farm/s0")
        assert await bed.served_by(4, cookie="other:c0") == {"s0"}


async def test_host_means_all_its_servers_in_all_clusters(bed: Bed) -> None:
    async with bed.clean():
        answer = await bed.json("drain", "127.0.0.1")
        names = {
            (each["server"]["cluster"], each["server"]["server"]) for each in answer["results"]
        }
        assert names == {(cluster, name) for cluster in ("farm", "shop") for name in ("s0", "s1")}
        assert all(each["changed"] for each in answer["results"])
        refused = await ask(bed.proxy.port, get("/shop/x"))
        assert refused.status == 503
        again = await bed.json("drain", "127.0.0.1")
        assert not any(each["changed"] for each in again["results"])


async def test_name_that_several_servers_have_is_refused(bed: Bed) -> None:
    said = await bed.run("drain", "s0", code=1)
    assert "found s0, which several clusters have; allowed is one of farm/s0, shop/s0" in said
    assert "did you mean farm/s1?" in await bed.run("down", "farm/s11", code=1)
    assert "\\x1b" in await bed.run("why", "a\x1b[31m", code=1)


async def test_drain_ends_by_itself(bed: Bed) -> None:
    """No process has to be there for that."""
    async with bed.clean():
        said = await bed.run("drain", "farm/s0", "--for", "1s")
        assert "until 20" in said
        assert await bed.served_by(4) == {"s1"}
        admin = processes_of(bed.proxy.pid, "wsproxy-admin")[0]
        os.kill(admin, signal.SIGSTOP)
        try:
            while await bed.served_by(4) == {"s1"}:
                pass
        finally:
            os.kill(admin, signal.SIGCONT)
        kinds = [each["kind"] for each in (await bed.json("why", "farm/s0"))[0]["changes"]]
        assert kinds[-2:] == ["drain_on", "drain_off"]


async def test_wait_returns_when_nothing_is_left(bed: Bed) -> None:
    """Requests that run, and sessions that were there a moment ago."""
    release = asyncio.Event()

    async def hold(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await release.wait()
            await connection.send(OK + b"s0")

    shop = lane("late", 2)
    with tempfile.TemporaryDirectory() as folder:
        async with held(Path(folder), shop, hold) as (late, running):
            command = [
                sys.executable,
                "-P",
                "-m",
                "wsproxy",
                "drain",
                "late/s0",
                "--wait",
                "--idle",
                "1s",
            ]
            waiting = await asyncio.create_subprocess_exec(
                *command, "--socket", str(late.socket), stdout=asyncio.subprocess.PIPE
            )
            assert waiting.stdout is not None
            lines: list[str] = []
            while not lines or "in flight" not in lines[-1]:
                lines.append((await asyncio.wait_for(waiting.stdout.readline(), WAIT_S)).decode())
                assert lines[-1], lines
            assert "late/s0: 1 request in flight" in lines[-1]
            assert waiting.returncode is None
            release.set()
            assert (await running).body == b"s0"
            rest = (await asyncio.wait_for(waiting.stdout.read(), WAIT_S)).decode()
            assert await waiting.wait() == 0
            assert rest.splitlines()[-1] == "empty"
            assert (await late.server("late/s0"))["in_flight"] == 0


@asynccontextmanager
async def held(
    folder: Path, shop: Lane, script: Script
) -> AsyncIterator[tuple[Bed, asyncio.Task[Any]]]:
    """A proxy whose servers play ``script``, and a request of a session at the first."""
    first, second = shop.members
    text = '[admin]\nsocket = "admin.sock"\n'
    async with (
        first.origin.serving(script),
        second.origin.serving(script),
        running_proxy([shop], workers=2, settings=text, folder=folder) as proxy,
    ):
        path, cookie = (
            f"/{shop.name}/cart;jsessionid=secret?q=secret",
            "Cookie: JSESSIONID=0000abc:c0",
        )
        running = asyncio.ensure_future(ask(proxy.port, get(path, cookie)))
        bed = Bed(proxy, shop, folder)
        while not (await bed.server(f"{shop.name}/s0"))["in_flight"]:
            pass
        yield bed, running


async def test_request_is_listed_and_killed() -> None:
    """Its client sees the end of its connection, and so does its server; nothing of its session is shown."""
    ended = asyncio.Event()

    async def hang(connection: OriginConnection) -> None:
        try:
            await connection.head()
            await connection.end()
        finally:
            ended.set()

    with tempfile.TemporaryDirectory() as folder:
        async with held(Path(folder), lane("farm", 2), hang) as (bed, running):
            found = await bed.json("requests")
            [row] = found["requests"]
            assert (row["cluster"], row["server"], row["phase"]) == ("farm", "s0", "sent")
            assert (row["request"], row["client"]) == ("GET /farm/cart", "127.0.0.1")
            assert 0 <= row["age_s"] < WAIT_S
            assert (found["total"], found["silent"]) == (1, [])
            assert row["id"] in await bed.run("requests")
            answer = await bed.json("kill", row["id"])
            assert answer["id"] == row["id"]
            with pytest.raises((IncompleteError, ConnectionError)):
                await running
            await asyncio.wait_for(ended.wait(), WAIT_S)
            assert (await bed.json("requests"))["total"] == 0
            assert "found no request" in await bed.run("kill", row["id"], code=1)
            changes = (await bed.json("why", "s0"))[0]["changes"]
            assert changes[-1]["kind"] == "request_killed"
            assert row["id"] in changes[-1]["detail"]
            server = await bed.server("s0")
            assert (server["in_flight"], server["state"]) == (0, "up")
            async with await Client.connect(bed.proxy.port) as client:
                # A request whose body is not over yet runs, too.
                await client.send(UPLOAD)
                rows: list[Any] = []
                while not rows:
                    rows = (await bed.json("requests"))["requests"]
                await bed.run("kill", rows[0]["id"])
                with pytest.raises((IncompleteError, ConnectionError)):
                    await client.answer()


async def test_worker_that_is_stopped_is_named_and_words_hold_all_the_same(bed: Bed) -> None:
    """A word is no message: nobody has to hear it."""
    async with bed.clean():
        stopped = bed.proxy.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            await bed.run("drain", "farm/s0")
            assert (await bed.server("farm/s0"))["state"] == "drained"
            assert len((await bed.json("requests"))["silent"]) == 1
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert await bed.served_by() == {"s1"}


async def test_numbers_hold_at_once_and_are_taken_back(bed: Bed) -> None:
    async with bed.clean():
        said = await bed.run("set", "farm/s0", "weight=0", "max_connections=7")
        assert "weight 0 instead of 2, MaxConnections 7 instead of -1, set by" in said
        assert await bed.served_by() == {"s1"}
        assert await bed.served_by(4, cookie="session:c0") == {"s0"}
        found = await bed.server("farm/s0")
        assert (found["weight"], found["configured_weight"]) == (0, 2)
        assert (found["max_connections"], found["configured_max_connections"]) == (7, -1)
        await bed.run("set", "farm/s0", "weight=file")
        found = await bed.server("farm/s0")
        assert (found["weight"], found["max_connections"]) == (2, 7)
        assert "allowed is -1..1000000" in await bed.run(
            "set", "farm/s0", "max_connections=-2", code=1
        )
        assert "found wait=1" in await bed.run("set", "farm/s0", "wait=1", code=2)


async def test_admin_process_that_is_killed_takes_no_word_with_it(bed: Bed) -> None:
    async with bed.clean():
        await bed.run("drain", "farm/s0")
        admin = processes_of(bed.proxy.pid, "wsproxy-admin")[0]
        bed.proxy.expected.append("admin process .* was killed by")
        os.kill(admin, signal.SIGKILL)
        await bed.proxy.line(rf"admin process \(pid {admin}\) was killed by")
        assert await bed.served_by() == {"s1"}
        assert (await bed.server("farm/s0"))["state"] == "drained"


async def test_why_shows_the_evidence(bed: Bed) -> None:
    async with bed.clean():
        await bed.run("down", "shop/s1", "--reason", "slow disk")
        await bed.run("up", "shop/s1")
        said = await bed.run("why", "shop/s1")
        assert "down on: " in said
        assert "slow disk" in said
        assert "down off: " in said


async def test_top_shows_what_happens_between_two_looks(bed: Bed) -> None:
    await bed.served_by(4)
    text = await bed.run("top", "farm/s0", "--count", "2", "--every", "0.2", "--json")
    first, second = (json.loads(line)["servers"][0] for line in text.splitlines())
    assert first["requests_per_s"] == -1
    assert second["requests_per_s"] >= 0
    assert "farm/s0" in await bed.run("top", "--count", "1")


async def test_status_for_people_says_what_is_not_as_usual(bed: Bed) -> None:
    async with bed.clean():
        await bed.run("down", "farm/s0", "--reason", "new disk")
        said = await bed.run("status")
        assert f"pid {bed.proxy.pid}" in said
        assert "farm/s0: taken down since" in said
        assert "new disk" in said


async def test_commands_find_the_proxy_that_runs_here() -> None:
    """As ``explain --live`` does."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"RUNTIME_DIRECTORY": folder}
        async with running_proxy([lane("farm")], env=env) as proxy:
            runner = CliRunner(env=env)
            done = await asyncio.to_thread(runner.invoke, main, ["status", "--json"])
            assert json.loads(done.output)["pid"] == proxy.pid


async def test_drained_proxy_stays_drained() -> None:
    """Through an upgrade, a reload, and with a state file through restarts, until somebody ends it; who drained it and why is kept."""
    settings = 'state_file = "words.json"\n'
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with made(folder, lane("farm"), settings=settings) as bed:
            await bed.run("drain", "--all", "--reason", "new kernel")
            await bed.run("reload")
            assert (await bed.json("status"))["drained"]
        for _ in range(2):  # what a program wrote that was told by the file
            async with made(folder, lane("farm"), settings=settings) as bed:
                bed.proxy.expected.append("that holds on, it is not ready")
                await bed.proxy.line(
                    r"the proxy is drained, as .*: new kernel said: that holds on, it is not ready"
                )
                assert (await bed.json("status"))["drained"]
                assert "new kernel" in (folder / "words.json").read_text()
        async with made(folder, lane("farm"), settings=settings) as bed:
            await bed.run("resume", "--all")
        async with made(folder, lane("farm"), settings=settings) as bed:
            assert not (await bed.json("status"))["drained"]


async def test_nobody_answers_is_another_exit_code() -> None:
    done = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--socket", "/nowhere/x"])
    assert done.exit_code == 2
    assert "no proxy answers there" in done.output


async def test_words_outlive_reload_and_restart() -> None:
    """A state file holds them; of a number that plugin-cfg.xml says otherwise by then, that wins, and a line says so."""
    settings = 'state_file = "words.json"\n[log]\nplugin = "http_plugin.log"\n'
    farm = lane("farm", 2, server='LoadBalanceWeight="2" MaxConnections="50"')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        xml = folder / "plugin-cfg.xml"
        async with made(folder, farm, settings=settings) as bed:
            await bed.run("drain", "s0", "--for", "1h", "--reason", "new kernel")
            await bed.run("set", "s1", "weight=5", "max_connections=9")
            await bed.run("loglevel", "Trace")
            assert (await bed.json("loglevel"))["level"] == "Trace"
            edited = xml.read_text().replace('LoadBalanceWeight="2"', 'LoadBalanceWeight="4"')
            xml.write_text(edited)
            entry = await bed.json("reload")
            assert entry["result"] in ("in use", "unchanged"), entry
            await bed.proxy.line("farm/s1: weight 5 holds, as .* plugin-cfg.xml says 4 now")
            found = await bed.server("s1")
            assert (found["weight"], found["configured_weight"]) == (5, 4)
            # What is refused is shown until it is mended.
            bed.proxy.expected.append("refused")
            xml.write_text("<Config>")
            assert "refused" in await bed.run("reload", code=1)
            status = await bed.json("status")
            assert (status["is_refused"], status["reload"]["result"]) == (True, "refused")
            assert f"{xml}:1" in await bed.run("status")
            xml.write_text(edited.replace("</Config>", " </Config>"))
            await bed.run("reload")
            assert f"{xml}:1" in await bed.run("history")
            assert (await bed.server("s0"))["state"] == "drained"
            assert await bed.served_by() == {"s1"}
        again = lane("farm", 2, server='LoadBalanceWeight="4" MaxConnections="50"')
        async with made(folder, again, settings=settings) as bed:
            assert (await bed.server("s0"))["state"] == "drained"
            found = await bed.server("s1")
            assert (found["weight"], found["max_connections"]) == (4, 9)
            await bed.proxy.line(r"farm/s0 is drained by .*new kernel.*that holds on")
            await bed.proxy.line(r"farm/s1: plugin-cfg.xml wins: weight is 4 \(it was 2\), not 5")
            await bed.proxy.line(
                r"farm/s1: MaxConnections is 9, .*; plugin-cfg.xml says 50, as it did then"
            )
            assert await bed.served_by() == {"s1"}
