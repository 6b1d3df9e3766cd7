"""
A store in memory: what ``wsproxy.ha.store.base`` promises, in the plainest words, as the oracle of the one on etcd.

A lease ends when a test says so (``expire``), and never otherwise. ``calls`` that are to fail are told by ``away``: what was asked is then done or
not, as the test says, and the answer lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from wsproxy.ha.store.base import (
    CompactedError,
    Condition,
    Delete,
    Entry,
    LeaseGoneError,
    Put,
    Snapshot,
    StoreAwayError,
    Swapped,
    Told,
    Unchanged,
    Write,
)


class ModelStore:
    """See ``base.Store``."""

    def __init__(self) -> None:
        self.revision = 1
        self.entries: dict[str, Entry] = {}
        self.leases: set[int] = set()
        self.history: list[Told] = []
        self.compacted = 0
        self.before: dict[int, dict[str, Entry]] = {}  # what was there at each revision
        self.away: Literal["", "before", "after"] = (
            ""  # the store is cut off: nothing is done, or the answer is lost
        )
        self._next_lease = 100
        self._changed = asyncio.Event()

    # --- what a test does -------------------------------------------------------------------------------------------

    def expire(self, lease: int) -> None:
        """The lease ends, with all its keys, in one revision."""
        self.leases.discard(lease)
        gone = sorted(entry.key for entry in self.entries.values() if entry.lease == lease)
        self._write([Delete(key) for key in gone])

    def compact(self) -> None:
        """Forgets all changes up to now."""
        self.compacted = self.revision
        self.history.clear()

    def cut_off(self) -> None:
        """Nothing is answered until ``away`` is empty again, and who watches is told."""
        self.away = "before"
        self._wake()

    # --- what callers do --------------------------------------------------------------------------------------------

    async def close(self) -> None:
        pass

    async def grant(self, ttl_s: int) -> int:
        self._meet("before")
        self._next_lease += 1
        self.leases.add(self._next_lease)
        self._meet("after")
        return self._next_lease

    async def keep(self, lease: int) -> None:
        self._meet("before")
        self._check(lease)
        self._meet("after")

    async def revoke(self, lease: int) -> None:
        self._meet("before")
        if lease in self.leases:
            self.expire(lease)
        self._meet("after")

    async def read(self, prefix: str, at: int = 0) -> Snapshot:
        self._meet("before")
        if at and at < self.compacted:
            raise CompactedError(f"revision {at} is not kept")
        entries = self.before.get(at, self.entries)
        found = {key: entries[key] for key in sorted(entries) if key.startswith(prefix)}
        self._meet("after")
        return Snapshot(at or self.revision, found)

    async def put(self, write: Put) -> int:
        self._meet("before")
        self._write([write])
        self._meet("after")
        return self.revision

    async def swap(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> Swapped:
        self._meet("before")
        done = all(self._holds(each) for each in conditions)
        if done:
            self._write(writes)
        keys = {each.key for each in conditions} & self.entries.keys()
        found = {} if done else {key: self.entries[key] for key in keys}
        self._meet("after")
        return Swapped(done, self.revision, found)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Told | None]:
        self._meet("before")
        yield None
        while True:
            changed = self._changed
            if after < self.compacted:
                raise CompactedError(f"changes since revision {after} are not kept")
            for told in [each for each in self.history if each.revision > after]:
                after = told.revision
                changes = tuple(each for each in told.changes if each[0].startswith(prefix))
                if changes:
                    yield Told(told.revision, changes)
            await changed.wait()
            self._meet("before")

    # --- how ---------------------------------------------------------------------------------------------------------

    def _meet(self, when: Literal["before", "after"]) -> None:
        if self.away == when:
            raise StoreAwayError("the test has cut it off")

    def _check(self, lease: int) -> None:
        if lease and lease not in self.leases:
            raise LeaseGoneError(f"lease {lease} has ended")

    def _holds(self, condition: Condition) -> bool:
        entry = self.entries.get(condition.key)
        if isinstance(condition, Unchanged):
            return (entry.modified if entry else 0) == condition.modified
        return (entry.created if entry else 0) == condition.created

    def _write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if isinstance(write, Put):
                self._check(write.lease)
        revision = self.revision + 1
        changes: list[tuple[str, Entry | None]] = []
        for write in writes:
            old = self.entries.get(write.key)
            if isinstance(write, Put):
                created = old.created if old else revision
                entry = Entry(write.key, write.value, created, revision, write.lease)
                self.entries[write.key] = entry
                changes.append((write.key, entry))
            elif old is not None:
                del self.entries[write.key]
                changes.append((write.key, None))
        if changes:
            self.revision = revision
            self.before[revision] = dict(self.entries)
            self.history.append(Told(revision, tuple(changes)))
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
