"""A member's part, on a real etcd: what is wanted is on its disk, and what became of it, or why it cannot be had, is known to the group."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.support.etcd import EtcdProcess, needs_etcd
from tests.unit.ha.conftest import PATIENT_S
from wsproxy.config.published import PublishedFolder, Standing, Tried
from wsproxy.errors import StartError
from wsproxy.ha.group.membership import Listener, Membership, Myself
from wsproxy.ha.master.follower import Follower
from wsproxy.ha.master.library import Library, News
from wsproxy.ha.master.words import Applied
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Delete, Put
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd

LONG_S = 30.0


@dataclass
class One:
    """The member "a"."""

    folder: PublishedFolder
    library: Library
    store: EtcdStore
    names: Names

    async def publish(self, data: bytes, only: tuple[str, ...] | None = None) -> None:
        await self.library.publish(News(data, "alice", only=only), await self.library.head())

    async def until(self, what: Callable[[Applied], bool]) -> None:
        """The group knows of it."""
        async with asyncio.timeout(LONG_S):
            while True:
                found = (await self.library.applied()).get("a")
                if found is not None and what(found):
                    return
                await asyncio.sleep(0.02)

    async def until_wanted(self, number: int) -> None:
        async with asyncio.timeout(LONG_S):
            while True:
                with contextlib.suppress(StartError):
                    wanted = self.folder.read_wanted()
                    if wanted is not None and wanted.number == number:
                        return
                await asyncio.sleep(0.02)


@pytest.fixture
async def one(etcd: EtcdProcess, prefix: str, tmp_path: Path) -> AsyncIterator[One]:
    names = Names("cell", prefix.strip("/"))
    store = EtcdStore(Gateway([etcd.url], try_s=PATIENT_S))
    folder, library = PublishedFolder(tmp_path / "published"), Library(store, names)
    folder.path.mkdir()
    listener = Listener()
    membership = Membership(
        store, names, Myself("a", "i", "host", 1, "0"), ttl_s=10, period_s=0.5, listener=listener
    )
    follower = Follower(folder, library, store, names, membership)
    listener.on_read = lambda _revision, entries: follower.read(entries)
    listener.on_told = follower.told
    works = (membership.run(), follower.follow_always(), follower.post_always())
    tasks = [asyncio.ensure_future(work) for work in works]
    yield One(folder, library, store, names)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await membership.leave()
    await store.close()


async def test_what_is_published_comes_and_what_became_of_it_goes(one: One) -> None:
    """As the loader says it in the folder; it is gone with its member."""
    await one.until(lambda word: word == Applied(0, ""))
    await one.publish(b"<Config/>")
    await one.until_wanted(1)
    wanted = one.folder.read_wanted()
    assert wanted is not None
    assert one.folder.file_of(wanted).read_bytes() == b"<Config/>"
    tried = Tried(1, wanted.id, "in use", (), 2, wanted.at_ms, 3600.0)
    one.folder.write_standing(Standing(wanted.id, tried, (wanted,)))
    await one.until(lambda word: word.number == 1 and word.is_guarded and word.generation == 2)
    entry = (await one.store.read(one.names.applied("a"))).entries[one.names.applied("a")]
    assert entry.lease


async def test_a_clock_that_is_set_back_does_not_end_a_guards_time(one: One) -> None:
    """A rollout that waits for it would go on to the next proxy; and it ends all the same."""
    await one.publish(b"<Config/>")
    await one.until_wanted(1)
    wanted = one.folder.read_wanted()
    assert wanted is not None
    later_ms = wanted.at_ms + 3_600_000  # said before the clock was set
    one.folder.write_standing(Standing(wanted.id, Tried(1, wanted.id, "in use", (), 2, later_ms, 600.0), (wanted,)))  # fmt: skip
    await one.until(lambda word: word.generation == 2)
    assert (await one.library.applied())["a"].is_guarded
    one.folder.write_standing(Standing(wanted.id, Tried(1, wanted.id, "in use", (), 3, later_ms, 0.1), (wanted,)))  # fmt: skip
    await one.until(lambda word: word.generation == 3 and not word.is_guarded)


async def test_a_word_of_its_own_that_comes_late_does_not_hold(one: One) -> None:
    """What a server that had not answered has done behind a newer one is said anew; so is what somebody has deleted."""
    await one.until(lambda word: word == Applied(0, ""))
    key = one.names.applied("a")
    await one.store.put(Put(key, msgspec.json.encode(Applied(7, "old"))))
    await one.until(lambda word: word == Applied(0, ""))
    await one.store.swap([], [Delete(key)])
    await one.until(lambda word: word == Applied(0, ""))


async def test_what_is_for_others_does_not_come(one: One) -> None:
    """Until it may."""
    await one.publish(b"1")
    await one.until_wanted(1)
    await one.publish(b"2", only=("b",))
    await one.until(lambda word: word.id == "")
    held = await one.library.head()
    assert one.folder.read_wanted() != (held.head and held.head.version)
    await one.library.allow(held, ("b", "a"))
    await one.until_wanted(2)


async def test_a_disk_that_takes_nothing(one: One) -> None:
    """The group knows why; when it is mended the version comes."""
    shutil.rmtree(one.folder.path)
    await one.publish(b"1")
    await one.until(lambda word: "version 1 cannot be kept in" in word.trouble)
    assert "No such file or directory" in (await one.library.applied())["a"].in_words()
    one.folder.path.mkdir()
    await one.until_wanted(1)
    await one.until(lambda word: not word.trouble)


async def test_contents_that_are_damaged(one: One) -> None:
    """Nothing of them reaches the disk; the next version does."""
    await one.publish(b"1", only=())
    held = await one.library.head()
    assert held.head is not None
    await one.store.put(Put(one.names.piece(held.head.version.sha256, 0), b"x"))
    await one.library.allow(held, None)
    await one.until(lambda word: "are damaged in etcd" in word.trouble)
    assert list(one.folder.path.iterdir()) == []
    await one.publish(b"2")
    await one.until_wanted(2)


async def test_a_damaged_file_here_is_written_anew(one: One) -> None:
    """What is wanted is known to the group."""
    one.folder.wanted_file.write_bytes(b"{")
    await one.publish(b"1")
    await one.until_wanted(1)
