"""Two proxies as one group, on a real etcd: what one learns both know; the store away, processes that die, stop or leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from tests.support.client import ask, get
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.origin import answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, process_of, running_proxy
from tests.support.upgrading import upgrading
from wsproxy.cli.main import main

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_etcd]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
MANY = 12


@dataclass(slots=True)
class One:
    """A proxy of the group."""

    name: str
    proxy: Proxy
    folder: Path

    async def run(self, *words: str) -> str:
        socket = str(self.folder / "admin.sock")
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--socket", socket])
        assert done.exit_code == 0, done.output
        return done.output

    async def server(self, name: str) -> dict[str, Any]:
        [found] = json.loads(await self.run("status", name, "--json"))["servers"]
        return dict(found)

    async def served_by(self, count: int = MANY, cluster: str = "farm") -> set[str]:
        answers = [await ask(self.proxy.port, get(f"/{cluster}/x")) for _ in range(count)]
        assert {each.status for each in answers} == {200}
        return {each.body.decode() for each in answers}

    async def until(self, server: str, **fields: object) -> dict[str, Any]:
        """The server is like this here."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self.server(server)
                if all(found[name] == value for name, value in fields.items()):
                    return found
                await asyncio.sleep(0.02)

    @property
    def ha(self) -> int:
        """The process that is the member."""
        pid = process_of(self.proxy.pid, "wsproxy-ha")
        return pid


@dataclass(slots=True)
class Pair:
    etcd: EtcdProcess
    a: One
    b: One


# The servers' script waits for no connection that is idle.
POOL = "[upstream]\npool_size = 0\n"


def settings_of(name: str, url: str, *, missed: int = 6) -> str:
    return (
        f'[admin]\nsocket = "admin.sock"\n[ha]\nstore = "etcd"\nendpoints = ["{url}"]\nname = "{name}"\n'
        f"period_s = 0.5\nmissed = {missed}\n{POOL}"
    )


@asynccontextmanager
async def one(
    name: str, lanes: Sequence[Lane], settings: str, *, expected: tuple[str, ...] = ()
) -> AsyncIterator[One]:
    with tempfile.TemporaryDirectory() as folder:
        env = {"TMPDIR": folder}
        async with running_proxy(lanes, settings=settings, folder=Path(folder), env=env) as proxy:
            proxy.expected += expected
            yield One(name, proxy, Path(folder))


AWAY = ("etcd does not answer", "no heartbeat of member", "is out of core group")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    lanes = [lane(name, 2, 'RetryInterval="3600"') for name in ("farm", "weak")]
    async with contextlib.AsyncExitStack() as stack:
        (etcd,) = stack.enter_context(running_etcd())
        sick, *well = [member for each in lanes[::-1] for member in each.members]
        sick.origin.refuse()
        for member in well:
            script = answering(OK + member.name.encode())
            await stack.enter_async_context(member.origin.serving(script))
        a, b = [
            await stack.enter_async_context(
                one(name, lanes, settings_of(name, etcd.url), expected=AWAY)
            )
            for name in "ab"
        ]
        await asyncio.gather(*(each.proxy.line(r"view size is 2 \(\w, \w\)") for each in (a, b)))
        yield Pair(etcd, a, b)


async def test_both_log_the_same_view(pair: Pair) -> None:
    """By number, order and size, as HAManager's operators know it; one of them coordinates."""
    seen = [
        (await each.proxy.line(r"at Member \w: (New view installed, identifier .*size is 2 .*)"))[1]
        for each in (pair.a, pair.b)
    ]
    assert seen[0] == seen[1]
    coordinators = [
        each.name
        for each in (pair.a, pair.b)
        if any("is the active coordinator" in line for line in each.proxy.lines)
    ]
    assert coordinators == [seen[0].rpartition("(")[2].partition(",")[0]]


async def test_a_drain_on_one_drains_on_all(pair: Pair) -> None:
    """And a resume of the other one resumes."""
    await pair.a.run("drain", "farm/s0", "--reason", "new kernel")
    found = await pair.b.until("farm/s0", state="drained", why="new kernel")
    assert found["by"].endswith(f"(uid {os.getuid()})")
    assert await pair.b.served_by() == {"s1"}
    await pair.b.run("resume", "farm/s0")
    await pair.a.until("farm/s0", state="up")
    assert await pair.a.served_by() == {"s0", "s1"}


async def test_numbers_of_one_are_everybodys(pair: Pair) -> None:
    """A weight of 0 here gets no turn there."""
    await pair.a.run("set", "farm/s1", "weight=0")
    await pair.b.until("farm/s1", weight=0)
    await pair.a.run("set", "farm/s1", "weight=file")
    await pair.b.until("farm/s1", weight=2)


async def test_a_mark_of_one_is_everybodys(pair: Pair) -> None:
    """The other proxy does not try the server at all, says who saw it, and hears when it is up again."""
    assert await pair.a.served_by(cluster="weak") == {"s1"}
    await pair.a.until("weak/s0", state="down")
    found = await pair.b.until("weak/s0", state="down")
    assert found["by"] == "another proxy"
    assert found["why"].startswith("a: ")
    assert await pair.b.served_by(cluster="weak") == {"s1"}
    assert (await pair.b.server("weak/s0"))["requests"] == 0
    await pair.b.run("up", "weak/s0")
    await pair.a.until("weak/s0", state="up")


async def test_without_etcd_requests_go_on(pair: Pair) -> None:
    """Both say so, serve as before, and agree when it is back: what was said meanwhile on one holds on the other."""
    starts = [len(each.proxy.lines) for each in (pair.a, pair.b)]
    pair.etcd.signal(signal.SIGSTOP)
    for each, start in zip((pair.a, pair.b), starts, strict=True):
        await each.proxy.line("ha: etcd does not answer", start)
        assert await each.served_by() == {"s0", "s1"}
    await pair.a.run("drain", "farm/s0", "--reason", "alone")
    assert await pair.a.served_by() == {"s1"}
    assert await pair.b.served_by() == {"s0", "s1"}
    pair.etcd.signal(signal.SIGCONT)
    await pair.b.until("farm/s0", state="drained", why="alone")
    for each, start in zip((pair.a, pair.b), starts, strict=True):
        await each.proxy.line("ha: etcd answers again", start)
    await pair.b.run("resume", "farm/s0")
    await pair.a.until("farm/s0", state="up")


async def test_a_member_process_that_is_killed(pair: Pair) -> None:
    """The supervisor starts another, which joins at once: nobody waits for the lease of the one before. Requests notice nothing."""
    start_a, start_b = len(pair.a.proxy.lines), len(pair.b.proxy.lines)
    pair.a.proxy.expected.append("ha process .* was killed")
    os.kill(pair.a.ha, signal.SIGKILL)
    assert await pair.a.served_by() == {"s0", "s1"}
    await pair.a.proxy.line(r"view size is 2", start_a)
    await pair.b.proxy.line("member a .* has joined", start_b)
    await pair.a.run("drain", "farm/s0")
    await pair.b.until("farm/s0", state="drained")
    await pair.b.run("resume", "farm/s0")
    await pair.a.until("farm/s0", state="up")


async def test_a_member_process_that_hangs(pair: Pair) -> None:
    """It is out when its lease ends; when it goes on it is told so, and joins anew."""
    start_a, start_b = len(pair.a.proxy.lines), len(pair.b.proxy.lines)
    pid = pair.a.ha
    os.kill(pid, signal.SIGSTOP)
    await pair.b.proxy.line("member a .* has left", start_b)
    assert await pair.a.served_by() == {"s0", "s1"}
    os.kill(pid, signal.SIGCONT)
    await pair.a.proxy.line("member a is out of core group", start_a)
    await pair.b.proxy.line("member a .* has joined", start_b)
    await pair.a.proxy.line(r"view size is 2", start_a)


async def test_different_configurations_are_told(pair: Pair) -> None:
    """Once, with who has which; and when they are the same again."""
    start = len(pair.b.proxy.lines)
    file = pair.a.folder / "plugin-cfg.xml"
    text = file.read_text()
    file.write_text(text.replace('RetryInterval="3600"', 'RetryInterval="3601"'))
    await pair.a.run("reload")
    await pair.b.proxy.line("members serve by different configurations: (a|b): ", start)
    file.write_text(text)
    await pair.a.run("reload")
    await pair.b.proxy.line("all members serve by the same configuration again", start)


async def test_one_machine_for_trying() -> None:
    """`store = "embedded"` starts one etcd, starts it again, and leaves nothing behind."""
    text = (
        '[admin]\nsocket = "admin.sock"\n[ha]\nstore = "embedded"\nname = "solo"\nmissed = 4\nperiod_s = 0.5\n'
        + POOL
    )
    farm = lane("farm")
    async with (
        farm.origin.serving(answering(OK + b"s0")),
        one("solo", [farm], text, expected=(*AWAY, "ha: etcd ended")) as solo,
    ):
        first = await solo.proxy.line(r"ha: etcd \(pid (\d+)\) serves at https://127")
        await solo.proxy.line(r"view size is 1 \(solo\)")
        start = len(solo.proxy.lines)
        os.kill(int(first[1]), signal.SIGKILL)
        again = await solo.proxy.line(r"ha: etcd \(pid (\d+)\) serves at", start)
        assert await solo.served_by() == {"s0"}
        solo.proxy.stop()
        await solo.proxy.watch.exited.wait()
        assert left_in(solo.folder) == []
    assert not runs(int(again[1]))


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("wsproxy-etcd-*"))


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_who_stops_is_gone_at_once(pair: Pair) -> None:
    """With a lease of eight minutes: it says so itself."""
    start = len(pair.b.proxy.lines)
    async with one("c", [lane("farm")], settings_of("c", pair.etcd.url, missed=1000)) as c:
        await pair.b.proxy.line("member c .* has joined", start)
        c.proxy.stop()
        await pair.b.proxy.line("member c .* has left", start)
        await c.proxy.watch.exited.wait()


async def test_a_supervisor_that_is_killed_is_gone_at_once(pair: Pair) -> None:
    """The kernel tells the member's process, which says so."""
    start = len(pair.b.proxy.lines)
    settings = settings_of("d", pair.etcd.url, missed=1000)
    with pytest.raises(AssertionError, match="exit code -9"):  # noqa: PT012
        async with one("d", [lane("farm")], settings) as d:
            await pair.b.proxy.line("member d .* has joined", start)
            os.kill(d.proxy.pid, signal.SIGKILL)
            await pair.b.proxy.line("member d .* has left", start)


async def test_another_program_is_the_same_member(pair: Pair, tmp_path: Path) -> None:
    """`wsproxy upgrade`: the old one leaves, the new one joins by its name, and nobody is told that the name is taken."""
    start = len(pair.b.proxy.lines)
    _, _, settings = settings_of("e", pair.etcd.url).partition("[ha]")
    async with upgrading(tmp_path, [lane("farm")], workers=1, settings=f"[ha]{settings}") as e:
        await pair.b.proxy.line("member e .* has joined", start)
        middle = len(pair.b.proxy.lines)
        await e.upgrade()
        await pair.b.proxy.line("member e .* has left", middle)
        await pair.b.proxy.line("member e .* has joined", middle)
        assert not [line for line in e.proxy.lines if "has a member e already" in line]
