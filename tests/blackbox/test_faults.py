"""
Every process of a proxy is killed, or stopped for a while, while something else is under way; nobody's request is lost.

What is under way: a reload, a drained server, a server that probes find ill. What must hold afterwards is what a soak looks at
(``tests.soak``): each GET was answered but for those whose own worker was killed, the file holds, the drain is honoured, nothing is in
flight, every server is up again, and the log says nothing that nobody expects.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.soak.bed import Bed, running_bed
from tests.soak.crowd import Word
from tests.soak.judge import Judge
from tests.support.process import WAIT_S, wait_for_end

pytestmark = pytest.mark.asyncio(loop_scope="module")

WALKERS = 6
STOPPED_S = 1.0
# After the beginning of what is under way. Between a saved file and the moment when all go by the new one is half a second: a loader,
# or a worker, is met at several steps of that.
MOMENTS_S = {"reload": (0.0, 0.3), "drain": (0.0,), "probe": (0.3,)}
MANY_MOMENTS_S = (0.0, 0.25, 0.3, 0.35)

Until = asyncio.Event
Situation = Callable[[Bed, Until], Awaitable[None]]


@dataclass(slots=True)
class Stage:
    bed: Bed
    judge: Judge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="wsproxy-") as folder:
        async with running_bed(Path(folder), random.Random(1)) as bed, asyncio.TaskGroup() as group:
            bed.proxy.expected.append("was killed by SIGKILL")
            tasks = [group.create_task(bed.crowd.walk()) for _ in range(WALKERS)]
            tasks.append(group.create_task(bed.crowd.hold_tunnel()))
            bed.crowd.open.set()
            yield Stage(bed, Judge(bed))
            await bed.crowd.end(tasks)


# --- what is under way ----------------------------------------------------------------------------------------------


async def a_reload(bed: Bed, fault_is_over: Until) -> None:
    """The file is saved, once; it holds in the end, by itself."""
    async with bed.files:
        bed.marker += 1
        bed.weights = {"s1": bed.marker % 5 + 1}
        bed.write(bed.xml(bed.marker))
        await bed.is_used()
        await fault_is_over.wait()
        await bed.is_used()


async def a_drain(bed: Bed, fault_is_over: Until) -> None:
    """It holds from its answer on, whoever dies; and is taken back."""
    await bed.ask("POST", "/v1/drain", target="farm/s2", reason="test")
    bed.crowd.words["s2"] = Word(is_down=False)
    await fault_is_over.wait()
    await asyncio.sleep(0.2)
    [row] = (await bed.ask("GET", "/v1/servers?target=farm/s2"))["servers"]
    del bed.crowd.words["s2"]
    await bed.ask("POST", "/v1/resume", target="farm/s2")
    assert (row["state"], row["why"]) == ("drained", "test"), row


async def an_ill_server(bed: Bed, fault_is_over: Until) -> None:
    """Probes take it out of service, and bring it back."""
    board = bed.servers["s3"].board
    board.is_ill = True
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                [row] = (await bed.ask("GET", "/v1/servers?target=farm/s3"))["servers"]
                if row["state"] == "down":
                    break
                await asyncio.sleep(0.05)
        await fault_is_over.wait()
    finally:
        board.is_ill = False


SITUATIONS = {"reload": a_reload, "drain": a_drain, "probe": an_ill_server}
KILLED = ("wsproxy-0", "wsproxy-1", "wsproxy-prober", "wsproxy-admin", "wsproxy-loader")
STOPPED = (*KILLED[1:], "wsproxy")
FAULTS = [(each, signal.SIGKILL) for each in KILLED] + [(each, signal.SIGSTOP) for each in STOPPED]


async def befall(bed: Bed, name: str, number: signal.Signals) -> None:
    if number is signal.SIGKILL:
        await bed.kill(name)
    elif (pid := bed.supervisor if name == "wsproxy" else bed.pid_of(name)) is not None:
        await bed.stop(pid)
        try:
            await asyncio.sleep(STOPPED_S)
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("name", "number"), FAULTS, ids=lambda each: getattr(each, "name", each))
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_process_that_dies_or_stands_still_harms_nobody(
    stage: Stage, situation: str, name: str, number: signal.Signals
) -> None:
    bed, judge = stage.bed, stage.judge
    is_at_work = situation == "reload" and name in ("wsproxy-loader", "wsproxy-0")
    for moment_s in MANY_MOMENTS_S if is_at_work else MOMENTS_S[situation]:
        await bed.ask("GET", "/v1/status")  # there is an admin process to befall
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(SITUATIONS[situation](bed, over))
            await asyncio.sleep(moment_s)
            await befall(bed, name, number)
            over.set()
        await bed.is_well()
        await bed.crowd.pause()
        await judge.look()
        bed.crowd.open.set()
    assert not [*bed.crowd.faults, *judge.faults, *judge.said()]


# --- the supervisor itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_killed_supervisor_takes_everybody_along(situation: str) -> None:
    """Whatever is under way: no process is left, no port is taken, and the next start knows what operators said."""
    with tempfile.TemporaryDirectory(prefix="wsproxy-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            with pytest.raises(AssertionError, match="exit code -9"):  # noqa: PT012
                async with running_bed(folder, random.Random(1)) as bed:
                    pidfds = [os.pidfd_open(pid) for pid in bed.processes().values()]
                    for fd in pidfds:
                        stack.callback(os.close, fd)
                    over = asyncio.Event()
                    task = asyncio.ensure_future(SITUATIONS[situation](bed, over))
                    if situation == "drain":
                        while not (folder / "state.json").exists():  # noqa: ASYNC110
                            await asyncio.sleep(0.01)
                    else:
                        await asyncio.sleep(0.3)
                    os.kill(bed.supervisor, signal.SIGKILL)
                    for fd in pidfds:
                        assert await asyncio.to_thread(wait_for_end, fd)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
        if situation == "drain":
            async with running_bed(folder, random.Random(1)) as bed:
                [row] = (await bed.ask("GET", "/v1/servers?target=farm/s2"))["servers"]
                assert row["state"] == "drained"
                await bed.proxy.line("farm/s2 is drained by .*that holds on")
