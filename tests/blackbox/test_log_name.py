"""Log Name of plugin-cfg.xml, taken over by a reload: the log goes on in another file, and no line is lost or torn."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

from tests.blackbox.test_reload import WATCHED_NOT, Running, running
from tests.blackbox.test_reload_settings import element
from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, lane, processes_of

LINE = re.compile(
    r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{5}\] [0-9a-f]{8} [0-9a-f]{8} - [A-Z]+: \S.*"
)
# One of each request, at LogLevel Stats.
CHECKED = "serverGroupCheckServerStatus: Checking status"


async def put(made: Running, one: Lane, name: str, level: str = "Stats") -> dict[str, Any]:
    made.put([one], routes=element(level, name) if name else "")
    return await made.reload()


async def status_of(made: Running) -> str:
    _, status = await made.ask("GET", "/v1/status")
    found: str = status["plugin_log"]
    return found


async def test_no_line_is_lost_or_torn_as_the_log_moves(tmp_path: Path) -> None:
    """There and back, under load, by two workers."""
    one = lane("one")
    files = [tmp_path / "a.log", tmp_path / "b.log"]
    async with (
        running(
            tmp_path, [one], workers=2, settings=WATCHED_NOT, routes=element("Stats", "a.log")
        ) as made,
        one.origin.serving(keep_answering),
    ):
        served = 0
        done = asyncio.Event()

        async def load() -> None:
            nonlocal served
            async with await Client.connect(made.proxy.port) as client:
                while not done.is_set():
                    assert (await client.ask(get("/one/x"))).status == 200
                    served += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(load())
            for at in range(1, 12):
                before = served
                while served < before + 50:  # noqa: ASYNC110  # requests tell nobody
                    await asyncio.sleep(0.005)
                entry = await put(made, one, files[at % 2].name)
                assert (entry["result"], entry["without_effect"]) == ("in use", []), entry
                assert await status_of(made) == str(files[at % 2])
            done.set()

        def lines() -> list[str]:
            return [line for file in files for line in file.read_text().splitlines()]

        async with asyncio.timeout(WAIT_S):
            while sum(CHECKED in line for line in lines()) < served:  # noqa: ASYNC110  # written behind the requests' back
                await asyncio.sleep(0.05)
        assert sum(CHECKED in line for line in lines()) == served
        assert not [line for line in lines() if not LINE.fullmatch(line)]
        for file in files:
            assert any(CHECKED in line for line in file.read_text().splitlines())


async def test_file_that_cannot_be_written_leaves_the_log_where_it_is(tmp_path: Path) -> None:
    """The rest of the configuration holds; an ERROR has file and line, and what goes on."""
    one = lane("one")
    old = tmp_path / "http_plugin.log"
    async with (
        running(tmp_path, [one], settings=WATCHED_NOT, routes=element("Stats")) as made,
        one.origin.serving(keep_answering),
    ):
        made.proxy.expected.append("found Log Name=")
        for name, why in (
            ("no/such/x.log", "No such file or directory"),
            (".", "Is a directory"),
            ("|cronolog x", "no file of this machine"),
        ):
            start, size = len(made.proxy.lines), len(old.read_text())
            _, dry = await made.ask("POST", "/v1/reload", is_dry=True)
            assert dry["result"] == "unchanged", dry
            entry = await put(made, one, name)
            assert entry["result"] == "in use", entry
            said = rf'plugin-cfg\.xml:\d+: found Log Name="{re.escape(name)}": {why}; allowed is a file that can be written: {re.escape(str(old))} goes on'
            assert [each for each in entry["problems"] if re.search(said, each)], entry
            await made.proxy.line(f"ERROR .*{said}", start)
            assert await status_of(made) == str(old)
            assert (await ask(made.proxy.port, get("/one/x"))).status == 200
            async with asyncio.timeout(WAIT_S):
                while CHECKED not in old.read_text()[size:]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        assert (await put(made, one, "new.log"))["problems"] == []
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        await lines_with(tmp_path / "new.log", CHECKED)
        _, back = await made.ask("POST", "/v1/rollback", to=1)
        assert back["result"] == "in use"
        assert await status_of(made) == str(old)


async def test_log_begins_and_ends_with_a_reload(tmp_path: Path) -> None:
    """Where plugin-cfg.xml named none; for processes that come later, and for signals, too."""
    one = lane("one")
    new = tmp_path / "new.log"
    async with (
        running(tmp_path, [one], settings=WATCHED_NOT) as made,
        one.origin.serving(keep_answering),
    ):
        assert await status_of(made) == ""
        os.kill(made.proxy.pid, signal.SIGUSR2)
        await made.proxy.line("SIGUSR2: no http_plugin.log is written")
        await put(made, one, "new.log")
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        await lines_with(new, CHECKED)
        assert "Plugins loaded." in new.read_text()
        made.proxy.expected.append("was killed by")
        [before] = made.proxy.workers()
        [loader] = processes_of(made.proxy.pid, "wsproxy-loader")
        for pid in (before, loader):
            os.kill(pid, signal.SIGKILL)
            await made.proxy.line(rf"\(pid {pid}\) was killed by")
        while made.proxy.workers() in ([], [before]):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.01)
        [after] = made.proxy.workers()
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        await lines_with(new, f"{after:08x} .*{CHECKED}")
        new.rename(tmp_path / "new.log.1")
        os.kill(made.proxy.pid, signal.SIGUSR1)
        await made.proxy.line(f"SIGUSR1: {re.escape(str(new))} is opened anew")
        async with asyncio.timeout(WAIT_S):
            while not new.exists():
                assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        assert (await put(made, one, "new.log", "Trace"))["result"] == "in use"
        assert "Plugins loaded." not in new.read_text(), "it is in use: nothing begins"
        await put(made, one, "")
        assert await status_of(made) == ""
        size = new.stat().st_size
        async with asyncio.timeout(WAIT_S):
            while new.stat().st_size != size:  # what was told before
                size = new.stat().st_size
                await asyncio.sleep(0.3)
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        await asyncio.sleep(0.3)
        assert new.stat().st_size == size
