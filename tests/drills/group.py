"""
Drills of a core group: three machines with an etcd and a member each, a resource that one member runs, the coordinator's seat; two faults at once.

Driven by ``__main__`` and ``tests/acceptance/test_drills.py``. That it never ran twice is said by the program itself: it holds a lock of flock(2) on a file that all machines share while any
process of it lives, and notes a CLASH where it finds it taken. Nothing of the product knows of that lock (no ``lock_files``), so that only the product's own order keeps two apart. The coordinator
acts every 20 ms, each act with its time and the token of its seat (``judge.late_acts``).

What does not count: a machine that is frozen as a whole keeps its program in memory, and nobody but a power switch can end that; while it is
frozen, and for ``THAW_S`` behind it, another start may find the lock taken (and is none).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.chance import Fault, draw, told
from tests.drills.holders import boot_now
from tests.drills.judge import Act, late_acts
from tests.drills.machines import Machine, machines
from tests.support.clan import One, children
from tests.support.etcd import leader_of
from tests.support.ha_member import Given
from tests.support.proxy import name_of_process
from tests.support.resources import Shared, shared
from wsproxy.ha.names import COORDINATOR, Names
from wsproxy.ha.resource.words import GroupsState
from wsproxy.ha.store.base import CompactedError, Delete, Put, StoreAwayError
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

SETTLE_S = 120.0
LOOK_S = 0.05
THAW_S = 2.0
TTL_S, PERIOD_S = 3, 0.6
RESOURCE = "batch"
# Of a disk that is full its etcd learns when it has something to write that needs room.
_FILLING, _PUTS = bytes(600_000), 40
_LOG_BYTES = 4000
_AWAY = (StoreAwayError, CompactedError)

Heal = Callable[[], Awaitable[None]]


@dataclass
class Seat:
    """One machine, and its member."""

    machine: Machine
    one: One
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        return self.one.name

    @property
    def lives(self) -> bool:
        return self.one.process is not None and self.one.process.poll() is None

    def pids(self) -> list[int]:
        """Of the member's own process."""
        return [self.one.process.pid] if self.lives and self.one.process is not None else []

    def guards(self) -> list[int]:
        found = [each for keeper in self.one.keepers for each in children(keeper)]
        return [each for each in found if name_of_process(each) == "wsproxy-guard"]

    def start(self, *, is_again: bool = False) -> None:
        if not self.machine.is_dead and not self.lives:
            self.one.start(is_again=is_again)


class Course:
    """One drill."""

    def __init__(self, drills: GroupDrills) -> None:
        self._drills = drills
        self._seats = drills.seats
        self._frozen: list[tuple[str, float, float]] = []
        self._thaws: list[tuple[float, str]] = []
        self.notes: list[str] = []
        self._acts: dict[str, Callable[[Fault, Seat], Awaitable[Heal | None]]] = {
            "kill-etcd": self._kill_etcd,
            "stop-etcd": self._stop_etcd,
            "cut-etcd": self._cut_etcd,
            "full-etcd": self._full_etcd,
            "cut-machine": self._cut,
            "loss-machine": self._lose,
            "freeze-machine": self._freeze,
            "kill-machine": self._kill_machine,
            "kill-member": self._kill_member,
            "kill-supervisor": self._kill_member,
            "stop-member": lambda _, seat: self._stop(seat, seat.pids()),
            "kill-keeper": lambda _, seat: self._kill(seat.one.keepers),
            "stop-keeper": lambda _, seat: self._stop(seat, seat.one.keepers),
            "kill-guard": lambda _, seat: self._kill(seat.guards()),
            "stop-guard": lambda _, seat: self._stop(seat, seat.guards()),
            "kill-program": lambda _, seat: self._kill(self._programs(seat)),
            "stop-program": lambda _, seat: self._stop(seat, self._programs(seat)),
            "move": self._move,
        }

    async def run(self, faults: Sequence[Fault]) -> None:
        """
        Both are done and undone, and one member runs the resource again.

        Raises:
            AssertionError: it ran twice, two acted as the coordinator, or nobody runs it any more.
        """
        holder, coordinator = await self._drills.settle()
        leader = (await leader_of([each.machine for each in self._seats.values()])).number
        began = boot_now()
        roles = {
            "holder": holder,
            "coordinator": coordinator,
            "other": next(name for name in self._seats if name not in (holder, coordinator)),
            "leader": next(name for name, each in self._seats.items() if each.machine.number == leader),
            "follower": next(name for name, each in self._seats.items() if each.machine.number != leader),
        }  # fmt: skip
        self.notes.append(f"{holder} runs it, {coordinator} coordinates, {roles['leader']} has the leader of etcd")  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._one(fault, self._seats[roles[fault.place]]))
        await self._drills.settle()
        self._judge(began)

    def _judge(self, began: float) -> None:
        for at, what, who in self._drills.place.journal():
            if at < began or not what.startswith("CLASH"):
                continue
            is_excused = any(name != who and begin <= at <= end + THAW_S for name, begin, end in self._frozen)  # fmt: skip
            self.notes.append(f"{at:.3f} {who} found it running elsewhere{', on a machine that was frozen' if is_excused else ''}")  # fmt: skip
            assert is_excused, (
                f"the resource was started twice: {self._drills.journal_since(began)}"
            )
        late = late_acts([each for each in self._drills.acts() if each.at >= began], self._thaws)
        assert not late, f"two coordinators: {late}, thawed {self._thaws}"

    async def _one(self, fault: Fault, seat: Seat) -> None:
        await asyncio.sleep(fault.after_s)
        async with seat.busy:
            is_possible = not seat.machine.is_dead
            self.notes.append(f"{boot_now():.3f} {fault.kind} at {seat.name}{'' if is_possible else ', which is dead: nothing done'}")  # fmt: skip
            heal = await self._acts[fault.kind](fault, seat) if is_possible else None
        if heal is not None:
            await asyncio.sleep(fault.for_s)
            async with seat.busy:
                await heal()
                self.notes.append(f"{boot_now():.3f} {fault.kind} has ended")

    # --- faults -----------------------------------------------------------------------------------------------------------

    def _programs(self, seat: Seat) -> list[int]:
        with contextlib.suppress(OSError, ValueError):
            return [self._drills.place.pid(seat.name)]
        return []

    async def _kill(self, pids: Iterable[int]) -> None:
        for pid in pids:
            _signal(pid, signal.SIGKILL)

    async def _stop(self, seat: Seat, pids: Sequence[int]) -> Heal:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

        async def heal() -> None:
            self._thaws.append((boot_now(), seat.name))
            for pid in pids:
                _signal(pid, signal.SIGCONT)

        return heal

    async def _kill_etcd(self, _fault: Fault, seat: Seat) -> Heal:
        if seat.machine.runs:
            seat.machine.signal(signal.SIGKILL)
        return self._etcd_again(seat)

    def _etcd_again(self, seat: Seat) -> Heal:
        async def heal() -> None:
            if not seat.machine.is_dead:
                await asyncio.to_thread(seat.machine.again)

        return heal

    async def _stop_etcd(self, _fault: Fault, seat: Seat) -> Heal:
        pids = [seat.machine.process.pid] if seat.machine.process is not None else []
        return await self._stop(seat, pids)

    async def _cut_etcd(self, _fault: Fault, seat: Seat) -> Heal:
        seat.machine.cut_etcd()

        async def heal() -> None:
            seat.machine.heal_etcd()

        return heal

    async def _full_etcd(self, _fault: Fault, seat: Seat) -> Heal:
        await asyncio.to_thread(seat.machine.fill)
        with contextlib.suppress(*_AWAY):
            for number in range(_PUTS):
                await self._drills.store.put(Put(f"/filling/{number}", _FILLING))

        async def heal() -> None:
            seat.machine.empty()
            self.notes.append(
                f"etcd of {seat.name} {'lives' if seat.machine.runs else 'had ended'}"
            )
            await self._etcd_again(seat)()

        return heal

    async def _cut(self, _fault: Fault, seat: Seat) -> Heal:
        seat.machine.cut()

        async def heal() -> None:
            if not seat.machine.is_dead:
                seat.machine.heal()

        return heal

    async def _lose(self, fault: Fault, seat: Seat) -> Heal:
        seat.machine.lose(abs(fault.amount))

        async def heal() -> None:
            seat.machine.find()

        return heal

    async def _freeze(self, _fault: Fault, seat: Seat) -> Heal:
        begin = boot_now()
        seat.machine.signal_all(signal.SIGSTOP)
        at = len(self._frozen)
        self._frozen.append((seat.name, begin, float("inf")))

        async def heal() -> None:
            self._thaws.append((boot_now(), seat.name))
            seat.machine.signal_all(signal.SIGCONT)
            self._frozen[at] = (seat.name, begin, boot_now())

        return heal

    async def _kill_machine(self, _fault: Fault, seat: Seat) -> Heal:
        machine = seat.machine
        machine.is_dead = True
        machine.cut()
        while machine.pids():
            machine.signal_all(signal.SIGKILL)
            await asyncio.sleep(LOOK_S)

        async def heal() -> None:
            machine.heal_etcd()
            machine.find()
            machine.empty()
            machine.heal()
            machine.is_dead = False
            await asyncio.to_thread(machine.again)
            seat.start()

        return heal

    async def _kill_member(self, fault: Fault, seat: Seat) -> Heal:
        if seat.lives:
            seat.one.kill()

        async def heal() -> None:
            seat.start(is_again=fault.kind == "kill-member")

        return heal

    async def _move(self, _fault: Fault, seat: Seat) -> Heal:
        """May find no etcd."""
        key = self._drills.names.group(RESOURCE, "moved")
        with contextlib.suppress(*_AWAY):
            await self._drills.store.put(Put(key, seat.name.encode()))

        async def heal() -> None:
            with contextlib.suppress(*_AWAY):
                await self._drills.store.swap([], [Delete(key)])

        return heal


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class GroupDrills:
    """A lab."""

    place: Shared
    names: Names
    store: EtcdStore
    seats: dict[str, Seat]

    def journal_since(self, began: float) -> list[tuple[float, str, str]]:
        return [each for each in self.place.journal() if each[0] >= began - TTL_S]

    def acts(self) -> list[Act]:
        lines = [line.split() for line in (self.place.folder / "acts").read_text().splitlines()]
        return [Act(float(at), who, int(process), int(token)) for at, who, process, token in lines]

    async def settle(self) -> tuple[str, str]:
        """Who runs the resource and who coordinates, when all members and all etcds are there."""
        found: object = None
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    for seat in (
                        self.seats.values()
                    ):  # one that ends again, as after a full disk, is started again
                        if not seat.machine.is_dead:
                            await asyncio.to_thread(seat.machine.again)
                    with contextlib.suppress(*_AWAY):
                        found, holder, coordinator = await self._look()
                        if holder and coordinator and await self._all_serve():
                            return holder, coordinator
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"nobody runs the resource, or somebody is missing, after {SETTLE_S:g} s: {found}") from None  # fmt: skip

    async def _look(self) -> tuple[object, str, str]:
        snapshot = await self.store.read(self.names.root)
        state = GroupsState(self.names)
        state.read(snapshot.entries)
        group = state.groups.get(RESOURCE)
        members = sorted(key for key in snapshot.entries if key.startswith(self.names.members))
        seat = snapshot.entries.get(self.names.seat(COORDINATOR))
        if group is None or len(members) < len(self.seats) or seat is None:
            return (group, members, seat), "", ""
        running = [name for name, offer in group.offers.items() if offer.phase == "running"]
        is_so = (
            len(running) == 1 and list(group.places) == running and group.moved in ("", *running)
        )
        return (group, members, seat), running[0] if is_so else "", seat.value.decode()

    async def _all_serve(self) -> bool:
        for each in self.seats.values():
            gateway = Gateway([each.machine.url], try_s=2.0)
            try:
                status = await gateway.ask("/v3/maintenance/status", {})
            finally:
                await gateway.close()
            if not int(status.get("leader", 0)):
                return False
        return True

    async def drill(self, seed: int) -> list[str]:
        """
        What was done, one line each.

        Raises:
            AssertionError: with the seed, both faults, and the logs.
        """
        faults = draw("group", seed)
        course = Course(self)
        try:
            await course.run(faults)
        except (AssertionError, ExceptionGroup, OSError, *_AWAY) as error:
            said = f"make drills KIND=group SEED={seed} COUNT=1: {faults[0]} + {faults[1]}"
            logs = "\n".join(f"--- {each.name}\n{each.one.log[-_LOG_BYTES:]}" for each in self.seats.values())  # fmt: skip
            raise AssertionError("\n".join([said, told(error), *course.notes, logs])) from error
        return course.notes


@asynccontextmanager
async def group_drills() -> AsyncIterator[GroupDrills]:
    """A group that has begun."""
    with machines() as found, tempfile.TemporaryDirectory(prefix="wsproxy-drills-") as folder:
        place = shared(Path(folder))
        resource = place.settings("daemon", "status", lock_files=(), status_s=5.0, retry_s=2.0)
        names = Names(f"drills{uuid.uuid4().hex[:8]}", "DefaultCoreGroup")
        urls = [each.url for each in found]
        store = EtcdStore(Gateway(urls, try_s=2.0))
        seats = {}
        try:
            for name, machine in zip("abc", found, strict=True):
                own = [machine.url, *(each for each in urls if each != machine.url)]
                given = Given(name, names.cell, own, TTL_S, PERIOD_S, "", [resource], [], str(place.folder / "acts"))  # fmt: skip
                one = One(name, place.folder, [], given, prefix=machine.prefix)
                seats[name] = Seat(machine, one)
                seats[name].start()
            yield GroupDrills(place, names, store, seats)
        finally:
            await store.close()
            for seat in seats.values():  # the namespace's end ends all of it
                seat.machine.signal_all(signal.SIGKILL)
                if seat.one.process is not None:
                    await asyncio.to_thread(seat.one.process.wait)
