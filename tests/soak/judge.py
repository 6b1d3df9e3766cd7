"""
What must hold in a soak, looked at while nobody asks anything, and what its log may say.

Driven by ``run``. Memory is what a process has for itself or shares (not what it has mapped of programs), descriptors are told apart:
sockets come and go with clients and servers, the others must not.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.bed import MOST, Bed
from tests.support.process import WAIT_S

# A process may grow by so much and be flat: pages that malloc keeps, a table that doubled.
MEMORY_SHARE, MEMORY_BYTES = 0.1, 6 << 20
FILES, PIPES, SOCKETS = 2, 32, 64
# Of the looks at one process: fewer say nothing.
FEWEST_LOOKS = 8

# ERROR lines that follow from what is done to the proxy.
EXPECTED = (
    r"was killed by SIGKILL",
    r"Marking s\d down|server s\d of cluster farm is out of service",
    r"probe of server s\d of cluster farm",
    r"the configuration is refused|plugin-cfg\.xml:\d+: found Port=",
    r"not every worker goes by generation",
    r"the new program does not come up.*(SIGKILL|plugin-cfg\.xml)",
)
_LINE = re.compile(r"\S+ (ERROR|CRITICAL) ")
_BAD = re.compile(
    r"Traceback|killing \d+ workers|internal error|task .* failed|Exception|is not taken over"
)


@dataclass(frozen=True, slots=True)
class Look:
    """One process, between two rounds."""

    pid: int
    memory: int
    shared: int  # of it, the state of servers and sessions: pages are touched once and then stay
    private: int  # that nobody else has mapped
    files: int
    pipes: int
    sockets: int
    kinds: Counter[str]  # of files: what they lead to


def look_at(pid: int) -> Look | None:
    """None: it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        kept = {
            what: int(kb) << 10
            for what, kb in re.findall(r"^Rss(Anon|Shmem):\s+(\d+)", status, re.MULTILINE)
        }
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        private = sum(
            int(kb) for kb in re.findall(r"^Private_Dirty:\s+(\d+)", rollup, re.MULTILINE)
        )
        kinds: Counter[str] = Counter()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                kinds[re.sub(r":?\[.*| \(deleted\)", "", os.readlink(link))] += 1
    except (OSError, ValueError):
        return None
    sockets, pipes = kinds.pop("socket", 0), kinds.pop("pipe", 0)
    return Look(
        pid, sum(kept.values()), kept["Shmem"], private << 10, kinds.total(), pipes, sockets, kinds
    )


@dataclass(slots=True)
class Judge:
    """Collects what was found."""

    bed: Bed
    looks: dict[str, list[Look]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)  # told already

    async def look(self) -> None:
        """Nobody asks anything now: so nothing is in flight anywhere, nobody waits, and of programs that were replaced none is left."""
        if left := await self.bed.older_are_gone():
            self.faults.append(f"of programs that were replaced there are still {left}")
        for name, pid in self.bed.processes().items():
            if (found := look_at(pid)) is not None:
                self.looks[name].append(found)
        await self._wait_for_nothing()
        for name, server in self.bed.servers.items():
            if name.startswith("s") and server.board.peak > self.peaks.get(name, MOST):
                self.peaks[name] = server.board.peak
                self.faults.append(
                    f"{name} had {server.board.peak} requests at a time; MaxConnections is {MOST}"
                )

    async def _wait_for_nothing(self) -> None:
        """A client that has hung up may be waited for by its request, for as long as that takes and no longer."""
        until = asyncio.get_running_loop().time() + WAIT_S
        while wrong := await self._in_flight():
            if asyncio.get_running_loop().time() > until:
                self.faults.append(f"nobody asks anything, and in flight is: {wrong}")
                return
            await asyncio.sleep(0.05)

    async def _in_flight(self) -> dict[str, int]:
        """What is another number than it must be: none but of tunnels."""
        tunnels = self.bed.crowd.tunnels
        found = {
            f"{row['cluster']}/{row['server']}": row["in_flight"] for row in await self.bed.rows()
        }
        found["all requests"] = (await self.bed.ask("GET", "/v1/requests"))["total"]
        wanted = {"tunnel/u0": tunnels, "all requests": tunnels}
        return {name: count for name, count in found.items() if count != wanted.get(name, 0)}

    def grown(self) -> Iterator[str]:
        """Processes that grew: of each that lived long, its last looks against those after it was warm."""
        for name, looks in self.looks.items():
            same = [each for each in looks if each.pid == looks[-1].pid]
            if len(same) < FEWEST_LOOKS:
                continue
            part = len(same) // 4
            early, late = same[part : 2 * part], same[-part:]
            for what, most in (
                ("memory", MEMORY_BYTES + int(MEMORY_SHARE * early[0].memory)),
                ("files", FILES),
                ("pipes", PIPES),
                ("sockets", SOCKETS),
            ):
                before = statistics.median(getattr(each, what) for each in early)
                after = statistics.median(getattr(each, what) for each in late)
                if after > before + most:
                    more = f": {dict(late[-1].kinds)}" if what == "files" else ""
                    yield f"{name} (pid {same[0].pid}): {what} grew from {before:.0f} to {after:.0f} in {len(same)} looks{more}"

    def inherited(self) -> Iterator[str]:
        """Programs that began with more than the second one did; the first was given nothing."""
        for name, looks in self.looks.items():
            firsts = list({each.pid: each for each in reversed(looks)}.values())[::-1]
            if name != "wsproxy" or len(firsts) < FEWEST_LOOKS:
                continue
            early, late = firsts[1:4], firsts[-3:]
            for what, most in (("memory", MEMORY_BYTES), ("files", FILES), ("pipes", FILES)):
                before = statistics.median(getattr(each, what) for each in early)
                after = statistics.median(getattr(each, what) for each in late)
                if after > before + most:
                    yield f"{name}: after {len(firsts)} programs {what} grew from {before:.0f} to {after:.0f}: {dict(late[-1].kinds)}"

    def ended(self) -> Iterator[str]:
        """Processes whose parent was gone; one that we killed, or whose supervisor we killed, is no fault."""
        for pid, name, exit_code in self.bed.orphans:
            if exit_code not in (0, -signal.SIGKILL):
                yield f"{name} (pid {pid}), whose parent had ended, ended with {exit_code}"

    def now(self) -> str:
        """What each process has now, in MB: its own, of the shared state, and what nobody else has mapped."""
        last = {name: looks[-1] for name, looks in sorted(self.looks.items())}
        return "  ".join(
            f"{name.removeprefix('wsproxy-')} {(each.memory - each.shared) / 1e6:.2f}+{each.shared / 1e6:.2f} ({each.private / 1e6:.2f})"
            for name, each in last.items()
        )

    def said(self) -> Iterator[str]:
        """Lines of the log that nothing explains."""
        for line in self.bed.proxy.lines:
            if _BAD.search(line) or (
                _LINE.match(line) and not any(re.search(each, line) for each in EXPECTED)
            ):
                yield f"the log has: {line}"

    def table(self) -> Iterator[str]:
        """What the processes took: of the last one of each name, in each quarter of its life, then descriptors early and late."""
        yield f"{'process':16}{'looks':>6}{'MB in quarters':>28}{'files':>8}{'pipes':>8}{'sockets':>8}"
        for name, looks in sorted(self.looks.items()):
            same = [each for each in looks if each.pid == looks[-1].pid]
            part = max(1, len(same) // 4)
            quarters = [same[at : at + part] for at in range(0, len(same), part)][:4]
            memory = " ".join(
                f"{statistics.median(each.memory for each in quarter) / 1e6:.1f}"
                for quarter in quarters
            )
            early, late = same[len(same) // 4], same[-1]
            yield (
                f"{name:16}{len(same):6}{memory:>28}"
                f"{f'{early.files}-{late.files}':>8}{f'{early.pipes}-{late.pipes}':>8}{f'{early.sockets}-{late.sockets}':>8}"
            )
