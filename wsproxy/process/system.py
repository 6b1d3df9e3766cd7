"""
What the operating system is asked for: CPUs, open files, process names, what a process does.

Driven by ``process.start`` and ``process.supervisor``. Must not know workers or listeners.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from wsproxy.config.settings import MAX_WORKERS

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

# cgroup v2: "max 100000" or "150000 100000", CPU time and period in microseconds
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: nothing is loaded in a worker


def count_usable_cpus(cpu_max: Path = _CPU_MAX) -> int:
    """CPUs that this process may run on, or fewer where its control group limits CPU time; at most MAX_WORKERS. # I/O."""
    usable = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        quota, period = "max", "0"
    if quota != "max":
        usable = min(usable, math.ceil(int(quota) / int(period)))
    return max(1, min(usable, MAX_WORKERS))


def raise_open_files_limit() -> int:
    """Open files that this process may have, after its soft limit (often 1024) was raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a hard limit above fs.nr_open, which was lowered later
        hard = soft
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def set_process_name(name: str) -> None:
    """Shows ``name`` (15 bytes at most, longer is cut) in ``ps -o comm`` and ``top``."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def end_with_parent(signal_number: int, parent_pid: int) -> bool:
    """
    Has the kernel send ``signal_number`` to this process when its parent ends, however it ends.

    False: the parent ended before the kernel knew, so nobody will send it and the caller must end by itself.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    return os.getppid() == parent_pid


# linux/sched.h, and which lines of /proc/PID/status are signals that a process was sent and has not met.
_PF_EXITING, _PF_SIGNALED = 0x4, 0x400
_PENDING = ("SigPnd:", "ShdPnd:")
_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What the kernel tells of a process; the letter is its first thread's (proc(5))."""

    letter: str
    cpu_s: float
    tracer_pid: int  # who debugs it; 0: nobody
    waits_in: str  # the function of the kernel; empty: in none, or we may not know


def read_process(pid: int) -> ProcessState | None:
    """None: there is none. # I/O."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        status = (folder / "status").read_text()
    except OSError:
        return None
    try:
        waits_in = (folder / "wchan").read_text().strip("0\n")
    except OSError:
        waits_in = ""
    tracer = next((line for line in status.splitlines() if line.startswith("TracerPid:")), ":0")
    ticks = int(fields[11]) + int(fields[12])  # utime, stime
    return ProcessState(
        fields[0], ticks / os.sysconf("SC_CLK_TCK"), int(tracer.partition(":")[2]), waits_in
    )


def is_dying(pid: int) -> bool:
    """
    Whether it ends, or has: also one that was killed a moment ago and has not run since. # I/O.

    waitpid(2) tells of an end when all memory was given back, which takes a busy machine some time.
    """
    folder = Path(f"/proc/{pid}")
    try:
        # In this order: what waits is taken away before the flags are set.
        status = (folder / "status").read_text()
        fields = (folder / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return True
    waiting = [
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith(_PENDING)
    ]
    return (
        fields[0] in "ZX"
        or bool(int(fields[6]) & (_PF_EXITING | _PF_SIGNALED))
        or any(mask & _SIGKILL_BIT for mask in waiting)
    )
