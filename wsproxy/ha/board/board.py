"""
The bulletin board: what one proxy learns of a server, all know; what was said while etcd was away is reconciled by rule.

Driven by ``agent``: ``look`` some hundred times a second for what is new in this proxy's slots, ``read`` and ``told`` by what the group
says (``group.membership``), ``post_always`` puts our words into the store. Words go both ways through ``words.Slots``; which one counts says
``rule.decide``. Looking costs the workers nothing: it reads one number of the ring of changes. Losing the store changes nothing here
but that words wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.wall_clock import wall_ms
from wsproxy.dataplane.plan import Plan
from wsproxy.ha.board.rule import KINDS, Kind, Verdict, Word, decide, said_after
from wsproxy.ha.board.words import Slots, Subject
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry, LeaseGoneError, Put, Store, StoreAwayError, Told, Unchanged

log = logging.getLogger("wsproxy.ha")

# How often the slots are looked at: half of what a mark may take to another proxy (50 ms) is left for the ways.
LOOK_S = 0.01
# Of one post; etcd's own limit of a transaction is 128.
MOST_IN_A_POST = 64
# Words that one proxy posts in a second; servers that come and go faster are told less often, and always as they are last.
MOST_A_SECOND = 1000
# After a post that the store did not answer.
AGAIN_S = 0.2


@dataclass(slots=True)
class Known:
    """
    One subject. ``seen``: the slots' word when they were looked at last; ``theirs``: the store's, of ``revision``, 0: none.

    ``is_new``: ``seen`` was said since the store was heard last; ``basis``: the revision that was known then.
    """

    seen: Word | None = None
    is_new: bool = False
    theirs: Word | None = None
    revision: int = 0
    basis: int = 0


class Board:
    """One a process."""

    def __init__(self, state: SharedState, plan: Plan, store: Store, names: Names, me: str) -> None:
        """Nothing is said before ``read``: what the group knows comes first."""
        self._state = state
        self._store = store
        self._names = names
        self._me = me
        self._slots = Slots(plan, me)
        self._known: dict[Subject, Known] = {}
        self._last = 0  # number of the ring's entry that was looked at last
        self._dirty: dict[Subject, None] = {}
        self._has_read = False
        self._news = asyncio.Event()
        self._back = asyncio.Event()
        self._back.set()
        self.posted = 0
        self.taken = 0

    # --- this proxy's slots ------------------------------------------------------------------------------------------

    def take_plan(self, plan: Plan) -> None:
        """Another configuration holds: its servers are told of, and get what the group knows of them."""
        self._slots = Slots(plan, self._me)
        self._last = 0
        self.look(whole=True)
        for subject, each in self._known.items():
            if not self._slots.has(subject):
                each.seen = (
                    None  # the server is gone; should it come back, it gets what the group knows
                )
                self._dirty.pop(subject, None)
            elif each.theirs is not None:
                self._judge(subject, each)

    def look(self, *, whole: bool = False) -> None:
        """For what is new: of all servers, or of those that the ring of changes names."""
        changes = self._state.changes(self._last)
        if not changes and not whole:
            return
        touched: dict[Subject, None] = {}
        if changes:
            whole = (
                whole or changes[0].number != self._last + 1
            )  # some were overwritten before they were seen
            self._last = changes[-1].number
            for change in changes:
                touched.update(dict.fromkeys(self._slots.note(change)))
        for subject in self._slots.subjects() if whole else touched:
            self._look_at(subject)

    def _look_at(self, subject: Subject) -> None:
        known = self._known.setdefault(subject, Known())
        now = self._slots.read(subject)
        if now is None or (known.seen is not None and now.says_as(known.seen)):
            return
        known.seen, known.is_new = now, True
        known.basis = known.revision
        if self._has_read:
            self._judge(subject, known)

    # --- the group ---------------------------------------------------------------------------------------------------

    def read(self, revision: int, entries: Mapping[str, Entry]) -> None:
        """All that the group knows as of this revision: at the beginning of a membership, or when changes were missed."""
        found: dict[Subject, Entry] = {}
        for key, entry in entries.items():
            if (subject := self._subject_of(key)) is not None:
                found[subject] = entry
        self.look(whole=True)  # what was said here before this was known
        self._has_read = True
        for subject in {**self._known, **found}:
            self._hear(subject, found.get(subject), revision)

    def told(self, told: Told) -> None:
        """What the group says."""
        self.look()  # what was seen here before this was heard was said without knowing it
        for key, entry in told.changes:
            if (subject := self._subject_of(key)) is not None:
                self._hear(subject, entry, told.revision)

    def _subject_of(self, key: str) -> Subject | None:
        parts = self._names.parts_of_subject(key)
        kinds: dict[str, Kind] = {kind: kind for kind in KINDS}
        if parts is None or parts[0] not in kinds:
            return None
        return Subject(kinds[parts[0]], parts[1], parts[2])

    def _hear(self, subject: Subject, entry: Entry | None, revision: int) -> None:
        """
        A word of the store; of a server that this configuration does not have it is kept for the next one.

        The answer to a post may come before what the watch tells of the time before it: that is known already.
        """
        known = self._known.setdefault(subject, Known())
        if revision < known.revision:
            return
        word = None if entry is None else _decoded(entry.value)
        known.theirs = word
        known.revision = 0 if entry is None else entry.modified
        if self._slots.has(subject):
            self._judge(subject, known)

    def _judge(self, subject: Subject, known: Known) -> None:
        ours = known.seen if known.is_new else None
        verdict = decide(ours, known.basis, known.theirs, known.revision)
        if verdict is Verdict.POST:
            self._dirty[subject] = None
            self._news.set()
            return
        self._dirty.pop(subject, None)
        known.is_new = False
        if verdict is Verdict.TAKE:
            assert known.theirs is not None
            if self._slots.say(subject, known.theirs, wall_ms()):
                self.taken += 1
                _tell(subject, known.theirs)
            known.seen = self._slots.read(subject) or known.theirs

    # --- posting -----------------------------------------------------------------------------------------------------

    def away(self) -> None:
        """The store does not answer: words wait, the last one of each subject."""
        self._back.clear()

    def back(self) -> None:
        """It does."""
        self._back.set()

    @property
    def waiting(self) -> int:
        """Words that are not in the store yet."""
        return len(self._dirty)

    async def look_always(self) -> None:
        """For ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    async def post_always(self) -> None:
        """For ever."""
        while True:
            if not self._dirty:
                self._news.clear()
                await self._news.wait()
            await self._back.wait()
            batch = list(self._dirty)[:MOST_IN_A_POST]
            began = asyncio.get_running_loop().time()
            try:
                await self._post(batch)
            except (StoreAwayError, LeaseGoneError):
                await asyncio.sleep(AGAIN_S)
            took_s = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(len(batch) / MOST_A_SECOND - took_s, 0.0))

    async def _post(self, batch: Iterable[Subject]) -> None:
        """These words, all of them, or none where one meets another's; then that one is heard first."""
        said: dict[Subject, tuple[Word, int]] = {}
        for subject in batch:
            known = self._known[subject]
            assert known.seen is not None
            assert known.is_new
            said[subject] = known.seen, known.revision
        keys = {subject: self._key(subject) for subject in said}
        kept = {
            subject: said_after(word, self._known[subject].theirs, self._names.site)
            for subject, (word, _) in said.items()
        }
        swapped = await self._store.swap(
            [Unchanged(keys[subject], revision) for subject, (_, revision) in said.items()],
            [Put(keys[subject], msgspec.json.encode(word)) for subject, word in kept.items()],
        )
        for subject, (word, _) in said.items():
            known = self._known[subject]
            if not swapped.done:
                entry = swapped.found.get(keys[subject])
                if entry is None or entry.modified > known.revision:
                    self._hear(subject, entry, swapped.revision)
                continue
            self.posted += 1
            if known.revision <= swapped.revision:  # else the watch has told of a newer one
                known.theirs, known.revision = kept[subject], swapped.revision
            if known.seen is word or not self._slots.has(subject):
                known.is_new = False
                self._dirty.pop(subject, None)
            else:
                known.basis = (
                    swapped.revision
                )  # what was seen meanwhile was seen by who had said this
                self._judge(subject, known)

    def _key(self, subject: Subject) -> str:
        return self._names.subject(subject.kind, subject.cluster, subject.server)


def _decoded(value: bytes) -> Word | None:
    """None: another version's, which says nothing here."""
    try:
        return msgspec.json.decode(value, type=Word)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _tell(subject: Subject, word: Word) -> None:
    log.info("ha: server %s of cluster %s: %s, as %s says", subject.server, subject.cluster, _sentence(subject.kind, word), word.speaker)  # fmt: skip


def _sentence(kind: Kind, word: Word) -> str:
    if word.is_over:
        return "its mark has ended, as that site is not heard"
    if kind == "mark":
        return f"marked down ({word.why})" if word.is_down else "up"
    if kind == "hold":
        held = {1: "drained", 2: "taken down"}.get(word.hold, "given requests again")
        return f"{held} by {word.who}" if word.who else held
    return f"weight {_number(word.weight)}, MaxConnections {_number(word.limit)}, by {word.who}"


def _number(value: int | None) -> str:
    return "as the file says" if value is None else str(value)
