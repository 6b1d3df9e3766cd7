"""
The HA groups that this member belongs to: what it offers, when it takes a place, what it gives back, and which policy it goes by.

Driven by ``agent``, which passes on what the core group says. A place is a seat (``group.membership``): one key of each member, on its lease. How many there may be
says the policy; each claim is written together with the group's epoch and only where neither that nor the policies have changed, so that all claims are in
one order and nobody decides by what is no longer so. Policies are kept in etcd: those of wsproxy.toml are put there where they are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from wsproxy.config.settings_groups import (
    OWN,
    PROBER,
    PolicySettings,
    ResourceSettings,
    fence_lead_s,
)
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.group.membership import Chair, Guard, Membership
from wsproxy.ha.group.seat import Phase as SeatPhase
from wsproxy.ha.group.view import View
from wsproxy.ha.names import Names
from wsproxy.ha.resource.choice import Choice, choose, may_claim
from wsproxy.ha.resource.messages import Identity, Said
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.runner import Runner
from wsproxy.ha.resource.words import GroupsState, GroupState, Offer, attributes_of, encode_policies
from wsproxy.ha.store.base import Entry, LeaseGoneError, Put, Store, StoreAwayError, Told, Unchanged

log = logging.getLogger("wsproxy.ha")

# After a post that the store did not answer.
AGAIN_S = 0.3


class Work(Protocol):
    """What a place is for: a program (``Runner``), or something of our own."""

    resource: ResourceSettings
    said: Said | None
    doubt: str  # why nothing is known of it yet; empty: it is, or will be in a moment

    def open(self) -> None:
        """Before the member joins."""
        ...

    async def begin(self, token: int) -> None:
        """See ``membership.Duty``."""
        ...

    async def stop(self) -> None:
        """See ``membership.Duty``."""
        ...

    def right(self, until: float) -> None:
        """Until when it may run."""
        ...

    def clear(self) -> None:
        """What has failed is forgotten."""
        ...

    def watch_every(self, every_s: float) -> None:
        """Seconds between two looks; 0: none."""
        ...

    @property
    def is_free(self) -> bool:
        """Nothing of it is here."""
        ...

    async def until_ready(self) -> None:
        """What was left of it was looked for."""
        ...

    async def close(self) -> None:
        """The last thing."""
        ...


class OwnWork:
    """
    Something of our own that one member does for all, and that harms nobody twice: it is switched on and off, at once.

    Where there is no group, each member does it for itself: requests lose nothing when etcd is away.
    """

    def __init__(self, name: str, switch: Callable[[bool], None], on_change: Callable[[], None], patience_s: float) -> None:  # fmt: skip
        """``patience_s``: for the first word of the group; then it is done here."""
        self.resource = ResourceSettings(name=name)
        self._switch = switch
        self._on_change = on_change
        self._runs = False
        self._until = boot_clock() + patience_s
        self._timer: asyncio.TimerHandle | None = None
        self.said: Said | None = Said(0, Phase.IDLE, 0, "", False, 0)
        self.doubt = ""

    def open(self) -> None:
        """It is off, for a while."""
        self.right(self._until)

    async def begin(self, token: int) -> None:  # a duty's
        """It is ours."""
        self._be(Phase.RUNNING)

    async def stop(self) -> None:
        """It is not."""
        self._be(Phase.IDLE)

    def _be(self, phase: Phase) -> None:
        self._runs = phase is Phase.RUNNING
        self._apply()
        self.said = Said(0, phase, 0, "", False, 0)
        log.info("ha: %s %s", self.resource.name, "runs here" if self._runs else "has ended here")
        self._on_change()

    def _apply(self) -> None:
        self._switch(self._runs or boot_clock() >= self._until)

    def right(self, until: float) -> None:
        """Until when the group says who does it."""
        self._until = until
        if self._timer is not None:
            self._timer.cancel()
        left_s = max(until - boot_clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(left_s, self._apply)
        self._apply()

    def clear(self) -> None:
        """It does not fail."""

    def watch_every(self, every_s: float) -> None:
        """The supervisor looks after it."""

    @property
    def is_free(self) -> bool:
        """Whether it is another's."""
        return not self._runs

    async def until_ready(self) -> None:
        """It leaves nothing."""

    async def close(self) -> None:
        """Nothing more is switched."""
        if self._timer is not None:
            self._timer.cancel()


class Groups:
    """One a process."""

    def __init__(
        self, names: Names, me: str, resources: Sequence[ResourceSettings],
        policies: Sequence[PolicySettings], store: Store, probe: Callable[[bool], None] | None = None,
        patience_s: float = 0.0, own: Mapping[str, Callable[[Callable[[], None]], Work]] | None = None,
    ) -> None:  # fmt: skip
        """
        ``probe``: switches this proxy's prober, where one asks for all; None: each has its own. ``patience_s``: see ``OwnWork``.

        ``own``: works of our own besides, by name; each is made with what it calls when it says something else.
        """
        self._names = names
        self._me = me
        self._own_policies = tuple(policies)
        self._store = store
        self._state = GroupsState(names)
        self._works: dict[str, Work] = {}
        self._chairs: dict[str, Chair] = {}
        self._dirty: dict[str, None] = {}
        self._posted: dict[str, Offer] = {}
        self._said: dict[str, bytes] = {}  # what was posted last, answered or not
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._has_read = False
        self._seeds = False
        self._told: dict[str, str] = {}
        self._cleared: dict[str, int] = {}
        self._membership: Membership | None = None
        for each in resources:
            mark = f"{names.cell}/{names.core_group}/{me}/{each.name}"
            note = self._noter(each.name)
            self._works[each.name] = Runner(each, Identity(mark, me), note)
        if probe is not None:
            self._works[PROBER] = OwnWork(PROBER, probe, self._noter(PROBER), patience_s)
        for name, make in (own or {}).items():
            self._works[name] = make(self._noter(name))
        self._own_offers = {names.group(name, "offers", me): name for name in self._works}

    def _noter(self, name: str) -> Callable[[], None]:
        return lambda: self._note(name)

    # --- beginning and end --------------------------------------------------------------------------------------------

    async def open(self, longest_s: float) -> None:
        """
        What an earlier process of this member has left is ended; the member joins afterwards.

        ``longest_s``: then it joins without what could not be ended, which it does not offer. Its old lease is over by then.
        """
        for each in self._works.values():
            each.open()
        waits = [each.until_ready() for each in self._works.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await asyncio.gather(*waits)

    def join(self, membership: Membership) -> None:
        """Takes seats of this member; before ``membership.run``."""
        self._membership = membership
        for name, work in self._works.items():
            lead_s = fence_lead_s(work.resource) if not name.startswith(OWN) else 0.0
            chair = membership.add_seat(
                self._names.place(name, self._me), self._wanted(name), work, lead_s
            )
            chair.guard = self._guard(name)
            self._chairs[name] = chair

    async def drain(self) -> None:
        """Until this member has ended and given back everything, after ``membership.stand_down``."""
        while not all(
            self._chairs[name].seat.phase is SeatPhase.OUT and work.is_free
            for name, work in self._works.items()
        ):
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._changed.wait()

    async def close(self) -> None:
        """Keepers that have nothing to keep have ended."""
        for each in self._works.values():
            await each.close()

    # --- what the core group says -------------------------------------------------------------------------------------

    def read(self, entries: Mapping[str, Entry]) -> None:
        """All of it: a membership begins."""
        self._state.read(entries)
        if not self._has_read:
            self._cleared = {name: self._group(name).cleared for name in self._works}
        self._has_read = True
        self._seeds = True
        self._posted.clear()
        self._said.clear()
        self._dirty = dict.fromkeys(self._works)
        self._news.set()
        self._judge()

    def told(self, told: Told) -> None:
        """Some of it."""
        # A list, not any(...): all of them are to be taken.
        if True in [self._state.take(key, entry) for key, entry in told.changes]:
            self._judge()
        for key, entry in told.changes:
            if (name := self._own_offers.get(key)) is not None and name in self._said:
                self._compare(name, entry)

    def _compare(self, name: str, entry: Entry | None) -> None:
        """
        What the group has of this member's offer is what it said last, or is said anew.

        A post that one server did not answer in time was done by another, and so was the next one; then the first is done as well, and would hold for ever.
        """
        if entry is None or entry.value != self._said[name]:
            self._said.pop(name)
            self._posted.pop(name, None)
            self._dirty[name] = None
            self._news.set()

    def right(self, until: float) -> None:
        """Until when this member may act as one."""
        for each in self._works.values():
            each.right(until)

    def _group(self, name: str) -> GroupState:
        return self._state.groups.get(name) or GroupState()

    def _judge(self) -> None:
        """What a change means for resources that are here already."""
        for name, work in self._works.items():
            if (cleared := self._group(name).cleared) > self._cleared.get(name, 0):
                self._cleared[name] = cleared
                work.clear()
            choice = self._choice(name)
            every_s = float(choice.is_alive_s) or work.resource.is_alive_s
            work.watch_every(max(every_s, 0.0))
            said = choice.doubt if choice.policy is None else ""
            if said != self._told.get(name, "") and self._group(name).offers:
                self._told[name] = said
                if said:
                    log.error("ha: resource %s is active nowhere: %s", name, said)

    # --- places -------------------------------------------------------------------------------------------------------

    def _choice(self, name: str) -> Choice:
        """By the last view; of this member's own offer holds what is known here, not yet there."""
        assert self._membership is not None
        group = self._state.groups.get(name)
        if group is not None:
            group.offers[self._me] = self._offer(name)
        return choose(self._state, name, self._membership.view.names)

    def _wanted(self, name: str) -> Callable[[View], str | None]:
        def wanted(_view: View) -> str | None:
            return self._me if self._me in self._choice(name).wanted else None

        return wanted

    def _guard(self, name: str) -> Callable[[], Guard | None]:
        def guard() -> Guard | None:
            group, state = self._group(name), self._state
            if not self._has_read or not may_claim(self._choice(name), group, self._me):
                return None
            epoch = self._names.group(name, "epoch")
            conditions = [
                Unchanged(epoch, group.epoch),
                Unchanged(self._names.policies, state.policies_at),
            ]
            return conditions, [Put(epoch, self._me.encode())]

        return guard

    # --- offers -------------------------------------------------------------------------------------------------------

    def _offer(self, name: str) -> Offer:
        work = self._works[name]
        said = work.said
        attributes = attributes_of(work.resource)
        if said is None:
            return Offer(attributes, why=work.doubt)
        return Offer(
            attributes, said.phase, said.code, said.why, said.given_up, said.since_ms,
            work.resource.is_alive_s,
        )  # fmt: skip

    def _note(self, name: str) -> None:
        """A work says something else."""
        self._changed.set()
        self._dirty[name] = None
        self._news.set()
        if self._membership is not None and self._has_read:
            self._membership.look()

    async def post_always(self) -> None:
        """Has the group know what this member offers, and its policies where there are none; for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            assert self._membership is not None
            try:
                if self._has_read and self._seeds:
                    await self._seed()
                while self._has_read and self._membership.lease and self._dirty:
                    name = next(iter(self._dirty))
                    del self._dirty[name]
                    await self._post(name, self._membership.lease)
            except LeaseGoneError:
                continue  # the next membership posts all
            except StoreAwayError:
                self._dirty = dict.fromkeys(self._works)
                await asyncio.sleep(AGAIN_S)
                self._news.set()

    async def _post(self, name: str, lease: int) -> None:
        offer = self._offer(name)
        if self._posted.get(name) == offer:
            return
        key = self._names.group(name, "offers", self._me)
        self._posted.pop(name, None)
        value = self._said[name] = msgspec.json.encode(offer)
        await self._store.put(Put(key, value, lease))
        if self._said.get(name) == value:  # and nobody has told of another meanwhile
            self._posted[name] = offer

    async def _seed(self) -> None:
        """
        Policies of wsproxy.toml that the group does not have; one that it has otherwise holds as it is there.

        So that one can be changed while all run, and is the same for all.
        """
        stored = self._state.policies
        if stored is None:
            self._seeds = False
            return
        names = {each.name: each for each in stored}
        missing = [each for each in self._own_policies if each.name not in names]
        if missing:
            at = self._state.policies_at
            value = encode_policies([*stored, *missing])
            swapped = await self._store.swap(
                [Unchanged(self._names.policies, at)], [Put(self._names.policies, value)]
            )
            found = swapped.found.get(self._names.policies)
            if not swapped.done and found is not None and found.modified > self._state.policies_at:
                self._state.take(self._names.policies, found)
            elif not swapped.done:
                await asyncio.sleep(AGAIN_S)  # another's word, which the watch tells in a moment
            self._news.set()
            self._seeds = not swapped.done
            return
        self._seeds = False
        for each in self._own_policies:
            if names[each.name] != each:
                log.warning("ha: policy %s is otherwise in wsproxy.toml than in the group; the group's holds (`wsproxy ha policy`)", each.name)  # fmt: skip
