"""Another configuration while the proxy runs: who notices, what stays, what is refused, and what becomes of killed processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import ask_admin
from tests.support.client import Client, ask, get, request
from tests.support.origin import OK, Origin, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import (
    Lane,
    MakeLane,
    Member,
    Proxy,
    own_memory,
    process_of,
    processes_of,
    running_proxy,
    write,
)

IN_USE = r"generation {} of the configuration is in use"
REFUSED = r"the configuration is refused, generation {} stays"
WATCHED_NOT = '[reload]\nwatch = "off"\n'


def xml(lanes: Sequence[Lane], config: str = "", routes: str = "") -> str:
    return f"<Config {config}>{''.join(each.xml() for each in lanes)}{routes}</Config>"


class Running:
    """A proxy whose files are at hand."""

    def __init__(self, proxy: Proxy, folder: Path) -> None:
        self.proxy = proxy
        self.file = folder / "plugin-cfg.xml"
        self.settings = folder / "wsproxy.toml"
        self.socket = folder / "admin.sock"

    def put(self, lanes: Sequence[Lane], config: str = "", routes: str = "") -> None:
        """As an editor does it: another file takes the name. ``routes``: more elements."""
        new = write(self.file.with_suffix(".new"), xml(lanes, config, routes))
        new.rename(self.file)

    async def in_use(self, generation: int) -> None:
        await self.proxy.line(IN_USE.format(generation))

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        return await ask_admin(self.socket, method, path, **body)

    async def reload(self, **body: Any) -> dict[str, Any]:
        status, answer = await self.ask("POST", "/v1/reload", **body)
        assert status == 200, answer
        return answer

    def loader(self) -> int:
        pid = process_of(self.proxy.pid, "wsproxy-loader")
        return pid


@asynccontextmanager
async def running(
    folder: Path, lanes: Sequence[Lane], *, settings: str = "", **options: Any
) -> AsyncIterator[Running]:
    """A ``running_proxy`` before ``lanes``, with its ``options``."""
    settings += f'\n[admin]\nsocket = "{folder}/admin.sock"\n'
    async with running_proxy(lanes, settings=settings, folder=folder, **options) as proxy:
        yield Running(proxy, folder)


async def test_changed_file_is_taken_over_and_nobody_notices(
    tmp_path: Path, lane: MakeLane
) -> None:
    """Two workers; connections of clients and warm connections to servers live on, and no process is replaced."""
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one], workers=2) as made, one.origin.serving(keep_answering):
        proxy = made.proxy
        workers = proxy.workers()
        async with await Client.connect(proxy.port) as client:
            assert (await client.ask(get("/one/a"))).status == 200
            assert (await client.ask(get("/two/a"))).status == 404
            made.put([one, two])
            await made.in_use(2)
            async with two.origin.serving(keep_answering):
                assert (await client.ask(get("/two/b"))).status == 200
                assert (await client.ask(get("/one/b"))).status == 200
        assert proxy.workers() == workers
        assert one.origin.accepted == 1, "the warm connection went on serving"


async def test_running_request_ends_at_a_server_that_left(tmp_path: Path, lane: MakeLane) -> None:
    one, two = lane("one"), lane("two")
    async with (
        running(tmp_path, [one, two]) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        await client.send(request("POST", "/one/a", "Content-Length: 8") + b"half")
        server = await one.origin.accept()
        await server.head()
        made.put([two])
        await made.in_use(2)
        assert (await ask(made.proxy.port, get("/one/b"))).status == 404
        await client.send(b"rest")
        await server.exactly(8)
        await server.send(OK)
        assert (await client.answer()).body == b"ok"
        assert (await client.ask(get("/one/c"))).status == 404, (
            "the next request of the connection goes by the new one"
        )


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path, lane: MakeLane) -> None:
    """It is refused with file and line, told of until it is mended, and half of a file is not even told of."""
    one = lane("one")
    async with running(tmp_path, [one]) as made, one.origin.serving(keep_answering):
        made.file.write_text(xml([one]).replace('Port="', 'Port="x'))
        await made.proxy.line(REFUSED.format(1))
        await made.proxy.line(rf'{made.file}:1: .*Port="x\d+"')
        assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        _, history = await made.ask("GET", "/v1/history")
        assert history["entries"][-1]["result"] == "refused"
        assert history["generation"] == 1
        made.put([one], 'RefreshInterval="7"')
        await made.in_use(2)


async def test_slow_copy_is_waited_for(tmp_path: Path, lane: MakeLane) -> None:
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one]) as made:
        text = xml([one, two]).encode()
        start = len(made.proxy.lines)
        with made.file.open("wb", buffering=0) as file:
            for at in range(0, len(text), 200):
                file.write(text[at : at + 200])
                await asyncio.sleep(0.05)
        await made.in_use(2)
        assert not [line for line in made.proxy.lines[start:] if "refused" in line]


async def test_signal_reads_again_where_nobody_watches(tmp_path: Path, lane: MakeLane) -> None:
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one], settings=WATCHED_NOT) as made:
        made.put([one, two])
        os.kill(made.proxy.pid, signal.SIGHUP)
        await made.in_use(2)
        os.kill(made.proxy.pid, signal.SIGHUP)
        await made.proxy.line("SIGHUP: nothing has changed; generation 2 stays")


async def test_service_manager_hears_of_the_beginning_and_the_end(
    tmp_path: Path, lane: MakeLane
) -> None:
    """``Type=notify-reload``: RELOADING=1 with the time at SIGHUP, READY=1 when it is over, also where the files are refused or the loader ends."""
    one, two = lane("one"), lane("two")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(WAIT_S)

        async def heard() -> bytes:
            return await asyncio.to_thread(manager.recv, 256)

        async def begun() -> None:
            before = time.monotonic_ns() // 1000
            os.kill(made.proxy.pid, signal.SIGHUP)
            word, _, when = (await heard()).decode().partition("\nMONOTONIC_USEC=")
            assert word == "RELOADING=1"
            assert before <= int(when) <= time.monotonic_ns() // 1000

        env = {"NOTIFY_SOCKET": str(path)}
        async with running(tmp_path, [one], settings=WATCHED_NOT, env=env) as made:
            assert await heard() == b"READY=1"
            made.put([one, two])
            await begun()
            assert await heard() == b"READY=1"
            await made.in_use(2)
            write(made.file, "<Config>")
            await begun()
            assert await heard() == b"READY=1"
            await made.proxy.line(REFUSED.format(2))
            loader = made.loader()
            os.kill(loader, signal.SIGSTOP)
            await begun()
            made.proxy.expected.append("loader process .* was killed by SIGKILL")
            os.kill(loader, signal.SIGKILL)
            assert await heard() == b"READY=1"
        assert await heard() == b"STOPPING=1"


async def test_command_tells_what_would_change_and_who_did_what(
    tmp_path: Path, lane: MakeLane
) -> None:
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one], settings=WATCHED_NOT) as made:
        made.put([one, two])
        dry = await made.reload(is_dry=True)
        assert (dry["result"], dry["generation"]) == ("accepted", 1)
        assert any("requests for /two/*" in each for each in dry["changes"]), dry
        assert (await ask(made.proxy.port, get("/two/a"))).status == 404
        real = await made.reload()
        assert (real["result"], real["generation"]) == ("in use", 2)
        assert "uid" in real["who"]
        status, back = await made.ask("POST", "/v1/rollback")
        assert (status, back["result"], back["generation"], back["returned_to"]) == (
            200,
            "in use",
            3,
            1,
        )
        assert (await ask(made.proxy.port, get("/two/a"))).status == 404
        _, history = await made.ask("GET", "/v1/history")
        assert [each["result"] for each in history["entries"]] == ["in use", "in use"]
        status, answer = await made.ask("POST", "/v1/rollback", to=77)
        assert status == 400
        assert "found generation 77; allowed is one that is kept: 1, 2" in answer["error"]


async def test_settings_are_taken_over_but_for_those_that_need_an_upgrade(
    tmp_path: Path, lane: MakeLane
) -> None:
    one = lane("one")
    async with running(tmp_path, [one], settings=WATCHED_NOT) as made:
        text = made.settings.read_text()
        made.settings.write_text(f"workers = 2\n[http]\ntrace = true\n{text}")
        entry = await made.reload()
        # Started with --workers 1, which the command line says again.
        assert entry["without_effect"] == []
        made.settings.write_text(f"{text}\n[process]\nhang_s = 77\n[limits]\ntarget_bytes = 1024\n")
        entry = await made.reload()
        assert entry["without_effect"] == ["process"], entry
        await made.proxy.line("only `wsproxy upgrade` takes over: process")
        assert (await ask(made.proxy.port, get("/one/" + "x" * 2000))).status == 414


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_loader_that_ends_is_started_again_and_knows_what_was(
    tmp_path: Path, lane: MakeLane, number: signal.Signals
) -> None:
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one]) as made:
        made.proxy.expected.append("loader process")
        made.put([one, two])
        await made.in_use(2)
        os.kill(made.loader(), number)
        await made.proxy.line("loader process .* started again")
        made.put([two])
        await made.in_use(3)
        _, history = await made.ask("GET", "/v1/history")
        assert [each["generation"] for each in history["entries"]] == [2, 3]
        _, back = await made.ask("POST", "/v1/rollback", to=1)
        assert back["result"] == "in use"
        async with one.origin.serving(keep_answering):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200


async def test_worker_that_is_started_again_goes_by_the_newest(
    tmp_path: Path, lane: MakeLane
) -> None:
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one], workers=2) as made, two.origin.serving(keep_answering):
        made.put([two])
        await made.in_use(2)
        made.proxy.expected.append("was killed by SIGKILL")
        victims = made.proxy.workers()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
            await made.proxy.line(rf"pid {pid}\) was killed")
        async with asyncio.timeout(WAIT_S):
            while len(set(made.proxy.workers()) - set(victims)) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await ask(made.proxy.port, get("/two/a"))).status == 200
        assert (await ask(made.proxy.port, get("/one/a"))).status == 404
        made.put([one, two])
        await made.in_use(3)


async def test_stopped_worker_takes_the_newest_when_it_goes_on(
    tmp_path: Path, lane: MakeLane
) -> None:
    """Nobody waits for it but who asked: the other one goes by the new configuration at once."""
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one], workers=2) as made, two.origin.serving(keep_answering):
        victim = made.proxy.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        made.put([two])
        async with asyncio.timeout(WAIT_S):
            patience_s = 0.3
            while not await is_served(made.proxy.port, "/two/a", patience_s):
                patience_s *= 1.5
        os.kill(victim, signal.SIGCONT)
        await made.in_use(2)


async def is_served(port: int, path: str, patience_s: float) -> bool:
    """A connection may wait at the worker that was stopped; a busy machine wants more patience."""
    with suppress(TimeoutError):
        return (await asyncio.wait_for(ask(port, get(path)), patience_s)).status == 200
    return False


async def test_server_that_stays_keeps_its_mark(tmp_path: Path, lane: MakeLane) -> None:
    """What all workers know of it lies in its slot, whatever the configuration is."""
    dead, live = Origin(), Origin()
    dead.refuse()
    both = Lane("one", [Member(dead, "s0", 'CloneID="c0"'), Member(live, "s1", 'CloneID="c1"')])
    two = lane("two")
    async with running(tmp_path, [both]) as made, live.serving(keep_answering):
        for _ in range(4):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        await made.proxy.line("Marking s0 down")
        start = len(made.proxy.lines)
        made.put([both, two])
        await made.in_use(2)
        for _ in range(6):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        assert not [line for line in made.proxy.lines[start:] if "Marking" in line]


async def test_many_reloads_under_load_lose_nothing(tmp_path: Path, lane: MakeLane) -> None:
    """Each with other servers: no request fails, no process is replaced, and nothing is left behind."""
    lanes = [lane("one"), *(lane(f"l{at}") for at in range(4))]
    async with running(tmp_path, lanes[:1], workers=2, settings=WATCHED_NOT) as made:
        workers = made.proxy.workers()
        failed: list[int] = []
        served = 0
        before = (0, 0)

        async def load() -> None:
            nonlocal served
            async with await Client.connect(made.proxy.port) as client:
                while not done.is_set():
                    answer = await client.ask(get("/one/x"))
                    served += 1
                    if answer.status != 200:
                        failed.append(answer.status)

        done = asyncio.Event()
        async with lanes[0].origin.serving(keep_answering), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(load())
            for at in range(25):
                made.put(lanes[: 1 + at % 5], f'RefreshInterval="{at + 2}"')
                assert (await made.reload())["result"] == "in use"
                if at == 9:  # as many are kept as ever will be
                    before = kept(made.proxy)
            done.set()
        async with asyncio.timeout(WAIT_S):
            while kept(made.proxy) > before:  # noqa: ASYNC110  # what the last ones left is given back in steps
                await asyncio.sleep(0.05)
        assert not failed
        assert served > 100
        assert made.proxy.workers() == workers


async def test_memory_of_workers_stays_where_it_is(tmp_path: Path, lane: MakeLane) -> None:
    """A hundred reloads leave nothing, not even in what Python keeps for later: that was some KiB each."""
    lanes = [lane("one"), *(lane(f"l{at}") for at in range(4))]
    async with running(tmp_path, lanes[:1], workers=2, settings=WATCHED_NOT) as made:
        before: list[int] = []
        for at in range(120):
            made.put(lanes[: 1 + at % 5], f'RefreshInterval="{at % 50 + 2}"')
            assert (await made.reload())["result"] == "in use"
            if at == 19:  # as many are kept as ever will be
                before = [own_memory(pid) for pid in made.proxy.workers()]
        after = [own_memory(pid) for pid in made.proxy.workers()]
        grown = [now - then for then, now in zip(before, after, strict=True)]
        assert max(grown) < 120 << 10, grown


def kept(proxy: Proxy) -> tuple[int, int]:
    """Descriptors of all its processes but for sockets, which clients and servers decide on; and parcels that are mapped."""
    files = parcels = 0
    for pid in [proxy.pid, *processes_of(proxy.pid, "wsproxy-.*")]:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                files += not os.readlink(link).startswith("socket:")
        parcels += Path(f"/proc/{pid}/maps").read_text().count("wsproxy-parcel")
    return files, parcels


async def test_reload_that_makes_things_worse_is_undone_by_itself(
    tmp_path: Path, lane: MakeLane
) -> None:
    """The file is well-formed; only nobody's requests find their Route any more."""
    one, two = lane("one"), lane("two")
    settings = "[reload]\nguard_s = 60\n"
    async with running(tmp_path, [one], settings=settings) as made:
        made.proxy.expected.append("configuration is taken back")

        async def load() -> None:
            async with await Client.connect(made.proxy.port) as client:
                while not done.is_set():
                    statuses.append((await client.ask(get("/one/x"))).status)

        statuses: list[int] = []
        done = asyncio.Event()
        async with one.origin.serving(keep_answering), asyncio.TaskGroup() as group:
            group.create_task(load())
            made.put([two])
            await made.in_use(2)
            await made.proxy.line(
                r"generation 2 of the configuration is taken back: of \d+ requests since then .* were 404"
            )
            await made.in_use(3)
            async with asyncio.timeout(WAIT_S):
                while statuses[-1:] != [200]:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            done.set()
        _, history = await made.ask("GET", "/v1/history")
        last = history["entries"][-1]
        assert (last["returned_to"], last["result"]) == (1, "in use")
        assert last["who"].startswith("reload.guard_s: ")


def history_of(made: Running) -> Path:
    """What loaders write down, where the supervisor holds it."""
    folder = Path(f"/proc/{made.proxy.pid}/fd")
    [found] = [each for each in folder.iterdir() if "wsproxy-history" in os.readlink(each)]
    return found


async def begun(made: Running, times: int) -> None:
    """Waits until a loader is amid its work, so many for the same files."""
    history = history_of(made)
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(json.JSONDecodeError):  # it is being written
                found = json.loads(history.read_bytes().partition(b"\n")[0])["begun"]
                if found is not None and found["times"] == times:
                    return
            await asyncio.sleep(0.001)


async def kill_loader_amid_its_work(made: Running, times: int = 1) -> None:
    await begun(made, times)
    victim = made.loader()
    os.kill(victim, signal.SIGKILL)
    await made.proxy.line(rf"loader process \(pid {victim}\) was killed by SIGKILL")


def many(lane: MakeLane) -> list[Lane]:
    """So many that reading them takes a loader a good while."""
    one = lane("l0")
    return [Lane(f"l{at}", one.members) for at in range(600)]


async def test_next_loader_ends_what_a_killed_one_had_begun(tmp_path: Path, lane: MakeLane) -> None:
    """Of a changed file, of SIGHUP, and of a command, whose asker is told."""
    lanes = many(lane)
    async with running(tmp_path, lanes[:1]) as made:
        made.proxy.expected.append("loader process")
        made.put(lanes)
        await kill_loader_amid_its_work(made)
        await made.in_use(2)
    async with running(tmp_path, lanes[:1], settings=WATCHED_NOT) as made:
        made.proxy.expected.append("loader process")
        made.put(lanes)
        os.kill(made.proxy.pid, signal.SIGHUP)
        await kill_loader_amid_its_work(made)
        await made.proxy.line("SIGHUP: generation 2 of the configuration is in use")
        made.put(lanes[:500])
        asking = asyncio.ensure_future(made.ask("POST", "/v1/reload"))
        await kill_loader_amid_its_work(made)
        status, answer = await asking
        assert (status, "goes on with what it had begun" in answer["error"]) == (503, True)
        await made.in_use(3)
        _, history = await made.ask("GET", "/v1/history")
        assert [(each["generation"], each["who"][:6]) for each in history["entries"]] == [
            (2, "SIGHUP"),
            (3, history["entries"][1]["who"][:6]),
        ]
        assert "uid" in history["entries"][1]["who"]


async def test_file_at_which_loaders_die_is_left_alone(tmp_path: Path, lane: MakeLane) -> None:
    """One that is killed (for want of memory, say) each time would begin with it for ever; who asks has it tried again."""
    lanes = many(lane)
    async with running(tmp_path, lanes[:1]) as made:
        made.proxy.expected.append("loader process")
        made.put(lanes)
        for times in (1, 2, 3):
            await kill_loader_amid_its_work(made, times)
        await made.proxy.line("3 loaders were killed while they took this over")
        _, history = await made.ask("GET", "/v1/history")
        assert [each["result"] for each in history["entries"]] == ["refused"]
        assert (await made.reload())["result"] == "in use"


async def test_reloads_at_once_end_with_the_newest_file(tmp_path: Path, lane: MakeLane) -> None:
    """A file that changes faster than it is read, commands and signals at once: nothing older comes after something newer."""
    one, two = lane("one"), lane("two")
    async with running(tmp_path, [one]) as made:
        entries: list[dict[str, Any]] = []
        changed = 0

        async def command() -> None:
            for _ in range(12):
                entries.append(await made.reload())  # noqa: PERF401

        async def change() -> None:
            nonlocal changed
            while not done.is_set():
                changed += 1
                made.put([one], f'RefreshInterval="{changed + 100}"')
                if changed % 20 == 0:
                    os.kill(made.proxy.pid, signal.SIGHUP)
                await asyncio.sleep(0.01)

        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            async with asyncio.TaskGroup() as commands:
                for _ in range(3):
                    commands.create_task(command())
            done.set()
        made.put([one, two])
        async with two.origin.serving(keep_answering), asyncio.timeout(WAIT_S):
            while (await ask(made.proxy.port, get("/two/a"))).status != 200:
                pass
        assert {each["result"] for each in entries} <= {"in use", "unchanged"}
        # Whoever comes now finds nothing to do.
        assert (await made.reload())["result"] == "unchanged"
        _, history = await made.ask("GET", "/v1/history")
        found = [each["generation"] for each in history["entries"]]
        assert found == sorted(set(found))
