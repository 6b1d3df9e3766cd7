"""
What the group needs of a store: leases, compare-and-set, one order of all words, and being told.

Implemented by ``etcd.EtcdStore`` and, for tests, by ``tests.support.model_store``, the oracle: whatever both are asked, both
answer the same. Driven by ``group.membership`` and ``board``. Nothing here retries beyond one round over all servers of the
store: what to do when it is away is the caller's part (``StoreAwayError``).

**What is compare-and-set.** ``swap`` alone: all its conditions are judged and all its writes done in one revision, or none.
``put`` is no compare-and-set: it overwrites. A lease's end deletes all its keys in one revision, and nobody can write in between.

**What is fresh.** ``read``, ``swap`` and ``put`` are linearizable: they see every write that was answered before they were
sent. ``watch`` tells every change after a revision, once and in order, later than it happens.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreAwayError(Exception):
    """The store has not answered, or has no majority: whether the write was done is not known. The text says who said what."""


class TooLargeError(StoreAwayError):
    """It answers with more than is taken from it."""


class LeaseGoneError(Exception):
    """The lease has ended, and all its keys with it."""


class CompactedError(Exception):
    """Changes since that revision are not kept any more, or the store was put back to an earlier one: read all again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One key. ``created``: the revision at which it came to be; ``modified``: of its last write, and what ``Unchanged`` compares.

    ``lease`` 0: none.
    """

    key: str
    value: bytes
    created: int
    modified: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys that were asked for, as they were together at ``revision``."""

    revision: int
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Told:
    """All changes of one revision, in the order of their keys: (key, entry), None: deleted."""

    revision: int
    changes: tuple[tuple[str, Entry | None], ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A condition: the key's last write is that of revision ``modified``; 0: it does not exist."""

    key: str
    modified: int = 0


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """A condition: the key exists since ``created``, whatever was written since: the token of a seat."""

    key: str
    created: int


Condition = Unchanged | CreatedAt


@dataclass(frozen=True, slots=True)
class Put:
    """A write; ``lease`` 0: none."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """A write: the key is gone."""

    key: str


Write = Put | Delete


@dataclass(frozen=True, slots=True)
class Swapped:
    """
    What became of a swap: whether it was ``done``, at which revision.

    ``found``: where it was not done, the keys of its conditions as they are; those that do not exist are missing. Where an answer
    was lost the same swap may have been asked again and have met its own write: then it is not done, and ``found`` shows that.
    """

    done: bool
    revision: int
    found: Mapping[str, Entry]


class Store(Protocol):
    """See the module. Every call raises ``StoreAwayError``, those with a lease ``LeaseGoneError``."""

    async def grant(self, ttl_s: int) -> int:
        """A new lease that ends ``ttl_s`` after its last ``keep``, or later, never earlier."""
        ...

    async def keep(self, lease: int) -> None:
        """It lives a whole ttl longer, from when the store received this."""
        ...

    async def revoke(self, lease: int) -> None:
        """It ends now; nothing is wrong where it has ended."""
        ...

    async def read(self, prefix: str, at: int = 0) -> Snapshot:
        """
        All keys with the prefix, fresh, or as they were at revision ``at``.

        Raises:
            CompactedError: that revision is not kept.
        """
        ...

    async def swap(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> Swapped:
        """Compare-and-set: ``writes`` where all ``conditions`` hold, else nothing."""
        ...

    async def put(self, write: Put) -> int:
        """Overwrites; its revision."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Told | None]:
        """
        Every change of keys with the prefix after this revision, for ever; each revision once, whole.

        None: from here on changes come, which the store has said (at the beginning of each connection).

        Raises:
            CompactedError: they are not kept from there on, or the store, restored from a backup, is at an earlier revision.
            StoreAwayError: no server can be asked; ask again with the last revision that was told.
        """
        ...

    async def close(self) -> None:
        """No call runs afterwards."""
        ...
