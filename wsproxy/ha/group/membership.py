"""
One proxy as a member of its core group: it joins, shows that it lives, sees views, and takes the seats that are its own.

Driven by ``agent``; asks ``store``, decides by ``view``, ``seat`` and ``fence``. Three things run: heartbeats, the watch over all that the
group says, and the fence, a timer. Losing the store ends seats when the fence is past and nothing else: the last view
stays, and what was known of servers (``board``) holds on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from wsproxy.admin.wall_clock import wall_ms
from wsproxy.dataplane.tasks import spawn
from wsproxy.ha.first_of import first_of
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.group.fence import Fence
from wsproxy.ha.group.seat import Held, Phase, Seat, Step
from wsproxy.ha.group.view import View, Word, compare, view_of
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import (
    CompactedError,
    Condition,
    CreatedAt,
    Delete,
    Entry,
    LeaseGoneError,
    Put,
    Store,
    StoreAwayError,
    Told,
    Unchanged,
    Write,
)

log = logging.getLogger("wsproxy.ha")

# Who finds its name taken, or the store away, tries again after so much at least: period_s, or this.
LEAST_AGAIN_S = 0.2
# How often another's number may have been taken first.
MOST_ID_TRIES = 100


class Duty(Protocol):
    """What a seat's holder does. Both return when it is done; ``stop`` within ``stop_s`` of its seat."""

    async def begin(self, token: int) -> None:
        """The seat is ours; ``token`` is compared by whatever it writes (``CreatedAt``)."""
        ...

    async def stop(self) -> None:
        """It is not, or will not be in a moment."""
        ...


Guard = tuple[Sequence[Condition], Sequence[Write]]


@dataclass(slots=True)
class Chair:
    """
    A seat, who is to hold it, and the work; ``stop_s``: how long the end of the work may take.

    ``guard``: what must hold besides for the key to be created, and what is written with it; None: it must not be now.
    """

    name: str
    seat: Seat
    wanted: Callable[[View], str | None]
    duty: Duty
    stop_s: float = 0.0
    held: Held | None = None
    is_asking: bool = False
    guard: Callable[[], Guard | None] = lambda: ((), ())
    work: asyncio.Lock = field(default_factory=asyncio.Lock)  # begun and ended in this order


@dataclass(frozen=True, slots=True)
class Myself:
    """``instance``: of this start of the proxy, the same in each process that is started for it."""

    name: str
    instance: str
    host: str
    pid: int
    version: str


@dataclass(slots=True)
class Listener:
    """What the group is told to: each is called in the order of revisions, in the event loop, and returns at once."""

    on_read: Callable[[int, Mapping[str, Entry]], None] = lambda _revision, _entries: None
    on_told: Callable[[Told], None] = lambda _told: None
    on_view: Callable[[View], None] = lambda _view: None
    on_away: Callable[[], None] = lambda: None
    on_back: Callable[[], None] = lambda: None
    # Until when this member may act as one, by its clock, whenever that changes; 0: not any more.
    on_right: Callable[[float], None] = lambda _deadline: None


class Membership:
    """One a process. ``run`` until it is cancelled, then ``leave``."""

    def __init__(
        self,
        store: Store,
        names: Names,
        myself: Myself,
        *,
        ttl_s: int,
        period_s: float,
        listener: Listener | None = None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """``clock``: for the fence."""
        self._store = store
        self._names = names
        self._me = myself
        self._ttl_s = ttl_s
        self._period_s = period_s
        self._listener = listener or Listener()
        self._clock = clock
        self._fence = Fence(ttl_s)
        self._timer: asyncio.TimerHandle | None = None
        self._chairs: dict[str, Chair] = {}
        self._is_joined = asyncio.Event()
        self._answered = asyncio.Event()  # the store did, after it had not
        self._is_leaving = False
        self._refused = ""
        self._refusals = 0
        self.lease = 0
        self.joined = 0  # revision
        self.id = 0
        self.view = View()
        self.is_away = False
        self.last_heartbeat: float | None = None

    # --- for others --------------------------------------------------------------------------------------------------

    def add_seat(
        self, name: str, wanted: Callable[[View], str | None], duty: Duty, stop_s: float = 0.0
    ) -> Chair:
        """One that this member takes when ``wanted`` says its name; before ``run``."""
        chair = Chair(name, Seat(self._me.name), wanted, duty, stop_s)
        self._chairs[self._names.seat(name)] = chair
        return chair

    def look(self) -> None:
        """Something has changed that says who is to hold a seat."""
        self._look()

    def stand_down(self) -> None:
        """Takes no seat any more, and ends the work of those that it has, as a member that goes on: ``leave`` afterwards."""
        self._is_leaving = True
        self._look()

    @property
    def name(self) -> str:
        """Its own."""
        return self._me.name

    @property
    def is_member(self) -> bool:
        """Whether it may act as one."""
        return bool(self.lease) and not self._fence.is_past(self._clock())

    async def run(self) -> None:
        """For ever."""
        await first_of(self._beat_always(), self._watch_always())

    async def leave(self) -> None:
        """Ends the work of all seats, and then the lease: the others know at once. Where the store is away, the lease ends by itself."""
        self._is_leaving = True
        if self._timer is not None:
            self._timer.cancel()
        self._fence.drop()
        for chair in self._chairs.values():
            if chair.seat.phase is Phase.ON:
                chair.seat.stopping()
                await self._stop(chair)
            async with chair.work:
                pass  # what was being ended has ended
        lease, self.lease = self.lease, 0
        if lease:
            with contextlib.suppress(StoreAwayError):
                await self._store.revoke(lease)
            log.info("ha: member %s left core group %s", self._me.name, self._names.core_group)

    # --- heartbeats --------------------------------------------------------------------------------------------------

    async def _beat_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                if self.lease:
                    await self._beat()
                else:
                    await self._join()
            except StoreAwayError as error:
                self._note_away(error)
            except LeaseGoneError as error:
                self._lose(f"its lease has ended ({error})")
                continue  # a new one at once
            else:
                self._note_back()
            self._look()
            again_s = self._period_s - (loop.time() - began)
            await asyncio.sleep(max(again_s, LEAST_AGAIN_S if not self.lease else 0.0))

    async def _beat(self) -> None:
        sent_at = self._clock()
        await self._store.keep(self.lease)
        self._renewed(sent_at)

    def _renewed(self, sent_at: float) -> None:
        self._fence.renewed(sent_at)
        self._listener.on_right(self._fence.deadline)
        self.last_heartbeat = sent_at
        self._set_timer()

    def _set_timer(self) -> None:
        """For the moment at which the first seat's work is to end, or the membership."""
        if self._timer is not None:
            self._timer.cancel()
        lead_s = max((chair.stop_s for chair in self._chairs.values()), default=0.0)
        left_s = self._fence.deadline - lead_s - self._clock()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(left_s, 0.0), self._on_fence)

    def _on_fence(self) -> None:
        now = self._clock()
        if not self._fence.is_past(now + max((c.stop_s for c in self._chairs.values()), default=0)):
            self._set_timer()  # a heartbeat was answered in this very moment, or the loop's clock is the faster one
            return
        self._look()
        if self._fence.is_past(now) and not self._is_leaving:
            log.error(
                "ha: no heartbeat of member %s was answered for %g s: it holds no seat any more; requests are served as before",
                self._me.name, self._ttl_s,
            )  # fmt: skip
        elif not self._is_leaving:
            self._timer = asyncio.get_running_loop().call_later(
                max(self._fence.deadline - now, 0.0), self._on_fence
            )

    def _note_away(self, error: StoreAwayError) -> None:
        if self.is_away:
            return
        self.is_away = True
        self._answered.clear()
        log.error(
            "ha: etcd does not answer (%s): requests are served as before, with what is known of servers; seats of this member end in %.1f s",
            error, max(self._fence.deadline - self._clock(), 0.0),
        )  # fmt: skip
        self._listener.on_away()

    def _note_back(self) -> None:
        self._answered.set()
        if not self.is_away:
            return
        self.is_away = False
        log.warning("ha: etcd answers again")
        self._listener.on_back()

    def _lose(self, why: str) -> None:
        """The membership is over; ``run`` begins another one."""
        if not self.lease:
            return
        log.error("ha: member %s is out of core group %s: %s", self._me.name, self._names.core_group, why)  # fmt: skip
        self.lease = 0
        self.joined = 0
        self._is_joined.clear()
        self._fence.drop()
        self._listener.on_right(0.0)
        self._look()

    # --- joining -----------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        if not self.id:
            self.id = await self._take_id()
        sent_at = self._clock()
        lease = await self._store.grant(self._ttl_s)
        key = self._names.member(self._me.name)
        try:
            swapped = await self._store.swap([Unchanged(key)], [Put(key, self._word(), lease)])
        except StoreAwayError:
            await self._revoke(lease)  # the next try has a lease of its own
            raise
        found = swapped.found.get(key)
        if swapped.done or (found is not None and found.lease == lease):
            self.lease = lease
            self.joined = swapped.revision if found is None else found.created
            self._refused = ""
            self._renewed(sent_at)
            self._is_joined.set()
            return
        await self._revoke(lease)
        await self._meet_namesake(found)

    async def _meet_namesake(self, found: Entry | None) -> None:
        """Somebody has our name: a process before this one, which has ended, or another proxy."""
        if found is None:
            return
        try:
            word = msgspec.json.decode(found.value, type=Word)
        except (msgspec.DecodeError, msgspec.ValidationError):
            word = Word(0, "", "an unknown host", 0, "", 0)
        if word.instance == self._me.instance:
            # Our supervisor has started us in its place, so it does not run: nobody has to wait for its lease.
            await self._revoke(found.lease)
            return
        text = f"{word.host}, pid {word.pid}"
        self._refusals = self._refusals + 1 if text == self._refused else 1
        self._refused = text
        # At `wsproxy upgrade` the old program leaves while the new one joins: whoever is there the second time stays.
        if self._refusals == 2:
            log.error(
                "ha: core group %s has a member %s already (%s), so this proxy is none; each needs a name of its own (ha.name). Tried again every "
                "%g s: one that was killed leaves within %g s",
                self._names.core_group, self._me.name, text, self._period_s, self._ttl_s,
            )  # fmt: skip

    async def _revoke(self, lease: int) -> None:
        with contextlib.suppress(StoreAwayError):
            await self._store.revoke(lease)

    async def _take_id(self) -> int:
        """The number of this name, for good: the one it was given once, or the next one."""
        for _ in range(MOST_ID_TRIES):
            key, next_key = self._names.id_of(self._me.name), self._names.next_id
            found = (await self._store.read(self._names.ids)).entries.get(key)
            if found is not None:
                return int(found.value)
            counter = (await self._store.read(next_key)).entries.get(next_key)
            number = 1 if counter is None else int(counter.value)
            modified = 0 if counter is None else counter.modified
            await self._store.swap(
                [Unchanged(key), Unchanged(next_key, modified)],
                [Put(key, b"%d" % number), Put(next_key, b"%d" % (number + 1))],
            )
        raise StoreAwayError("no number could be taken: others always were first")

    def _word(self) -> bytes:
        me = self._me
        said_ms = wall_ms()
        return msgspec.json.encode(Word(self.id, me.instance, me.host, me.pid, me.version, said_ms))

    # --- views, and all else that is said ----------------------------------------------------------------------------

    async def _watch_always(self) -> None:
        read = 0  # the membership whose beginning was read
        while True:
            await self._is_joined.wait()
            try:
                if read == self.joined:
                    after = await self._read_all(await self._say_again())
                else:
                    after = await self._read_all(self.joined)
                    read = after
                await self._follow(after)
            except CompactedError:
                read = self.joined
                log.info("ha: changes were missed; all is read again")
            except LeaseGoneError as error:
                self._lose(f"its lease has ended ({error})")
            except StoreAwayError as error:
                self._note_away(error)
                await self._answered.wait()

    async def _follow(self, after: int) -> None:
        """What is said, for as long as this membership lasts."""
        joined = self.joined
        while self.joined == joined:
            try:
                async with contextlib.aclosing(self._store.watch(self._names.root, after)) as words:
                    async for told in words:
                        if self.joined != joined:
                            return
                        if told is not None:
                            after = told.revision
                            self._take(told)
            except StoreAwayError as error:
                # A server that is asked says no sooner than another has said it to a heartbeat: then that one says when to go on.
                self._note_away(error)
                await self._answered.wait()

    async def _say_again(self) -> int:
        """
        The revision of a word of our own, said now.

        A view's number is the revision of the last word under ``members/``; whoever reads all at a word of its own knows it, though what is
        deleted leaves nothing to be read.
        """
        key = self._names.member(self._me.name)
        swapped = await self._store.swap(
            [CreatedAt(key, self.joined)], [Put(key, self._word(), self.lease)]
        )
        if not swapped.done:
            raise LeaseGoneError("somebody has deleted it")
        return swapped.revision

    async def _read_all(self, revision: int) -> int:
        """
        All that was said, as of this word of our own.

        Raises:
            CompactedError: too much was said meanwhile.
        """
        snapshot = await self._store.read(self._names.root, revision)
        members = {
            key.removeprefix(self._names.members): entry
            for key, entry in snapshot.entries.items()
            if key.startswith(self._names.members)
        }
        for key, chair in self._chairs.items():
            chair.held = _held(snapshot.entries.get(key))
        found = View().after(revision, list(members.items()))
        self._listener.on_read(revision, snapshot.entries)
        self._install(view_of(revision, found.members))
        return revision

    def _take(self, told: Told) -> None:
        members: list[tuple[str, Entry | None]] = []
        for key, entry in told.changes:
            if key.startswith(self._names.members):
                members.append((key.removeprefix(self._names.members), entry))
            elif (chair := self._chairs.get(key)) is not None:
                chair.held = _held(entry)
        self._listener.on_told(told)
        if members:
            self._install(self.view.after(told.revision, members))
        self._look()

    def _install(self, view: View) -> None:
        """Logs the view as HAManager does (DCSV8050I), and lets everybody see it."""
        change = compare(self.view, view)
        self.view = view
        group = self._names.core_group
        for each in change.left:
            log.warning("ha: core group %s: member %s (id %d, on %s) has left", group, each.name, each.id, each.word.host)  # fmt: skip
        for each in change.joined:
            log.info("ha: core group %s: member %s (id %d, on %s, version %s) has joined", group, each.name, each.id, each.word.host, each.word.version)  # fmt: skip
        if change.is_change:
            first = view.names[0] if view.members else "nobody"
            log.info(
                "ha: DCSV8050I: DCS Stack %s at Member %s: New view installed, identifier (%d:0.%s), view size is %d (%s)",
                group, self._me.name, view.id, first, len(view.members), ", ".join(view.names),
            )  # fmt: skip
        self._listener.on_view(view)
        self._look()

    # --- seats --------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Has each seat do its next step, where one is due."""
        now = self._clock()
        for key, chair in self._chairs.items():
            seat = chair.seat
            step = seat.decide(
                wanted=None if self._is_leaving else chair.wanted(self.view),
                held=chair.held,
                lease=self.lease,
                fence=self._fence,
                now=now + chair.stop_s,
            )
            if step is Step.STOP:
                seat.stopping()
                self._spawn(self._stop_and_look(chair), f"ha seat {chair.name}")
            elif step is Step.BEGIN:
                assert chair.held is not None
                seat.begun(chair.held)
                self._spawn(self._begin(chair, seat.token), f"ha seat {chair.name}")
            elif step is Step.CLAIM and not chair.is_asking and (guard := chair.guard()):
                seat.claiming(self.lease)
                work = self._claim(key, chair, self.lease, guard)
                self._spawn(work, f"ha seat {chair.name}")
            elif step is Step.RELEASE and not chair.is_asking:
                assert chair.held is not None
                seat.releasing(chair.held)
                self._spawn(self._release(key, chair, chair.held), f"ha seat {chair.name}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        spawn(work, name)

    async def _begin(self, chair: Chair, token: int) -> None:
        async with chair.work:
            await chair.duty.begin(token)

    async def _stop(self, chair: Chair) -> None:
        async with chair.work:
            try:
                await chair.duty.stop()
            finally:
                chair.seat.stopped()

    async def _stop_and_look(self, chair: Chair) -> None:
        await self._stop(chair)
        self._look()

    async def _claim(self, key: str, chair: Chair, lease: int, guard: Guard) -> None:
        chair.is_asking = True
        conditions, writes = guard
        try:
            await self._store.swap(
                [Unchanged(key), *conditions], [Put(key, self._me.name.encode(), lease), *writes]
            )
        except (StoreAwayError, LeaseGoneError):
            pass  # heartbeats tell
        finally:
            chair.is_asking = False
            chair.seat.claimed()  # what came of it the watch tells

    async def _release(self, key: str, chair: Chair, held: Held) -> None:
        chair.is_asking = True
        try:
            await self._store.swap([CreatedAt(key, held.token)], [Delete(key)])
        except StoreAwayError:
            pass  # the next look asks again
        finally:
            chair.is_asking = False


def _held(entry: Entry | None) -> Held | None:
    if entry is None:
        return None
    return Held(entry.value.decode("utf-8", "replace"), entry.lease, entry.created)
