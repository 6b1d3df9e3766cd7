"""
What the operating system is asked for: CPUs, open files, process names, word to systemd.

Driven by ``process.start`` and ``process.supervisor``. Must not know workers or listeners.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import socket
import sys
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


def notify_systemd(state: str) -> None:
    """Sends ``READY=1`` or the like to the service manager; does nothing without one (sd_notify(3)). # I/O."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    if path.startswith("@"):  # abstract: no file
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(path)
            sock.send(state.encode())
        except OSError:
            return  # a service manager that went away must not stop the proxy
