"""
A node that has much to do must not make its agent late: real-time scheduling, and no page of it on a disk.

Driven by ``agent``; keepalived does the same for itself, by the file that ``conf`` writes (vrrp_rt_priority, vrrp_no_swap: what its manual has for "too busy to
process vrrp packets"). What may not be had is gone without, and told: a container, or a kernel with real-time groups, may refuse it.
"""

from __future__ import annotations

import os
import resource

from wsproxy.ha.own_process import lock_memory

# A real-time process that computes for so long without waiting is in an endless loop: it is ended (SIGXCPU), and its keeper starts another.
# The kernel leaves 5 % to all others meanwhile. A handshake of TLS takes some milliseconds, a zip of all logs 0.2 s.
MOST_CPU_S = 2.0
_US = 1_000_000


def hurry(priority: int) -> str:
    """
    Why this process, and no child of it, is not before all that are not real-time; empty: it is, or with 0 it is as all others.

    What it had before is not touched where it is refused.
    """
    if not priority:
        if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        return ""
    try:
        resource.setrlimit(resource.RLIMIT_RTTIME, (int(MOST_CPU_S * _US), resource.RLIM_INFINITY))
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        lock_memory()
    except (OSError, ValueError) as error:
        return str(error)
    return ""
