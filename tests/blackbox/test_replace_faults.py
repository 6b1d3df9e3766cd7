"""Processes that are killed or stopped while another program takes over: whoever is left goes on, and nothing is counted for ever."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.client import Client, ask, get
from tests.support.origin import OK, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, MakeLane, process_of, processes_of
from tests.support.upgrading import Load, Upgrading, begin, status_of, upgrading

WORKER = r"wsproxy-\d+"


def load_on(made: Upgrading) -> Load:
    return Load(partial(Client.connect, made.proxy.port), "/one/a")


async def worker_of(pid: int) -> int:
    """A worker of this program, as soon as it has one."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(OSError):
                if found := processes_of(pid, WORKER):
                    return found[0]
            await asyncio.sleep(0.005)


async def empty(made: Upgrading) -> None:
    """Nothing is counted as in flight any more."""
    async with asyncio.timeout(WAIT_S):
        while await made.in_flight() != {"one/s0": 0}:  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.05)


async def test_new_program_killed_before_it_is_ready(tmp_path: Path, lane: MakeLane) -> None:
    """With its first worker there already; the old one goes on, and the next attempt succeeds."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        load = load_on(made)
        made.proxy.expected += ["was killed by SIGKILL; its messages are in the log"]
        # Connections that are kept may be with a worker of the killed program, which ends them as any does that stops.
        async with load.running(0, 4):
            for at_worker in (False, True):
                start = len(made.proxy.lines)
                asking = begin(made.refused())
                new = await made.started(start)
                if at_worker:
                    await worker_of(new)
                os.kill(new, signal.SIGKILL)
                assert "killed by SIGKILL" in await asking
                await load.progress()
            await made.upgrade()
            await load.progress()
        # A worker of the killed program ends as one does whose supervisor is gone: it finishes what it has accepted.
        assert load.failed == []
        await empty(made)


async def test_new_program_killed_behind_its_word_that_it_is_ready(
    tmp_path: Path, lane: MakeLane
) -> None:
    """The old one, which hears of both at once, goes on: it must not retire for a program that is not there."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        made.proxy.expected += ["was killed by SIGKILL; its messages are in the log"]
        for at in range(3):
            start = len(made.proxy.lines)
            asking = begin(made.refused())
            new = await made.started(start)
            os.kill(made.proxy.pid, signal.SIGSTOP)
            try:
                await has_begun(new)
                os.kill(new, signal.SIGKILL)
                if at:  # at first it has not even run since
                    async with asyncio.timeout(WAIT_S):
                        while status_of(new) != "Z":  # noqa: ASYNC110  # another process
                            await asyncio.sleep(0.01)
            finally:
                os.kill(made.proxy.pid, signal.SIGCONT)
            assert "killed by SIGKILL" in await asking
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200


async def has_begun(pid: int) -> None:
    """
    All workers of this program have told it that they accept connections, so it has told the other program.

    It closes a pipe for each that has; with the rest of its descriptors it waits.
    """
    pipes = -1
    async with asyncio.timeout(WAIT_S):
        while len(processes_of(pid, WORKER)) < 2 or pipes != (pipes := count_pipes(pid)):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


def count_pipes(pid: int) -> int:
    return sum(os.readlink(each).startswith("pipe:") for each in Path(f"/proc/{pid}/fd").iterdir())


async def test_what_a_killed_program_wrote_of_servers_is_written_again(
    tmp_path: Path, lane: MakeLane
) -> None:
    """Weights of a plugin-cfg.xml that only the new program has read; the next reload takes them over."""
    one = lane("one", 2)
    one.members[0].attributes += ' LoadBalanceWeight="2"'
    one.members[1].attributes += ' LoadBalanceWeight="3"'
    async with upgrading(tmp_path, [one], settings='[reload]\nwatch = "off"\n') as made:
        made.proxy.expected += ["was killed by SIGKILL; its messages are in the log"]
        xml = tmp_path / "plugin-cfg.xml"
        xml.write_text(xml.read_text().replace('Weight="2"', 'Weight="7"'))
        asking = begin(made.refused())
        new = await made.started()
        await worker_of(new)
        os.kill(new, signal.SIGKILL)
        await asking
        assert await weights(made, wanted=[2, 3]) == [2, 3]
        await made.ask("POST", "/v1/reload")
        assert await weights(made, wanted=[7, 3]) == [7, 3]


async def weights(made: Upgrading, wanted: list[int]) -> list[int]:
    """Of the servers, once they are as ``wanted``: another process writes them."""
    found: list[int] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            while found != wanted:
                _, answer = await made.ask("GET", "/v1/servers")
                found = [row["weight"] for row in answer["servers"]]
                await asyncio.sleep(0.02)
    return found


async def test_new_program_stopped_for_a_while(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        load = load_on(made)
        async with load.running():
            asking = begin(made.upgrade())
            new = await made.started()
            os.kill(new, signal.SIGSTOP)
            await load.progress()
            assert not asking.done()
            os.kill(new, signal.SIGCONT)
            await asking
            await load.progress()
        assert load.failed == []


async def test_worker_of_the_new_program_killed(tmp_path: Path, lane: MakeLane) -> None:
    """It is started again, and the upgrade goes on."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        made.proxy.expected += ["worker . .* was killed by SIGKILL"]
        asking = begin(made.upgrade())
        os.kill(await worker_of(await made.started()), signal.SIGKILL)
        await asking
        assert (await ask(made.proxy.port, get("/one/a"))).status == 200


async def test_old_supervisor_killed_while_the_new_one_begins(
    tmp_path: Path, lane: MakeLane
) -> None:
    """The new one takes over; the old workers finish what they have, and that is given back where they do not."""
    one = lane("one")
    async with (
        _Killed(tmp_path, one) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        await client.send(get("/one/old"))
        server = await one.origin.accept()
        await server.head()
        asking = begin(made.upgrade())
        made.pid = await made.started()
        os.kill(made.proxy.pid, signal.SIGKILL)
        await made.proxy.line("the program that is replaced has ended before it could say so")
        await made.proxy.line(rf"ready on .*pid {made.pid}")
        await server.send(OK)
        assert (await client.answer()).status == 200
        await made.gone(made.proxy.pid)
        await empty(made)
        with pytest.raises(
            (AssertionError, OSError)
        ) as failed:  # its admin process has ended, with or without an answer
            await asking
        assert "internal error" not in str(failed.value)
        async with one.origin.serving(keep_answering):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        assert not [line for line in made.proxy.lines if "Traceback" in line]


async def test_old_program_gone_before_the_new_one_looks(tmp_path: Path, lane: MakeLane) -> None:
    """Its last word and the end of its last process wait for the new one, which takes over all the same."""
    one = lane("one")
    async with one.origin.serving(keep_answering), _Killed(tmp_path, one) as made:
        workers = processes_of(made.proxy.pid, WORKER)
        asking = begin(made.upgrade())
        made.pid = await made.started()
        os.kill(made.pid, signal.SIGSTOP)
        try:
            os.kill(made.proxy.pid, signal.SIGKILL)
            async with asyncio.timeout(WAIT_S):
                while any(status_of(worker) not in ("", "Z") for worker in workers):  # noqa: ASYNC110  # other processes
                    await asyncio.sleep(0.01)
        finally:
            os.kill(made.pid, signal.SIGCONT)
        await made.proxy.line("the program that is replaced has ended before it could say so")
        await made.proxy.line(rf"ready on .*pid {made.pid}")
        await made.gone(made.proxy.pid)
        assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        await asyncio.gather(asking, return_exceptions=True)
        assert not [line for line in made.proxy.lines if "Traceback" in line]


async def test_old_supervisor_killed_while_its_workers_finish(
    tmp_path: Path, lane: MakeLane
) -> None:
    one = lane("one")
    async with (
        _Killed(tmp_path, one) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        await client.send(get("/one/old"))
        server = await one.origin.accept()
        await server.head()
        await made.upgrade()
        assert await made.in_flight() == {"one/s0": 1}
        workers = processes_of(made.proxy.pid, WORKER)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        os.kill(made.proxy.pid, signal.SIGKILL)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        await made.gone(made.proxy.pid)
        await empty(made)


async def test_old_supervisor_stopped_for_a_while(tmp_path: Path, lane: MakeLane) -> None:
    """Both programs serve meanwhile."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        load = load_on(made)
        async with load.running():
            asking = begin(made.upgrade())
            new = await made.started()
            os.kill(made.proxy.pid, signal.SIGSTOP)
            await worker_of(new)
            await load.progress(200)
            assert not asking.done()
            os.kill(made.proxy.pid, signal.SIGCONT)
            await asking
            await load.progress()
        assert load.failed == []


async def test_old_worker_killed_while_it_finishes(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with upgrading(tmp_path, [one], workers=1) as made:
        made.proxy.expected += ["was killed by SIGKILL, 1 requests in flight"]
        async with await Client.connect(made.proxy.port) as client:
            await client.send(get("/one/old"))
            await (await one.origin.accept()).head()
            await made.upgrade()
            [worker] = processes_of(made.proxy.pid, WORKER)
            os.kill(worker, signal.SIGKILL)
            await made.gone(made.proxy.pid)
            await empty(made)


async def test_old_worker_stopped_during_the_upgrade(tmp_path: Path, lane: MakeLane) -> None:
    """It hears of it when it goes on, and its client gets an answer."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one], workers=1) as made:
        async with await Client.connect(made.proxy.port) as client:
            assert (await client.ask(get("/one/a"))).status == 200
            [worker] = processes_of(made.proxy.pid, WORKER)
            os.kill(worker, signal.SIGSTOP)
            try:
                await made.upgrade()
                await client.send(get("/one/b"))
                assert (await ask(made.proxy.port, get("/one/c"))).status == 200
            finally:
                os.kill(worker, signal.SIGCONT)
            assert (await client.answer()).status == 200
        # It may have taken up the request before it heard that its answers end connections.
        await made.gone(made.proxy.pid)


async def test_admin_process_killed_during_the_upgrade(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        made.proxy.expected += ["admin process .* was killed by SIGKILL"]
        asking = begin(made.upgrade())
        new = await made.started()
        admin = process_of(made.proxy.pid, "wsproxy-admin")
        os.kill(admin, signal.SIGKILL)
        await made.proxy.line(rf"ready on .*pid {new}")
        made.pid = new
        await asyncio.gather(asking, return_exceptions=True)
        assert await made.in_flight() == {"one/s0": 0}
        await made.upgrade()


async def test_admin_process_killed_and_started_again_during_the_upgrade(
    tmp_path: Path, lane: MakeLane
) -> None:
    """The one that has not asked leaves, too: it would go on answering for the old program as long as that has a request."""
    one = lane("one")
    async with (
        upgrading(tmp_path, [one]) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        made.proxy.expected += ["admin process .* was killed by SIGKILL"]
        await client.send(get("/one/old"))
        server = await one.origin.accept()
        await server.head()
        asking = begin(made.upgrade())
        new = await made.started()
        os.kill(new, signal.SIGSTOP)
        try:
            admin = process_of(made.proxy.pid, "wsproxy-admin")
            os.kill(admin, signal.SIGKILL)
            await asyncio.gather(asking, return_exceptions=True)
            assert (await made.ask("GET", "/v1/status"))[1]["pid"] == made.proxy.pid
        finally:
            os.kill(new, signal.SIGCONT)
        await made.proxy.line(rf"ready on .*pid {new}")
        made.pid = new
        async with asyncio.timeout(WAIT_S):
            while processes_of(made.proxy.pid, "wsproxy-admin"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        answers = [await made.ask("GET", "/v1/status") for _ in range(10)]
        assert {answer["pid"] for _, answer in answers} == {new}
        await server.send(OK)
        assert (await client.answer()).status == 200


async def test_loader_killed_and_stopped_before_the_upgrade(tmp_path: Path, lane: MakeLane) -> None:
    """Who does not end in time is ended."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        loader = process_of(made.proxy.pid, "wsproxy-loader")
        os.kill(loader, signal.SIGKILL)
        made.proxy.expected += ["loader process .* was killed by SIGKILL"]
        await made.upgrade()
        await made.proxy.line(rf"ready on .*pid {made.pid}")
        assert (await made.ask("GET", "/v1/history"))[1]["generation"] == 2
        loader = process_of(made.pid, "wsproxy-loader")
        os.kill(loader, signal.SIGSTOP)
        await made.upgrade()
        assert (await made.ask("GET", "/v1/history"))[1]["generation"] == 3


class _Killed:
    """An ``upgrading`` whose first program is killed."""

    def __init__(self, folder: Path, one: Lane) -> None:
        self._context = upgrading(folder, [one])

    async def __aenter__(self) -> Upgrading:
        return await self._context.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._context.__aexit__(*error)  # type: ignore[arg-type]
        except AssertionError as failed:
            if "exit code -9" not in str(failed):
                raise
