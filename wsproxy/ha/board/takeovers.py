"""
Takeovers of sessions, told to all proxies of the group: a session that had to leave its server at one proxy finds the same new one at all.

Driven by ``agent``. ``look`` takes what workers have put into the ring of news (``_fast.state.takeover``), ``post_always`` tells it in batches
(``board.batch``), ``follow_always`` has what others tell hold here. What comes from others is told to nobody again. Each of it is bounded, so
a server with 100,000 sessions that dies floods nobody: what is over a bound is counted, and told to nobody: then another proxy chooses by
itself, as without this. Has keys, a watch and connections of its own: marks and heartbeats wait for none of it. Losing the
store changes nothing here but that news wait, the newest of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy._fast.state.takeover import NOW_KNOWN, Telling
from wsproxy.admin import wall_clock
from wsproxy.config.group_secret import GroupSecret
from wsproxy.config.problems import printable
from wsproxy.dataplane.plan import Plan
from wsproxy.ha.board.batch import (
    AHEAD_MS,
    MOST,
    Move,
    Room,
    UnbelievedError,
    WallClock,
    end_of,
    is_name_told,
    pack,
    unpack,
)
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import (
    CompactedError,
    Entry,
    LeaseGoneError,
    Put,
    Store,
    StoreAwayError,
    Told,
)

log = logging.getLogger("wsproxy.ha")

# How often the ring is looked at.
LOOK_S = 0.01
# Between two posts: with the look, and the way, a takeover is at all others within 50 ms.
GAP_S = 0.025
# Taken from the ring at once.
MOST_TAKEN = 2048
# What has less left is told to nobody: it would end on its way.
LEAST_LEFT_MS = 200
# A lease takes what is posted within this part of the time that it must live, or this.
SLICES = 6
LEAST_SLICE_S = 1.0
# etcd, after it did not answer.
AGAIN_S = 0.2
# While there is no room.
FULL_S = 0.25
# Between two lines that say that not all is told.
TOLD_AGAIN_S = 60.0
# Members of whom the log says that something is wrong with what they tell, each once.
MOST_DOUBTED = 100
# Of one question: a whole batch, or all that lives, on a machine that has much to do. Heartbeats have their own 0.4 s.
TRY_S = 2.0
# After the watch began anew what it tells may be old; later it says how far clocks differ.
CAUGHT_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    Of what one proxy tells.

    ``a_second``: the table of each has room for a thousand moves a second at 60 s each, and there are others. ``alive``, in etcd at
    once: four proxies fill the table of each. ``waiting`` to be posted: the oldest ones go first.
    """

    a_second: int = 2000
    alive: int = 16_384
    waiting: int = 16_384


@dataclass(frozen=True, slots=True)
class _Server:
    """Whose slot it is."""

    cluster: str
    server: str
    is_told: bool


class Takeovers:
    """One a process."""

    def __init__(
        self, state: SharedState, plan: Plan, store: Store, names: Names, me: str, secret: GroupSecret,
        bounds: Bounds = Bounds(),
    ) -> None:  # fmt: skip
        """``store``: its own, which it does not close."""
        self._table = state.takeovers
        self._store = store
        self._names = names
        self._me = me
        self._seal = secret.seal
        self._bounds = bounds
        self._clock = WallClock(wall_clock.wall_ms(), now_ms())
        self._by_slot: dict[int, _Server] = {}
        self._slots: dict[tuple[str, str], int] = {}
        self._takeover_ms = 0
        self.take_plan(plan)
        # Until when by the monotonic clock, and whose; the newest last.
        self._waiting: dict[int, tuple[int, _Server]] = {}
        self._news = asyncio.Event()
        self._room = Room(bounds.alive)
        self._lease = 0
        self._lease_till = 0.0  # by the loop's clock: then the next one
        self._number = 0
        self._untold = 0
        self._told_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_away = False
        self._followed_at = math.inf
        self._doubted: set[str] = set()

    def take_plan(self, plan: Plan) -> None:
        """Another configuration holds. What moved before goes by the names that its slots had then: they may be another server's from now on."""
        if self._by_slot:
            self.look()
        self._takeover_ms = int(plan.settings.affinity.takeover_s * 1000)
        self._by_slot.clear()
        self._slots.clear()
        for _, config, cluster in plan.operated():
            _, slots = cluster.slots()
            for slot, server in zip(slots, config.all_servers, strict=True):
                name = config.name, server.name
                self._by_slot[slot] = _Server(*name, is_name_told(*name))
                self._slots[name] = slot

    # --- ours ---------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """For what is new in the ring."""
        while news := self._table.take_news(MOST_TAKEN):
            for key, slot, until_ms in news:
                server = self._by_slot.get(slot)
                if server is None or not server.is_told:
                    self._drop(1)
                    continue
                self._waiting.pop(key, None)
                self._waiting[key] = until_ms, server
            while len(self._waiting) > self._bounds.waiting:
                del self._waiting[next(iter(self._waiting))]
                self._drop(1)
            self._news.set()

    async def look_always(self) -> None:
        """For ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    async def post_always(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
            began = loop.time()
            batch = self._next(min(MOST, self._room.left(began)))
            if not batch:
                await asyncio.sleep(FULL_S if self._waiting else 0)
                continue
            try:
                await self._post(batch)
            except LeaseGoneError:
                self._lease = 0
                self._put_back(batch)
                await asyncio.sleep(AGAIN_S)
            except StoreAwayError as error:
                self._put_back(batch)
                self._note_away(error)
                await asyncio.sleep(AGAIN_S)
            else:
                self._note_back()
                gap_s = max(GAP_S, len(batch) / self._bounds.a_second)
                await asyncio.sleep(max(gap_s - (loop.time() - began), 0.0))

    def _next(self, most: int) -> dict[int, tuple[int, _Server]]:
        """The newest ones: a browser's next requests come at once, or not for long."""
        batch: dict[int, tuple[int, _Server]] = {}
        least_ms = now_ms() + LEAST_LEFT_MS
        while self._waiting and len(batch) < most:
            key, waits = self._waiting.popitem()
            if waits[0] < least_ms:
                self._drop(1)
            else:
                batch[key] = waits
        return batch

    def _put_back(self, batch: dict[int, tuple[int, _Server]]) -> None:
        """They were the newest but for what came meanwhile."""
        for key, waits in reversed(batch.items()):
            self._waiting.setdefault(key, waits)

    async def _post(self, batch: Mapping[int, tuple[int, _Server]]) -> None:
        if not self._lease or asyncio.get_running_loop().time() >= self._lease_till:
            await self._begin_lease()
        wall_ms = self._clock.look(wall_clock.wall_ms(), now_ms())
        moves = [
            Move(key, server.cluster, server.server, self._at_ms(until_ms))
            for key, (until_ms, server) in batch.items()
        ]
        self._number += 1
        key = f"{self._names.takeovers_of(self._me)}{self._lease:x}-{self._number:08d}"
        await self._store.put(Put(key, pack(moves, wall_ms, key, self._seal), self._lease))
        self._room.take(len(batch))
        self._table.count_news(Telling.TOLD_OTHERS, len(batch))

    def _at_ms(self, until_ms: int) -> int:
        return until_ms - self._takeover_ms + self._clock.distance_ms

    async def _begin_lease(self) -> None:
        life_s = self._takeover_ms / 1000
        slice_s = max(life_s / SLICES, LEAST_SLICE_S)
        ttl_s = math.ceil(life_s + slice_s)
        now = asyncio.get_running_loop().time()
        self._lease = await self._store.grant(ttl_s)
        self._lease_till = now + slice_s
        self._room.begin(now + ttl_s)

    # --- what is told of it -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many are not in the store yet."""
        return len(self._waiting)

    def _drop(self, count: int) -> None:
        """Told to nobody; the log says so, once a minute."""
        self._table.count_news(Telling.NOT_POSTED, count)
        self._untold += count
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait_s = max(self._told_at + TOLD_AGAIN_S - loop.time(), 1.0)
            self._timer = loop.call_later(wait_s, self._tell_untold)

    def _tell_untold(self) -> None:
        self._timer = None
        self._told_at = asyncio.get_running_loop().time()
        count, self._untold = self._untold, 0
        log.warning(
            "ha: %d takeovers of sessions were not told to other proxies: more than %d a second, %d at once, or etcd did not take them in time; there those sessions are balanced",
            count, self._bounds.a_second, self._bounds.alive,
        )  # fmt: skip

    def _note_away(self, error: StoreAwayError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("ha: etcd does not take takeovers of sessions (%s): they wait, the newest %d of them", printable(str(error)), self._bounds.waiting)  # fmt: skip

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("ha: etcd takes takeovers of sessions again; %d wait", len(self._waiting))

    # --- the others' --------------------------------------------------------------------------------------------------

    async def follow_always(self) -> None:
        """For ever."""
        while True:
            try:
                snapshot = await self._store.read(self._names.takeovers)
                await self._read(snapshot.entries)
                await self._follow(snapshot.revision)
            except (CompactedError, StoreAwayError):
                pass  # changes were missed, or will be: all that lives is read again
            await asyncio.sleep(AGAIN_S)

    async def _read(self, entries: Mapping[str, Entry]) -> None:
        """All that lives, also what this member has told before it began anew: its table may be empty."""
        for entry in entries.values():
            self._hear(entry)
            await asyncio.sleep(0)  # heartbeats go on

    async def _follow(self, after: int) -> None:
        own = self._names.takeovers_of(self._me)
        while True:
            try:
                async with contextlib.aclosing(
                    self._store.watch(self._names.takeovers, after)
                ) as words:
                    async for told in words:
                        if told is None:
                            self._followed_at = asyncio.get_running_loop().time()
                        elif isinstance(told, Told):
                            after = told.revision
                            for key, entry in told.changes:
                                if entry is not None and not key.startswith(own):
                                    self._hear(entry, is_news=True)
            except StoreAwayError:
                await asyncio.sleep(AGAIN_S)

    def _hear(self, entry: Entry, *, is_news: bool = False) -> None:
        try:
            posted_ms, moves = unpack(entry.value, entry.key, self._seal)
        except UnbelievedError as error:
            self._table.count_news(Telling.NOT_BELIEVED, 1)
            self._doubt(entry.key, f"its takeovers of sessions are not taken: {error}")
            return
        now = now_ms()
        wall_ms = self._clock.look(wall_clock.wall_ms(), now)
        if is_news:
            self._compare_clocks(entry.key, posted_ms - wall_ms)
        counts = {Telling.LEARNT: 0, Telling.KNEW_BETTER: 0, Telling.UNKNOWN_HERE: 0}
        for move in moves:
            counts[self._learn(move, wall_ms, now)] += 1
        for what, count in counts.items():
            if count:
                self._table.count_news(what, count)

    def _learn(self, move: Move, wall_ms: int, now: int) -> Telling:
        slot = self._slots.get((move.cluster, move.server))
        until_ms = end_of(move.at_ms, wall_ms, now, self._takeover_ms)
        if slot is None or until_ms <= now or not self._takeover_ms:
            return Telling.UNKNOWN_HERE
        known = self._table.learn(move.key, slot, now, until_ms)
        if known >= 0:
            other = self._by_slot.get(known)
            if other is None or (move.cluster, move.server) < (other.cluster, other.server):
                known = self._table.learn(move.key, slot, now, until_ms, wins_tie=True)
        return Telling.LEARNT if known == NOW_KNOWN else Telling.KNEW_BETTER

    def _compare_clocks(self, key: str, ahead_ms: int) -> None:
        """A clock that is ahead is seen at once; one that is behind once the watch has caught up."""
        has_caught_up = (
            asyncio.get_running_loop().time() > self._followed_at + CAUGHT_UP_S
            and not self._is_away
        )
        if ahead_ms > AHEAD_MS or (ahead_ms < -AHEAD_MS and has_caught_up):
            self._doubt(key, f"its clock is {abs(ahead_ms) / 1000:.0f} s {'ahead of' if ahead_ms > 0 else 'behind'} this machine's: its takeovers of sessions are forgotten too late or too early (NTP)")  # fmt: skip

    def _doubt(self, key: str, why: str) -> None:
        member = key.removeprefix(self._names.takeovers).partition("/")[0]
        if member not in self._doubted and len(self._doubted) < MOST_DOUBTED:
            self._doubted.add(member)
            log.warning("ha: member %s: %s", printable(member), why)
