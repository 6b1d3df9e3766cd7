"""A process that can open nothing more, for as long as a test wants it so."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.process import WAIT_S

SETTLED_LOOKS = 10  # in a row, of 50 ms


@contextmanager
def no_descriptor_for(*pids: int) -> Iterator[None]:
    """These processes have no descriptor left; what they have open stays."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid in pids:
        if pid == os.getpid():
            free = os.dup(2)
            os.close(free)
        else:
            used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
            free = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[pid][1]))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


async def until_settled(pid: int) -> None:
    """What it was just asked for is closed: a descriptor that it gives back later would be one that it has left."""
    async with asyncio.timeout(WAIT_S):
        same, before = 0, set[str]()
        while same < SETTLED_LOOKS:
            now = set(os.listdir(f"/proc/{pid}/fd"))
            same, before = (same + 1 if now == before else 0), now
            await asyncio.sleep(0.05)
