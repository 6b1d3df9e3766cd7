"""Real-time scheduling of the agent: had where it may be, and gone without where it may not; the tests' own process is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NOBODY = 65534
PROGRAM = f"""
import os, resource, sys
from wsproxy.ha.pair.hurry import hurry
priority, has_rights = int(sys.argv[1]), sys.argv[2] == "True"
if not has_rights:
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.nice(3)
    os.geteuid() or os.setuid({NOBODY})
print(hurry(priority) or "done")
print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, os.getpriority(os.PRIO_PROCESS, 0), flush=True)
if not os.fork():
    print(os.sched_getscheduler(0), flush=True)
    os._exit(0)
os.wait()
print(hurry(0) or "done", os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
"""


def asked(priority: int, *, has_rights: bool = True) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(priority), str(has_rights)], stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def is_allowed() -> bool:
    """Whether the kernel lets this process."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"],
        stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode == 0


@pytest.mark.skipif(not is_allowed(), reason="real-time scheduling is not allowed here (root; a cgroup with cpu.rt_runtime_us)")  # fmt: skip
def test_agent_is_real_time_and_its_children_are_not() -> None:
    """What it runs (`--notify`) must not be before all others; and it is as others again when that is wanted."""
    said, own, child, again = asked(10)
    assert said == "done"
    assert own.split()[:2] == [str(os.SCHED_RR | os.SCHED_RESET_ON_FORK), "10"]
    assert int(child) == os.SCHED_OTHER
    assert again == f"done {os.SCHED_OTHER}"


def test_where_it_is_refused_nothing_changes() -> None:
    """It says why, and what it had (a nice value) it keeps."""
    said, own, child, again = asked(10, has_rights=False)
    assert "not permitted" in said
    assert own == f"{os.SCHED_OTHER} 0 {min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)}"
    assert int(child) == os.SCHED_OTHER
    assert again == f"done {os.SCHED_OTHER}"


def test_nobody_asks_for_it() -> None:
    said, own, *_ = asked(0)
    assert (said, own.split()[0]) == ("done", str(os.sched_getscheduler(0)))
