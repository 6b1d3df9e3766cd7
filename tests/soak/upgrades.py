"""
Programs of a soak that replace one another, by the command that an operator types.

Driven by ``events``, which holds ``bed.upgrades``. Requests do not notice; who is connected to a worker of a program that is killed
is cut with it.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import suppress

from tests.soak.bed import PROJECT, Bed
from tests.support.process import WAIT_S
from tests.support.upgrading import STARTED, begin
from wsproxy.process.system import read_process

# Of a new program, from its first moment until it serves: on a busy machine it takes longer.
BEGINNING_S = 1.5
# What the command may say where it has not come to an upgrade, or does not know; then it is typed again.
EXCUSES = (
    r"another upgrade is under way",
    r"plugin-cfg\.xml",  # that is being written over, or is refused
    r"no proxy|does not answer|closed|reset|ended",  # the admin process was killed meanwhile
)
_TOOK_OVER = re.compile(r"pid (\d+) has taken over after ")


async def command(bed: Bed) -> str:
    """``wsproxy upgrade``; what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "wsproxy", "upgrade"),
        *("--socket", str(bed.folder / "admin.sock")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=PROJECT,
    )
    said, _ = await process.communicate()
    return f"{said.decode()}exit code {process.returncode}"


async def who(bed: Bed) -> int:
    """The pid of the program that is the proxy."""
    return int((await bed.ask("GET", "/v1/status"))["pid"])


async def upgrade(bed: Bed) -> None:
    """Until another program is the proxy."""
    async with asyncio.timeout(4 * WAIT_S):
        while True:
            began = time.monotonic()
            said = await command(bed)
            if found := _TOOK_OVER.search(said):
                await bed.took_over(int(found[1]), began)
                assert await who(bed) == bed.supervisor
                return
            if await is_replaced(bed, began):
                return
            assert any(re.search(each, said) for each in EXCUSES), said
            bed.crowd.told["upgrades that were begun again"] += 1
            await asyncio.sleep(0.3)


async def is_replaced(bed: Bed, began: float) -> bool:
    """Whether another program is the proxy, and takes note of it."""
    if (pid := await who(bed)) == bed.supervisor:
        return False
    await bed.took_over(pid, began)
    return True


async def upgrade_twice(bed: Bed) -> None:
    """The second one while the first program still finishes."""
    await upgrade(bed)
    await upgrade(bed)


async def _started(bed: Bed, start: int, asking: asyncio.Task[str]) -> int | None:
    """The pid of a new program, in a line from ``start`` on; None: the upgrade has ended before we have read of one."""
    line = begin(bed.proxy.line(STARTED, start))
    await asyncio.wait((line, asking), return_when=asyncio.FIRST_COMPLETED)
    if line.done():
        return int(line.result()[1])
    line.cancel()
    with suppress(asyncio.CancelledError):
        await line
    return None


async def kill_new(bed: Bed) -> None:
    """Kill -9 of the new program while it begins, or as it has just said that it is ready: the old one goes on."""
    old, start, began = bed.supervisor, len(bed.proxy.lines), time.monotonic()
    asking = begin(command(bed))
    new = await _started(bed, start, asking)
    if new is not None:
        await bed.stop(old)  # what the new one says is not heard
        try:
            if bed.listens(old):
                await asyncio.sleep(bed.rng.uniform(0, BEGINNING_S))
                await bed.kill_program(new, "a new program")
                # Else the old one hears that it is ready and cannot see yet that it is not: killed after it has taken over.
                async with asyncio.timeout(WAIT_S):
                    while (state := read_process(new)) is not None and state.letter != "Z":  # noqa: ASYNC110
                        await asyncio.sleep(0.005)
        finally:
            os.kill(old, signal.SIGCONT)
    said = await asking
    if not await is_replaced(bed, began):
        assert any(re.search(each, said) for each in (*EXCUSES, "SIGKILL")), said


async def kill_old_early(bed: Bed) -> None:
    """Kill -9 of the old program while the new one begins, which takes over."""
    if bed.supervisor == bed.proxy.pid:
        await upgrade(bed)  # its exit code is to be 0
    # With a file that is refused no new one would come up.
    async with bed.files:
        old, start, began = bed.supervisor, len(bed.proxy.lines), time.monotonic()
        asking = begin(command(bed))
        if await _started(bed, start, asking) is not None:
            await asyncio.sleep(bed.rng.uniform(0, BEGINNING_S))
            await bed.kill_program(old, "an old program")
        await asking
        async with asyncio.timeout(2 * WAIT_S):
            while not await is_replaced(bed, began):  # noqa: ASYNC110  # another process is asked
                await asyncio.sleep(0.1)


async def kill_old_late(bed: Bed) -> None:
    """Kill -9 of the old program while it retires."""
    if bed.supervisor == bed.proxy.pid:
        await upgrade(bed)
    old = bed.supervisor
    await upgrade(bed)
    await asyncio.sleep(bed.rng.uniform(0, 0.3))
    await bed.kill_program(old, "an old program")
