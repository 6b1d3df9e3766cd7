"""
The machine and the state of the source: what a reader needs to judge a figure, and nothing that names its owner.

Driven by ``measure``. Reads /proc and asks git.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from wsproxy.bench.results import Machine

PROJECT = Path(__file__).parents[2]
GIT_S = 10


class TooFewCoresError(Exception):
    """The load would run on the core of the proxy under test."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. With two cores, wrk and the upstream share one. ``more``: of the proxy, where it has several workers."""

    proxy: int
    wrk: int
    upstream: int
    more: tuple[int, ...] = ()

    @property
    def proxies(self) -> frozenset[int]:
        """All cores of the proxy under test, one a worker."""
        return frozenset((self.proxy, *self.more))


def assign_cores(available: set[int], workers: int = 1) -> Cores:
    """
    The proxy alone on the last cores (the first takes most interrupts), the load on the others.

    Raises: TooFewCoresError where none would be left for the load.
    """
    ordered = sorted(available)
    if len(ordered) < workers + 1:
        proxy = (
            "one for the proxy under test"
            if workers == 1
            else f"{workers} for the proxy under test"
        )
        msg = f"found {len(ordered)} cores; allowed is {workers + 1} and more: {proxy}, one for wrk and the upstream"
        raise TooFewCoresError(msg)
    *load, last = ordered[: len(ordered) - workers + 1]
    return Cores(last, load[0], load[-1], tuple(ordered[len(ordered) - workers + 1 :]))


def describe() -> Machine:
    """What machine we run on. I/O."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    pages = os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=os.cpu_count() or 0,
        memory_mib=pages * os.sysconf("SC_PAGE_SIZE") // 2**20,
        kernel=platform.release(),
        system=platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        python=platform.python_version(),
    )


def commit(of: Path = PROJECT) -> str:
    """The commit of a checkout, ours as a rule, with ``-dirty`` where files differ from it; the version where it is installed. I/O."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=of,
        capture_output=True,
        text=True,
        timeout=GIT_S,
        check=False,
    )
    return done.stdout.strip() or f"version {metadata.version('wsproxy')}"
