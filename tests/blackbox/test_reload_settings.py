"""What a reload takes over where a process has it from its start: the loader its watch and its guard, workers log and listeners."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.test_reload import WATCHED_NOT, Running, running
from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import lane, write

# Far longer than whoever watches takes to find a change.
UNWATCHED_S = 1.5


def rewrite(file: Path, pattern: str, new: str) -> None:
    """As an editor does it."""
    text = re.sub(pattern, new, file.read_text())
    write(file.with_suffix(".new"), text).rename(file)


async def newest(made: Running) -> dict[str, Any]:
    _, history = await made.ask("GET", "/v1/history")
    entry: dict[str, Any] = history["entries"][-1]
    return entry


@pytest.mark.parametrize("how", ["reload.watch", "RefreshInterval"])
async def test_watching_begins_and_ends_with_a_reload(tmp_path: Path, how: str) -> None:
    """OPERATIONS, 3 a.m.: "Did my edit of plugin-cfg.xml take effect?" Yes once files are watched, and no once they are not."""
    one, two = lane("one"), lane("two")
    is_setting = how == "reload.watch"
    off, on = ("", "") if is_setting else ('RefreshInterval="-1"', 'RefreshInterval="60"')
    settings = WATCHED_NOT if is_setting else ""
    async with running(tmp_path, [one], settings=settings, config=off) as made:

        async def switch(config: str, to: str) -> None:
            if is_setting:
                rewrite(made.settings, 'watch = "[a-z]+"', f'watch = "{to}"')
            else:
                made.put([one], config)
            os.kill(made.proxy.pid, signal.SIGHUP)

        await switch(on, "auto")
        await made.in_use(2)
        assert (await newest(made))["without_effect"] == []
        made.put([one, two], on)
        await made.proxy.line("changed file: generation 3 of the configuration is in use")
        await switch(off, "off")
        await made.in_use(4)
        made.put([two], off)
        await asyncio.sleep(UNWATCHED_S)
        assert (await newest(made))["generation"] == 4
    one.origin.close()
    two.origin.close()


async def test_other_limits_reach_the_guard_that_is_there(tmp_path: Path) -> None:
    """It has looked all the time, with a limit that no share can exceed."""
    one, two = lane("one"), lane("two")
    settings = f"{WATCHED_NOT}guard_s = 3600\nguard_limit = 1.0\n"
    async with running(tmp_path, [one], settings=settings) as made:
        made.proxy.expected.append("configuration is taken back")
        statuses: list[int] = []
        done = asyncio.Event()

        async def load() -> None:
            async with await Client.connect(made.proxy.port) as client:
                while not done.is_set():
                    statuses.append((await client.ask(get("/one/x"))).status)

        async def counted(status: int, count: int) -> None:
            async with asyncio.timeout(WAIT_S):
                while statuses.count(status) < count:  # noqa: ASYNC110  # requests tell nobody
                    await asyncio.sleep(0.01)

        async with one.origin.serving(keep_answering), asyncio.TaskGroup() as group:
            group.create_task(load())
            await counted(200, 50)
            made.put([two])
            await made.reload()
            await counted(404, 50)
            await asyncio.sleep(UNWATCHED_S)
            assert (await newest(made))["generation"] == 2, "1.0 allows everything"
            made.put([one])
            await made.reload()
            # Most of what was before is well again: else nothing can become worse by more than the limit.
            await counted(200, 4 * statuses.count(404))
            rewrite(made.settings, "guard_limit = 1.0", "guard_limit = 0.05")
            await made.reload()
            made.put([two])
            await made.reload()
            await made.proxy.line(r"generation 5 of the configuration is taken back: of \d+ ")
            await made.in_use(6)
            done.set()
        _, status = await made.ask("GET", "/v1/status")
        assert status["reloads"] == {"accepted": 5, "refused": 0, "failed": 0, "undone": 1}
    two.origin.close()


def element(level: str, name: str = "http_plugin.log") -> str:
    return f'<Log Name="{name}" LogLevel="{level}"/>'


async def test_log_level_of_the_file_is_taken_over(tmp_path: Path) -> None:
    """By all workers, within a moment; an operator's word beats it, and `file` or SIGUSR2 returns to the new one. Not Log Name."""
    one = lane("one")
    log = tmp_path / "http_plugin.log"
    async with (
        running(tmp_path, [one], workers=2, settings=WATCHED_NOT, routes=element("Error")) as made,
        one.origin.serving(keep_answering),
    ):

        async def put(level: str, name: str = "http_plugin.log") -> list[str]:
            made.put([one], routes=element(level, name))
            entry = await made.reload()
            assert entry["result"] == "in use", entry
            found: list[str] = entry["without_effect"]
            return found

        async def level() -> tuple[str, str]:
            _, answer = await made.ask("GET", "/v1/loglevel")
            return answer["level"], answer["configured"]

        async def written(word: str) -> None:
            async with asyncio.timeout(WAIT_S):
                while word not in log.read_text():
                    await ask(made.proxy.port, get("/one/x"))

        assert await level() == ("Error", "Error")
        assert await put("Trace") == []
        assert await level() == ("Trace", "Trace")
        await written("TRACE")
        await made.ask("POST", "/v1/loglevel", level="Detail")
        await put("Warn")
        assert await level() == ("Detail", "Warn")
        await made.ask("POST", "/v1/loglevel", level="file")
        assert await level() == ("Warn", "Warn")
        for said in ("Trace", "Warn"):
            start = len(made.proxy.lines)
            os.kill(made.proxy.pid, signal.SIGUSR2)
            await made.proxy.line(f"LogLevel of .* is {said} now", start)
        assert await put("Stats") == []
        await written("STATS")
        await made.ask("POST", "/v1/rollback")
        assert await level() == ("Warn", "Warn")
        _, status = await made.ask("GET", "/v1/status")
        assert status["plugin_log_level"] == "Warn"


async def test_worker_that_comes_later_has_the_new_level(tmp_path: Path) -> None:
    one = lane("one")
    log = tmp_path / "http_plugin.log"
    async with (
        running(tmp_path, [one], settings=WATCHED_NOT, routes=element("Error")) as made,
        one.origin.serving(keep_answering),
    ):
        made.put([one], routes=element("Trace"))
        await made.reload()
        made.proxy.expected.append("was killed by")
        [before] = made.proxy.workers()
        os.kill(before, signal.SIGKILL)
        await made.proxy.line(rf"\(pid {before}\) was killed by")
        while made.proxy.workers() in ([], [before]):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.01)
        [after] = made.proxy.workers()
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200
        await lines_with(log, f"{after:08x} .* TRACE: ")


async def test_time_for_a_header_of_a_load_balancer_is_taken_over(tmp_path: Path) -> None:
    """timeouts.head_s counts for PROXY headers, and for TLS handshakes, of connections that come after the reload."""
    one = lane("one")
    listener = '[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["127.0.0.0/8"]\n'
    settings = f"{WATCHED_NOT}[timeouts]\nhead_s = 3600\n{listener}"
    async with running(tmp_path, [one], settings=settings, listen=None) as made:
        rewrite(made.settings, "head_s = 3600", "head_s = 0.1")
        assert (await made.reload())["without_effect"] == []
        async with await Client.connect(made.proxy.port) as client:
            await made.proxy.line("no PROXY header within 0.1 s")
            assert await client.is_cut()
    one.origin.close()
