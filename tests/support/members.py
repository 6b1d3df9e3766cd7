"""Members of a core group within a test's event loop: what each has seen, and when it held what only one may hold."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from wsproxy.ha.group.membership import Listener, Membership, Myself
from wsproxy.ha.group.view import View, coordinator_of
from wsproxy.ha.names import COORDINATOR, Names
from wsproxy.ha.store.base import Store

# Of everything that is awaited; a busy machine's part.
LONG_S = 60.0


@dataclass
class Work:
    """A duty that notes when it began and ended, of all members in one list: (when, who, what, token)."""

    who: str
    notes: list[tuple[float, str, str, int]]
    changed: asyncio.Event
    token: int = 0

    async def begin(self, token: int) -> None:
        self.token = token
        self.notes.append((time.monotonic(), self.who, "begin", token))
        self.changed.set()

    async def stop(self) -> None:
        self.notes.append((time.monotonic(), self.who, "stop", self.token))
        self.token = 0
        self.changed.set()


@dataclass
class Member:
    """One that runs."""

    membership: Membership
    work: Work
    views: list[View]
    store: Store
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.membership.name

    def vanish(self) -> None:
        """Like a machine that is switched off: nothing more is said."""
        assert self.task is not None
        self.task.cancel()
        if self.membership._timer is not None:
            self.membership._timer.cancel()

    async def leave(self) -> None:
        self.vanish()
        await self.membership.leave()


@dataclass
class Crew:
    """All members of a test."""

    names: Names
    ttl_s: int = 2
    period_s: float = 0.3
    preferred: Sequence[str] = ()
    members: dict[str, Member] = field(default_factory=dict)
    everybody: list[Member] = field(
        default_factory=list
    )  # also those in whose place others are now
    notes: list[tuple[float, str, str, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, name: str, store: Store, instance: str = "") -> Member:
        """It runs from now on; ``instance``: of its proxy, of its own where none is given."""
        views: list[View] = []

        def see(view: View) -> None:
            views.append(view)
            self.changed.set()

        myself = Myself(name, instance or f"{name}-{time.monotonic_ns()}", "host", 1, "0")
        membership = Membership(
            store, self.names, myself, ttl_s=self.ttl_s, period_s=self.period_s,
            listener=Listener(on_view=see, on_away=self.changed.set, on_back=self.changed.set),
        )  # fmt: skip
        work = Work(name, self.notes, self.changed)
        membership.add_seat(COORDINATOR, lambda view: coordinator_of(view, self.preferred), work)
        member = Member(membership, work, views, store)
        member.task = asyncio.ensure_future(membership.run())
        self.members[name] = member
        self.everybody.append(member)
        return member

    async def until(self, what: Callable[[], bool]) -> None:
        """Something has changed so that this holds."""
        async with asyncio.timeout(LONG_S):
            while not what():
                self.changed.clear()
                await self.changed.wait()

    async def until_view(self, *names: str, seen_by: Sequence[str] = ()) -> None:
        """Those, or all of them, see these members, in any order."""
        who = [self.members[name] for name in seen_by or names]
        await self.until(
            lambda: all(sorted(each.membership.view.names) == sorted(names) for each in who)
        )

    @property
    def coordinators(self) -> list[str]:
        return [each.name for each in self.members.values() if each.work.token]

    async def until_coordinator(self, name: str) -> None:
        await self.until(lambda: self.coordinators == [name])

    def never_two(self) -> None:
        """Everybody stopped before anybody else began, by one clock."""
        holder = ""
        for at, who, what, token in sorted(self.notes):
            if what == "begin":
                assert holder == "", (f"{who} began at {at} while {holder} held", self.notes)
                holder = who
            else:
                assert holder == who, (who, what, token)
                holder = ""


@contextlib.asynccontextmanager
async def crew(names: Names, **options: object) -> AsyncIterator[Crew]:
    """Whoever still runs at the end leaves."""
    made = Crew(names, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        for each in made.everybody:
            await each.leave()
            with contextlib.suppress(asyncio.CancelledError):
                assert each.task is not None
                await each.task
            await each.store.close()
