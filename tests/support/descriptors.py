"""A process that can open nothing more, for as long as a test wants it so."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
