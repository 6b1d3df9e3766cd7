"""
A soak: a real proxy under load, to which everything happens that can happen, in an order that a seed decides.

    python -m tests.soak [--minutes 60] [--seed N] [--only EVENT ...]

In rounds: some events at a time, until everything is as it was; then nobody asks anything, and what must hold is looked at. Says in
the end what was done, what processes took, and what was wrong; exit status 1 where anything was. CONTRIBUTING.md tells how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.bed import CLONES, Bed, running_bed
from tests.soak.events import EVENTS, Scene
from tests.soak.judge import Judge

CLIENTS, TUNNELS = 14, 2
# Rounds with one event of each kind, before chance decides.
TROUBLED = 2  # servers at a time
ROUND_EVENTS = 4
# In the second half these live on, so that what they take can be seen; one worker is not killed before, either.
SPARED_ALWAYS = frozenset({"wsproxy-1"})
# Of a soak that is shorter every kind of event is wanted to the end.
SHORT_S = 300
SPARED_LATE = SPARED_ALWAYS | {
    "wsproxy",
    "wsproxy-0",
    "wsproxy-prober",
    "wsproxy-loader",
    "wsproxy-admin",
}
# What must be known to have worked, in one event.
EVENT_S = 150.0
MOST_FAULTS = 40
# Memory is told each so many rounds.
MEMORY_ROUNDS = 5
# linux/prctl.h: processes whose parent has ended become our children, and tell us how they end.
PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Soak:
    """One run."""

    bed: Bed
    judge: Judge
    rng: random.Random
    only: list[str]
    faults: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    _bag: list[str] = field(default_factory=list)

    def _picked(self) -> list[str]:
        """Every kind comes once before one comes as often as its weight says."""
        if not self._bag:
            names = [name for name in EVENTS if not self.only or name in self.only]
            if self.rounds:
                names = [name for name in names for _ in range(EVENTS[name][1])]
            self._bag = self.rng.sample(names, len(names))
        picked, self._bag = self._bag[:ROUND_EVENTS], self._bag[ROUND_EVENTS:]
        return picked

    async def round(self, spared: frozenset[str]) -> None:
        """Some events at a time; then silence, and a look."""
        bed = self.bed
        troubled = self.rng.sample(sorted(CLONES), TROUBLED)
        bed.crowd.open.set()
        picked = self._picked()
        self.rounds += 1
        await asyncio.gather(
            *(
                self._play(name, troubled[at % TROUBLED], spared, self.rng.uniform(0, 1.5))
                for at, name in enumerate(picked)
            )
        )
        await asyncio.sleep(0.3)
        await bed.is_well()
        async with asyncio.timeout(90):
            await bed.crowd.pause()
        await self.judge.look()

    async def _play(self, name: str, server: str, spared: frozenset[str], after_s: float) -> None:
        found = self.bed.servers[server]
        await asyncio.sleep(after_s)
        async with found.lock, asyncio.timeout(EVENT_S):
            self.bed.crowd.note(f"{name} ({server})")
            await EVENTS[name][0](Scene(self.bed, found, spared))
            self.bed.crowd.note(f"end of {name}")
        self.done[name] += 1

    async def run(self, seconds: float) -> None:
        """As long as there is time, and every kind of event has come."""
        began = time.monotonic()
        crowd = self.bed.crowd
        crowd.open.set()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(crowd.walk()) for _ in range(CLIENTS)]
            tasks += [group.create_task(crowd.hold_tunnel()) for _ in range(TUNNELS)]
            told = 0
            try:
                while (passed := time.monotonic() - began) < seconds:
                    is_late = passed > seconds / 2
                    if seconds < SHORT_S:
                        spared = SPARED_LATE - {"wsproxy"} if is_late else frozenset()
                    else:
                        spared = SPARED_LATE if is_late else SPARED_ALWAYS
                    await self.round(spared)
                    print(f"{passed:7.0f} s  round {self.rounds}: {self._now()}", flush=True)
                    for fault in self.found()[told:]:
                        print(f"          {fault}", flush=True)
                    told = len(self.found())
                    if self.rounds % MEMORY_ROUNDS == 0:
                        print(f"          MB: {self.judge.now()}", flush=True)
                    if len(self.found()) > MOST_FAULTS:
                        break
            except Exception:
                self.faults.append(traceback.format_exc())
            await crowd.end(tasks)

    def _now(self) -> str:
        told = self.bed.crowd.told
        return f"{told['GET, 200'] + told['large GET, 200']} GETs, {told['cut with their worker']} cut, {len(self.found())} faults"

    def found(self) -> list[str]:
        return [*self.faults, *self.bed.crowd.faults, *self.judge.faults]


async def soak(minutes: float, seed: int, only: list[str], log: Path | None = None) -> int:
    """The exit status."""
    rng = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wsproxy-soak-") as folder:
        soaked: Soak | None = None
        faults: list[str] = []
        try:
            async with running_bed(Path(folder), rng) as bed:
                bed.proxy.expected.append("was killed by SIGKILL")
                soaked = Soak(bed, Judge(bed), rng, only)
                await soaked.run(minutes * 60)
        except (AssertionError, TimeoutError) as error:
            faults.append(f"at the end: {type(error).__name__} {str(error)[:3000]}")
        assert soaked is not None
        faults += [f"process {pid} is left: {name}" for pid, name in soaked.bed.session().items()]
        judge = soaked.judge
        if log is not None:
            await asyncio.to_thread(log.write_text, "\n".join(soaked.bed.proxy.lines))
        faults += [
            *soaked.found(),
            *judge.grown(),
            *judge.inherited(),
            *judge.ended(),
            *judge.said(),
        ]
        faults += bound(soaked)
        report(soaked, faults, seed, time.monotonic() - began)
    return 1 if faults else 0


def bound(soaked: Soak) -> list[str]:
    """Requests may be cut with a worker: not more than its connections can have, and none where none was killed."""
    killed = soaked.bed.workers_cut
    cut, most = soaked.bed.crowd.told["cut with their worker"], killed * (CLIENTS + TUNNELS)
    return (
        [f"{cut} requests cut by {killed} killed workers; at most {most} can be"]
        if cut > most
        else []
    )


def report(soaked: Soak, faults: list[str], seed: int, seconds: float) -> None:
    bed = soaked.bed
    print(
        f"\nseed {seed}, {seconds:.0f} s, {soaked.rounds} rounds, {sum(soaked.done.values())} events"
    )
    for name, count in sorted(soaked.done.items()):
        print(f"  {count:5}  {name}")
    print(
        "killed:",
        ", ".join(f"{name} {count}" for name, count in sorted(bed.killed.items())) or "none",
    )
    print("requests:")
    for name, count in sorted(bed.crowd.told.items()):
        print(f"  {count:8}  {name}")
    peaks = ", ".join(f"{name} {each.board.peak}" for name, each in bed.servers.items())
    print(f"most at a time: {peaks}")
    late = sum(each.board.late_ends for each in bed.servers.values())
    print(f"requests whose end a server could not see yet: {late}")
    print("\n".join(soaked.judge.table()))
    print(f"{len(faults)} faults" + "".join(f"\n  {each}" for each in faults[:MOST_FAULTS]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--only", nargs="*", default=[], choices=EVENTS, help="these events")
    parser.add_argument("--log", type=Path, help="where what the proxy said is kept")
    wanted = parser.parse_args()
    seed = random.randrange(1 << 32) if wanted.seed is None else wanted.seed
    print(f"seed {seed}", flush=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return asyncio.run(soak(wanted.minutes, seed, wanted.only, wanted.log))


if __name__ == "__main__":
    sys.exit(main())
