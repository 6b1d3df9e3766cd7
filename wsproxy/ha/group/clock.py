"""The clock of leases: what a member, and whoever acts for it, counts its right by."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds; a machine that sleeps does not stop it, and nobody sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
