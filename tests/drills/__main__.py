"""
Two faults at once, by chance, again and again: never two holders of the address, never two of a seat, never a singleton twice.

    python -m tests.drills [--seed N] [--count 100] [--kind pair|group]

Drill number i has seed N+i: what is said of a failure repeats that drill alone. Without --kind half of them are of the pair and half of the core group. Exit status 1
where one failed; the others go on, in a new lab.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tests.drills import group, pair
from tests.drills.chance import KINDS, draw
from tests.drills.machines import LACK as GROUP_LACK
from tests.support.pair_lab import LACK as PAIR_LACK

# Files of a lab grow with each drill.
DRILLS_A_LAB = 25


class Drills(Protocol):
    """A lab of one family."""

    async def drill(self, seed: int) -> list[str]: ...


def lab(family: str) -> AbstractAsyncContextManager[Drills]:
    return pair.pair_drills() if family == "pair" else group.group_drills()


async def run(family: str, seeds: list[int]) -> list[str]:
    """What failed."""
    failed: list[str] = []
    waiting = list(seeds)
    while waiting:
        async with contextlib.AsyncExitStack() as stack:
            drills = await stack.enter_async_context(lab(family))
            for _ in range(min(DRILLS_A_LAB, len(waiting))):
                seed = waiting.pop(0)
                first, second = draw(family, seed)
                began = time.monotonic()
                print(f"{family} {seed}: {first} + {second}", flush=True)
                try:
                    notes = await drills.drill(seed)
                except AssertionError as error:
                    failed.append(str(error))
                    print(f"FAILED {error}", flush=True)
                    break
                for each in notes:
                    print(f"    {each}")
                print(f"    good, {time.monotonic() - began:.1f} s", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drills")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--kind", choices=KINDS)
    given = parser.parse_args()
    families = [given.kind] if given.kind else list(KINDS)
    lacks = {"pair": PAIR_LACK, "group": GROUP_LACK}
    failed: list[str] = []
    done: Counter[str] = Counter()
    for family, share in zip(families, _shares(given.count, len(families)), strict=True):
        if lacks[family]:
            print(f"{family}: not done: {lacks[family]}")
            failed.append(family)
            continue
        failed += asyncio.run(run(family, [given.seed + number for number in range(share)]))
        done[family] += share
    print(f"seed {given.seed}: {', '.join(f'{count} drills of the {family}' for family, count in done.items())}, {len(failed)} failed")  # fmt: skip
    return 1 if failed else 0


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (number < count % parts) for number in range(parts)]


if __name__ == "__main__":
    sys.exit(main())
