"""
One end of a bridge between two core groups: what the other site says of servers is read there and written here, by one member at a time.

A work of an HA group (``ha.resource.groups``): whoever has the place reads the other site's etcd (by TLS, certificates on both sides) and
writes into its own alone, each write with the token of its place. What holds is decided by ``rule``. A link that is cut changes nothing here
but that words wait there, and that marks from there end after ``marks_s``; when it is back the watch goes on behind the last revision,
so only what is different comes. Must not be waited for by anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Mapping
from itertools import islice

import msgspec

from wsproxy.admin.bridge_counts import BridgeRow
from wsproxy.admin.bridge_counts import Word as Counted
from wsproxy.admin.wall_clock import wall_ms
from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.keystore import KeyFileError
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_groups import ResourceSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.ha.board.rule import Word
from wsproxy.ha.bridge.bounds import (
    MOST_ANSWER_BYTES,
    MOST_BATCH_BYTES,
    MOST_BYTES,
    MOST_HEARD_A_SECOND,
    MOST_HEARD_AT_ONCE,
    MOST_KEYS,
    MOST_WORDS,
    flaw_of,
    size_of,
)
from wsproxy.ha.bridge.kept import NOTHING, Kept, kept_of, subject_of
from wsproxy.ha.bridge.pause import pause_s
from wsproxy.ha.bridge.rule import chosen, ended, is_endable, taken
from wsproxy.ha.bridge.tally import Tally
from wsproxy.ha.bridge.words import EndSaid, State, decode_end, resource_of
from wsproxy.ha.first_of import first_of
from wsproxy.ha.names import Names
from wsproxy.ha.resource.messages import Said
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.store.base import (
    CompactedError,
    CreatedAt,
    Entry,
    LeaseGoneError,
    Put,
    Store,
    StoreAwayError,
    Swapped,
    Told,
    TooLargeError,
    Unchanged,
)
from wsproxy.ha.store.etcd import EtcdStore, Seen
from wsproxy.ha.store.gateway import Gateway
from wsproxy.ha.store.token import Token

log = logging.getLogger("wsproxy.ha")

# Of one transaction; etcd's own limit is 128, of conditions as well, and one is the token.
MOST_IN_A_BATCH = 64
# Words that are copied in a second: half of what all proxies of a group may post, which etcd takes beside its heartbeats.
MOST_A_SECOND = 500
# All words of a site at once: some megabytes over a slow line.
READ_S = 20.0
# A small question at one endpoint, which may need a connection first: three round trips, 0.2 s each over a long line, and some lost.
LEAST_TRY_S = 1.5
# How often an end may say how it goes: a write into etcd each time.
REPORT_S = 1.0
SHOWN = 200  # of a subject
# Between two judgements of all words, because the other end has chosen otherwise.
JUDGE_S = 1.0
# After a write that our own etcd did not answer.
LOCAL_AGAIN_S = 0.3


class Bridge:
    """One a process and a site; within one event loop. See ``ha.resource.groups.Work``."""

    def __init__(
        self, settings: BridgeSettings, names: Names, me: str, store: Store,
        lease: Callable[[], int], on_change: Callable[[], None], row: BridgeRow,
    ) -> None:  # fmt: skip
        """Nothing is asked before ``begin``. ``store``: of our own site; ``lease``: the member's, of now; ``row``: what is counted goes there."""
        self._settings = settings
        self._names = names
        self._there = Names(settings.cell_or(names.cell), settings.core_group)
        self._me = me
        self._store = store
        self._lease = lease
        self._on_change = on_change
        self._row = row
        self.resource = ResourceSettings(name=resource_of(names, self._there))
        self._seat = names.seat(names.place(self.resource.name, me))
        self.said: Said | None = Said(0, Phase.IDLE, 0, "", False, 0)
        self.doubt = ""
        self._token = 0
        self._token_there = Token(etcd_user(settings))
        self._task: asyncio.Task[None] | None = None
        self._ours: dict[str, Kept] = {}
        self._came: dict[str, int] = {}  # of those, what came from there, and its size
        self._came_bytes = 0
        self._forget()

    def _forget(self) -> None:
        self._theirs: dict[str, Kept] = {}
        self._after = 0  # revision of the other site that was told last; 0: all is to be read
        self._seen: dict[str, Seen] = {}  # there, so far
        self._their_end: EndSaid | None = None
        self._their_end_revision = 0  # of the other site, when it said that
        self._pending: dict[str, Word] = {}
        self._coming: dict[str, int] = {}  # of those, by how much our store grows
        self._coming_bytes = 0
        self._tally = Tally(self._there.site, self._row)
        self._judged = (
            -math.inf
        )  # when the other end's choices were judged last, by the loop's clock
        self._judge_timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._report = asyncio.Event()
        self._state: State = "begun"
        self._since = wall_ms()
        self._why = ""
        self._heard = 0.0  # when the other site answered last, by the loop's clock
        self._is_stale = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def words(self) -> int:
        """That this member has copied to here."""
        return self._tally.words

    @property
    def state(self) -> State:
        """Of the link, while this member has the place."""
        return self._state

    # --- a work ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """It leaves nothing behind."""

    async def begin(self, token: int) -> None:
        """It is ours; ``token`` is compared by each write."""
        self._forget()
        self._token = token
        self._tally.be(self._state)
        self._set_timer()
        self._task = asyncio.ensure_future(self._run())
        self._be(Phase.RUNNING)

    async def stop(self) -> None:
        """It is not: nothing is read or written afterwards."""
        self._token = 0
        for timer in (self._timer, self._judge_timer):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._tally.close()
        self._be(Phase.IDLE)

    def _be(self, phase: Phase) -> None:
        self.said = Said(0, phase, 0, "", False, 0)
        log.info("ha: bridge to %s %s", self._there.site, "begins here" if phase is Phase.RUNNING else "has ended here")  # fmt: skip
        self._on_change()

    def right(self, until: float) -> None:
        """Its writes have the token."""

    def clear(self) -> None:
        """It does not fail: it tries again."""

    def watch_every(self, every_s: float) -> None:
        """It says itself how it is."""

    @property
    def is_free(self) -> bool:
        """Whether it is another's."""
        return self._task is None

    async def until_ready(self) -> None:
        """It leaves nothing behind."""

    async def close(self) -> None:
        """The last thing."""
        if self._task is not None:
            await self.stop()

    # --- our own site ------------------------------------------------------------------------------------------------

    def read(self, entries: Mapping[str, Entry]) -> None:
        """All that our group says."""
        self._ours.clear()
        self._came.clear()
        self._came_bytes = 0
        self.told(Told(0, tuple(entries.items())))
        self._judge_all()

    def told(self, told: Told) -> None:
        """Some of it. What we have written ourselves may have been known before."""
        for key, entry in told.changes:
            if (subject := subject_of(self._names, key)) is None:
                continue
            if told.revision and told.revision < self._ours.get(subject, NOTHING).modified:
                continue
            self._keep(subject, NOTHING if entry is None else kept_of(entry))
            self._judge(subject)

    def _keep(self, subject: str, kept: Kept) -> None:
        """What our own store has of it."""
        if kept.modified:
            self._ours[subject] = kept
        else:
            self._ours.pop(subject, None)
        self._came_bytes -= self._came.pop(subject, 0)
        if kept.word is not None and kept.word.via == self._there.site:
            size = self._came[subject] = size_of(subject, kept.word)
            self._came_bytes += size

    # --- which words are to be copied --------------------------------------------------------------------------------

    def _judge_all(self) -> None:
        for subject in {**self._ours, **self._theirs}:
            self._judge(subject)

    def _judge(self, subject: str) -> None:
        if not self._token:
            return
        word = self._wanted(subject)
        self._coming_bytes -= self._coming.pop(subject, 0)
        if word is not None and self._is_over(subject, word):
            word = None
        if word is None:
            self._pending.pop(subject, None)
        else:
            self._pending[subject] = word
            growth = self._coming[subject] = self._growth(subject, word)
            self._coming_bytes += growth
            self._news.set()
        self._tally.wait(len(self._pending))

    def _growth(self, subject: str, word: Word) -> int:
        return max(size_of(subject, word) - self._came.get(subject, 0), 0)

    def _is_over(self, subject: str, word: Word) -> bool:
        """Whether it would be more of theirs than we take: our etcd is not theirs to fill."""
        growth = self._growth(subject, word)
        is_full = subject not in self._ours and len(self._came) + len(self._coming) >= MOST_WORDS
        if not is_full and (not growth or self._came_bytes + self._coming_bytes + growth <= MOST_BYTES):  # fmt: skip
            return False
        self._refuse(Counted.OVER_HERE, f"found more than {MOST_WORDS} words or {MOST_BYTES} bytes from there; allowed are so many (`etcdctl del` those of servers that are gone, at both sites)")  # fmt: skip
        return True

    def _refuse(self, bound: Counted, why: str) -> None:
        """A word of theirs is not taken."""
        self._tally.refuse(bound, why)
        self._report.set()

    def _wanted(self, subject: str) -> Word | None:
        """What is to be written here."""
        ours = self._ours.get(subject, NOTHING)
        if ours.modified and ours.word is None:
            return None
        if self._is_stale and subject.startswith("mark/"):
            is_due = ours.word is not None and is_endable(subject, ours.word, self._there.site)
            return ended(ours.word) if is_due and ours.word is not None else None
        theirs = self._theirs.get(subject, NOTHING).word
        if theirs is None or self._their_end is None:
            return None
        if not (chosen(self._settings.in_, subject) and chosen(self._their_end.out, subject)):
            return None
        return taken(ours.word, theirs, self._names.site, self._there.site)

    # --- the other site ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Until it is cancelled. What nobody has thought of is told, and does not end the member."""
        failed = 0
        while True:
            try:
                await first_of(self._follow_always(), self._copy_always(), self._report_always())
            except Exception:
                log.exception("ha: bridge to %s failed; it begins again", self._there.site)
                self._after = 0
            await asyncio.sleep(pause_s(failed, random.random()))  # noqa: S311  # no secret
            failed += 1

    async def _follow_always(self) -> None:
        failed = 0
        while True:
            try:
                await self._follow()
            except TooLargeError as error:
                self._tally.refuse_answer()
                self._after = 0  # what changed is too much at once; what there is now may not be
                self._cut(str(error))
            except StoreAwayError as error:
                if self._heard:
                    failed = 0  # it was there
                self._cut(str(error))
            except KeyFileError as error:
                self._cut(str(error))
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                self._after = 0
                self._cut(f"found an answer that is none of etcd's ({type(error).__name__})")
            except CompactedError:
                self._after = 0
                log.info("ha: bridge to %s: changes there were missed; all is read again", self._there.site)  # fmt: skip
            self._heard = 0.0
            await asyncio.sleep(pause_s(failed, random.random()))  # noqa: S311  # no secret
            failed += 1

    async def _follow(self) -> None:
        """For as long as the other site answers."""
        tls = group_context(self._settings)
        urls = self._settings.endpoints
        try_s = max(self._settings.cut_s / 3 / len(urls), LEAST_TRY_S)

        def store_of(try_s: float) -> EtcdStore:
            gateway = Gateway(urls, tls, try_s=try_s, most_bytes=MOST_ANSWER_BYTES, token=self._token_there)  # fmt: skip
            return EtcdStore(gateway, MOST_KEYS, self._seen)

        store, patient = store_of(try_s), store_of(READ_S)
        self._their_end_revision = 0  # an etcd that was restored counts from before
        try:
            await self._ask_end(store)
            if not self._after:
                snapshot = await patient.read(self._there.board)
                self._theirs = {}
                await self._hear_slowly(
                    tuple(snapshot.entries.items()), snapshot.revision, math.inf
                )
                self._after = snapshot.revision
            self._link()
            await first_of(self._watch(store), self._poll(store))
        finally:
            await store.close()
            await patient.close()

    async def _ask_end(self, store: Store) -> None:
        snapshot = await store.read(self._there.bridges)
        self._hear_now()
        key = self._there.bridge(self._names.site)
        entry = snapshot.entries.get(key)
        self._hear_end(None if entry is None else decode_end(entry.value), snapshot.revision)

    async def _watch(self, store: Store) -> None:
        async with contextlib.aclosing(store.watch(self._there.board, self._after)) as words:
            async for told in words:
                if told is not None:
                    self._hear_now()
                    await self._hear_slowly(told.changes, told.revision, MOST_HEARD_A_SECOND)
                    self._after = told.revision

    async def _poll(self, store: Store) -> None:
        """A network that is cut ends no connection: so it is asked."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._settings.cut_s / 3)
            try:
                await self._ask_end(store)
            except StoreAwayError:
                if loop.time() - self._heard >= self._settings.cut_s:
                    raise

    def _hear_now(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._tally.hear()

    async def _hear_slowly(
        self, changes: tuple[tuple[str, Entry | None], ...], revision: int, a_second: float
    ) -> None:
        """Others have their turn, above all heartbeats, whatever comes from there."""
        for first in range(0, len(changes), MOST_HEARD_AT_ONCE):
            part = changes[first : first + MOST_HEARD_AT_ONCE]
            self._hear(part, revision)
            await asyncio.sleep(len(part) / a_second)

    def _hear(self, changes: tuple[tuple[str, Entry | None], ...], revision: int) -> None:
        end_key = self._there.bridge(self._names.site)
        for key, entry in changes:
            if key == end_key:
                self._hear_end(None if entry is None else decode_end(entry.value), revision)
            elif (subject := subject_of(self._there, key)) is not None:
                if not chosen(self._settings.in_, subject):
                    continue
                kept = NOTHING if entry is None else self._kept_of(subject, entry)
                if kept.word is None:
                    self._theirs.pop(subject, None)
                else:
                    self._theirs[subject] = kept
                self._judge(subject)

    def _kept_of(self, subject: str, entry: Entry) -> Kept:
        """A word of theirs, if it is one that may come here."""
        kept = kept_of(entry)
        if kept.word is None:
            return kept
        flaw, bound = flaw_of(entry, kept.word, wall_ms()), Counted.OVER_WORD
        if not flaw and subject not in self._theirs and len(self._theirs) >= MOST_WORDS:
            bound = Counted.OVER_THERE
            flaw = f"found more than {MOST_WORDS} words there; allowed are so many of what is chosen here (in)"
        if flaw:
            self._refuse(bound, f"{subject[:SHOWN]}: {flaw}")
            return NOTHING
        return kept

    def _hear_end(self, end: EndSaid | None, revision: int) -> None:
        """As of that revision: the watch and the questions overtake one another, and what is older would be counted again."""
        if revision < self._their_end_revision:
            return
        self._their_end_revision = revision
        before, self._their_end = self._their_end, end
        self._tally.hear_end(end)
        if (before.out if before else None) != (end.out if end else None):
            self._judge_later()
        if before != end:
            self._report.set()
        if self._state in ("up", "waiting"):
            self._link()

    def _judge_later(self) -> None:
        """Once a second at most, however often the other end chooses otherwise."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._judged + JUDGE_S:
            self._judged = loop.time()
            self._judge_all()
        elif self._judge_timer is None:
            self._judge_timer = loop.call_at(self._judged + JUDGE_S, self._judge_due)

    def _judge_due(self) -> None:
        self._judge_timer = None
        self._judged = asyncio.get_running_loop().time()
        self._judge_all()

    # --- how it goes -------------------------------------------------------------------------------------------------

    def _link(self) -> None:
        """The other site is heard."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_stale or self._state in ("begun", "cut"):
            self._is_stale = False
            self._judge_all()
        site = self._there.site
        was_for_s = (wall_ms() - self._since) / 1000
        if self._their_end is None:
            why = (
                f"{site} has no bridge to {self._names.site} that runs; allowed is [[ha.bridge]] there with our core_group"
                f"{'' if self._there.cell == self._names.cell else ' and cell'}"
            )
            if self._become("waiting", why):
                log.warning("ha: bridge to %s: %s; nothing is copied until then", site, why)
        elif (before := self._state) != "up" and self._become("up", ""):
            much = (
                f"again after {was_for_s:.0f} s: what was said there meanwhile is copied"
                if before == "cut"
                else f"{len(self._pending)} words are copied"
            )
            log.warning("ha: bridge to %s: up, %s", site, much)

    def _cut(self, why: str) -> None:
        """It is not."""
        if self._become("cut", why):
            log.warning(
                "ha: bridge to %s: cut (%s); what is known of servers holds on, marks from there for %g s; tried again",
                self._there.site, why, self._settings.marks_s,
            )  # fmt: skip
            self._set_timer()
        elif why != self._why:
            self._why = why
            self._report.set()

    def _become(self, state: State, why: str) -> bool:
        if self._state == state:
            return False
        self._state, self._why = state, why
        self._since = wall_ms()
        self._tally.be(state)
        self._report.set()
        return True

    def _set_timer(self) -> None:
        """Counts from now, also where another member had the bridge before and heard nothing."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.marks_s, self._end_marks)

    def _end_marks(self) -> None:
        self._timer = None
        self._is_stale = True
        self._judge_all()
        if self._pending:
            log.warning("ha: bridge to %s: not heard for %g s: marks from there end here; holds and numbers stay", self._there.site, self._settings.marks_s)  # fmt: skip

    # --- copying -----------------------------------------------------------------------------------------------------

    async def _copy_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._pending:
                self._news.clear()
                await self._news.wait()
            batch = self._next()
            began = loop.time()
            try:
                await self._copy(batch)
            except (StoreAwayError, LeaseGoneError):
                await asyncio.sleep(LOCAL_AGAIN_S)
            await asyncio.sleep(max(len(batch) / MOST_A_SECOND - (loop.time() - began), 0.0))

    def _next(self) -> dict[str, Word]:
        batch: dict[str, Word] = {}
        size = 0
        for subject, word in islice(self._pending.items(), MOST_IN_A_BATCH):
            size += size_of(subject, word)
            if batch and size > MOST_BATCH_BYTES:
                break
            batch[subject] = word
        return batch

    async def _copy(self, batch: Mapping[str, Word]) -> None:
        """All of them, or none, where one is otherwise here by now, or the place is not ours any more."""
        keys = {subject: self._names.board + subject for subject in batch}
        known = {subject: self._ours.get(subject, NOTHING).modified for subject in batch}
        swapped = await self._store.swap(
            [CreatedAt(self._seat, self._token), *(Unchanged(keys[each], known[each]) for each in batch)],
            [Put(keys[subject], msgspec.json.encode(word)) for subject, word in batch.items()],
        )  # fmt: skip
        if not swapped.done:
            await self._look_again(keys, swapped)
            return
        self._tally.copy(len(batch))
        self._report.set()
        for subject, word in batch.items():
            if self._ours.get(subject, NOTHING).modified < swapped.revision:
                self._keep(subject, Kept(word, swapped.revision))
            self._judge(subject)

    async def _look_again(self, keys: Mapping[str, str], swapped: Swapped) -> None:
        seat = swapped.found.get(self._seat)
        if seat is None or seat.created != self._token:
            await asyncio.sleep(LOCAL_AGAIN_S)  # the member hears of it, and stops this
            return
        for subject, key in keys.items():
            entry = swapped.found.get(key)
            if entry is None:
                self._keep(subject, NOTHING)
            elif entry.modified > self._ours.get(subject, NOTHING).modified:
                self._keep(subject, kept_of(entry))
            self._judge(subject)

    async def _report_always(self) -> None:
        """What this end says of itself; and again when a membership begins, whose lease it is on."""
        posted: tuple[EndSaid, int] | None = None
        key = self._names.bridge(self._there.site)
        self._report.set()
        while True:
            await self._report.wait()
            self._report.clear()
            now = self.end(), self._lease()
            if now != posted and now[1]:
                put = Put(key, msgspec.json.encode(now[0]), now[1])
                try:
                    swapped = await self._store.swap([CreatedAt(self._seat, self._token)], [put])
                    posted = now if swapped.done else None
                except (StoreAwayError, LeaseGoneError):
                    posted = None
            if posted is None:
                self._report.set()
            await asyncio.sleep(REPORT_S)

    def end(self) -> EndSaid:
        """As it is now."""
        their = self._their_end
        return EndSaid(
            self._me, self._state, self._since, self._settings.out, self._why, self.words, self._tally.copied_ms,
            len(self._pending), their.state if their else "", their.words if their else 0,
            their.copied_ms if their else 0, self._tally.refused,
        )  # fmt: skip
