"""Member processes with resources, on a real etcd: started, killed, cut off, started again as a supervisor does; and what etcd says of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.support.etcd import Relay
from tests.support.ha_member import Given
from tests.support.proxy import name_of_process
from tests.support.resources import Shared
from wsproxy.config.settings_groups import PolicySettings, ResourceSettings
from wsproxy.ha.names import Names
from wsproxy.ha.resource.words import GroupsState, GroupState
from wsproxy.ha.store.base import Delete, Put
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

LONG_S = 90.0
ROOT = Path(__file__).parents[2]


@dataclass
class One:
    """A member's process. ``relay``: between it and etcd."""

    name: str
    folder: Path
    relays: list[Relay]
    given: Given
    process: subprocess.Popen[bytes] | None = None
    prefix: Sequence[str] = ()  # of its command: in which namespace it runs

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()

    def start(self, *, is_again: bool = False) -> None:
        """``is_again``: by the same supervisor, after the one before has ended."""
        if not is_again:
            self.given.instance = uuid.uuid4().hex
        file = self.folder / f"{self.name}.json"
        file.write_bytes(msgspec.json.encode(self.given))
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "tests.support.ha_member", str(file)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    @property
    def keepers(self) -> list[int]:
        """Its children."""
        assert self.process is not None
        return children(self.process.pid)

    def kill_with_keepers(self, *, guards: bool = False) -> None:
        """Nobody is left who would stop a program, but its guard; or nobody at all."""
        self.signal(signal.SIGSTOP)
        for keeper in self.keepers:
            os.kill(keeper, signal.SIGSTOP)
            for each in children(keeper) if guards else ():
                if name_of_process(each) == "wsproxy-guard":
                    os.kill(each, signal.SIGKILL)
            os.kill(keeper, signal.SIGKILL)
        self.kill()

    async def stop(self) -> None:
        self.signal(signal.SIGTERM)
        assert self.process is not None
        await asyncio.to_thread(self.process.wait)

    def cut(self) -> None:
        for each in self.relays:
            each.cut()

    def heal(self) -> None:
        for each in self.relays:
            each.heal()


def children(pid: int) -> list[int]:
    """Of a process that lives; none of one that does not."""
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@dataclass
class Clan:
    """All members of a test."""

    place: Shared
    urls: list[str]
    store: EtcdStore
    cell: str
    ttl_s: int
    period_s: float
    members: dict[str, One] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        return Names(self.cell, "DefaultCoreGroup")

    def add(
        self, name: str, resources: Sequence[ResourceSettings], policies: Sequence[PolicySettings] = ()
    ) -> One:  # fmt: skip
        relays = [Relay(int(url.rpartition(":")[2])) for url in self.urls]
        urls = [f"http://127.0.0.1:{each.port}" for each in relays]
        given = Given(name, self.cell, urls, self.ttl_s, self.period_s, "", list(resources), list(policies))  # fmt: skip
        made = One(name, self.place.folder, relays, given)
        self.members[name] = made
        made.start()
        return made

    async def state(self, resource: str = "batch") -> GroupState:
        snapshot = await self.store.read(self.names.root)
        state = GroupsState(self.names)
        state.read(snapshot.entries)
        return state.groups.get(resource) or GroupState()

    async def until(self, what: Callable[[GroupState], bool], resource: str = "batch") -> GroupState:  # fmt: skip
        """Etcd says so; asked again and again, as an operator would."""
        state = GroupState()
        try:
            async with asyncio.timeout(LONG_S):
                while True:
                    state = await self.state(resource)
                    if what(state):
                        return state
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"--- {name}\n{each.log[-4000:]}" for name, each in self.members.items())  # fmt: skip
            raise AssertionError((state, self.place.journal(), logs)) from None

    async def until_running(self, *names: str, resource: str = "batch") -> GroupState:
        """Those, and nobody else."""
        return await self.until(
            lambda state: (
                sorted(name for name, offer in state.offers.items() if offer.phase == "running")
                == sorted(names)
                and sorted(state.places) == sorted(names)
            ),
            resource,
        )

    async def put(self, key: str, value: bytes) -> None:
        await self.store.put(Put(key, value))

    async def delete(self, key: str) -> None:
        await self.store.swap([], [Delete(key)])


@contextlib.asynccontextmanager
async def clan(
    place: Shared, urls: Sequence[str], *, ttl_s: int = 3, period_s: float = 0.3
) -> AsyncIterator[Clan]:
    store = EtcdStore(Gateway(urls, try_s=10.0))
    made = Clan(place, list(urls), store, f"clan{time.monotonic_ns()}", ttl_s, period_s)
    try:
        yield made
    finally:
        for each in made.members.values():
            each.heal()
            if each.process is not None and each.process.poll() is None:
                each.signal(signal.SIGCONT)
                each.signal(signal.SIGTERM)
        for each in made.members.values():
            if each.process is not None:
                try:
                    await asyncio.to_thread(each.process.wait, LONG_S)
                except subprocess.TimeoutExpired:
                    each.kill()
                    raise
            for relay in each.relays:
                relay.close()
        await store.close()
        async with asyncio.timeout(LONG_S):  # a guard may still release what it has killed
            while left_by(place):  # noqa: ASYNC110  # nobody's child any more
                await asyncio.sleep(0.05)


def left_by(place: Shared) -> list[int]:
    """Processes that have the test's folder in their environment or command line: programs, once all members have ended."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes()
                if str(place.folder).encode() in words and b"resource_program" in words:
                    found.append(int(name))
    return found
