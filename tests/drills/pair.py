"""
Drills of the pair: keepalived and a floating address in namespaces, two faults at once, and who held the address meanwhile.

Driven by ``__main__`` and ``tests/acceptance/test_drills.py``. One lab has many drills: each begins with a primary and a secondary and has to end so, by the pair itself
(`--autostart`); an operator only takes back what operators do (a node that is idle).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.chance import Fault, draw, told
from tests.drills.holders import Holders, boot_now
from tests.drills.judge import (
    HANDOVER_S,
    RECOVERY_S,
    Span,
    Window,
    blind,
    overlaps,
    two_holders,
    unexplained,
    unknowable,
)
from tests.support.pair_lab import Box, PairLab, names_of, pair_lab, until
from wsproxy.errors import WsproxyError
from wsproxy.ha.pair.ask import ask_agent
from wsproxy.ha.pair.folder import Folder

# For both nodes to be a pair again; what was killed starts anew, on a machine that is busy.
SETTLE_S = 120.0
LOOK_S = 0.05
# Adverts each 0.5 s. With 0.2 s an agent that gets no time for 0.25 s is taken for silent, which on two cores that have 13 processes to run happens: once in 120 drills both
# had the address for 0.3 s, until the next word came. What is judged here is the order of things, not how busy the machine is.
PING = "1.5"
_LOG_LINES = 60

Heal = Callable[[], Awaitable[None]]


@dataclass
class Node:
    """One machine, and what was done to it."""

    box: Box
    clock: Path
    env: dict[str, str]
    is_dead: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        return self.box.folder.name

    def pids(self, *names: str) -> list[int]:
        """Of those names; none given: all."""
        found = names_of(self.box.pids())
        return [pid for pid, name in found.items() if not names or name in names]

    def proxies(self) -> list[int]:
        return [
            pid
            for pid, name in names_of(self.box.pids()).items()
            if name.startswith("wsproxy") and name not in ("wsproxy-pair", "wsproxy-keeper")
        ]

    async def status(self) -> dict[str, object]:
        """What its agent says; empty: none answers."""
        try:
            reply = await asyncio.wait_for(asyncio.to_thread(ask_agent, Folder(self.box.ha), "status"), 5)  # fmt: skip
        except (WsproxyError, TimeoutError, OSError):
            return {}
        return reply.given

    async def start_agent(self) -> None:
        """And its keeper, by hand or by a service manager."""
        await self.box.spawn("ha", "run", "--keep", "--folder", str(self.box.ha), env=self.env)

    async def until_answers(self) -> None:
        while not await self.status():  # noqa: ASYNC110  # another process
            await asyncio.sleep(LOOK_S)

    def drop(self, table: str, *interfaces: str, share: float = 1.0) -> None:
        """What comes and goes there is lost, or a share of it."""
        what = f"numgen random mod 100 < {round(100 * share)} " if share < 1 else ""
        chains = "; ".join(
            f'chain {hook}{each} {{ type filter hook {hook} device "{each}" priority -310; {what}drop; }}'
            for each in interfaces
            for hook in ("ingress", "egress")
        )
        self.box.nft(f"table netdev {table} {{ {chains}; }}")


class Course:
    """One drill: its faults, when each was there, and how it ends."""

    def __init__(self, lab: PairLab, nodes: dict[str, Node], holders: Holders) -> None:
        self._lab = lab
        self._nodes = nodes
        self._holders = holders
        self.windows: list[Window] = []
        self._ending: dict[str, float] = {}  # whose agent was killed, and when
        self.notes: list[str] = []
        self._acts: dict[str, Callable[[Fault, Node, str], Awaitable[Heal | None]]] = {
            "kill-proxy": self._kill_proxy,
            "stop-proxy": lambda _f, node, _t: self._stop(node, node.proxies()),
            "kill-agent": lambda _f, node, _t: self._kill_agent(node),
            "kill-agent-and-keeper": lambda _f, node, _t: self._kill_agent(node, and_keeper=True),
            "stop-agent": lambda _f, node, _t: self._stop(node, node.pids("wsproxy-pair"), "agent"),
            "kill-keepalived": self._kill_keepalived,
            "stop-keepalived": lambda _f, node, _t: self._stop(
                node, node.pids("keepalived"), "keepalived"
            ),
            "hang": lambda _f, node, _t: self._stop(node, node.pids(), "agent", "keepalived"),
            "death": self._die,
            "cut-sync": lambda _f, node, _t: self._cut(node, "eth1"),
            "cut-service": lambda _f, node, _t: self._cut(node, "eth0"),
            "cut-both": lambda _f, node, _t: self._cut(node, "eth0", "eth1"),
            "dark-service": lambda _f, node, table: self._lose(node, table, 1.0, "eth0"),
            "loss-service": lambda fault, node, table: self._lose(
                node, table, abs(fault.amount), "eth0"
            ),
            "loss-both": lambda fault, node, table: self._lose(
                node, table, abs(fault.amount), "eth0", "eth1"
            ),
            "cut-vrrp": self._cut_vrrp,
            "clock": self._jump,
            "failover": self._hand_over,
        }

    async def run(self, faults: Iterable[Fault]) -> None:
        """
        Both are done and undone, and the pair is one again; nobody held what he must not.

        Raises:
            AssertionError: two held the address where that could be known; or there is no pair any more.
        """
        holder = await self._settle()
        self._holders.forget()
        roles = {"holder": holder, "other": next(each for each in self._nodes if each != holder)}
        watching = asyncio.ensure_future(self._watch_agents())
        try:
            async with asyncio.TaskGroup() as group:
                for number, fault in enumerate(faults):
                    group.create_task(self._one(f"drill{number}", fault, self._nodes[roles[fault.place]]))  # fmt: skip
            await self._settle()
            await until(lambda: not self._ending, "an agent does not answer", SETTLE_S)
        finally:
            watching.cancel()
        self._judge()

    def _judge(self) -> None:
        events = self._holders.events()
        both = overlaps(events, boot_now())
        excused = unknowable(self.windows)
        self.notes += [
            f"two holders for {each.end - each.begin:.4f} s, {_about(each, excused)}"
            for each in both
        ]
        for what, bad in (
            ("two kernels had the address", two_holders(both, excused, blind(self.windows))),
            ("two machines answered ARP and no two kernels had the address", unexplained(self._holders.doubles(), both)),
        ):  # fmt: skip
            assert not bad, (
                f"{what} and could know better: {bad}\nevents {events}\nbroken {self.windows}"
            )

    async def _one(self, table: str, fault: Fault, node: Node) -> None:
        await asyncio.sleep(fault.after_s)
        began = boot_now()
        async with node.busy:
            is_possible = not node.is_dead
            heal = await self._acts[fault.kind](fault, node, table) if is_possible else None
        self.notes.append(f"{boot_now() - began:.2f} s: {fault.kind} at {node.name}{'' if is_possible else ', which is dead: nothing done'}")  # fmt: skip
        if heal is not None:
            await asyncio.sleep(fault.for_s)
            async with node.busy:
                await heal()

    def _until(self, begin: float, *what: str) -> None:
        self.windows += [Window(each, begin, boot_now()) for each in what]

    # --- faults -----------------------------------------------------------------------------------------------------------

    async def _kill_proxy(self, _fault: Fault, node: Node, _table: str) -> Heal:
        for pid in node.proxies():
            _signal(pid, signal.SIGKILL)

        async def heal() -> None:
            await self._start_proxy(node)

        return heal

    async def _start_proxy(self, node: Node) -> None:
        if node.is_dead:
            return
        assert node.box.watch is not None
        if not node.box.watch.exited.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(node.box.watch.exited.wait(), 2)
        if node.box.watch.exited.is_set():
            await node.box.start_proxy()

    async def _stop(self, node: Node, pids: list[int], *what: str) -> Heal:
        begin = boot_now()
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

        async def heal() -> None:
            for pid in pids:
                _signal(pid, signal.SIGCONT)
            self._until(begin, *(f"{each}:{node.name}" for each in what))

        return heal

    async def _kill_agent(self, node: Node, *, and_keeper: bool = False) -> Heal:
        begin = boot_now()
        for name in ("wsproxy-keeper", "wsproxy-pair")[0 if and_keeper else 1 :]:
            for pid in node.pids(name):
                _signal(pid, signal.SIGKILL)

        async def heal() -> None:
            if and_keeper and not node.is_dead and not node.pids("wsproxy-pair"):
                await node.start_agent()

        self._ending[node.name] = min(begin, self._ending.get(node.name, begin))
        return heal

    async def _watch_agents(self) -> None:
        """An agent that was killed is away until the next one answers."""
        while True:
            await asyncio.sleep(LOOK_S)
            for name, begin in list(self._ending.items()):
                if await self._nodes[name].status():
                    self._until(begin, f"agent:{name}")
                    self._ending.pop(name, None)

    async def _kill_keepalived(self, _fault: Fault, node: Node, _table: str) -> None:
        """Its agent starts it again at once. Not a time in which nobody can know: the agent does, and says so."""
        for pid in node.pids("keepalived"):
            _signal(pid, signal.SIGKILL)

    async def _die(self, _fault: Fault, node: Node, _table: str) -> Heal:
        """Nothing runs, nothing is heard. Its namespace lives on, and keeps what a kernel that is gone does not."""
        begin = boot_now()
        node.is_dead = True
        for each in ("eth0", "eth1"):
            self._lab.cut(node.box, each)
        while node.pids():
            node.box.kill_all()
            await asyncio.sleep(LOOK_S)
        self._holders.died(node.name)

        async def heal() -> None:
            node.box.boot()
            for table in ("drill0", "drill1"):
                node.box.nft(f"add table netdev {table}; delete table netdev {table}")
                node.box.nft(f"add table inet {table}; delete table inet {table}")
            for each in ("eth0", "eth1"):
                self._lab.cut(node.box, each, is_up=True)
            node.is_dead = False
            await self._start_proxy(node)
            await node.start_agent()
            self._ending[node.name] = min(begin, self._ending.get(node.name, begin))
            self._until(begin, f"keepalived:{node.name}", "service", "sync")

        return heal

    async def _cut(self, node: Node, *interfaces: str) -> Heal:
        begin = boot_now()
        for each in interfaces:
            self._lab.cut(node.box, each)

        async def heal() -> None:
            if not node.is_dead:
                for each in interfaces:
                    self._lab.cut(node.box, each, is_up=True)
            self._until(begin, *_networks(interfaces))

        return heal

    async def _lose(self, node: Node, table: str, share: float, *interfaces: str) -> Heal:
        begin = boot_now()
        node.drop(table, *interfaces, share=share)

        async def heal() -> None:
            node.box.nft(f"add table netdev {table}; delete table netdev {table}")
            self._until(begin, *_networks(interfaces))

        return heal

    async def _cut_vrrp(self, _fault: Fault, node: Node, table: str) -> Heal:
        begin = boot_now()
        chains = "; ".join(f"chain {hook} {{ type filter hook {hook} priority -310; meta l4proto 112 drop; }}" for hook in ("input", "output"))  # fmt: skip
        node.box.nft(f"table inet {table} {{ {chains}; }}")

        async def heal() -> None:
            node.box.nft(f"add table inet {table}; delete table inet {table}")
            self._until(begin, "vrrp")

        return heal

    async def _jump(self, fault: Fault, node: Node, _table: str) -> Heal:
        _set_clock(node.clock, round(3600 * fault.amount))

        async def heal() -> None:
            _set_clock(node.clock, 0)

        return heal

    async def _hand_over(self, _fault: Fault, node: Node, _table: str) -> None:
        """May be refused, where the other fault was first."""
        with contextlib.suppress(WsproxyError, TimeoutError):
            reply = await asyncio.wait_for(asyncio.to_thread(ask_agent, Folder(node.box.ha), "failover"), 20)  # fmt: skip
            self.notes.append(f"failover at {node.name}: {reply.error or reply.given.get('text', 'done')}")  # fmt: skip

    # --- what must be behind it ---------------------------------------------------------------------------------------------

    async def _settle(self) -> str:
        """The primary, when the other one is secondary and one kernel has the address."""
        found: dict[str, dict[str, object]] = {}
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    found = {name: await node.status() for name, node in self._nodes.items()}
                    states = {name: each.get("state") for name, each in found.items()}
                    primary = next((name for name, state in states.items() if state == "primary"), "")  # fmt: skip
                    if set(states.values()) == {"primary", "secondary"} and self._holders.holders() == {primary}:  # fmt: skip
                        return primary
                    for name, state in states.items():
                        if state == "idle":
                            await asyncio.to_thread(ask_agent, Folder(self._nodes[name].box.ha), "start", {"role": "secondary"})  # fmt: skip
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"the pair is none any more after {SETTLE_S:g} s: {found}, {self._holders.holders()} hold the address") from None  # fmt: skip

    def logs(self) -> str:
        """Of both, for who has to find out."""
        return "\n".join(f"--- {name}\n" + "\n".join(node.box.log().splitlines()[-_LOG_LINES:]) for name, node in self._nodes.items())  # fmt: skip


def _about(span: Span, excused: Sequence[Span]) -> str:
    """Of two holders, for the figures."""
    last = next((each for each in excused if each.begin <= span.begin <= each.end), None)
    if last is None:
        return "a hand-over" if span.end - span.begin <= HANDOVER_S else "which must not be"
    return f"nobody could know; {span.end - (last.end - RECOVERY_S):+.3f} s from when it could be known again"


def _networks(interfaces: Iterable[str]) -> list[str]:
    return [{"eth0": "service", "eth1": "sync"}[each] for each in interfaces]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _set_clock(file: Path, ahead_s: int) -> None:
    with file.open("r+b") as page:
        page.write(struct.pack("=q", ahead_s))


def _clock_library(folder: Path) -> Path | None:
    """None: there is no compiler here."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    out = folder / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(out), str(source)], check=True)
    return out


@dataclass
class PairDrills:
    """A lab, and what watches it."""

    lab: PairLab
    nodes: dict[str, Node]
    holders: Holders

    async def drill(self, seed: int) -> list[str]:
        """
        What was done, one line each.

        Raises:
            AssertionError: with the seed, both faults, and the logs.
        """
        faults = draw("pair", seed)
        course = Course(self.lab, self.nodes, self.holders)
        try:
            await course.run(faults)
        except (AssertionError, ExceptionGroup, OSError) as error:
            said = f"make drills KIND=pair SEED={seed} COUNT=1: {faults[0]} + {faults[1]}"
            raise AssertionError("\n".join([said, told(error), *course.notes, course.logs()])) from error  # fmt: skip
        return course.notes


@asynccontextmanager
async def pair_drills() -> AsyncIterator[PairDrills]:
    """A pair that has begun."""
    async with pair_lab() as lab:
        with tempfile.TemporaryDirectory(prefix="wsproxy-drills-") as text:
            library = _clock_library(Path(text))
            nodes = {}
            for box in lab.boxes:
                clock = Path(text) / f"{box.folder.name}.clock"
                clock.write_bytes(bytes(8))
                env = {} if library is None else {"LD_PRELOAD": str(library), "WSPROXY_DRILL_CLOCK": str(clock)}  # fmt: skip
                nodes[box.folder.name] = Node(box, clock, env)
            spaces = {name: node.box.name for name, node in nodes.items()}
            holders = Holders(spaces, lab.switch, lab.client)
            try:
                for node in nodes.values():
                    await node.start_agent()
                await asyncio.gather(*(node.until_answers() for node in nodes.values()))
                await lab.start_pair("--autostart", "--ping-interval", PING)
                yield PairDrills(lab, nodes, holders)
            finally:
                holders.close()
