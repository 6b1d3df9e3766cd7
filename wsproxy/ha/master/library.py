"""
Published configurations in etcd: put there whole or not at all, the last ones kept, and got from there.

Driven by commands (``cli.publish``), and by ``follower`` for contents. What decides is one key, the head, which is written by compare-and-set: of two who publish
at once one is told who won. A value of etcd has 1.5 MB at most, so contents are compressed and in pieces; equal ones are kept once. Must not judge a configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from wsproxy.admin.wall_clock import wall_ms
from wsproxy.config.published import MOST_VERSIONS, Version
from wsproxy.errors import WsproxyError
from wsproxy.ha.master.words import (
    MOST_PIECES,
    Applied,
    Content,
    Head,
    UnreadableError,
    decoded,
)
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import (
    Condition,
    Delete,
    Entry,
    Put,
    Store,
    StoreAwayError,
    Unchanged,
    Write,
)

# The newest; older ones are removed when another is published.
KEPT_VERSIONS = 20
# As config.xml_tree reads no larger one.
MOST_BYTES = 64 << 20
# etcd takes requests of 1.5 MB (--max-request-bytes); a third of that is well below, and goes over in a moment.
PIECE_BYTES = 512 << 10
# Pieces that nobody's version names are removed after so long: their publisher is gone.
ABANDONED_MS = 3_600_000
# Others may put the same contents there meanwhile, and an answer may be lost.
MOST_TRIES = 5
# A piece on its way from or to a machine that has much to do; heartbeats have their own 0.4 s.
TRY_S = 5.0


class OvertakenError(WsproxyError):
    """Somebody else has published meanwhile: nothing was changed."""

    def __init__(self, head: Head | None) -> None:
        """``head``: what holds now; None: nothing does."""
        self.head = head
        self.now = "nothing is published" if head is None else f"{head.version.in_words()} holds"
        super().__init__(f"{self.now} now, and nothing was changed")


class GoneError(WsproxyError):
    """That version is not kept, or its contents are damaged; the text says what there is."""


@dataclass(frozen=True, slots=True)
class News:
    """What is to be published."""

    data: bytes
    who: str
    comment: str = ""
    file: str = ""
    returned_to: int = 0
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The head and where it stands: what a write of it compares."""

    head: Head | None
    modified: int

    @property
    def number(self) -> int:
        """0: nothing is published."""
        return 0 if self.head is None else self.head.version.number


class Library:
    """Of one core group."""

    def __init__(
        self,
        store: Store,
        names: Names,
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """Every call raises ``StoreAwayError``."""
        self._store = store
        self._names = names
        self._clock_ms = clock_ms

    # --- reading -----------------------------------------------------------------------------------------------------

    async def head(self) -> Held:
        """What all are to go by."""
        key = self._names.published
        entry = (await self._store.read(key)).entries.get(key)
        if entry is None:
            return Held(None, 0)
        return Held(decoded(entry, Head), entry.modified)

    async def versions(self) -> list[Version]:
        """Those that are kept, oldest first; what nobody can read is none of them (``strange``), and keeps nobody from another one."""
        return (await self._versions())[0]

    async def strange(self) -> list[str]:
        """What stands among them that this wsproxy cannot read, each with its key."""
        return (await self._versions())[1]

    async def _versions(self) -> tuple[list[Version], list[str]]:
        kept, strange = [], []
        for entry in (await self._store.read(self._names.versions)).entries.values():
            try:
                kept.append(decoded(entry, Version))
            except UnreadableError as error:
                strange.append(str(error))
        return sorted(kept, key=lambda each: each.number), strange

    async def version(self, number: int) -> Version:
        """
        One of them.

        Raises:
            GoneError: it is not.
        """
        kept = await self.versions()
        for each in kept:
            if each.number == number:
                return each
        known = ", ".join(str(each.number) for each in kept) or "none"
        raise GoneError(f"found version {number}; allowed is one that is kept: {known}")

    async def applied(self) -> dict[str, Applied]:
        """What became of it at each member that takes what is published; ``trouble`` where nobody can read that."""
        prefix = self._names.applied_prefix
        found = (await self._store.read(prefix)).entries
        return {key.removeprefix(prefix): _applied(each) for key, each in found.items()}

    async def content(self, version: Version) -> bytes:
        """
        The file, as it was published.

        Raises:
            GoneError: it is not kept any more, or is another one.
        """
        record = await self._entry(self._names.content(version.sha256))
        if record is None:
            raise GoneError(f"the contents of {version.in_words()} are not kept any more")
        unpack, parts, left = zlib.decompressobj(), [], MOST_BYTES + 1
        for number in range(min(decoded(record, Content).pieces, MOST_PIECES)):
            piece = await self._entry(self._names.piece(version.sha256, number))
            if piece is None:
                raise GoneError(f"the contents of {version.in_words()} are not kept any more")
            try:
                parts.append(unpack.decompress(piece.value, left))
            except zlib.error as error:
                raise GoneError(f"the contents of {version.in_words()} are damaged in etcd: {error}") from error  # fmt: skip
            left -= len(parts[-1])
            if left <= 0:
                break
        data = b"".join(parts)
        if hashlib.sha256(data).hexdigest() != version.sha256:
            raise GoneError(f"the contents of {version.in_words()} are damaged in etcd: they have another digest")  # fmt: skip
        return data

    async def _entry(self, key: str) -> Entry | None:
        return (await self._store.read(key)).entries.get(key)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def publish(self, news: News, held: Held) -> Head:
        """
        The new head, in the place of ``held``.

        Raises:
            OvertakenError: somebody else was first.
            WsproxyError: it is too large.
        """
        if len(news.data) > MOST_BYTES:
            raise WsproxyError(f"found {len(news.data)} bytes; allowed are {MOST_BYTES}")
        pieces = _pieces(zlib.compress(news.data))
        kept = await self.versions()
        number = max([held.number, *(each.number for each in kept)]) + 1
        if number > MOST_VERSIONS:
            raise WsproxyError(f"found number {number} for this version; allowed are up to {MOST_VERSIONS}: somebody else than wsproxy has written the one before (`etcdctl del` {self._names.published} and {self._names.version(number - 1)})")  # fmt: skip
        version = Version(
            number, uuid.uuid4().hex, hashlib.sha256(news.data).hexdigest(), len(news.data), news.who,
            self._clock_ms(), news.comment, news.file, news.returned_to,
        )  # fmt: skip
        head = Head(version, news.only)
        writes = (
            Put(self._names.published, msgspec.json.encode(head)),
            Put(self._names.version(number), msgspec.json.encode(version)),
        )
        doubt = StoreAwayError("others put the same contents there again and again")
        is_asked = False
        for _ in range(MOST_TRIES):
            try:
                content = await self._keep(version.sha256, pieces)
                is_asked = True
                if await self._swap(held, writes, head, content):
                    break
            except StoreAwayError as error:
                doubt = error  # done or not: the next try meets its own write, or none
                if not is_asked:
                    raise
        else:
            raise StoreAwayError(f"whether version {number} is published is not known: {doubt}")
        # It is published: what is left to be removed, the next one removes.
        with contextlib.suppress(StoreAwayError):
            await self._prune()
        return head

    async def _swap(
        self, held: Held, writes: tuple[Write, ...], head: Head, content: Condition | None = None
    ) -> bool:
        """Whether the head is ours; False: only the contents were touched by somebody else."""
        key = self._names.published
        conditions = [Unchanged(key, held.modified), *([content] if content else [])]
        swapped = await self._store.swap(conditions, writes)
        found = swapped.found.get(key)
        if swapped.done or (found is not None and decoded(found, Head) == head):
            return True
        if (0 if found is None else found.modified) != held.modified:
            raise OvertakenError(None if found is None else decoded(found, Head))
        return False

    async def _keep(self, sha256: str, pieces: list[bytes]) -> Condition:
        """The contents are there, and a condition that fails as soon as somebody may have removed them."""
        key = self._names.content(sha256)
        entry = await self._entry(key)
        present = _content(entry)
        if present is None or not present.is_whole:
            await self._put(key, Content(len(pieces), self._clock_ms()))
            for number, piece in enumerate(pieces):
                await self._store.put(Put(self._names.piece(sha256, number), piece))
        return Unchanged(key, await self._put(key, Content(len(pieces), self._clock_ms(), True)))

    async def _put(self, key: str, content: Content) -> int:
        return await self._store.put(Put(key, msgspec.json.encode(content)))

    async def allow(self, held: Held, only: tuple[str, ...] | None) -> Held:
        """
        The same version may be taken by these members, too, or (None) by all; where it stands now.

        Raises:
            OvertakenError: another version holds.
        """
        assert held.head is not None
        head = msgspec.structs.replace(held.head, only=only)
        await self._swap(held, (Put(self._names.published, msgspec.json.encode(head)),), head)
        now = await self.head()
        if now.head != head:
            raise OvertakenError(now.head)
        return now

    async def _prune(self) -> None:
        """All but the newest versions are removed, and contents that none of those has: in steps that fail where somebody publishes meanwhile."""
        held = await self.head()
        kept = await self.versions()
        gone, kept = kept[:-KEPT_VERSIONS], kept[-KEPT_VERSIONS:]
        same = Unchanged(self._names.published, held.modified)
        if gone:
            deletes = [Delete(self._names.version(each.number)) for each in gone[:MOST_PIECES]]
            await self._store.swap([same], deletes)
        used = {each.sha256 for each in kept}
        if held.head is not None:  # whatever became of its entry among the versions
            used.add(held.head.version.sha256)
        removed = {each.sha256 for each in gone}
        for key, entry in (await self._store.read(self._names.contents)).entries.items():
            sha256, content = key.removeprefix(self._names.contents), _content(entry)
            if content is None:
                continue  # nobody can say what belongs to it
            is_abandoned = content.at_ms < self._clock_ms() - ABANDONED_MS
            if sha256 in used or not (sha256 in removed or is_abandoned):
                continue
            pieces = (self._names.piece(sha256, number) for number in range(content.pieces))
            conditions = [same, Unchanged(key, entry.modified)]
            await self._store.swap(conditions, [Delete(key), *map(Delete, pieces)])


def before(version: Version, kept: list[Version]) -> int:
    """
    The number that a rollback returns to, 0: there is none.

    After a rollback it is the one before that which was returned to: who gives the command again wants to go further back, not to the one that he has just left.
    """
    returns = {each.number: each.returned_to for each in (*kept, version)}
    number = version.number
    while 0 < (earlier := returns.get(number, 0)) < number:
        number = earlier
    return max((each.number for each in kept if each.number < number), default=0)


def _applied(entry: Entry) -> Applied:
    try:
        return decoded(entry, Applied)
    except UnreadableError as error:
        return Applied(0, "", trouble=str(error))


def _content(entry: Entry | None) -> Content | None:
    """None: there is none, or none that can be read."""
    with contextlib.suppress(UnreadableError):
        return None if entry is None else decoded(entry, Content)
    return None


def _pieces(data: bytes) -> list[bytes]:
    found = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    if len(found) > MOST_PIECES:
        most = MOST_PIECES * PIECE_BYTES
        raise WsproxyError(f"found {len(data)} bytes after compression; allowed are {most}")
    return found
