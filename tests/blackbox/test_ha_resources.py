"""Resources of real proxies, on a real etcd: a stop, a kill of the ha process and of everything, commands for operators, one prober for all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.origin import OriginConnection, answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, process_of, running_proxy
from tests.support.resources import Shared, lives, shared, toml_of
from tests.support.upgrading import upgrading
from wsproxy.cli.main import main

pytestmark = [pytest.mark.asyncio, needs_etcd]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EXPECTED = ("etcd does not answer", "no heartbeat of member", "is out of core group", "resource batch", "ha process .* was killed", "member's process is gone")  # fmt: skip


@dataclass(slots=True)
class One:
    """A proxy of the group."""

    name: str
    proxy: Proxy
    folder: Path

    def command(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["ha", *words, "--settings", str(self.folder / "wsproxy.toml")])  # fmt: skip

    async def run(self, *words: str) -> Result:
        return await asyncio.to_thread(self.command, *words)

    async def status(self) -> dict[str, Any]:
        group = json.loads((await self.run("status", "--json")).stdout)["group"]
        return dict(group["core_group"] or {"resources": {}})

    async def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self.status()
                if what(found):
                    return found
                await asyncio.sleep(0.05)

    async def until_active(self, *names: str) -> None:
        def is_so(found: dict[str, Any]) -> bool:
            batch = found["resources"].get("batch", {"active": [], "members": {}})
            phases = {name: each["phase"] for name, each in batch["members"].items()}
            return batch["active"] == list(names) and all(phases.get(name) == "running" for name in names)  # fmt: skip

        await self.until(is_so)

    @property
    def ha(self) -> int:
        return process_of(self.proxy.pid, "wsproxy-ha")


def settings_of(name: str, etcd: EtcdProcess, more: str = "", *, ha: str = "") -> str:
    return (
        f'[upstream]\npool_size = 0\n{more}[ha]\nstore = "etcd"\nendpoints = ["{etcd.url}"]\nname = "{name}"\n'
        f"period_s = 0.5\nmissed = 8\n{ha}"
    )


@contextlib.asynccontextmanager
async def one(name: str, lanes: Sequence[Lane], settings: str) -> AsyncIterator[One]:
    with tempfile.TemporaryDirectory() as folder:
        env = {"TMPDIR": folder}
        async with running_proxy(lanes, settings=settings, folder=Path(folder), env=env) as proxy:
            proxy.expected += EXPECTED
            yield One(name, proxy, Path(folder))


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return shared(tmp_path)


async def test_a_resource_of_two_proxies(place: Shared) -> None:
    """Moved by an operator, taken over at a kill -9 of the ha process and at a stop; nothing is left at the end, and never two."""
    table = toml_of(place.settings("daemon", "take", "status", "ports"))
    with running_etcd() as (etcd,):
        async with contextlib.AsyncExitStack() as stack:
            a = await stack.enter_async_context(
                one("a", [lane("farm")], settings_of("a", etcd, ha=table))
            )
            await a.until_active("a")  # who joins first
            b = await stack.enter_async_context(
                one("b", [lane("farm")], settings_of("b", etcd, ha=table))
            )
            await a.until(lambda found: "b" in found["resources"]["batch"]["members"])
            moved = await a.run("move", "batch", "b")
            assert moved.exit_code == 0, moved.output
            assert "resource batch runs at b" in moved.output
            shown = await a.run("status")
            assert "policy DefaultPolicy (One of N), active b" in shown.output, shown.output
            assert (await a.run("move", "batch", "--back")).exit_code == 0

            pid = place.pid("b")
            os.kill(b.ha, signal.SIGKILL)
            await a.until(lambda _: place.said()[-1] != "begin b" or place.pid("b") != pid)
            await a.until(lambda found: len(found["resources"]["batch"]["active"]) == 1)
            assert not lives(pid)

            place.mode("a", "slow")
            place.mode("b", "slow")
            await a.run("move", "batch", "a")
            await b.until_active("a")
            a.proxy.stop()
            await a.proxy.watch.exited.wait()
            assert place.said()[-1] != "begin a"
            await b.until_active("b")
        place.never_two()
    assert place.said()[-1] == "end b"


async def test_a_proxy_that_is_killed_whole(place: Shared) -> None:
    """Its supervisor and the process group, by kill -9: the keeper has a session of its own, and ends what it keeps."""
    table = toml_of(place.settings("daemon", "ports"))
    with running_etcd() as (etcd,):
        async with one("b", [lane("farm")], settings_of("b", etcd, ha=table)) as b:
            await b.until_active("b")
            with contextlib.suppress(AssertionError):  # its exit code
                async with one("a", [lane("farm")], settings_of("a", etcd, ha=table)) as a:
                    await b.until(lambda found: "a" in found["resources"]["batch"]["members"])
                    assert (await b.run("move", "batch", "a")).exit_code == 0
                    place.mode("a", "deaf")
                    os.killpg(a.proxy.pid, signal.SIGKILL)
                    await a.proxy.watch.exited.wait()
            await b.until_active("b")
        place.never_two()


async def test_commands_say_what_is_wrong(place: Shared) -> None:
    """Unknown names with what is allowed; a policy of a file is the group's when it is applied; activate waits until it runs."""
    table = toml_of(place.settings("daemon", "ports"))
    manual = (
        '[[ha.policy]]\nname = "manual"\ntype = "No operation"\nmatch = { resource = "batch" }\n'
    )
    with running_etcd() as (etcd,):
        async with one("a", [lane("farm")], settings_of("a", etcd, ha=table)) as a:
            await a.until_active("a")
            assert "allowed is one of batch" in (await a.run("move", "other", "a")).output
            wrong = await a.run("move", "batch", "z")
            assert (wrong.exit_code, "allowed is one of a" in wrong.output) == (1, True)
            early = await a.run("activate", "batch", "a", "--wait", "1")
            assert (early.exit_code, 'allowed is "No operation"' in early.output) == (1, True)
            file = a.folder / "wsproxy.toml"
            file.write_text(file.read_text() + manual)
            shown = await a.run("policy")
            assert "manual is not the group's: --apply" in shown.output
            await a.until_active("a")
            assert "manual: No operation" in (await a.run("policy", "--apply")).output
            await a.until_active()
            late = await a.run("move", "batch", "a", "--wait", "1")
            assert (late.exit_code, 'allowed is "One of N" or "M of N"' in late.output) == (1, True)
            started = await a.run("activate", "batch", "a")
            assert (started.exit_code, started.output) == (0, "resource batch runs at a\n")
            stopped = await a.run("deactivate", "batch", "a")
            assert (stopped.exit_code, stopped.output) == (0, "resource batch does not run at a\n")
            assert place.said()[-1] == "end a"
            assert (await a.run("clear", "batch")).exit_code == 0
            status = await a.run("status")
            assert status.exit_code == 1
            assert "`wsproxy ha activate` names nobody" in status.output


async def test_another_program_takes_over(place: Shared, tmp_path: Path) -> None:
    """`wsproxy upgrade`: the old one ends its resource and leaves; the new one, by the same name, begins it behind that."""
    table = toml_of(place.settings("daemon", "take", "ports"))
    folder = tmp_path / "upgrade"
    folder.mkdir()
    with running_etcd() as (etcd,):
        _, _, ha = settings_of("e", etcd, ha=table).partition("[ha]")
        async with upgrading(folder, [lane("farm")], workers=1, settings=f"[ha]{ha}") as e:
            await e.proxy.line("ha: resource batch runs here")
            start = len(e.proxy.lines)
            await e.upgrade()
            await e.proxy.line("ha: resource batch has ended here", start)
            await e.proxy.line("ha: resource batch runs here", start)
        place.never_two()
        assert place.said() == ["begin e", "end e", "begin e", "end e"]


PROBE = '[probe]\ntype = "tcp"\ninterval_s = 0.1\ntimeout_s = 1.0\nrise = 1\nfall = 2\n'


async def until_more(asked: list[int], than: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(asked) <= than:  # noqa: ASYNC110  # the origin counts
            await asyncio.sleep(0.02)


async def test_one_prober_for_all() -> None:
    """One proxy's prober asks, the other has its marks; when that proxy stops, the other one's asks, and goes on when etcd is away."""
    farm = lane("farm", 2, 'RetryInterval="3600"')
    sick, well = farm.members
    sick.origin.refuse()
    asked: list[int] = []

    async def count(connection: OriginConnection) -> None:
        asked.append(1)
        await answering(OK)(connection)

    with running_etcd() as (etcd,):
        async with well.origin.serving(count), contextlib.AsyncExitStack() as stack:
            proxies = []
            for name in "ab":
                settings = settings_of(name, etcd, PROBE, ha="one_prober = true\n")
                made = await stack.enter_async_context(one(name, [farm], settings))
                made.proxy.expected += ["is out of service", "server s0"]
                proxies.append(made)
                await made.proxy.line("has joined")
                if name == "a":
                    await made.proxy.line("ha: wsproxy.prober runs here")
            a, b = proxies
            await a.proxy.line("server s0 of cluster farm is out of service")
            await b.proxy.line("ha: server s0 of cluster farm: marked down .*as a says")
            assert not [line for line in b.proxy.lines if "is out of service" in line]
            a.proxy.stop()
            await a.proxy.watch.exited.wait()
            before = len(asked)
            await b.proxy.line("ha: wsproxy.prober runs here")
            await until_more(asked, before)
            etcd.signal(signal.SIGSTOP)  # nobody says any more who asks for all
            await b.proxy.line("no heartbeat of member b was answered")
            await until_more(asked, len(asked) + 10)
            etcd.signal(signal.SIGCONT)
            await b.proxy.line("etcd answers again")
