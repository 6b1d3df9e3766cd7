"""
Some drills of two faults at once: seeds that are always the same, and two new ones each time. `make drills` has as many as are wanted.

Needs root, namespaces, nftables, keepalived, and etcd; each half is skipped where something of it is missing, and says what.
"""

from __future__ import annotations

import secrets

from tests.drills.group import group_drills
from tests.drills.machines import needs_machines
from tests.drills.pair import pair_drills
from tests.support.pair_lab import needs_pair_lab

# VRRP is cut and a clock is wrong: without the guard two held the address for 4 s. Both networks are cut, one more goes dark: two hold it, and one in the end.
PAIR_SEEDS = (38, 1008)
# The leader's disk is full and the machine that runs the resource is cut off; that machine is frozen for longer than its lease, with the program killed meanwhile.
GROUP_SEEDS = (596, 2003)


@needs_pair_lab
async def test_two_faults_of_a_pair_at_once() -> None:
    """Never two holders where either could know of the other, and in the end one."""
    async with pair_drills() as drills:
        for seed in (*PAIR_SEEDS, secrets.randbelow(1_000_000)):
            print(f"pair {seed}")
            print(*await drills.drill(seed), sep="\n")


@needs_machines
async def test_two_faults_of_a_core_group_at_once() -> None:
    """Never a singleton twice, never two coordinators, and in the end somebody is."""
    async with group_drills() as drills:
        for seed in (*GROUP_SEEDS, secrets.randbelow(1_000_000)):
            print(f"group {seed}")
            print(*await drills.drill(seed), sep="\n")
