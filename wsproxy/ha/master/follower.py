"""
A proxy's part in published configurations: what the group wants comes into ``ha.config_folder``, and what became of it goes to the group.

Driven by ``ha.agent``, as the board is. Contents are asked for beside the heartbeats, with more time; without etcd nothing changes here. Must not judge a
configuration: the loader does, and says so in the folder (``reload.published``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from wsproxy.admin.wall_clock import wall_ms
from wsproxy.config.problems import printable
from wsproxy.config.published import PublishedFolder, Standing, Tried, Version
from wsproxy.config.stamps import Stamp, stamp_of
from wsproxy.errors import StartError
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.group.membership import Membership
from wsproxy.ha.master.library import GoneError, Library
from wsproxy.ha.master.words import Applied, Head, decoded
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry, LeaseGoneError, Put, Store, StoreAwayError, Told

log = logging.getLogger("wsproxy.ha")

# Between two looks at what the loader says, and two tries of what could not be had.
LOOK_S = 0.5
AGAIN_S = 2.0


@dataclass(slots=True)
class _Posted:
    """``lease``: of which membership."""

    word: Applied | None = None
    lease: int = 0


class Follower:
    """One a proxy; within one event loop."""

    def __init__(
        self,
        folder: PublishedFolder,
        library: Library,
        store: Store,
        names: Names,
        membership: Membership,
    ) -> None:
        """``library``: with time for large contents; ``store``: as heartbeats use it. Nothing is asked yet."""
        self._folder = folder
        self._library = library
        self._store = store
        self._names = names
        self._membership = membership
        self._head: Head | None = None
        self._news = asyncio.Event()
        self._standing = Standing()
        self._stamp: Stamp | None = None
        self._seen: Tried | None = None
        self._guarded_until = 0.0  # by the boot clock
        self._posted = _Posted()
        self._trouble = ""

    # --- what the group says -----------------------------------------------------------------------------------------

    def read(self, entries: Mapping[str, Entry]) -> None:
        """All that it says; of our own word it may have an old one (an etcd restored from a backup), so that is said anew."""
        self._posted = _Posted()
        self._hear(entries.get(self._names.published))

    def told(self, told: Told) -> None:
        """Some of it."""
        for key, entry in told.changes:
            if key == self._names.published:
                self._hear(entry)
            elif key == self._names.applied(self._membership.name):
                # Somebody has deleted it; or an older word of our own was done late, by a server that had not answered.
                said = self._posted.word
                if said is not None and (entry is None or entry.value != msgspec.json.encode(said)):
                    self._posted = _Posted()

    def away(self) -> None:
        """It cannot be heard."""
        self._look()
        version = self._standing.version()
        if version is not None:
            log.warning("ha: this proxy goes by the published %s until etcd answers", version.in_words())  # fmt: skip

    def _hear(self, entry: Entry | None) -> None:
        if entry is None:
            return  # nobody has published, or etcd has lost it: what is here goes on
        try:
            self._head = decoded(entry, Head)
        except StoreAwayError as error:
            log.error("ha: published configuration: %s", printable(str(error)))
            return
        self._news.set()

    # --- into the folder ---------------------------------------------------------------------------------------------

    async def follow_always(self) -> None:
        """Gets what is wanted, each time it is something else."""
        while True:
            await self._news.wait()
            self._news.clear()
            head = self._head
            if head is None or not head.is_for(self._membership.name):
                continue
            try:
                await self._fetch(head.version)
            except StoreAwayError as error:
                await self._try_again(f"version {head.version.number} cannot be had yet ({error})")
            except (GoneError, StartError) as error:
                self._meet(str(error))
            except OSError as error:
                await self._try_again(f"version {head.version.number} cannot be kept in {self._folder.path}: {error.strerror}")  # fmt: skip
            else:
                self._trouble = ""

    async def _try_again(self, trouble: str) -> None:
        self._meet(trouble)
        await asyncio.sleep(AGAIN_S)
        self._news.set()

    def _meet(self, trouble: str) -> None:
        """Said once, here and to the group."""
        if trouble != self._trouble:
            log.error("ha: published configuration: %s; what is in use stays", printable(trouble))
        self._trouble = trouble

    async def _fetch(self, version: Version) -> None:
        wanted = None
        with contextlib.suppress(StartError):  # then it is written anew
            wanted = await asyncio.to_thread(self._folder.read_wanted)
        if wanted is not None and wanted.id == version.id:
            return
        content = await self._library.content(version)
        await asyncio.to_thread(self._folder.put, version, content)
        log.info("ha: the published %s is here, as %s", version.in_words(), self._folder.file_of(version))  # fmt: skip

    # --- what became of it -------------------------------------------------------------------------------------------

    async def post_always(self) -> None:
        """Says it when it is something else, and at the beginning of each membership."""
        while True:
            self._look()
            word, lease = self._word(), self._membership.lease
            if lease and (word, lease) != (self._posted.word, self._posted.lease):
                await self._post(word, lease)
            await asyncio.sleep(LOOK_S)

    async def _post(self, word: Applied, lease: int) -> None:
        key = self._names.applied(self._membership.name)
        self._posted = _Posted(word, lease)  # before: what is told meanwhile is compared with it
        try:
            await self._store.put(Put(key, msgspec.json.encode(word), lease))
        except (LeaseGoneError, StoreAwayError):
            self._posted = _Posted()  # the next look does

    def _look(self) -> None:
        stamp = stamp_of([self._folder.standing_file])
        if stamp == self._stamp:
            return
        try:
            self._standing = self._folder.read_standing()
        except StartError as error:
            log.error("ha: %s", printable(str(error)))
        self._stamp = stamp
        self._note_guard()

    def _note_guard(self) -> None:
        """Once for what was tried; how long it lasts is measured by a clock that nobody sets."""
        tried = self._standing.tried
        if tried is None or tried == self._seen:
            return
        self._seen = tried
        # Both by the clock of this machine; one that was set between them neither ends the guard's time nor makes it longer than it is.
        since_s = (wall_ms() - tried.at_ms) / 1000
        self._guarded_until = boot_clock() + tried.guard_s - min(max(since_s, 0.0), tried.guard_s)

    def _word(self) -> Applied:
        current, tried = self._standing.version(), self._standing.tried
        number, id_ = (current.number, current.id) if current else (0, "")
        if tried is None:
            return Applied(number, id_, trouble=self._trouble)
        is_guarded = tried.result == "in use" and boot_clock() < self._guarded_until
        return Applied(
            number, id_, tried.number, tried.id, tried.result, tried.problems, tried.generation, tried.at_ms, is_guarded, self._trouble,
        )  # fmt: skip
