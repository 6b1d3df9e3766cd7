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
    """Who runs where. With two cores, wrk and the upstream share one."""

    proxy: int
    wrk: int
    upstream: int


def assign_cores(available: set[int]) -> Cores:
    """
    The proxy alone on the last core (the first takes most interrupts), the load on the others.

    Raises: TooFewCoresError for fewer than two.
    """
    ordered = sorted(available)
    if len(ordered) < 2:
        msg = "two cores are needed: one for the proxy under test, one for wrk and the upstream"
        raise TooFewCoresError(msg)
    return Cores(proxy=ordered[-1], wrk=ordered[0], upstream=ordered[-2])


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
